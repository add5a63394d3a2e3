"""Words that somebody says, told apart from those that a model makes of noise and music."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from math import inf

from sonant.decode.words import PAUSE
from sonant.types import Word

SURE = 0.9
"""Probability of a letter that only speech gets from a model: noise and music stayed below 0.8, most words reach it."""
REACH = 3.0
"""Seconds around a sure letter in which somebody speaks."""


class Sieve:
    """Holds back words that the model makes of noise: all that lie near no letter it is sure of, pauses between."""

    def __init__(self) -> None:
        self._doubted: tuple[Word, ...] = ()
        self._sure_until = self._end = -inf

    def feed(self, words: Iterable[Word]) -> tuple[Word, ...]:
        """The words that can be told now, in order; those in doubt wait for a sure letter as long as it reaches."""
        told: list[Word] = []
        for word in words:
            if word.start - self._end >= PAUSE:
                self.pause()
            self._end = word.end
            near = tuple(doubted for doubted in self._doubted if word.start - doubted.end <= REACH)
            sure = max((letter.confidence for letter in word.letters), default=word.confidence) >= SURE
            if sure:
                self._sure_until = word.end
            if word.start - self._sure_until <= REACH:
                told += [*near, word]
                self._doubted = ()
            else:
                self._doubted = (*near, word)
        return tuple(told)

    def pause(self) -> None:
        """Give up the words that are in doubt."""
        self._doubted, self._sure_until = (), -inf

    def copy(self) -> Sieve:
        """One that goes on from here by itself."""
        return copy(self)

    @property
    def since(self) -> float:
        """When the first word in doubt begins; infinity without one."""
        return self._doubted[0].start if self._doubted else inf
