"""A recipe's manifests as what batches are made of: utterances, how they are varied, how they are put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sonant.data.augment import Spoiling, spoil
from sonant.data.batches import BatchSpec, Loader
from sonant.data.manifest import Utterance, read_manifest, read_utterance
from sonant.errors import DataError, OptionError
from sonant.train.recipe import Recipe
from sonant.train.tasks import Task
from sonant.types import FloatArray


def read_utterances(recipe: Recipe, manifests: Sequence[str]) -> list[Utterance]:
    """The utterances of manifests whose lengths are within the recipe's bounds; `DataError` where none is."""
    if not manifests:
        raise OptionError("A recipe must name manifests as data.train, but names none; add --set data.train=FILE.")
    found: list[Utterance] = []
    for path in manifests:
        for utterance in read_manifest(path):
            if utterance.duration is None:
                raise DataError(
                    f"Every utterance must declare its duration, but {utterance.name} in {path} does not; "
                    "write the manifest again with `sonant data prepare`."
                )
            if recipe.data.min_seconds <= utterance.duration <= recipe.data.max_seconds:
                found.append(utterance)
    if not found:
        raise DataError(
            f"The manifests must have utterances of {recipe.data.min_seconds:g} to {recipe.data.max_seconds:g} s, but "
            f"{', '.join(manifests)} have none; change data.min_seconds and data.max_seconds."
        )
    return found


def batch_spec(recipe: Recipe, world: int) -> BatchSpec:
    """How the recipe's batches are made on so many ranks."""
    b = recipe.batches
    return BatchSpec(
        b.seconds, b.lengths, b.num_lengths, b.accumulate, b.join, b.join_seconds, b.join_gap,
        recipe.augment.speed, recipe.run.seed, world,
    )  # fmt: skip


def make_loader(recipe: Recipe, task: Task, utterances: Sequence[Utterance], spoils: bool) -> Loader:
    """Rows of utterances as the task wants them, varied as the recipe says where `spoils`."""
    rate, augment = task.sample_rate, recipe.augment
    least, most = augment.noise_db
    spec = Spoiling(augment.gain_db, augment.noise, (least, most), augment.room, augment.band)
    noises = [u for path in augment.noise_files for u in read_manifest(path)] if spoils else []

    def recorded(generator: np.random.Generator) -> FloatArray:
        return read_utterance(noises[int(generator.integers(len(noises)))], rate)

    def vary(samples: FloatArray, generator: np.random.Generator, share: float) -> FloatArray:
        return spoil(samples, rate, spec, generator, share, recorded if noises else None)

    return Loader(
        read=lambda i: read_utterance(utterances[i], rate),
        names=[u.name for u in utterances],
        texts=[task.text(u.text or "") for u in utterances],
        sample_rate=rate,
        normalize=task.normalize,
        fewest=task.config.receptive_field,
        seed=recipe.run.seed,
        spoil=vary if spoils and spec != Spoiling(noise_db=(least, most)) else None,
        space=task.space,
    )
