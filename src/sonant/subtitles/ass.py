"""Advanced SubStation Alpha, `.ass`: cues with a style, whose words may light up as they are said (karaoke).

It carries the text, the times in hundredths of a second and the speakers of cues, and with karaoke the times of words:
not confidences, letters or the language. A speaker is named in the text too, where another one spoke before. Nothing in
a text is ever read as a mark: a brace is written as its wide form, a backslash apart from what follows it, both with a
joiner, by which they are known when they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sonant.subtitles.cues import Cue, CueSpec, cues_of
from sonant.subtitles.spread import CueText, Run, segments_of_cues, timed_segments
from sonant.subtitles.tidy import (
    JOINER,
    RIGHT_TO_LEFT_MARK,
    WIDE,
    clean,
    clock,
    lines_of,
    parse_clock,
    refuse,
    transcript_of,
)
from sonant.subtitles.widths import direction_marks
from sonant.types import Transcript

_HEAD = """[Script Info]
ScriptType: v4.00+
WrapStyle: 0
ScaledBorderAndShadow: yes
PlayResX: 1920
PlayResY: 1080

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,64,&H00FFFFFF,&H009A9A9A,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,120,120,60,{encoding}

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
_ESCAPES = str.maketrans({**WIDE, "\\": f"\\{JOINER}"})
_ESCAPED = re.compile(f"([｛｝\\\\]){JOINER}")
_NARROW = {"｛": "{", "｝": "}", "\\": "\\"}
_TAGS = re.compile(r"\{([^{}]*)\}")
_SYLLABLE = re.compile(r"\\(?:k|K|kf|ko)(\d{1,7})")
_TEXT = "Text"
_COMMA = "，"


class Event(NamedTuple):
    """A line of dialogue."""

    start: float
    """Seconds from the beginning of the file."""
    end: float
    """Seconds from the beginning of the file."""
    text: str
    """With its marks, without the speaker's name."""
    speaker: str | None


def to_ass(transcript: Transcript, spec: CueSpec | None = None, *, karaoke: bool = False) -> str:
    """The cues of a transcript; with `karaoke`, words turn from grey to white as they are said."""
    cues = list(cues_of(transcript.segments, spec, transcript.language, named=True))
    backwards = any(RIGHT_TO_LEFT_MARK in direction_marks(["a " + text for text in cue.texts]) for cue in cues)
    return ass_head(right_to_left=backwards) + "".join(ass_lines(cues, karaoke=karaoke))


def ass_head(*, right_to_left: bool = False) -> str:
    """What stands before the first cue; players tell the direction of lines themselves if there are such."""
    return _HEAD.replace("{encoding}", "-1" if right_to_left else "1")


def ass_lines(cues: Iterable[Cue], *, karaoke: bool = False) -> Iterator[str]:
    """Each cue as it stands in the file."""
    for cue in cues:
        start, end = _hundredths(cue.start), max(_hundredths(cue.end), _hundredths(cue.start) + 1)
        text = _syllables(cue, start, end) if karaoke else _plain(cue)
        yield f"Dialogue: 0,{_clock(start)},{_clock(end)},Default,{_field(cue.speaker)},0,0,0,,{text}\n"


def _field(speaker: str | None) -> str:
    """A name between commas, which must not hold any: they become wide ones."""
    return (speaker or "").replace(",", _COMMA)


def _plain(cue: Cue) -> str:
    lines = cue.texts
    marks = direction_marks(lines)
    return r"\N".join(mark + line.translate(_ESCAPES) for mark, line in zip(marks, lines, strict=True))


def _syllables(cue: Cue, start: int, end: int) -> str:
    r"""Every word after a `\k` of its hundredths; a pause is a syllable of the space, or of nothing."""
    marks = direction_marks(cue.texts)
    now = start
    parts: list[str] = []
    for i, line in enumerate(cue.lines):
        parts += [r"\N" if i else "", marks[i]]
        for j, piece in enumerate(line):
            begin = min(max(_hundredths(piece.start), now), end)
            last = min(max(_hundredths(piece.end), begin), end)
            parts += [f"{{\\k{begin - now}}}" if begin > now else "", piece.before if j else ""]
            parts.append(f"{{\\k{last - begin}}}{piece.text.translate(_ESCAPES)}")
            now = last
    return "".join(parts)


