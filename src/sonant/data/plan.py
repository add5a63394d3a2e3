"""Which utterances are heard together, in which order: a pure function of (seed, epoch); nothing here imports PyTorch.

Rows of like lengths are padded to one of a few lengths, a fixed number of rows for each, so that a processor prepares
few shapes. A step's rows belong to all ranks. Of tar shards a few are heard at a time: a group.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sonant.errors import OptionError

Floats = NDArray[np.float64]
GROUP = 4
"""Shards that are heard together where a recipe does not say how many."""


@dataclass(frozen=True)
class Batches:
    """What is heard together."""

    seconds: float = 80.0
    """Seconds of audio, padding included, of one rank's batch."""
    lengths: tuple[float, ...] = ()
    """Seconds of a row; each row is padded to the next. Empty: chosen to pad least."""
    num_lengths: int = 15
    """Lengths to choose where `lengths` is empty: oneDNN prepares a primitive for each."""
    shards: int = 0
    """Tar shards that are heard at a time; 0: all of those on this machine, 4 of those at a URL."""
    accumulate: int = 1
    """Batches of a step."""
    join: float = 0.0
    """Share of utterances that are heard in rows of several, by one speaker."""
    join_seconds: float = 10.0
    """Seconds of such a row at most."""
    join_gap: float = 0.4
    """Seconds of silence between two of them at most."""
    short_share: float = 0.0
    """Share of the steps at the beginning in which only rows up to `short_seconds` are heard."""
    short_seconds: float = 5.0
    workers: int = 1
    """Threads that prepare batches."""
    ahead: int = 4
    """Batches prepared in advance."""


@dataclass(frozen=True, slots=True)
class Row:
    """One or several utterances, heard one after the other."""

    utterances: tuple[int, ...]
    gaps: tuple[float, ...]
    """Seconds of silence before each but the first."""
    speed: float
    seconds: float
    """Its length at that speed."""


@dataclass(frozen=True, slots=True)
class Step:
    """The rows of one step, all ranks together."""

    seconds: float
    """What each row is padded to."""
    rows: tuple[Row, ...]
    size: int
    """Rows of a batch."""
    group: int = 0
    """Which group of shards its rows lie in, counted within the epoch."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the data a run is: the steps before this one are done."""

    step: int = 0
    epoch: int = 0
    index: int = 0
    """Steps of this epoch that are done."""
    longest: float = 0.0
    """Seconds of the epoch's longest rows; 0: no limit."""


