"""A model of voices in closed form: what tells speakers apart in the means and deviations of layers.

They are whitened within speakers and turned so that the directions in which speakers' means differ most come first
(linear discriminant analysis); `sonant.pooling` says how that becomes a vector. The layers and how far the covariance
is drawn to its diagonal are chosen by speakers who are left out. Nothing here imports PyTorch.

Shapes: N pieces of clips, C channels of a layer, S statistics of several layers, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints import Checkpoint
from sonant.errors import DataError, OptionError
from sonant.identify import sums_of
from sonant.pooling import CENTER, MATRIX, Bands, Layer, Moments, embed
from sonant.train.verification import all_pairs, eer
from sonant.types import FloatArray

SHRINKAGES = (0.03, 0.1, 0.3)
"""Shares of the diagonal in the covariance within speakers."""
MAIN, SPEAKERS_A_DIRECTION = 30, 3
"""Main directions at most, and how many speakers it takes for each."""
SHARES = (0.3, 0.6, 0.9)
"""What the main directions may count. The less they do, the better for voices unlike those that were learnt from."""
CAUTION = 1.2
"""How many times the errors of speakers left out must fall for another share than the first."""
WIDTH = 256
"""Directions that are kept at most: those in which speakers' means do not differ add noise, but a new voice may."""
FOLDS = 3
FEWEST = 6
"""Speakers that it takes."""
PIECE = 4.0
"""Seconds of the pieces that clips are learnt from."""
MOST_LAYERS = 5
"""That are looked at together; the work grows with the cube of their channels."""
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinearVoice:
    """What makes a vector of the means and deviations of layers."""

    layers: tuple[Layer, ...]
    bands: Bands
    center: FloatArray
    """(S,): the mean of the speakers that were learnt from."""
    matrix: FloatArray
    """(E, S)"""
    eer: float = float("nan")
    """Equal error rate on speakers who were left out."""
    threshold: float = float("nan")
    """Score that one in a hundred of their pairs of two reaches."""

    def embed(self, statistics: Mapping[Layer, FloatArray]) -> FloatArray:
        """Means and deviations (N, 2 C) of layers to vectors (N, E) of length 1."""
        return embed(np.concatenate([statistics[at] for at in self.layers], 1), self.center, self.matrix, self.bands)


def learn_voices(
    statistics: Mapping[Layer, FloatArray],
    speakers: Sequence[str],
    clips: Sequence[int],
    seed: int = 0,
    tell: Callable[[Layer, float], None] = lambda _layer, _rate: None,
) -> LinearVoice:
    """What tells speakers apart, from the means and deviations (N, 2 C) of layers in pieces of clips.

    `speakers` and `clips` say whose and of which recording each piece is. The layer that does best comes first, then
    those that better it the most, one by one; `tell` hears of each with the equal error rate so far. Raises
    `DataError` for fewer than six speakers with two recordings.
    """
    names, who = np.unique(np.asarray(speakers, str), return_inverse=True)
    several = np.bincount([who[i] for i in np.unique(clips, return_index=True)[1]], minlength=len(names)) > 1
    if several.sum() < FEWEST:
        raise DataError(
            f"Voices are learnt from {FEWEST} speakers or more with several clips each, but {several.sum()} such of "
            f"{len(names)} came; add others."
        )
    order = np.lexsort((np.random.default_rng(seed).permutation(len(names)), ~several))
    fold = (np.argsort(order) % FOLDS)[who]  # each has some with several clips
    trials = [_trials(np.flatnonzero(fold == k), who, np.asarray(clips), seed) for k in range(FOLDS)]

    def held_out(layers: Sequence[Layer], shrinkage: float, shares: Sequence[float]) -> list[tuple[float, ...]]:
        """For each share the equal error rate on speakers left out, the threshold and the share."""
        rows = np.concatenate([statistics[at] for at in layers], 1)
        fits = [_fit(rows[fold != k], who[fold != k], shrinkage) for k in range(FOLDS)]
        judged = [
            [_judge(rows, *fit, share, trial) for fit, trial in zip(fits, trials, strict=True)] for share in shares
        ]
        return [(*np.mean(rates, 0).tolist(), share) for rates, share in zip(judged, shares, strict=True)]

    chosen: list[Layer] = []
    best = 1.0
    while len(chosen) < MOST_LAYERS and (others := [at for at in statistics if at not in chosen]):
        rate, more = min((held_out([*chosen, at], SHRINKAGES[1], SHARES[:1])[0][0], at) for at in others)
        if rate >= best:
            break
        best = rate
        chosen.append(more)
        tell(more, best)
    tried = [(*found, shrinkage) for shrinkage in SHRINKAGES for found in held_out(chosen, shrinkage, SHARES)]
    error, threshold, share, shrinkage = min(
        tried, key=lambda found: found[0] * (CAUTION if found[2] > SHARES[0] else 1)
    )
    center, matrix, main = _fit(np.concatenate([statistics[at] for at in chosen], 1), who, shrinkage)
    return LinearVoice(tuple(chosen), Bands(main, share), center, matrix, error, threshold)


