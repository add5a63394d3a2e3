"""A model of voices in closed form: directions in which speakers differ more than one does from clip to clip.

What a clip is known by are the mean and the deviation of a layer's states. They are whitened within speakers, and as
many directions of the speakers' means are kept as serve best (linear discriminant analysis); the layer, that number and
how far the covariance is drawn to its diagonal are chosen by speakers who are left out. Nothing here imports PyTorch.

Shapes: N clips, L layers, D hidden size, E width of an embedding, S speakers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints import Checkpoint
from sonant.errors import DataError, OptionError
from sonant.train.verification import all_pairs, eer
from sonant.types import FloatArray

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.6)
"""Shares of the diagonal in the covariance within speakers."""
WIDTHS = (0, 20, 40, 80, 160)
"""Directions that are kept; 0: all, whitened only."""
FOLDS = 3
FEWEST = 6
"""Speakers that it takes."""
PIECE = 4.0
"""Seconds of the pieces that clips are learnt from."""


@dataclass(frozen=True, eq=False)
class LinearVoice:
    """What makes a vector of the mean and the deviation of a layer's states."""

    layer: int
    """Place in what was learnt from."""
    center: FloatArray
    """(2 D,): the mean of what was learnt from."""
    matrix: FloatArray
    """(2 D, E)"""
    eer: float = float("nan")
    """Equal error rate on speakers who were left out."""
    threshold: float = float("nan")
    """Score that one in a hundred of their pairs of two reaches."""

    def embed(self, statistics: FloatArray) -> FloatArray:
        """Statistics (N, L, 2, D) to vectors (N, E) of length 1."""
        rows = (statistics[:, self.layer].reshape(len(statistics), -1) - self.center) @ self.matrix
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def learn_voices(statistics: FloatArray, speakers: Sequence[str], seed: int = 0) -> LinearVoice:
    """What tells speakers apart, from the mean and the deviation (N, L, 2, D) of each clip's states.

    Raises `DataError` for fewer than six speakers, or where none of them has two clips.
    """
    names, who = np.unique(np.asarray(speakers, str), return_inverse=True)
    if len(names) < FEWEST or len(names) == len(speakers):
        raise DataError(
            f"Voices are learnt from {FEWEST} speakers or more with several clips each, but {len(speakers)} clips of "
            f"{len(names)} speakers came; add others."
        )
    fold = np.random.default_rng(seed).permutation(len(names))[who] % FOLDS
    trials = [_trials(np.flatnonzero(fold == k), who, seed) for k in range(FOLDS)]
    rows = statistics.reshape(*statistics.shape[:2], -1).astype(np.float32)

    def held_out(layer: int, shrinkage: float, widths: Sequence[int]) -> Iterator[tuple[float, float, int]]:
        fits = [_fit(rows[fold != k, layer], who[fold != k], shrinkage) for k in range(FOLDS)]
        for width in widths:
            if width < len(names) * (FOLDS - 1) // FOLDS:
                pairs = zip(fits, trials, strict=True)
                judged = [_judge(rows[:, layer], *_narrowed(fit, width), trial) for fit, trial in pairs]
                rate, threshold = np.mean(judged, 0).tolist()
                yield rate, threshold, width

    layers = range(statistics.shape[1])
    layer = min(layers, key=lambda layer: min(next(held_out(layer, s, (0,)))[0] for s in (0.1, 0.3)))
    tried = [(*found, s) for s in SHRINKAGES for found in held_out(layer, s, WIDTHS)]
    rate, threshold, width, shrinkage = min(tried)
    center, matrix = _narrowed(_fit(rows[:, layer], who, shrinkage), width)
    return LinearVoice(layer, center, matrix, rate, threshold)


Fit = tuple[FloatArray, FloatArray, FloatArray]
"""Center (2 D,), whitening (2 D, 2 D), and the speakers' directions in what is whitened (2 D, S), the widest first."""


def _fit(rows: FloatArray, who: NDArray[np.int64], shrinkage: float) -> Fit:
    """How rows (N, 2 D) vary within speakers, and how the speakers' means do once that is made even."""
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
    spread = np.linalg.svd((means - means.mean(0)) @ whitening, full_matrices=False)[2]
    return (
        rows.mean(0).astype(np.float32),
        whitening.astype(np.float32),
        spread.T.astype(np.float32),
    )


def _narrowed(fit: Fit, width: int) -> tuple[FloatArray, FloatArray]:
    """The center and the matrix (2 D, E) of so many directions; of all, where 0."""
    center, whitening, spread = fit
    return center, whitening if not width else whitening @ spread[:, :width]


