"""A recipe's manifests as what batches are made of: utterances, how they are varied, how they are put together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import torch

from sonant.data.augment import Spoiling, spoil
from sonant.data.batches import Batch, Loader
from sonant.data.depot import Depot
from sonant.data.manifest import Utterance, read_manifest, read_utterance, split_archive
from sonant.data.plan import Batches, Planner, Row
from sonant.data.remote import is_url
from sonant.errors import AudioError, DataError, OptionError, SonantError
from sonant.files import cache_folder
from sonant.train.ranks import Ranks
from sonant.train.recipe import Recipe
from sonant.train.task import Task
from sonant.types import FloatArray


def read_utterances(
    recipe: Recipe, manifests: Sequence[str], labelled: bool = True, tell: Callable[[str], None] = lambda _: None
) -> list[Utterance]:
    """The utterances of manifests whose lengths are within the recipe's bounds; `DataError` where none is.

    Where no transcripts are learnt, longer ones are cut into equal pieces. `tell` hears how much was left out.
    """
    if not manifests:
        raise OptionError("A recipe must name manifests as data.train, but names none; add --set data.train=FILE.")
    found: list[Utterance] = []
    bounds, unfit = (recipe.data.min_seconds, recipe.data.max_seconds), list[float]()
    for path in manifests:
        for utterance in read_manifest(path):
            if utterance.duration is None:
                raise DataError(
                    f"Every utterance must declare its duration, but {utterance.name} in {path} does not; "
                    "write the manifest again with `sonant data prepare`."
                )
            pieces = [utterance] if labelled else cut(utterance, recipe.data.max_seconds)
            for piece in pieces:
                if bounds[0] <= (seconds := piece.duration or 0) <= bounds[1]:
                    found.append(piece)
                else:
                    unfit.append(seconds)
    if not found:
        raise DataError(
            f"The manifests must have utterances of {bounds[0]:g} to {bounds[1]:g} s, but "
            f"{', '.join(manifests)} have none; change data.min_seconds and data.max_seconds."
        )
    if unfit:
        tell(
            f"{len(unfit)} of {len(found) + len(unfit)} utterances, {sum(unfit) / 3600:.1f} hours, are not heard: they "
            f"are under {bounds[0]:g} or over {bounds[1]:g} s long (data.min_seconds, data.max_seconds)."
        )
    return found


def cut(utterance: Utterance, most: float) -> list[Utterance]:
    """A recording as equal pieces of at most so many seconds."""
    whole, offset = utterance.duration or 0.0, utterance.offset or 0.0
    if whole <= most:
        return [utterance]
    number = ceil(whole / most)
    length = whole / number
    return [replace(utterance, offset=offset + i * length, duration=length) for i in range(number)]


def make_planner(recipe: Recipe, utterances: Sequence[Utterance], world: int) -> Planner:
    """How the recipe's batches are made of utterances on so many ranks."""
    return Planner(
        [u.duration or 0 for u in utterances],
        [u.speaker for u in utterances],
        recipe.batches,
        recipe.augment.speed,
        recipe.run.seed,
        world,
        [_shard_of(u, recipe.batches.shards > 0) for u in utterances],
    )


def _shard_of(utterance: Utterance, grouped: bool) -> str | None:
    """The shard with which alone an utterance is heard: one at a URL, or any where all are `grouped`."""
    inside = split_archive(utterance.audio)
    return inside[0] if inside and (grouped or is_url(inside[0])) else None


