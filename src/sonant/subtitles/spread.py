"""The texts of cues as words, for formats that tell when a cue is shown and not when its words are said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from sonant.subtitles.tidy import RIGHT_TO_LEFT_MARK, UNSPACED, clean
from sonant.subtitles.widths import columns
from sonant.types import Segment, Word

_SPACE = re.compile("[ \t\u3000]+")
_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u3099\u309a"  # part of the letter before them
_UNSPACED_WORD = re.compile(f"(?:{UNSPACED.pattern}|[^{UNSPACED.pattern[1:-1]}]+)[{_MARKS}]*")


class CueText(NamedTuple):
    """What a cue holds."""

    start: float
    """Seconds from the beginning of the file."""
    end: float
    """Seconds from the beginning of the file."""
    lines: Sequence[str]
    speaker: str | None = None


class Run(NamedTuple):
    """A part of a cue with times of its own."""

    text: str
    """Perhaps with spaces around it."""
    start: float
    """Seconds from the beginning of the file."""
    end: float
    """Seconds from the beginning of the file."""
    speaker: str | None = None


def segments_of_cues(cues: Iterable[CueText]) -> list[Segment]:
    """A segment for each cue that has a text, in the order of their times; its words share its time by their widths."""
    read = [cue._replace(lines=cleaned) for cue in cues if (cleaned := _cleaned(cue.lines))]
    read.sort(key=lambda cue: cue[:2])
    space = spaces_of(line for cue in read for line in cue.lines)
    return [
        Segment(tuple(spread([w for line in lines for w in words_of(line, space)], start, end, speaker)), space)
        for start, end, lines, speaker in read
    ]


def timed_segments(cues: Iterable[Iterable[Run]]) -> list[Segment]:
    """A segment for each cue that has words, or each speaker in it, from runs with times.

    Runs with no space between them are one word.
    """
    read = [list(runs) for runs in cues]
    space = spaces_of(clean("".join(run.text for run in runs)) for runs in read)
    return [segment for runs in read for segment in segments_by_speaker(_joined(runs, space), space)]


def segments_by_speaker(words: Iterable[Word], space: str) -> Iterator[Segment]:
    """Words as segments, cut where another one speaks."""
    for _, group in groupby(words, key=lambda word: word.speaker):
        yield Segment(tuple(group), space)


def _joined(runs: Iterable[Run], space: str) -> list[Word]:
    words: list[Word] = []
    apart = True
    for text, start, end, speaker in runs:
        read = list(spread(words_of(clean(text), space), start, end, speaker))
        if read and words and space and not apart and not text[0].isspace():
            first = words.pop()
            read[0] = Word(first.text + read[0].text, first.start, read[0].end, 1.0, (), first.speaker)
        words += read
        apart = text[-1].isspace() if text else apart
    return words


def words_of(line: str, space: str) -> list[str]:
    """The words of a line; characters where `space` is empty, but letters of scripts with spaces stay together."""
    return [word for word in _SPACE.split(line) if word] if space else _UNSPACED_WORD.findall(line)


def spaces_of(texts: Iterable[str]) -> str:
    """What parts the words of texts that were read: nothing where none has a space and most are written without."""
    texts = list(texts)
    unspaced = sum(UNSPACED.search(text) is not None for text in texts)
    return "" if 2 * unspaced > len(texts) and not any(" " in text for text in texts) else " "


def spread(words: Sequence[str], start: float, end: float, speaker: str | None = None) -> Iterator[Word]:
    """Words that share a time by their widths, one after another; the confidence that nobody knows is 1."""
    wide = [max(columns(word), 1) for word in words]
    each, done = (end - start) / max(sum(wide), 1), 0
    for i, (word, width) in enumerate(zip(words, wide, strict=True), 1):
        first, done = start + done * each, done + width
        last = end if i == len(words) else start + done * each
        yield Word(word, round(first, 3), round(last, 3), 1.0, (), speaker)


def _cleaned(lines: Iterable[str]) -> list[str]:
    return [text for line in lines if (text := clean(line).removeprefix(RIGHT_TO_LEFT_MARK))]
