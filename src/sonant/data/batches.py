"""Which rows are heard together, in which order, and the tensors they become.

A plan is a pure function of (seed, epoch): rows of like lengths, padded to one of a few lengths, a fixed number of rows
for each, so that a processor prepares few shapes. A step's rows belong to all ranks; each rank takes its share, in
`accumulate` batches. What is drawn for a row hangs on (seed, epoch, its first utterance) alone, so neither workers nor
ranks nor interruptions change it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonant.data.augment import change_speed
from sonant.errors import AudioError, OptionError, SonantError
from sonant.types import FloatArray

# N samples, B rows

Floats = NDArray[np.float64]
Spoil = Callable[[FloatArray, np.random.Generator, float], FloatArray]
"""Varies a row of so much hardship, 0 to 1."""
TOLERANCE = 0.1
"""Seconds by which a recording may be longer than its manifest says."""


@dataclass(frozen=True)
class BatchSpec:
    """How batches are made; the fields are explained in `sonant.train.sections.Batches`."""

    seconds: float = 80.0
    lengths: tuple[float, ...] = ()
    num_lengths: int = 15
    accumulate: int = 1
    join: float = 0.0
    join_seconds: float = 10.0
    join_gap: float = 0.4
    short_seconds: float = 0.0
    """Longest rows of the first steps, whose lengths count too; 0: they are as long as later."""
    speed: float = 0.0
    """Rows are played up to this share faster or slower."""
    seed: int = 0
    world: int = 1
    """Ranks that share a step."""


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the data a run is: the steps before this one are done."""

    step: int = 0
    epoch: int = 0
    index: int = 0
    """Steps of this epoch that are done."""
    longest: float = 0.0
    """Seconds of the epoch's longest rows; 0: no limit."""


@dataclass(frozen=True)
class Batch:
    """Rows as tensors."""

    waveforms: Tensor
    """(B, N), zero in padding."""
    lengths: Tensor
    """(B,): real samples of each row."""
    texts: tuple[str, ...]
    names: tuple[str, ...]
    """What each row is called in messages."""
    utterances: tuple[tuple[int, ...], ...]
    """Indices of the utterances in each row."""
    clean: Tensor | None = None
    """(B, N): the rows before they were spoilt, where they are wanted and were."""


@dataclass(frozen=True)
class Prepared:
    """One rank's batches of a step."""

    place: Place
    """Where the run is once the step is done."""
    batches: tuple[Batch, ...]
    failed: tuple[str, ...]
    """Why rows are missing, a sentence each."""
    heard: float
    """Seconds of this step's rows, all ranks together, as planned."""
    padded: float
    """The same with their padding."""


class Planner:
    """Rows and steps of any epoch over utterances of known durations."""

    def __init__(self, durations: Sequence[float], speakers: Sequence[str | None], spec: BatchSpec) -> None:
        if not durations:
            raise OptionError("A training set must have utterances, but none is left; check the manifests' durations.")
        self.durations = np.asarray(durations, np.float64)
        self.speakers = speakers
        self.spec = spec
        if spec.lengths:
            self.lengths = np.sort(np.asarray(spec.lengths, np.float64))
            if self.durations.max() > self.lengths[-1]:
                raise OptionError(
                    f"batches.lengths must reach the longest utterance, {self.durations.max():.1f} s, but end at "
                    f"{self.lengths[-1]:g} s; add a length, or lower data.max_seconds."
                )
        else:
            slowest = float(self.durations.max()) * (1 + spec.speed)
            self.lengths = np.asarray([max(slowest, spec.join_seconds if spec.join else 0.0)])
            rows = [row.seconds for row in self.rows(0, 0.0)]
            steps = sum(rows) / (spec.seconds * spec.accumulate * spec.world)
            count = max(1, min(spec.num_lengths, int(steps / 2)))  # many lengths of few rows each fill no batch
            if spec.short_seconds:
                rows += [row.seconds for row in self.rows(0, spec.short_seconds)]
            self.lengths = choose_lengths(np.asarray(rows), count)

    def rows(self, epoch: int, longest: float) -> list[Row]:
        """All rows of an epoch, none longer than `longest` seconds (0: no limit), in a random order."""
        spec, random = self.spec, np.random.default_rng([self.spec.seed, epoch])
        order = random.permutation(len(self.durations))
        speeds = np.exp(random.uniform(-1, 1, len(order)) * np.log1p(spec.speed))
        joined = random.random(len(order)) < spec.join
        limit = float(self.lengths[-1])
        # a row that would outgrow the longest length is played faster
        speeds = np.maximum(speeds, self.durations / limit)
        limit = min(limit, longest) if longest else limit
        rows = [
            Row((int(i),), (), float(speeds[i]), float(self.durations[i] / speeds[i])) for i in order if not joined[i]
        ]
        if spec.join:
            rows += self._join([int(i) for i in order if joined[i]], speeds, min(spec.join_seconds, limit), random)
        return [row for row in rows if row.seconds <= limit + 1e-9]

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
                    gap = random.uniform(0, self.spec.join_gap)
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
        """The steps of an epoch. What fills no step of its length goes to the next longer one; the last is smaller."""
        rows = self.rows(epoch, longest)
        random = np.random.default_rng([self.spec.seed, epoch, 1])
        places = np.searchsorted(self.lengths, [row.seconds - 1e-9 for row in rows])
        waiting: list[Row] = []
        steps: list[Step] = []
        for k, length in enumerate(self.lengths.tolist()):
            size = self.size(length)
            whole = size * self.spec.world * self.spec.accumulate
            waiting += [row for row, place in zip(rows, places, strict=True) if place == k]
            rest = len(waiting) % whole
            waiting.sort(key=lambda row: row.seconds)
            full = len(waiting) - rest
            order: list[int] = random.permutation(full).tolist()
            ready = [waiting[i] for i in order]
            waiting = waiting[full:]
            steps += [Step(length, tuple(ready[i : i + whole]), size) for i in range(0, len(ready), whole)]
        if len(waiting) >= self.spec.world:
            steps.append(Step(self._fitting(waiting), tuple(waiting), self.size(float(self.lengths[-1]))))
        return [steps[i] for i in random.permutation(len(steps)).tolist()]

    def size(self, length: float) -> int:
        """Rows of a batch of this length."""
        return max(1, int(self.spec.seconds / length + 1e-9))

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


