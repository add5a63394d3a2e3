"""Letters to words, words to the times they are said at, and words to segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from math import exp, inf, log

import numpy as np
from numpy.typing import NDArray

from sonant.types import Letter, Segment, Word, WordTimes

PAUSE = 0.6
"""Seconds of blanks that end a segment, and with it a word whose separator the model forgot."""
AS_HEARD = WordTimes()


def word_of(letters: Sequence[Letter]) -> Word:
    """A word from its letters."""
    confidence = exp(sum(log(max(letter.confidence, 1e-30)) for letter in letters) / len(letters))
    text = "".join(letter.text for letter in letters)
    return Word(text, letters[0].start, letters[-1].end, confidence, tuple(letters))


def segments_of(
    words: Sequence[Word], space: str = " ", pause: float = PAUSE, times: WordTimes = AS_HEARD, last: float = inf
) -> Iterator[Segment]:
    """Cut words into segments at pauses of `pause` seconds and more, as the letters are heard, and time them."""
    placed = iter(timed(words, times, last))
    begin = 0
    for i in range(1, len(words) + 1):
        if i == len(words) or words[i].start - words[i - 1].end >= pause:
            yield Segment(tuple(islice(placed, i - begin)), space)
            begin = i


def timed(words: Sequence[Word], times: WordTimes, last: float = inf, first: float = 0.0) -> Sequence[Word]:
    """Words as they are said, between `first` and `last`, from words as their letters are heard."""
    if times == AS_HEARD or not words:
        return words
    heard = np.array([(word.start, word.end) for word in words])
    starts, ends = word_edges(heard[:, 0], heard[:, 1], times, first, last)
    return [_moved(*each, times.offset) for each in zip(words, starts.tolist(), ends.tolist(), strict=True)]


def word_edges(
    starts: NDArray[np.float64], ends: NDArray[np.float64], times: WordTimes, first: float, last: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where words begin and end (W,) whose letters are heard from `starts` to `ends`, in order, all in seconds.

    They lie between `first` and `last`.
    """
    edge = np.full(min(len(starts), 1), inf)
    room = np.maximum(starts[1:] - ends[:-1], 0.0) / 2
    before = np.minimum(np.concatenate([edge, room]), times.reach)
    after = np.minimum(np.concatenate([room, edge]), times.reach)
    return (starts - before - times.offset).clip(first, last), (ends + after - times.offset).clip(first, last)


def _moved(word: Word, start: float, end: float, offset: float) -> Word:
    """A word at another place: its first letter begins and its last one ends with it."""
    inner = [min(max(letter.end - offset, start), end) for letter in word.letters[:-1]]
    begins = [min(max(letter.start - offset, start), end) for letter in word.letters[1:]]
    letters = tuple(
        replace(letter, start=begin, end=stop)
        for letter, begin, stop in zip(word.letters, [start, *begins], [*inner, end], strict=False)
    )
    return replace(word, start=start, end=end, letters=letters)
