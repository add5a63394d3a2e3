"""WebVTT, `.vtt`: cues for browsers, with the times of words inside where they are to light up (karaoke).

It carries the text, the times and the speakers of cues, and with karaoke the times of words: not confidences, letters
or the language.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from sonant.subtitles.cues import Cue, CueSpec, cues_of
from sonant.subtitles.spread import CueText, Run, segments_of_cues, timed_segments
from sonant.subtitles.tidy import RIGHT_TO_LEFT_MARK, clean, clock, lines_of, parse_clock, refuse, transcript_of
from sonant.subtitles.widths import direction_marks
from sonant.types import Transcript

STYLE = "STYLE\n::cue(:future) { color: #9a9a9a; }\n\n"
"""With karaoke: words that are still to come are grey."""
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", RIGHT_TO_LEFT_MARK: "&rlm;", "\u00a0": "&nbsp;"})
_TIMES = re.compile(r"\s*(\S+)\s+-->\s+(\S+)(\s.*)?")
_TAG = re.compile(r"<([^<>]{0,1000})>?")
_VOICE = re.compile(r"v(?:\.[^\s.]*)*(?:[ \t\n]+(.*))?|/v", re.DOTALL)


def to_vtt(transcript: Transcript, spec: CueSpec | None = None, *, karaoke: bool = False) -> str:
    """The cues of a transcript; with `karaoke`, each word at its time, those to come grey."""
    return vtt_head(karaoke) + "".join(
        vtt_blocks(cues_of(transcript.segments, spec, transcript.language), karaoke=karaoke)
    )


def vtt_head(karaoke: bool = False) -> str:
    """What stands before the first cue."""
    return "WEBVTT\n\n" + (STYLE if karaoke else "")


def vtt_blocks(cues: Iterable[Cue], *, karaoke: bool = False) -> Iterator[str]:
    """Each cue as it stands in the file."""
    for cue in cues:
        yield f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{vtt_text(cue, karaoke=karaoke)}\n\n"


def vtt_text(cue: Cue, *, karaoke: bool = False) -> str:
    """The lines of a cue in its speaker's voice, with the times of words for `karaoke`."""
    voice = f"<v {cue.speaker.translate(_ESCAPES)}>" if cue.speaker else ""
    if karaoke:
        return voice + _timed_text(cue)
    lines = cue.texts
    return voice + "\n".join(
        (mark + line).translate(_ESCAPES) for mark, line in zip(direction_marks(lines), lines, strict=True)
    )


def _timed_text(cue: Cue) -> str:
    """The lines with a time before each word that begins, and after each that ends before the next begins."""
    marks = direction_marks(cue.texts)
    now = cue.start
    parts: list[str] = []
    for i, line in enumerate(cue.lines):
        parts += ["\n" if i else "", marks[i].translate(_ESCAPES)]
        for j, piece in enumerate(line):
            parts.append(piece.before if j else "")
            if now < piece.start < cue.end:
                parts.append(f"<{clock(now := piece.start, '.')}>")
            parts.append(piece.text.translate(_ESCAPES))
            if now < piece.end < cue.end:
                parts.append(f"<{clock(now := piece.end, '.')}>")
    return "".join(parts)


def from_vtt(text: str) -> Transcript:
    """A segment a cue; its words have their own times where it holds some, and share the cue's by lengths otherwise.

    Notes, styles and all tags but times and voices are left out. A cue with several voices becomes a segment for each.
    Raises `OptionError` with the line that is wrong.
    """
    lines = lines_of(text)
    if not re.fullmatch(r"WEBVTT([ \t].*)?", lines[0]):
        refuse(1, "WEBVTT", lines[0])
    cues: list[CueText] = []
    number = 1
    while number < len(lines):
        block = number + 1  # counted from 1
        while number < len(lines) and lines[number].strip():
            number += 1
        if number >= block:
            cues += _cue(lines[block - 1 : number], block)
        number += 1
    if not any(_TAG.search(line) and _is_timed(line) for cue in cues for line in cue.lines):
        return transcript_of(segments_of_cues(part for cue in cues for part in _voices(cue)))
    cues.sort(key=lambda cue: cue[:2])
    return transcript_of(timed_segments(_runs(cue) for cue in cues))


def _cue(block: list[str], number: int) -> Iterator[CueText]:
    """The cue of one block of lines; none for notes and styles."""
    at = next((i for i, line in enumerate(block[:2]) if "-->" in line), None)
    if at is None or re.match(r"(NOTE|STYLE|REGION)\b", block[0]):
        return
    match = _TIMES.fullmatch(block[at])
    start, end = (parse_clock(match[1]), parse_clock(match[2])) if match else (None, None)
    if start is None or end is None or start > end:
        refuse(number + at, "times like 01:02.345 --> 01:04.000, the first no later than the second", block[at])
    yield CueText(start, end, block[at + 1 :])


def _voices(cue: CueText) -> Iterator[CueText]:
    """What each voice says in a cue, its share of the time by its length."""
    parts: list[tuple[str | None, str]] = [(None, "")]
    for line in cue.lines:
        for i, part in enumerate(_TAG.split(line)):
            if i % 2 == 0:
                parts[-1] = parts[-1][0], parts[-1][1] + html.unescape(part)
            elif voice := _VOICE.fullmatch(part):
                parts.append((_name(voice), ""))
        parts[-1] = parts[-1][0], parts[-1][1] + "\n"
    parts = [(speaker, text) for speaker, text in parts if text.strip()]
    each = (cue.end - cue.start) / max(sum(len(text) for _, text in parts), 1)
    start = cue.start
    for i, (speaker, text) in enumerate(parts, 1):
        end = cue.end if i == len(parts) else round(start + each * len(text), 3)
        yield CueText(start, end, text.split("\n"), speaker)
        start = end


def _name(voice: re.Match[str]) -> str | None:
    """Whom a tag lets speak; None for one that ends a voice."""
    return clean(html.unescape(voice[1] or "")) or None


def _is_timed(line: str) -> bool:
    return any(parse_clock(tag) is not None for tag in _TAG.findall(line))


def _runs(cue: CueText) -> Iterator[Run]:
    """What stands between two times of a cue, with them; a time that goes back is passed over."""
    now, held, speaker = cue.start, "", None
    for i, part in enumerate(_TAG.split("\n".join(cue.lines))):
        if i % 2 == 0:
            held += html.unescape(part).replace(RIGHT_TO_LEFT_MARK, "")
        elif voice := _VOICE.fullmatch(part):
            yield Run(held, now, now, speaker)
            held, speaker = "", _name(voice)
        elif (time := parse_clock(part)) is not None and now <= time <= cue.end:
            yield Run(held, now, time, speaker)
            now, held = time, ""
    yield Run(held, now, cue.end, speaker)