class Planner:
    """Rows and steps of any epoch over utterances of known durations."""

    def __init__(
        self,
        durations: Sequence[float],
        speakers: Sequence[str | None],
        batches: Batches,
        speed: float = 0.0,
        seed: int = 0,
        world: int = 1,
        shards: Sequence[str | None] = (),
    ) -> None:
        """Rows are played up to a share of `speed` faster or slower; `world` ranks share a step.

        `shards` names the shard of each utterance that can only be heard with its shard's group; () where none is.
        """
        if not durations:
            raise OptionError("A training set must have utterances, but none is left; check the manifests' durations.")
        self.durations, self.speakers = np.asarray(durations, np.float64), speakers
        self.batches, self.speed, self.seed, self.world = batches, speed, seed, world
        self.names = sorted({shard for shard in shards if shard is not None})
        number = {name: k for k, name in enumerate(self.names)}
        self.shards = np.asarray([-1 if shard is None else number[shard] for shard in shards], np.intp)
        self.whole = self.world * batches.accumulate
        """Batches of a step, of all ranks."""
        if batches.lengths:
            self.lengths = np.sort(np.asarray(batches.lengths, np.float64))
            if self.durations.max() > self.lengths[-1]:
                raise OptionError(
                    f"batches.lengths must reach the longest utterance, {self.durations.max():.1f} s, but end at "
                    f"{self.lengths[-1]:g} s; add a length, or lower data.max_seconds."
                )
            return
        slowest = float(self.durations.max()) * (1 + speed)
        self.lengths = np.asarray([max(slowest, batches.join_seconds if batches.join else 0.0)])
        groups = self.rows(0)
        rows = [row.seconds for group in groups for row in group]
        steps = sum(rows) / (batches.seconds * batches.accumulate * world) / len(groups)
        count = max(1, min(batches.num_lengths, int(steps / 2)))  # many lengths of few rows each fill no batch
        if batches.short_share and batches.short_seconds:  # the lengths of the first steps' rows count, too
            rows += [row.seconds for group in self.rows(0, batches.short_seconds) for row in group]
        self.lengths = choose_lengths(np.asarray(rows), count)

    def groups(self, epoch: int) -> list[list[int]]:
        """The shards that are heard together, in the order of the epoch; where there are no shards, one group."""
        order = np.random.default_rng([self.seed, epoch, 2]).permutation(len(self.names)).tolist()
        size = self.batches.shards or GROUP
        return [order[i : i + size] for i in range(0, len(order), size)] or [[]]

    def near(self, epoch: int, group: int) -> list[str]:
        """The shards of a group and of the next one, which may be the first of the next epoch."""
        if not self.names:
            return []
        groups = self.groups(epoch)
        after = groups[group + 1] if group + 1 < len(groups) else self.groups(epoch + 1)[0]
        return [self.names[k] for k in dict.fromkeys([*groups[group], *after])]

    def first(self) -> list[int]:
        """The utterances that the first group holds, in their own order."""
        return [i for i, group in enumerate(self._places(0, list(range(len(self.durations))))) if group == 0]

    def _places(self, epoch: int, order: list[int]) -> list[int]:
        """The group of each utterance; those that lie in no shard are dealt out in turn, as `order` has them."""
        groups = self.groups(epoch)
        if len(groups) == 1:
            return [0] * len(self.durations)
        place = np.empty(len(self.names) + 1, np.intp)
        for k, group in enumerate(groups):
            place[group] = k
        places: list[int] = place[self.shards].tolist()  # -1 finds the last, which is no shard's
        for turn, i in enumerate(i for i in order if self.shards[i] < 0):
            places[i] = turn % len(groups)
        return places

    def rows(self, epoch: int, longest: float = 0.0) -> list[list[Row]]:
        """All rows of an epoch, none longer than `longest` seconds (0: no limit), in a random order: of each group."""
        batches, random = self.batches, np.random.default_rng([self.seed, epoch])
        order: list[int] = random.permutation(len(self.durations)).tolist()
        speeds = np.exp(random.uniform(-1, 1, len(order)) * np.log1p(self.speed))
        joined = random.random(len(order)) < batches.join
        limit = float(self.lengths[-1])
        # a row that would outgrow the longest length is played faster
        speeds = np.maximum(speeds, self.durations / limit)
        limit = min(limit, longest) if longest else limit
        places = self._places(epoch, order)
        members: list[list[int]] = [[] for _ in self.groups(epoch)]
        for i in order:
            members[places[i]].append(i)
        found: list[list[Row]] = []
        for own in members:
            rows = [Row((i,), (), float(speeds[i]), float(self.durations[i] / speeds[i])) for i in own if not joined[i]]
            if batches.join:
                rows += self._join([i for i in own if joined[i]], speeds, min(batches.join_seconds, limit), random)
            found.append([row for row in rows if row.seconds <= limit + 1e-9])
        return found

    def _join(self, order: list[int], speeds: Floats, limit: float, random: np.random.Generator) -> list[Row]:
        """Rows of several utterances by one speaker, each filled up to a random length."""
        by: dict[str | None, list[int]] = {}
        for i in order:
            by.setdefault(self.speakers[i], []).append(i)
        rows: list[Row] = []
        for own in by.values():
            at = 0
            while at < len(own):
                speed, room = float(speeds[own[at]]), random.uniform(0, limit)
                taken, gaps, seconds = [own[at]], list[float](), float(self.durations[own[at]])
                at += 1
                while at < len(own):
                    gap = random.uniform(0, self.batches.join_gap)
                    longer = seconds + gap + float(self.durations[own[at]])
                    if longer / speed > room:
                        break
                    taken.append(own[at])
                    gaps.append(gap)
                    seconds = longer
                    at += 1
                rows.append(Row(tuple(taken), tuple(gaps), speed, seconds / speed))
        return rows

    def steps(self, epoch: int, longest: float = 0.0) -> list[Step]:
        """The steps of an epoch, group by group.

        What fills no step of its length goes to the next longer one; the last of a group is smaller.
        """
        random = np.random.default_rng([self.seed, epoch, 1])
        found: list[Step] = []
        for group, rows in enumerate(self.rows(epoch, longest)):
            steps = self._steps(rows, group, random)
            found += [steps[i] for i in random.permutation(len(steps)).tolist()]
        return found

    def _steps(self, rows: list[Row], group: int, random: np.random.Generator) -> list[Step]:
        """The steps of a group's rows, by their lengths."""
        places = np.searchsorted(self.lengths, [row.seconds - 1e-9 for row in rows])
        waiting: list[Row] = []
        steps: list[Step] = []
        for k, length in enumerate(self.lengths.tolist()):
            size = self.size(length)
            whole = size * self.whole
            waiting += [row for row, place in zip(rows, places, strict=True) if place == k]
            waiting.sort(key=lambda row: row.seconds)
            full = len(waiting) - len(waiting) % whole
            order: list[int] = random.permutation(full).tolist()
            ready = [waiting[i] for i in order]
            waiting = waiting[full:]
            steps += [Step(length, tuple(ready[i : i + whole]), size, group) for i in range(0, len(ready), whole)]
        if len(waiting) >= self.world:
            size = self.size(float(self.lengths[-1]))
            steps.append(Step(self._fitting(waiting), tuple(waiting), size, group))
        return steps

    def size(self, length: float) -> int:
        """Rows of a batch of this length."""
        return max(1, int(self.batches.seconds / length + 1e-9))

    def _fitting(self, rows: list[Row]) -> float:
        """The shortest length that takes all rows."""
        return float(self.lengths[np.searchsorted(self.lengths, max(row.seconds for row in rows) - 1e-9)])

    def walk(self, place: Place, longest: Callable[[int], float]) -> Generator[tuple[Place, Step]]:
        """Steps from `place` on without end, each with the place after it; `longest` limits the rows by the step.

        Where the limit changes, the epoch ends.
        """
        step, epoch, index = place.step, place.epoch, place.index
        limit = longest(step) if index == 0 else place.longest
        while True:
            steps = self.steps(epoch, limit)
            if not steps:
                raise OptionError(
                    f"An epoch must have a batch, but no row is at most {limit:g} s long, or there are fewer rows than "
                    "ranks; raise batches.short_seconds, or give more data."
                )
            while index < len(steps) and longest(step) == limit:
                step, index = step + 1, index + 1
                yield Place(step, epoch, index, limit), steps[index - 1]
            epoch, index, limit = epoch + 1, 0, longest(step)

    def padding(self, epoch: int = 0) -> float:
        """The share of an epoch's audio that is padding."""
        steps = self.steps(epoch)
        heard = sum(row.seconds for step in steps for row in step.rows)
        return 1 - heard / sum(step.seconds * len(step.rows) for step in steps)


