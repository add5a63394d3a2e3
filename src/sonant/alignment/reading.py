"""What the search found, as words with times and confidences, and as speech that no word holds.

Shapes: T frames, V tokens, L tokens of the text, W words, N letters that were heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sonant import native
from sonant.alignment.times import Times, frame_edges
from sonant.decode.beam import LETTER_FIELDS, WORD_FIELDS
from sonant.decode.words import word_edges
from sonant.types import Emissions, FloatArray, Letter, Word, WordTimes

SHORTEST = 0.3
"""Seconds of speech outside the text that are worth telling."""
LEAST = 1e-30
"""Confidence that a letter has at least in that of its word."""


class Reading:
    """The way of a text's tokens through the emissions, in seconds."""

    def __init__(
        self,
        emissions: Emissions,
        log_probs: FloatArray,
        tokens: NDArray[np.int32],
        starts: NDArray[np.int32],
        ends: NDArray[np.int32],
    ) -> None:
        self.emissions, self.log_probs = emissions, log_probs
        self.tokens, self.starts, self.ends = tokens, starts, ends
        self.heard = ends > starts
        self.peaks = np.zeros(len(tokens))
        first, last = starts.astype(np.float64), starts.astype(np.float64)
        first[self.heard], last[self.heard], self.peaks[self.heard] = frame_edges(
            log_probs, tokens[self.heard], starts[self.heard], ends[self.heard], emissions.vocabulary.blank
        )
        self.begin, self.end = emissions.start, emissions.start + emissions.duration
        self.begins, self.stops = (self.begin + edge * emissions.frame_seconds for edge in (first, last))

    def words(self, texts: Sequence[str], places: Sequence[slice], times: WordTimes) -> list[Word]:
        """The words (W,) with these texts, whose tokens are at `places`.

        One that was left out has no letters, no length and confidence 0; it lies between its neighbours.
        """
        firsts = np.array([place.start for place in places])
        lengths = np.array([place.stop - place.start for place in places])
        owner = np.repeat(np.arange(len(places)), lengths)
        inside = np.arange(len(owner)) + (firsts - np.cumsum(lengths) + lengths)[owner]
        separator = self.emissions.vocabulary.separator
        spoken = self.heard[inside] & (self.tokens[inside] != (-1 if separator is None else separator))
        letters, owner = inside[spoken], owner[spoken]  # (N,)
        bounds = np.searchsorted(owner, np.arange(len(places) + 1))
        found = bounds[1:] > bounds[:-1]  # (W,)
        starts, ends = self.begins[firsts], self.begins[firsts]
        begins, stops = self.begins[letters], self.stops[letters]
        starts[found], ends[found] = word_edges(
            begins[bounds[:-1][found]], stops[bounds[1:][found] - 1], times, self.begin, self.end
        )
        starts[~found] = ends[~found] = _between(starts, ends, found)
        begins, stops = begins - times.offset, stops - times.offset
        begins[bounds[:-1][found]], stops[bounds[1:][found] - 1] = starts[found], ends[found]
        begins, stops = (edge.clip(starts[owner], ends[owner]) for edge in (begins, stops))
        records = native.records(Letter, LETTER_FIELDS, (
            self._letter_texts(letters), begins.tolist(), stops.tolist(), self.peaks[letters].tolist(),
        ))  # fmt: skip
        confidences = self._confidences(letters, owner, len(places))
        parts = [tuple(records[i:j]) for i, j in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
        columns = (list(texts), starts.tolist(), ends.tolist(), confidences.tolist(), parts, [None] * len(parts))
        return native.records(Word, WORD_FIELDS, columns)

    def _letter_texts(self, letters: NDArray[np.int64]) -> list[str]:
        written = [*self.emissions.vocabulary.tokens, ""]  # a wildcard has no text
        return [written[token] for token in self.tokens[letters].tolist()]

    def _confidences(self, letters: NDArray[np.int64], owner: NDArray[np.int64], num_words: int) -> Times:
        """Geometric mean (W,) of what each word's letters have: those that are spelled, where there are any."""
        spelled = self.tokens[letters] < len(self.emissions.vocabulary)
        any_spelled = np.bincount(owner[spelled], minlength=num_words) > 0
        counted = spelled | ~any_spelled[owner]
        logs = np.log(np.maximum(self.peaks[letters][counted], LEAST))
        counts = np.bincount(owner[counted], minlength=num_words)
        sums = np.bincount(owner[counted], logs, num_words)
        return np.where(counts > 0, np.exp(sums / np.maximum(counts, 1)), 0.0)

    def untold(self, stars: Sequence[int]) -> Iterator[tuple[float, float]]:
        """Where wildcards outside words, `stars` among the tokens, hold speech: from its first letter to its last."""
        blank, seconds = self.emissions.vocabulary.blank, self.emissions.frame_seconds
        for i in stars:
            spoken = np.flatnonzero(self.log_probs[self.starts[i] : self.ends[i]].argmax(1) != blank)
            if len(spoken) and (spoken[-1] + 1 - spoken[0]) * seconds >= SHORTEST:
                first = self.begin + (int(self.starts[i]) + int(spoken[0])) * seconds
                yield first, first + float(spoken[-1] + 1 - spoken[0]) * seconds


def _between(starts: Times, ends: Times, found: NDArray[np.bool_]) -> Times:
    """Where words that were left out lie: as they would, but not inside their neighbours."""
    earliest = np.maximum.accumulate(np.where(found, ends, -np.inf))
    latest = np.minimum.accumulate(np.where(found, starts, np.inf)[::-1])[::-1]
    return starts.clip(earliest, np.maximum(earliest, latest))[~found]