@dataclass(frozen=True)
class Loader:
    """Rows to tensors."""

    read: Callable[[int], FloatArray]
    """The samples of an utterance, at `sample_rate`."""
    names: Sequence[str]
    texts: Sequence[str]
    sample_rate: int
    normalize: bool
    fewest: int
    """Samples that the model needs."""
    seed: int
    spoil: Spoil | None = None
    space: str = " "
    """What stands between the texts of joined utterances."""
    wants_clean: bool = False
    """Whether batches keep their rows as they were before they were spoilt."""

    def row(self, row: Row) -> FloatArray:
        """The samples of a row, neither spoilt nor normalised; `AudioError` where they cannot be had."""
        parts: list[FloatArray] = []
        for i, gap in zip(row.utterances, (0.0, *row.gaps), strict=True):
            if gap:
                parts.append(np.zeros(int(gap * self.sample_rate), np.float32))
            parts.append(self.read(i))
        samples = np.concatenate(parts)
        planned = int((row.seconds * row.speed + TOLERANCE) * self.sample_rate) + 1
        if len(samples) > planned:
            raise AudioError(
                f"{self.names[row.utterances[0]]} must last as long as its manifest says, but lasts "
                f"{len(samples) / self.sample_rate - row.seconds * row.speed:.1f} s longer; write the manifest again."
            )
        samples = change_speed(samples, self.sample_rate, row.speed)
        if len(samples) < self.fewest:
            raise AudioError(
                f"{self.names[row.utterances[0]]} must have the {self.fewest} samples of a frame, but has "
                f"{len(samples)}; leave it out."
            )
        return samples

    def normalized(self, samples: FloatArray) -> FloatArray:
        """A row as the model wants it."""
        if not self.normalize:
            return samples
        wide = samples.astype(np.float64)
        return ((wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)).astype(np.float32)

    def batch(self, rows: Sequence[Row], seconds: float, epoch: int, hardship: float) -> tuple[Batch, list[str]]:
        """Rows side by side, padded to `seconds`; those that cannot be read are left out, each with a sentence."""
        size = max(int(np.ceil(seconds * self.sample_rate)), self.fewest)
        heard: list[FloatArray] = []
        clean: list[FloatArray] = []
        kept: list[Row] = []
        failed: list[str] = []
        for row in rows:
            try:
                plain = samples = self.row(row)
                if self.spoil:
                    random = np.random.default_rng([self.seed, epoch, row.utterances[0]])
                    samples = self.spoil(plain, random, hardship)
                    if self.wants_clean:
                        clean.append(self.normalized(plain)[:size])
                heard.append(self.normalized(samples)[:size])
                kept.append(row)
            except SonantError as error:
                failed.append(str(error))
        batch = Batch(
            waveforms=side_by_side(heard, size),
            lengths=torch.tensor([len(samples) for samples in heard], dtype=torch.long),
            texts=tuple(self.space.join(self.texts[i] for i in row.utterances) for row in kept),
            names=tuple(" + ".join(self.names[i] for i in row.utterances) for row in kept),
            utterances=tuple(row.utterances for row in kept),
            clean=side_by_side(clean, size) if clean else None,
        )
        return batch, failed

    def step(self, step: Step, place: Place, rank: int, spec: BatchSpec, hardship: float) -> Prepared:
        """One rank's part of a step."""
        own = step.rows[rank :: spec.world]
        batches: list[Batch] = []
        failed: list[str] = []
        for i in range(0, len(own), step.size):
            batch, missing = self.batch(own[i : i + step.size], step.seconds, place.epoch, hardship)
            failed += missing
            if batch.names:
                batches.append(batch)
        heard = sum(row.seconds for row in step.rows)
        return Prepared(place, tuple(batches), tuple(failed), heard, step.seconds * len(step.rows))


def side_by_side(rows: Sequence[FloatArray], size: int) -> Tensor:
    """Rows as one tensor (B, size), zero behind their ends."""
    waveforms = np.zeros((len(rows), size), np.float32)
    for i, samples in enumerate(rows):
        waveforms[i, : len(samples)] = samples
    return torch.from_numpy(waveforms)  # pyright: ignore[reportUnknownMemberType]


def stream(
    planner: Planner,
    loader: Loader,
    place: Place,
    *,
    rank: int = 0,
    workers: int = 1,
    ahead: int = 4,
    longest: Callable[[int], float] = lambda _: 0.0,
    hardship: Callable[[int], float] = lambda _: 1.0,
) -> Generator[Prepared]:
    """One rank's batches from `place` on, without end, `ahead` steps of them prepared by `workers` threads.

    Close it to let the threads go.
    """
    walk = planner.walk(place, longest)
    with ThreadPoolExecutor(max(workers, 1), "batches") as pool:

        def submit(after: Place, step: Step) -> Future[Prepared]:
            return pool.submit(loader.step, step, after, rank, planner.spec, hardship(after.step - 1))

        coming = deque(submit(*step) for step in islice(walk, max(ahead, 1)))
        try:
            while True:
                yield coming.popleft().result()
                coming.append(submit(*next(walk)))
        finally:
            for future in coming:
                future.cancel()