def choose_lengths(rows: Floats, count: int, candidates: int = 200) -> Floats:
    """At most `count` lengths to which rows of these seconds are padded with the least padding in all.

    Dynamic programming over the rows' quantiles: time grows with count * candidates squared.
    """
    rows = np.sort(rows)
    ends = np.unique(np.ceil(np.linspace(0, len(rows), min(candidates, len(rows)) + 1)).astype(int))[1:]
    ends = ends[np.append(rows[ends[1:] - 1] > rows[ends[:-1] - 1], True)]  # of equal candidates the last
    starts = np.append(0, ends)
    sums = np.append(0.0, np.cumsum(rows))[starts]
    # padding of the rows between candidate i and candidate j, all brought to candidate j's length
    cost = rows[ends - 1][None] * (starts[None, 1:] - starts[:, None]) - (sums[None, 1:] - sums[:, None])
    cost = np.where(starts[:, None] < starts[None, 1:], cost, np.inf)
    best, chosen = cost[0], list[NDArray[np.intp]]()
    for _ in range(min(count, len(ends)) - 1):
        total = np.append(np.inf, best)[:, None] + cost
        chosen.append(total.argmin(0))
        best = total.min(0)
    at, lengths = len(ends) - 1, [float(rows[-1])]
    for last in reversed(chosen):
        at = int(last[at]) - 1
        lengths.append(float(rows[ends[at] - 1]))
    return np.asarray(lengths[::-1])
