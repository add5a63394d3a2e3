r"""SubRip, `.srt`: cues as text.

Players read `<b>` and `{\an8}` as marks: a joiner parts the one, wide braces are written for the other, and both are
known by it when they are read.
It carries the text and the times of cues: not those of words within them, nor confidences, letters or the language.
Speakers are named in the text where they change, and are read as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sonant.subtitles.cues import Cue, CueSpec, cues_of
from sonant.subtitles.spread import CueText, segments_of_cues
from sonant.subtitles.tidy import JOINER, WIDE, clock, lines_of, parse_clock, refuse, transcript_of
from sonant.subtitles.widths import direction_marks
from sonant.types import Transcript

_MARKUP = re.compile(r"<(?=[\w/!])|--(?=>)|[{}]")
_JOINED = re.compile(f"(<|--|[｛｝]){JOINER}")
_NARROW = {"｛": "{", "｝": "}"}
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_TIMES = re.compile(r"\s*(\S+)\s*-->\s*(\S+)(\s.*)?")


def to_srt(transcript: Transcript, spec: CueSpec | None = None) -> str:
    """The cues of a transcript, in UTF-8 without a byte order mark."""
    return "".join(srt_blocks(cues_of(transcript.segments, spec, transcript.language, named=True)))


def srt_blocks(cues: Iterable[Cue]) -> Iterator[str]:
    """Each cue as it stands in the file."""
    for number, cue in enumerate(cues, 1):
        yield f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{plain_text(cue)}\n\n"


def plain_text(cue: Cue) -> str:
    """The lines of a cue where nothing in them is a mark."""
    lines = cue.texts
    marks = direction_marks(lines)
    return "\n".join(mark + _MARKUP.sub(_parted, line) for mark, line in zip(marks, lines, strict=True))


def _parted(match: re.Match[str]) -> str:
    return WIDE.get(match[0], match[0] + JOINER)


def from_srt(text: str) -> Transcript:
    """A segment a cue, its words spread over its time by their lengths; marks are left out.

    Raises `OptionError` with the line where something else stands than a number, times or text.
    """
    lines = lines_of(text)
    cues: list[tuple[float, float, list[str]]] = []
    expected = True  # a number or times: after an empty line
    for number, line in enumerate(lines, 1):
        if not line.strip():
            expected = True
        elif times := _times(line, number, expected):
            cues.append((*times, []))
            expected = False
        elif _is_number(lines, number):
            expected = True
        elif cues:  # an empty line within a cue is no end of it
            cues[-1][2].append(_JOINED.sub(lambda match: _NARROW.get(match[1], match[1]), _TAG.sub("", line)))
        else:
            refuse(number, "the number or the times of a cue", line)
    return transcript_of(segments_of_cues(CueText(*cue) for cue in cues))


def _is_number(lines: list[str], number: int) -> bool:
    """Whether a line, counted from 1, is the number of a cue that follows."""
    return lines[number - 1].strip().isdecimal() and number < len(lines) and "-->" in lines[number]


def _times(line: str, number: int, expected: bool) -> tuple[float, float] | None:
    if "-->" not in line:
        return None
    match = _TIMES.fullmatch(line)
    start, end = (parse_clock(match[1]), parse_clock(match[2])) if match else (None, None)
    if start is not None and end is not None and start <= end:
        return start, end
    if expected:
        refuse(number, "times like 00:01:02,345 --> 00:01:04,000, the first no later than the second", line)
    return None
