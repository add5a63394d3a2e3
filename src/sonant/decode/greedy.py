"""The best token of each frame: repeats collapsed, then blanks dropped. The other order turns HELLO into HELO."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from math import isfinite
from types import MappingProxyType

from sonant import native
from sonant.decode.checks import as_floats, refuse_faults
from sonant.decode.words import PAUSE
from sonant.types import Emissions, Hypothesis, Letter, Vocabulary, Word


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
        unknown = () if vocabulary.unknown is None else (vocabulary.unknown,)
        self._state = native.GreedyState(
            len(vocabulary),
            vocabulary.blank,
            -1 if vocabulary.separator is None else vocabulary.separator,
            [*vocabulary.silent, *unknown],
            PAUSE,
        )
        self._makes = (tuple(vocabulary.tokens), Word, Letter)
        self._words: list[Word] = []
        self._space, self._num_tokens = vocabulary.space, len(vocabulary)

    def feed(self, emissions: Emissions) -> None:
        """Hear the next piece; logits will do, scores aside.

        Raises `OptionError` for frames of NaN, which is what a model makes of one, and for what are no numbers.
        """
        log_probs = as_floats(emissions.log_probs, self._num_tokens)
        self._state.feed(log_probs, emissions.first, emissions.frame_seconds)
        if not isfinite(self._state.score):  # a frame without any best token: cheaper than to look at all values
            refuse_faults(log_probs, emissions.first)

    @property
    def stable(self) -> tuple[Word, ...]:
        """The words that stay, whatever comes: a separator or a pause follows them."""
        self._words += self._state.take_words(*self._makes)
        last = self._state.ended_word(*self._makes)
        return (*self._words, last) if last else tuple(self._words)

    def decide(self, lead: float) -> None:
        """Nothing: there is one reading."""

    def copy(self) -> GreedyState:
        """One that goes on from here by itself."""
        other = copy(self)
        other._state, other._words = self._state.copy(), self._words.copy()  # noqa: SLF001  # of its own class
        return other

    def finish(self) -> list[Hypothesis]:
        """The reading of all that was fed."""
        self._state.finish()
        self._words += self._state.take_words(*self._makes)
        return [Hypothesis(tuple(self._words), self._state.score, self._space)]
