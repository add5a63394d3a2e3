"""Letters to words, and words to segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log

from sonant.types import Letter, Segment, Word

PAUSE = 0.6
"""Seconds of blanks that end a segment, and with it a word whose separator the model forgot."""


def word_of(letters: Sequence[Letter]) -> Word:
    """A word from its letters."""
    confidence = exp(sum(log(max(letter.confidence, 1e-30)) for letter in letters) / len(letters))
    text = "".join(letter.text for letter in letters)
    return Word(text, letters[0].start, letters[-1].end, confidence, tuple(letters))


def segments_of(words: Sequence[Word], space: str = " ", pause: float = PAUSE) -> Iterator[Segment]:
    """Cut words into segments at pauses of `pause` seconds and more."""
    begin = 0
    for i in range(1, len(words) + 1):
        if i == len(words) or words[i].start - words[i - 1].end >= pause:
            yield Segment(tuple(words[begin:i]), space)
            begin = i
