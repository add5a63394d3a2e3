"""The best token of each frame: repeats collapsed, then blanks dropped. The other order turns HELLO into HELO."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from math import exp
from types import MappingProxyType

import numpy as np

from sonant import native
from sonant.decode.words import PAUSE, WordBuilder, word_of
from sonant.types import Emissions, Hypothesis, Vocabulary, Word


class GreedyDecoder:
    """Best-path decoding: no language model, no settings."""

    name = "greedy"
    described: Mapping[str, object] = MappingProxyType({"decoder": name})

    def decode(self, emissions: Emissions) -> list[Hypothesis]:
        """The one reading of a whole file's emissions."""
        state = self.start(emissions.vocabulary)
        state.feed(emissions)
        return state.finish()

    def start(self, vocabulary: Vocabulary) -> GreedyState:
        """Begin a file that comes in pieces."""
        return GreedyState(vocabulary)


class GreedyState:
    """A file as far as it has been heard; pieces in any cut give what the whole gives."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.words = WordBuilder(vocabulary)
        self.vocabulary = vocabulary
        self.score = 0.0
        # the run under way, which the next piece may go on with
        self.token, self.began, self.peak, self.now = vocabulary.blank, 0.0, 0.0, 0.0

    def feed(self, emissions: Emissions) -> None:
        """Hear the next piece."""
        tokens, firsts, peaks, total = native.runs(np.ascontiguousarray(emissions.log_probs, np.float32))
        self.score += total
        for token, first, peak in zip(tokens.tolist(), firsts.tolist(), peaks.tolist(), strict=True):
            at = (emissions.first + first) * emissions.frame_seconds
            if token == self.token:  # only ever the first run of a piece
                self.peak = max(self.peak, peak)
                continue
            self._end_run(at)
            self.token, self.began, self.peak = token, at, peak
        self.now = (emissions.first + len(emissions)) * emissions.frame_seconds

    @property
    def stable(self) -> tuple[Word, ...]:
        """The words that stay, whatever comes: a separator or a pause follows them."""
        words, letters = self.words.words, self.words.letters
        if letters:
            ends = self.now if self.words.is_mute(self.token) else self.began  # before the next letter can begin
            if self.token == self.vocabulary.separator or ends - letters[-1].end >= PAUSE:
                return (*words, word_of(letters))
        return tuple(words)

    def copy(self) -> GreedyState:
        """One that goes on from here by itself."""
        other = copy(self)
        other.words = copy(self.words)
        other.words.words, other.words.letters = self.words.words.copy(), self.words.letters.copy()
        return other

    def finish(self) -> list[Hypothesis]:
        """The reading of all that was fed."""
        self._end_run(self.now)
        self.token = self.vocabulary.blank
        self.words.close()
        return [Hypothesis(tuple(self.words.words), self.score, self.vocabulary.space)]

    def _end_run(self, end: float) -> None:
        if self.token != self.vocabulary.blank:
            self.words.add(self.token, self.began, end, exp(self.peak))
