"""Words made fit to be written: one line of text each, times that are numbers and never go back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import NoReturn

from sonant.errors import OptionError
from sonant.types import Segment, Transcript, Word

SHOWN = 60
"""Characters of a wrong line that a message shows."""
JOINER = "\u2060"
"""Seen by nobody (WORD JOINER): put where a word would be read as a mark of a format, and taken out again."""
RIGHT_TO_LEFT_MARK = "\u200f"
WIDE = {"{": f"｛{JOINER}", "}": f"｝{JOINER}"}
"""Braces as they are written where players take what stands between them for marks, and hide it."""

_BREAKS = re.compile("[\0-\x20\x7f-\x9f\u2028\u2029]+")
_NEWLINE = re.compile(r"\r\n|\r|\n")
_TIME = re.compile(r"(?:(\d{1,9}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?")


def tidied(segments: Iterable[Segment]) -> Iterator[Segment]:
    """The same words, one after another: control characters become spaces, words without text are left out.

    Times are rounded to milliseconds; one that is no number, negative, or before the start of the word before it is
    moved to where it does no harm. Words may still overlap.
    """
    clock = 0.0
    for segment in segments:
        words: list[Word] = []
        for word in segment.words:
            text = clean(word.text)
            if not text:
                continue
            start = max(_finite(word.start, clock), clock)
            end = max(_finite(word.end, start), start)
            clock = start
            who = clean(word.speaker) if word.speaker and word.speaker.strip() else None
            same = text == word.text and start == word.start and end == word.end and who == word.speaker
            words.append(word if same else Word(text, start, end, word.confidence, word.letters, who))
        if words:
            yield Segment(tuple(words), segment.space)


def clean(text: str) -> str:
    """`text` on one line, without spaces around it."""
    return text if text.isprintable() and " " not in text else _BREAKS.sub(" ", text).strip(" ")


def _finite(seconds: float, otherwise: float) -> float:
    return round(float(seconds), 3) if isfinite(seconds) else otherwise


def clock(seconds: float, point: str, digits: int = 3) -> str:
    """`01:02:03,456`, with as many digits after `point`; hours have two digits or more."""
    scale = 10**digits
    whole, part = divmod(round(seconds * scale), scale)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{part:0{digits}}"


def parse_clock(text: str) -> float | None:
    """Seconds of `1:02:03.45`, `02:03,456` and the like; None for what is no time."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds, part = match.groups()
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return round(whole + (int(part) / 10 ** len(part) if part else 0.0), 6)


def lines_of(text: str) -> list[str]:
    """The lines of a file, whatever ends them, without a byte order mark."""
    return _NEWLINE.split(text.removeprefix("\ufeff"))


def refuse(line: int, expected: str, came: str) -> NoReturn:
    """Raise `OptionError` that names the line, counted from 1."""
    shown = came if len(came) <= SHOWN else came[:SHOWN] + "…"
    raise OptionError(f"Line {line} must hold {expected}, but holds {shown!r}; correct it, or save the file anew.")


UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""A letter of a script that writes no spaces: Thai, Lao, Burmese, Khmer, kana, Han."""


def transcript_of(segments: Sequence[Segment], duration: float = 0.0) -> Transcript:
    """What a file tells that holds no more than words and times."""
    ends = (word.end for segment in segments for word in segment.words)
    return Transcript(tuple(segments), max((duration, *ends)))
