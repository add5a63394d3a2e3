"""Emissions to hypotheses: greedily, or by beam search with lexicon and language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

from sonant.types import Emissions, Hypothesis, Vocabulary, Word


class DecoderState(Protocol):
    """A file as far as it has been decoded."""

    def feed(self, emissions: Emissions) -> None:
        """Hear the next piece; pieces in any cut give what the whole gives."""
        ...

    def finish(self) -> list[Hypothesis]:
        """The readings of all that was fed, best first; at least one."""
        ...


@runtime_checkable
class LiveState(DecoderState, Protocol):
    """One that a live stream can use."""

    @property
    def stable(self) -> tuple[Word, ...]:
        """The words that the best reading will begin with, whatever comes."""
        ...

    def decide(self, lead: float) -> None:
        """Make stable what all readings within `lead` (natural logarithm) of the best one begin with."""
        ...

    def copy(self) -> Self:
        """One that goes on from here by itself."""
        ...


class Decoder(Protocol):
    """What turns emissions into text."""

    name: str

    @property
    def described(self) -> Mapping[str, object]:
        """What its results depend on, as a transcript's settings have it."""
        ...

    def start(self, vocabulary: Vocabulary) -> DecoderState:
        """Begin a file."""
        ...
