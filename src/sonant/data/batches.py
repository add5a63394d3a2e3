"""The rows of a plan as tensors, prepared ahead of time.

Each rank takes its share of a step, in batches. What is drawn for a row hangs on (seed, epoch, its first utterance)
alone, so neither workers nor ranks nor interruptions change it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sonant.data.augment import change_speed
from sonant.data.plan import Place, Planner, Row, Step
from sonant.errors import AudioError, SonantError
from sonant.types import FloatArray

# N samples, B rows

Spoil = Callable[[FloatArray, np.random.Generator, float], FloatArray]
"""Varies a row of so much hardship, 0 to 1."""
TOLERANCE = 0.1
"""Seconds by which a recording may be longer than its manifest says."""


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

    def step(self, step: Step, place: Place, rank: int, world: int, hardship: float) -> Prepared:
        """The part of a step that is one rank's of so many."""
        own = step.rows[rank::world]
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
    hold: Callable[[int, int], None] = lambda _epoch, _group: None,
) -> Generator[Prepared]:
    """One rank's batches from `place` on, without end, `ahead` steps of them prepared by `workers` threads.

    `hold` is told epoch and group of each step before that is waited for: no step of an earlier group is still to come,
    and none of a later one than the next is begun. Close it to let the threads go.
    """
    walk = _turns(planner.walk(place, longest))
    turn, after, step = next(walk)
    coming: deque[tuple[int, Place, Step, Future[Prepared]]] = deque()
    with ThreadPoolExecutor(max(workers, 1), "batches") as pool:
        try:
            while True:
                current, place, head = coming[0][:3] if coming else (turn, after, step)
                hold(place.epoch, head.group)
                while len(coming) < max(ahead, 1) and turn <= current + 1:
                    future = pool.submit(loader.step, step, after, rank, planner.world, hardship(after.step - 1))
                    coming.append((turn, after, step, future))
                    turn, after, step = next(walk)
                yield coming.popleft()[-1].result()
        finally:
            for *_, future in coming:
                future.cancel()


def _turns(walk: Iterable[tuple[Place, Step]]) -> Generator[tuple[int, Place, Step]]:
    """A walk with the number of groups that came before."""
    turn, last = -1, None
    for after, step in walk:
        if (after.epoch, step.group) != last:
            turn, last = turn + 1, (after.epoch, step.group)
        yield turn, after, step
