"""How well voices are told apart: equal error rate, detection costs, the curve between false accepts and misses.

Intervals and differences resample speakers (files where nobody is named): a trial counts as often as both of its sides
are drawn. Nothing here hears or imports PyTorch.

Shapes: N trials, U speakers, R resamplings, P points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sonant.train.labelling import Change, Floats, Measure

REPLICATES = 500
"""Resamplings behind an interval."""
MOST_TRIALS = 100_000
"""Of two different speakers, drawn from all pairs of clips."""
PRIORS = (0.05, 0.01)
"""Probabilities that a trial is of one speaker, for which costs are told: those of VoxSRC and of NIST SRE."""


class Verification:
    """Scores of trials, each of one speaker or of two."""

    def __init__(
        self, same: Sequence[bool], scores: Sequence[float], sides: Sequence[tuple[str, str]], seed: int = 0
    ) -> None:
        """`sides` names the speaker, or the file, of both sides of each trial."""
        order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
        self.same = np.asarray(same, bool)[order]
        self.scores = np.asarray(scores, np.float64)[order]
        """(N,), the highest first."""
        names, index = np.unique(np.asarray(sides, str), return_inverse=True)
        self.sides = index.reshape(-1, 2)[order]
        self.num_units, self.seed = len(names), seed
        assert self.same.any(), "trials of one speaker are needed"
        assert not self.same.all(), "trials of two speakers are needed"
        # equal scores are accepted together
        self.ends = np.append(np.flatnonzero(np.diff(self.scores)), len(self.scores) - 1)

    @cached_property
    def curve(self) -> tuple[Floats, Floats]:
        """Shares of false accepts and of misses (P,), as the threshold falls from over all scores to the lowest."""
        return self._curve(np.ones(len(self.scores)))

    @cached_property
    def eer(self) -> Measure:
        """The rate at which false accepts are as frequent as misses."""
        return Measure.of(eer(*self.curve), self._drawn(eer))

    def min_dcf(self, prior: float) -> Measure:
        """The least cost of detection at the best threshold, 1 being that of a constant answer: NIST SRE's."""
        return Measure.of(min_dcf(*self.curve, prior), self._drawn(lambda f, m: min_dcf(f, m, prior)))

    def threshold(self, rate: float | None = None) -> float:
        """The lowest score to accept so that false accepts are at most `rate`, or at the equal error rate where None.

        Infinite where no score keeps them so rare.
        """
        accepts, misses = self.curve
        if rate is None:
            return float(self.scores[self.ends[max(int(np.argmax(accepts >= misses)) - 1, 0)]])
        last = int(np.flatnonzero(accepts <= rate)[-1])
        return float(self.scores[self.ends[last - 1]]) if last else float("inf")

    def against(self, other: Verification) -> Change:
        """By how much another's equal error rate on the same trials is higher."""
        return Change.of(other.eer.value - self.eer.value, other._drawn(eer) - self._drawn(eer))

    def _curve(self, weights: Floats) -> tuple[Floats, Floats]:
        accepted = np.cumsum(np.where(self.same, 0.0, weights))[self.ends]
        found = np.cumsum(np.where(self.same, weights, 0.0))[self.ends]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.append(0.0, accepted / accepted[-1]), np.append(1.0, 1 - found / found[-1])

    def _drawn(self, measure: Callable[[Floats, Floats], float]) -> Floats:
        """A measure of the curve in each resampling (R,); NaN where trials of one kind are missing."""
        random, first, second = np.random.default_rng(self.seed), *self.sides.T
        values = np.full(REPLICATES if self.num_units > 1 else 0, np.nan)
        for i in range(len(values)):
            times = np.bincount(random.integers(0, self.num_units, self.num_units), minlength=self.num_units)
            weights = np.where(first == second, times[first], times[first] * times[second]).astype(float)
            accepts, misses = self._curve(weights)
            if np.isfinite(accepts[-1]) and np.isfinite(misses[-1]):
                values[i] = measure(accepts, misses)
        return values


def eer(accepts: Floats, misses: Floats) -> float:
    """Where false accepts (P,), which rise, and misses, which fall, cross; straight between two points."""
    after = int(np.argmax(accepts >= misses))
    gap = accepts - misses
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(accepts[after - 1] + share * (accepts[after] - accepts[after - 1]))


def min_dcf(accepts: Floats, misses: Floats, prior: float) -> float:
    """The least weighted sum of both, costs alike, as a share of what a constant answer costs."""
    return float((prior * misses + (1 - prior) * accepts).min() / min(prior, 1 - prior))


def all_pairs(speakers: Sequence[str], seed: int = 0, most: int = MOST_TRIALS) -> NDArray[np.int64]:
    """Pairs of clips (N, 2): all of one speaker, and of two as many as `most`, drawn at random."""
    _, who = np.unique(np.asarray(speakers, str), return_inverse=True)
    first, second = np.triu_indices(len(who), 1)
    same = who[first] == who[second]
    chosen: list[NDArray[np.int64]] = []
    for part in (np.flatnonzero(same), np.flatnonzero(~same)):
        drawn = np.random.default_rng(seed).choice(part, most, replace=False) if len(part) > most else part
        chosen.append(np.sort(drawn))
    kept = np.concatenate(chosen)
    return np.stack([first[kept], second[kept]], 1)