Trials = tuple[NDArray[np.int64], NDArray[np.bool_]]


def _trials(clips: NDArray[np.int64], who: NDArray[np.int64], seed: int) -> Trials:
    pairs = clips[all_pairs([str(i) for i in who[clips]], seed, 20_000)]
    return pairs, who[pairs[:, 0]] == who[pairs[:, 1]]


def _judge(rows: FloatArray, center: FloatArray, matrix: FloatArray, trials: Trials) -> tuple[float, float]:
    """The equal error rate of trials, and the score that one in a hundred of two speakers reaches."""
    pairs, same = trials
    used, places = np.unique(pairs, return_inverse=True)
    vectors = (rows[used] - center) @ matrix
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    first, second = places.reshape(-1, 2).T
    scores = np.einsum("nd,nd->n", vectors[first], vectors[second])
    right = same[np.argsort(-scores)]
    accepts, misses = np.cumsum(~right) / (~right).sum(), 1 - np.cumsum(right) / right.sum()
    return eer(np.append(0.0, accepts), np.append(1.0, misses)), float(np.quantile(scores[~same], 0.99))


def statistics_of(pieces: Iterable[Sequence[FloatArray]], rows: int) -> FloatArray:
    """States (T, D) of each layer, as they come, to the mean and the deviation of every `rows` frames: (N, L, 2, D).

    What is left at the end counts where it is half as long, or all there is.
    """
    found: list[FloatArray] = []
    left: FloatArray | None = None
    for piece in pieces:
        states = np.stack(list(piece))  # (L, T, D)
        left = states if left is None else np.concatenate([left, states], 1)
        while left.shape[1] >= rows:
            found.append(_statistics(left[:, :rows]))
            left = left[:, rows:]
    if left is not None and (left.shape[1] >= rows / 2 or (not found and left.shape[1] > 1)):
        found.append(_statistics(left))
    return np.stack(found) if found else np.zeros((0, 0, 2, 0), np.float32)


def _statistics(states: FloatArray) -> FloatArray:
    return np.stack([states.mean(1), states.std(1, ddof=1)], 1).astype(np.float32)


def with_voices(checkpoint: Checkpoint, voice: LinearVoice, statistics: FloatArray) -> Checkpoint:
    """A checkpoint with a head of transformers' `...ForXVector` that gives the same vectors, beside its CTC head.

    Its one layer over frames lifts every state above 0, where a rectified linear unit changes nothing; `statistics`
    (N, L, 2, D) say how far. Raises `OptionError` for a model that has another such head.
    """
    if {"classifier.weight", "projector.weight"} & checkpoint.tensors.keys():
        raise OptionError(
            f"Voices are learnt beside an encoder or a CTC head, but {checkpoint.name} has one for labels or voices; "
            "start from a model without one."
        )
    means, deviations = statistics[:, voice.layer].swapaxes(0, 1)
    lift = (np.abs(means) + 20 * deviations).max(0).astype(np.float32)
    size, width = len(lift), voice.matrix.shape[1]
    shares = np.zeros(checkpoint.config.num_hidden_layers + 1, np.float32)
    shares[voice.layer] = 60.0  # of a softmax: nothing but this layer counts
    moved = voice.center + np.concatenate([lift, np.zeros(size, np.float32)])
    head = {
        "layer_weights": shares,
        "projector.weight": np.eye(size, dtype=np.float32),
        "projector.bias": lift,
        "tdnn.0.kernel.weight": np.eye(size, dtype=np.float32),
        "tdnn.0.kernel.bias": np.zeros(size, np.float32),
        "feature_extractor.weight": np.ascontiguousarray(voice.matrix.T),
        "feature_extractor.bias": -(moved @ voice.matrix),
        "classifier.weight": np.eye(width, dtype=np.float32),
        "classifier.bias": np.zeros(width, np.float32),
        "objective.weight": np.eye(width, 2, dtype=np.float32),  # which only training reads
    }
    given = checkpoint.settings.get("sonant")
    own = dict(cast("Mapping[str, object]", given)) if isinstance(given, dict) else {}
    sizes = {"tdnn_dim": [size], "tdnn_kernel": [1], "tdnn_dilation": [1], "xvector_output_dim": width}
    told = {"sonant": own | {"voice_threshold": round(voice.threshold, 4)}, "use_weighted_layer_sum": True}
    settings = {**checkpoint.settings, **sizes, **told, "num_labels": 2}
    return replace(checkpoint, tensors={**checkpoint.tensors, **head}, settings=settings)
