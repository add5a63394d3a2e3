"""How well labels are given: accuracy, recall of each label, confusions, and two classifiers compared.

Intervals and differences resample speakers where every clip names one and they are several, otherwise clips. Nothing
here hears or imports PyTorch.

Shapes: N clips, K labels, U units that are independent of each other, R resamplings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sonant.train.scores import by_chance, interval, resample

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number, and where that of all such speech lies with a probability of 95 %."""

    value: float
    low: float | None = None
    """None where resampling tells nothing: of one speaker or clip."""
    high: float | None = None

    @classmethod
    def of(cls, value: float, drawn: Floats) -> Measure:
        """A value with the interval of its resamplings (R,); those that are not finite tell nothing."""
        drawn = drawn[np.isfinite(drawn)]
        if not len(drawn):
            return cls(value)
        return cls(value, *interval(drawn))


@dataclass(frozen=True, slots=True)
class Change:
    """By how much a second number is higher than a first, on the same speech."""

    value: float
    low: float
    high: float
    bootstrap: float
    """Probability of a change this clear, either way, between what is alike: paired bootstrap."""

    @classmethod
    def of(cls, value: float, drawn: Floats) -> Change:
        """A change with its resamplings (R,), of which at least one must be finite."""
        drawn = drawn[np.isfinite(drawn)]
        return cls(value, *interval(drawn), by_chance(drawn))


class Labelling:
    """What a classifier made of clips whose labels are known."""

    def __init__(
        self, said: Sequence[str], heard: Sequence[str], speakers: Sequence[str | None] = (), seed: int = 0
    ) -> None:
        assert len(said) == len(heard) > 0
        self.labels = tuple(sorted({*said, *heard}))
        """(K,): all that were said or heard."""
        index = {label: i for i, label in enumerate(self.labels)}
        self.said = np.array([index[label] for label in said])
        self.heard = np.array([index[label] for label in heard])
        self.unit, self.units = units_of(speakers, len(said))
        self.seed = seed

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K): how often a label (row) was heard as another (column)."""
        table = np.zeros((len(self.labels),) * 2, np.int64)
        np.add.at(table, (self.said, self.heard), 1)
        return table

    @cached_property
    def accuracy(self) -> Measure:
        """The share of clips that are labelled rightly."""
        return Measure.of(*self._rates(None))

    @cached_property
    def recall(self) -> Measure:
        """The mean of the labels' recalls, all labels alike: unweighted average recall."""
        return Measure.of(*self._rates(slice(None)))

    @cached_property
    def recalls(self) -> dict[str, Measure]:
        """Of each label that was said, the share that was heard as such."""
        said = self.confusion.sum(1)
        return {label: Measure.of(*self._rates([i])) for i, label in enumerate(self.labels) if said[i]}

    def against(self, other: Labelling) -> tuple[Change, Change]:
        """By how much another labelling of the same clips is more accurate, and recalls more."""
        assert len(self.said) == len(other.said)
        pairs = [(self._rates(which), other._rates(which)) for which in (None, slice(None))]
        accuracy, recall = (Change.of(b[0] - a[0], b[1] - a[1]) for a, b in pairs)
        return accuracy, recall

    @cached_property
    def _drawn(self) -> Floats:
        """Right and all clips of each label, (R, 2, K); none of a single unit."""
        sums = np.zeros((int(self.units.max()) + 1, 2, len(self.labels)))
        np.add.at(sums[:, 1], (self.units, self.said), 1)
        np.add.at(sums[:, 0], (self.units, self.said), (self.said == self.heard).astype(float))
        drawn = resample(sums.reshape(len(sums), -1), self.seed) if len(sums) > 1 else np.zeros((0, sums[0].size))
        return drawn.reshape(-1, *sums.shape[1:])

    def _rates(self, which: list[int] | slice | None) -> tuple[float, Floats]:
        """The mean recall of some labels, or the accuracy where None: the value and its resamplings."""
        table = np.stack([self.confusion.diagonal(), self.confusion.sum(1)])[None]
        value, drawn = (_rate(sums, which) for sums in (table.astype(float), self._drawn))
        return float(value[0]), drawn


def _rate(sums: Floats, which: list[int] | slice | None) -> Floats:
    """Right and all (R, 2, K) to rates (R,); NaN where nothing was said."""
    with np.errstate(invalid="ignore"):
        if which is None:
            return sums[:, 0].sum(1) / sums[:, 1].sum(1)
        shares = sums[:, 0, which] / sums[:, 1, which]
    known = np.isfinite(shares)
    return np.where(known.any(1), np.nansum(shares, 1) / np.maximum(known.sum(1), 1), np.nan)


def units_of(speakers: Sequence[str | None], count: int) -> tuple[str, NDArray[np.int64]]:
    """What is independent of each other (`speaker` or `clip`), and which of it each of `count` clips belongs to."""
    known = [speaker for speaker in speakers if speaker is not None]
    if len(known) == count and len(set(known)) > 1:
        return "speaker", np.unique(known, return_inverse=True)[1].astype(np.int64)
    return "clip", np.arange(count)
