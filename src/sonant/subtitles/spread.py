"""The texts of cues as words, for formats that tell when a cue is shown and not when its words are said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from sonant.subtitles.tidy import RIGHT_TO_LEFT_MARK, UNSPACED, clean
from sonant.subtitles.widths import columns
from sonant.types import Segment, Word

_SPACE = re.compile("[ \t\u3000]+")
_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u3099\u309a"  # part of the letter before them
_UNSPACED_WORD = re.compile(f"(?:{UNSPACED.pattern}|[^{UNSPACED.pattern[1:-1]}]+)[{_MARKS}]*")

CueText = tuple[float, float, Sequence[str]]
"""When a cue is shown, from and to, in seconds, and its lines."""
Run = tuple[str, float, float]
"""Text, perhaps with spaces around it, and when it is said, from and to, in seconds."""


def segments_of_cues(cues: Iterable[CueText]) -> list[Segment]:
    """A segment for each cue that has a text, in the order of their times; its words share its time by their widths."""
    read = [(start, end, cleaned) for start, end, lines in cues if (cleaned := _cleaned(lines))]
    read.sort(key=lambda cue: cue[:2])
    space = spaces_of(line for _, _, lines in read for line in lines)
    return [
        Segment(tuple(spread([word for line in lines for word in words_of(line, space)], start, end)), space)
        for start, end, lines in read
    ]


def timed_segments(cues: Iterable[Iterable[Run]]) -> list[Segment]:
    """A segment for each cue that has words, from runs with times; runs with no space between them are one word."""
    read = [list(runs) for runs in cues]
    space = spaces_of(clean("".join(text for text, _, _ in runs)) for runs in read)
    found = (tuple(_joined(runs, space)) for runs in read)
    return [Segment(words, space) for words in found if words]


def _joined(runs: Iterable[Run], space: str) -> list[Word]:
    words: list[Word] = []
    apart = True
    for text, start, end in runs:
        read = list(spread(words_of(clean(text), space), start, end))
        if read and words and space and not apart and not text[0].isspace():
            first = words.pop()
            read[0] = Word(first.text + read[0].text, first.start, read[0].end, 1.0)
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


def spread(words: Sequence[str], start: float, end: float) -> Iterator[Word]:
    """Words that share a time by their widths, one after another; the confidence that nobody knows is 1."""
    wide = [max(columns(word), 1) for word in words]
    each, done = (end - start) / max(sum(wide), 1), 0
    for i, (word, width) in enumerate(zip(words, wide, strict=True), 1):
        first, done = start + done * each, done + width
        last = end if i == len(words) else start + done * each
        yield Word(word, round(first, 3), round(last, 3), 1.0)


def _cleaned(lines: Iterable[str]) -> list[str]:
    return [text for line in lines if (text := clean(line).removeprefix(RIGHT_TO_LEFT_MARK))]