def at_hand(depot: Depot, utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same with where their shards lie, but for those whose shard is lost."""
    found: list[Utterance] = []
    for utterance in utterances:
        try:
            found.append(depot.near(utterance))
        except AudioError:
            found.append(utterance)
    return found


def make_depot(folder: Path, ranks: Ranks) -> Depot:
    """Where the shards at URLs come to, of the run in `folder`: in the cache folder, for all ranks of a machine."""
    name = hashlib.blake2b(os.fsencode(folder.absolute()), digest_size=8).hexdigest()
    return Depot(cache_folder() / "shards" / name, ranks.first_here)


def make_loader(recipe: Recipe, task: Task, utterances: Sequence[Utterance], depot: Depot | None = None) -> Loader:
    """Rows of utterances as the task wants them; with a depot those of training, varied as the recipe says."""
    rate, augment = task.sample_rate, recipe.augment
    least, most = augment.noise_db
    spec = Spoiling(augment.gain_db, augment.noise, (least, most), augment.room, augment.band)
    noises = [u for path in augment.noise_files for u in read_manifest(path)] if depot else []

    def read(i: int) -> FloatArray:
        return read_utterance(depot.near(utterances[i]) if depot else utterances[i], rate)

    def recorded(generator: np.random.Generator) -> FloatArray:
        return read_utterance(noises[int(generator.integers(len(noises)))], rate)

    def vary(samples: FloatArray, generator: np.random.Generator, share: float) -> FloatArray:
        return spoil(samples, rate, spec, generator, share, recorded if noises else None)

    return Loader(
        read=remembering(read, recipe.run.memory * 1e9 if depot else 0.0),
        names=[u.name for u in utterances],
        texts=[task.text(getattr(u, task.target) or "") for u in utterances],
        sample_rate=rate,
        normalize=task.normalize,
        fewest=task.config.receptive_field,
        seed=recipe.run.seed,
        spoil=vary if depot and spec != Spoiling(noise_db=(least, most)) else None,
        space=task.space,
        wants_clean=task.wants_clean,
    )


def remembering(read: Callable[[int], FloatArray], most: float) -> Callable[[int], FloatArray]:
    """The same reader, which keeps what it read first, up to so many bytes: decoding may cost as much as learning."""
    kept: dict[int, FloatArray] = {}
    room = most

    def read_or_recall(i: int) -> FloatArray:
        nonlocal room
        samples = kept.get(i)
        if samples is None:
            samples = read(i)
            if samples.nbytes <= room:  # two threads may both see the same room: a little more is kept
                kept[i] = samples
                room -= samples.nbytes
        return samples

    return read_or_recall


def clean_rows(loader: Loader, durations: Mapping[int, float], seed: int) -> Iterator[FloatArray]:
    """Utterances as the model hears them, in a random order, without end; those that cannot be read are left out."""
    every = list(durations)
    random = np.random.default_rng([seed, 2])
    while True:
        heard = 0
        for i in random.permutation(every).tolist():
            try:
                samples = loader.row(Row((i,), (), 1.0, durations[i]))
            except SonantError:
                continue
            heard += 1
            yield loader.normalized(samples)
        if not heard:
            raise DataError("Training needs audio, but no file of the manifests can be read; try `sonant data check`.")


class DevSet:
    """One rank's share of the development set, of which `data.dev_rows` utterances, spread over it, are heard."""

    def __init__(self, recipe: Recipe, task: Task, ranks: Ranks) -> None:
        every = read_utterances(recipe, recipe.data.dev, task.labelled)
        chosen = np.linspace(0, len(every) - 1, min(recipe.data.dev_rows, len(every))).astype(int)
        utterances = [every[i] for i in chosen]
        batches = Batches(seconds=recipe.batches.seconds, num_lengths=recipe.batches.num_lengths)
        planner = Planner([u.duration or 0 for u in utterances], [None] * len(utterances), batches)
        self.steps = planner.steps(0)[ranks.rank :: ranks.world]
        self.loader = make_loader(recipe, task, utterances)

    def batches(self) -> Iterator[Batch]:
        """Rows of like lengths, side by side; `DataError` for a file that cannot be read."""
        for step in self.steps:
            batch, failed = self.loader.batch(step.rows, step.seconds, 0, 0.0)
            if failed:
                raise DataError(f"Every file of the development set must be readable, but: {failed[0]}")
            yield batch


def placed(batch: Batch, device: torch.device) -> Batch:
    """A batch on the device; its lengths stay on the host."""
    clean = None if batch.clean is None else batch.clean.to(device, non_blocking=True)
    return replace(batch, waveforms=batch.waveforms.to(device, non_blocking=True), clean=clean)


def quiet_batch(task: Task) -> Batch:
    """A row of 50 frames of noise in which nothing is said."""
    config, random = task.config, torch.Generator().manual_seed(0)
    waveforms = torch.randn(1, config.receptive_field + 49 * config.hop, generator=random)
    return Batch(waveforms, torch.tensor([waveforms.shape[1]]), ("",), ("",), ((),))