def _fit(rows: FloatArray, who: Numbers, shrinkage: float) -> tuple[FloatArray, FloatArray, int]:
    """The center (S,) and the matrix (E, S) that rows (N, S) call for, and how many directions are the main ones."""
    numbers, who = np.unique(who, return_inverse=True)
    sums = np.zeros((len(numbers), rows.shape[1]))
    np.add.at(sums, who, rows)
    means = sums / np.bincount(who)[:, None]
    within = rows - means[who]
    covariance = within.T @ within / len(rows)
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-10))
    even = (1 - shrinkage) * covariance / np.outer(scale, scale) + shrinkage * np.eye(len(scale))
    powers, directions = np.linalg.eigh(even)
    whitening = directions / np.sqrt(np.maximum(powers, 1e-6)) / scale[:, None]
    center = means.mean(0)
    turn = np.linalg.svd((means - center) @ whitening)[2]
    matrix = np.ascontiguousarray((whitening @ turn[:WIDTH].T).T, np.float32)
    return center.astype(np.float32), matrix, max(min(MAIN, len(numbers) // SPEAKERS_A_DIRECTION, len(matrix) // 2), 1)


Trials = tuple[Numbers, NDArray[np.bool_]]


def _trials(rows: Numbers, who: Numbers, clips: Numbers, seed: int) -> Trials:
    """Pairs of rows from different clips: pieces of one clip are alike in more than the voice."""
    pairs = rows[all_pairs([str(i) for i in who[rows]], seed, 20_000)]
    pairs = pairs[clips[pairs[:, 0]] != clips[pairs[:, 1]]]
    return pairs, who[pairs[:, 0]] == who[pairs[:, 1]]


def _judge(
    rows: FloatArray, center: FloatArray, matrix: FloatArray, main: int, share: float, trials: Trials
) -> tuple[float, float]:
    """The equal error rate of trials, and the score that one in a hundred of two speakers reaches."""
    pairs, same = trials
    used, places = np.unique(pairs, return_inverse=True)
    vectors = embed(rows[used], center, matrix, Bands(main, share))
    first, second = places.reshape(-1, 2).T
    scores = np.einsum("nd,nd->n", vectors[first], vectors[second])
    right = same[np.argsort(-scores)]
    accepts, misses = np.cumsum(~right) / (~right).sum(), 1 - np.cumsum(right) / right.sum()
    return eer(np.append(0.0, accepts), np.append(1.0, misses)), float(np.quantile(scores[~same], 0.99))


def statistics_of(pieces: Iterable[FloatArray], heard: Moments, rows: int) -> list[FloatArray]:
    """Means and mean squares (T, S), piece after piece, to means and deviations (N, 2 C) of every `rows` frames.

    Each layer has its own. What is left at the end counts where it is half as long, or all there is.
    """
    sums, counts = sums_of(pieces, rows, heard.width)
    if len(counts) > 1 and counts[-1] < rows / 2:
        sums, counts = sums[:-1], counts[:-1]
    return heard.statistics(sums / counts[:, None])


def with_voices(checkpoint: Checkpoint, voice: LinearVoice) -> Checkpoint:
    """A checkpoint with a head for voices, beside its CTC head, if any; in place of one that was learnt so before.

    Raises `OptionError` for a model that has a head of transformers' for labels or voices.
    """
    if {"classifier.weight", "projector.weight"} & checkpoint.tensors.keys():
        raise OptionError(
            f"Voices are learnt beside an encoder or a CTC head, but {checkpoint.name} has one for labels or voices; "
            "start from a model without one."
        )
    given = checkpoint.settings.get("sonant")
    own = dict(cast("Mapping[str, object]", given)) if isinstance(given, dict) else {}
    bands = {"main": voice.bands.main, "main_share": voice.bands.share}
    own["voice"] = {"layers": [str(at) for at in voice.layers], **bands}
    own["voice_threshold"] = round(voice.threshold, 4)
    tensors = {**checkpoint.tensors, CENTER: voice.center, MATRIX: voice.matrix}
    return replace(checkpoint, tensors=tensors, settings={**checkpoint.settings, "sonant": own})