def _hundredths(seconds: float) -> int:
    return round(seconds * 100)


def _clock(hundredths: int) -> str:
    return clock(hundredths / 100, ".", 2).removeprefix("0")


def from_ass(text: str) -> Transcript:
    """A segment a line of dialogue; its words have their own times where it has syllables, else share the line's.

    Comments, drawings and all other marks are left out. Raises `OptionError` with the line that is wrong.
    """
    events: list[Event] = []
    columns: list[str] | None = None
    section = ""
    for number, line in enumerate(lines_of(text), 1):
        line = line.strip()
        if line.startswith("["):
            section = line.lower()
        elif section == "[events]" and line.startswith("Format:"):
            columns = [name.strip() for name in line.removeprefix("Format:").split(",")]
            if columns[-1] != _TEXT or "Start" not in columns or "End" not in columns:
                refuse(number, "the columns of events, with Start, End, and Text as the last", line)
        elif section == "[events]" and line.startswith("Dialogue:"):
            events += _event(line, number, columns)
    if not section and text.strip():
        refuse(1, "a section like [Script Info]", lines_of(text)[0])
    events.sort(key=lambda event: event[:2])
    if not any(_SYLLABLE.search(tags) for event in events for tags in _TAGS.findall(event.text)):
        return transcript_of(
            segments_of_cues(CueText(e.start, e.end, _lines(_TAGS.sub("", e.text)), e.speaker) for e in events)
        )
    return transcript_of(timed_segments(_runs(event) for event in events))


def _event(line: str, number: int, columns: list[str] | None) -> Iterator[Event]:
    """The event of a line of dialogue; none for a drawing."""
    if columns is None:
        refuse(number, "a line that begins with Format: before the first line of dialogue", line)
    fields = line.removeprefix("Dialogue:").split(",", len(columns) - 1)
    if len(fields) < len(columns):
        refuse(number, f"{len(columns)} values between commas", line)
    values = dict(zip(columns, fields, strict=True))
    start, end = parse_clock(values["Start"]), parse_clock(values["End"])
    if start is None or end is None or start > end:
        refuse(number, "a Start and an End like 0:01:02.34, the first no later than the second", line)
    if not re.search(r"\{[^{}]*\\p[1-9]", values[_TEXT]):
        name = clean(values.get("Name", "").replace(_COMMA, ","))
        shown = re.escape(f"{name}: ".translate(_ESCAPES))
        text = re.sub(rf"\A((?:\{{[^{{}}]*\}}|{RIGHT_TO_LEFT_MARK})*){shown}", r"\1", values[_TEXT])
        yield Event(start, end, text if name else values[_TEXT], name or None)


def _lines(text: str) -> list[str]:
    """The lines of a text without marks."""
    return [_unescaped(line) for line in re.split(r"\\[Nn]", text)]


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: _NARROW[match[1]], text.replace(r"\h", " ").replace(RIGHT_TO_LEFT_MARK, ""))


def _runs(event: Event) -> Iterator[Run]:
    """The text of each syllable with its times; without any, all of it with the event's."""
    start, end, marked, speaker = event
    now, until, held = start, end, ""
    cursor = start
    for i, part in enumerate(_TAGS.split(marked)):
        if i % 2 == 0:
            held += part
        elif syllables := [int(length) / 100 for length in _SYLLABLE.findall(part)]:
            yield Run(" ".join(_lines(held)), now, until, speaker)
            now = round(min(cursor + sum(syllables[:-1]), end), 3)
            cursor = until = round(min(now + syllables[-1], end), 3)
            held = ""
    yield Run(" ".join(_lines(held)), now, until, speaker)
