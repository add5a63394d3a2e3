"""Words that somebody says, told apart from those that a model makes of noise, music and many voices at once."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from math import inf

from sonant.errors import OptionError
from sonant.types import Word

SURE = 0.9
"""Probability that a letter of a word must have for the model to be sure of it: few in noise and music have."""
SHARE = 0.2
"""Of the words near it, as many must be sure for one to be told; of many voices at once fewer are, of one voice more,
even where the model is poor."""
REACH = 8.0
"""Seconds within which words are near."""


class Sieve:
    """Holds back words near which the model is sure of too few; those in doubt are told once enough follow."""

    def __init__(self, sure: float = SURE) -> None:
        if not 0 <= sure <= 1:
            raise OptionError(
                f"`sure` must be a probability, from 0 (which tells all words) to 1, but is {sure:g}; leave it out."
            )
        self._sure = sure
        self._near: tuple[tuple[float, bool], ...] = ()  # where words end, and whether the model is sure of them
        self._doubted: tuple[Word, ...] = ()

    def feed(self, words: Iterable[Word]) -> tuple[Word, ...]:
        """The words that can be told now, in order; those in doubt wait as long as words are near."""
        told: list[Word] = []
        for word in words:
            self.forget(word.start)
            sure = max((letter.confidence for letter in word.letters), default=word.confidence) >= self._sure
            self._near = (*self._near, (word.end, sure))
            self._doubted = (*self._doubted, word)
            if sum(sure for _, sure in self._near) >= SHARE * len(self._near):
                told += self._doubted
                self._doubted = ()
        return tuple(told)

    def forget(self, until: float) -> None:
        """Give up the words in doubt that no word is near which begins then or later, in seconds."""
        self._near = tuple(heard for heard in self._near if until - heard[0] <= REACH)
        self._doubted = tuple(word for word in self._doubted if until - word.end <= REACH)

    def copy(self) -> Sieve:
        """One that goes on from here by itself."""
        return copy(self)

    @property
    def since(self) -> float:
        """When the first word in doubt begins; infinity without one."""
        return self._doubted[0].start if self._doubted else inf
