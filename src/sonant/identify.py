"""Who speaks, and in which mood: the heads of classifiers and of speaker recognition, over the states of a model.

They are transformers' `...ForSequenceClassification`, `...ForXVector` and `...ForAudioFrameClassification`, computed in
numpy on what either engine gives, piece after piece as a recording is read; `sonant.pooling` has one of sonant's own.
Layers are mixed as they were when the published heads were trained (SUPERB, arXiv:2105.01051): the last one after the
norm that ends the encoder.

Shapes: T frames, L layers and what enters the first, D hidden size, K labels, E width of an embedding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints import Checkpoint
from sonant.errors import AudioError, CheckpointError
from sonant.pooling import MATRIX, PooledHead
from sonant.types import FloatArray

if TYPE_CHECKING:
    from sonant.engines import Engine

STEP = 5.0
"""Seconds of speech that one row of labels over time stands for, where nothing else is asked for."""
_GREAT = {"ara", "arb", "cmn", "deu", "de", "eng", "en", "fra", "fr", "hin", "por", "rus", "spa", "es", "zh"}
NOTHING = 1e-9
"""A layer with a smaller share need not be computed."""
_TDNN = {"tdnn_dim": (512, 512, 512, 512, 1500), "tdnn_kernel": (5, 3, 3, 1, 1), "tdnn_dilation": (1, 2, 3, 1, 1)}


@dataclass(frozen=True, eq=False)
class Classification:
    """What a classifier says of a recording."""

    labels: tuple[str, ...]
    """(K,) in the order of the model's outputs."""
    probabilities: FloatArray
    """(K,): of each label for the whole recording; of frame labels the share of the time that they hold."""
    over_time: FloatArray
    """(N, K): of each label for each `step` of the recording, the last of which may be shorter."""
    step: float
    """Seconds of a row of `over_time`."""
    duration: float
    """Seconds that were heard."""
    exclusive: bool = True
    """Whether one label alone holds at a time, so that probabilities add up to 1."""

    @property
    def label(self) -> str:
        """The likeliest label."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Labels with their probabilities, the likeliest first."""
        order = np.argsort(-self.probabilities, kind="stable")
        return [(self.labels[i], float(self.probabilities[i])) for i in order]


class _Linear:
    """A weight (outputs, inputs) and a bias of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint, name: str, inputs: int, outputs: int) -> None:
        self.weight = checkpoint.weight(f"{name}.weight", (outputs, inputs)).astype(np.float32)
        self.bias = checkpoint.weight(f"{name}.bias", (outputs,)).astype(np.float32)

    def __call__(self, x: FloatArray) -> FloatArray:
        """(..., inputs) to (..., outputs)."""
        return x @ self.weight.T + self.bias


class Head:
    """What all heads share: the layers they look at, mixed by weights they have learnt, or the last one alone."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        depth = checkpoint.config.num_hidden_layers
        self.layers: Sequence[int] = (depth,)
        """Of the encoder, 0 for what enters the first."""
        self.shares = np.ones(1, np.float32)
        """(L,): what each counts; they add up to 1."""
        if checkpoint.settings.get("use_weighted_layer_sum") is True:
            shares = softmax(checkpoint.weight("layer_weights", (depth + 1,)))
            self.layers = [i for i, share in enumerate(shares) if share > NOTHING]
            self.shares = shares[self.layers]

    def hear(self, engine: Engine, waveform: FloatArray) -> FloatArray:
        """Samples (N,) to mixed states (T, D)."""
        return self.mix(engine.states(waveform, self.layers))

    def mix(self, states: Sequence[FloatArray]) -> FloatArray:
        """States (T, D) of `layers` to one (T, D)."""
        mixed = states[0] * self.shares[0]
        for state, share in zip(states[1:], self.shares[1:], strict=True):
            mixed += state * share
        return mixed


class ClipHead(Head):
    """One label for a clip: its frames' mean, projected and weighed; transformers' `...ForSequenceClassification`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.labels = read_labels(checkpoint)
        width = checkpoint.rows("projector.weight")
        self.projector = _Linear(checkpoint, "projector", checkpoint.config.hidden_size, width)
        self.classifier = _Linear(checkpoint, "classifier", width, len(self.labels))

    def classify(self, pieces: Iterable[FloatArray], frame_seconds: float, step: float = STEP) -> Classification:
        """Mixed states (T, D), piece after piece, to labels of the whole and of each `step` seconds."""
        rows = max(round(step / frame_seconds), 1)
        sums, counts = sums_of(pieces, rows, self.checkpoint.config.hidden_size)
        return Classification(
            self.labels,
            self._probabilities(sums.sum(0, keepdims=True) / counts.sum())[0],
            self._probabilities(sums / counts[:, None]),
            rows * frame_seconds,
            int(counts.sum()) * frame_seconds,
        )

    def _probabilities(self, means: NDArray[np.float64]) -> FloatArray:
        """(N, D) to (N, K); a mean that is projected is the mean of what is projected."""
        return softmax(self.classifier(self.projector(means.astype(np.float32))))


class FrameHead(Head):
    """Labels that hold or do not, frame by frame (who speaks); transformers' `...ForAudioFrameClassification`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.labels = read_labels(checkpoint)
        self.classifier = _Linear(checkpoint, "classifier", checkpoint.config.hidden_size, len(self.labels))

    def classify(self, pieces: Iterable[FloatArray], frame_seconds: float, step: float | None = None) -> Classification:
        """Mixed states (T, D), piece after piece, to labels of each `step` seconds: of each frame where None."""
        rows = 1 if step is None else max(round(step / frame_seconds), 1)
        held = (sigmoid(self.classifier(piece)) for piece in pieces)
        sums, counts = sums_of(held, rows, len(self.labels))
        return Classification(
            self.labels,
            (sums.sum(0) / counts.sum()).astype(np.float32),
            (sums / counts[:, None]).astype(np.float32),
            rows * frame_seconds,
            int(counts.sum()) * frame_seconds,
            exclusive=False,
        )


class VoiceHead(Head):
    """One unit vector for a voice: a time-delay network, its mean and deviation; transformers' `...ForXVector`."""

    alike = 0.55
    """Mean score of two groups of short windows from which they are one voice."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        dims, kernels, self.dilations = (_sizes(checkpoint, name) for name in _TDNN)
        if not len(dims) == len(kernels) == len(self.dilations):
            raise CheckpointError(
                f"tdnn_dim, tdnn_kernel and tdnn_dilation of {checkpoint.name} must have one entry a layer, but have "
                f"{len(dims)}, {len(kernels)} and {len(self.dilations)}; mend config.json."
            )
        self.projector = _Linear(checkpoint, "projector", checkpoint.config.hidden_size, dims[0])
        self.tdnn = [
            _Linear(checkpoint, f"tdnn.{i}.kernel", inputs * kernel, outputs)
            for i, (inputs, outputs, kernel) in enumerate(zip((dims[0], *dims), dims, kernels, strict=False))
        ]
        self.kernels = kernels
        self.width = checkpoint.rows("feature_extractor.weight")
        """E."""
        self.embedding = _Linear(checkpoint, "feature_extractor", 2 * dims[-1], self.width)
        self.context = sum((k - 1) * d for k, d in zip(kernels, self.dilations, strict=True))
        """Frames that the network sees beside one."""
        self.least_frames = self.context + 2
        """Frames that a voice is known by at least: of fewer, the deviation is not defined."""

    @property
    def fingerprint(self) -> str:
        """What tells this model from others that give vectors too."""
        weights = (self.projector, *self.tdnn, self.embedding)
        return sha256(b"".join(layer.weight.tobytes() for layer in weights)).hexdigest()[:32]

    def embed(self, pieces: Iterable[FloatArray]) -> FloatArray:
        """Mixed states (T, D), piece after piece, to one vector (E,) of length 1; none where there are too few frames.

        Raises `AudioError` for a recording of fewer than `least_frames`.
        """
        kept = np.zeros((0, self.projector.bias.size), np.float32)
        count, mean = 0, np.zeros(self.embedding.weight.shape[1] // 2)
        squares = np.zeros_like(mean)
        for piece in pieces:
            kept = np.concatenate([kept, self.projector(piece)])
            if len(kept) <= self.context:
                continue
            y = self._tdnn(kept)
            kept = kept[len(kept) - self.context :]
            # means and sums of squares of two parts become those of the whole (Chan, Golub and LeVeque 1983)
            here = y.mean(0, dtype=np.float64)
            squares += ((y - here) ** 2).sum(0, dtype=np.float64) + (here - mean) ** 2 * count * len(y) / (
                count + len(y)
            )
            mean += (here - mean) * len(y) / (count + len(y))
            count += len(y)
        if count < 2:
            raise AudioError(
                f"A voice is known by {self.least_frames} frames or more, but the recording has only "
                f"{count + self.context if count else len(kept)}; pass a longer one."
            )
        statistics = np.concatenate([mean, np.sqrt(squares / (count - 1))]).astype(np.float32)
        embedding = self.embedding(statistics)
        return embedding / max(float(np.linalg.norm(embedding)), 1e-12)

    def _tdnn(self, x: FloatArray) -> FloatArray:
        """(T, P) to (T - context, E')."""
        for layer, kernel, dilation in zip(self.tdnn, self.kernels, self.dilations, strict=True):
            frames, inputs = len(x) - (kernel - 1) * dilation, x.shape[1]
            y = np.broadcast_to(layer.bias, (frames, len(layer.bias))).copy()
            for i in range(kernel):
                y += x[i * dilation : i * dilation + frames] @ layer.weight[:, i * inputs : (i + 1) * inputs].T
            x = np.maximum(y, 0)
        return x


def read_classifier(checkpoint: Checkpoint) -> ClipHead | FrameHead:
    """The head that labels recordings; `CheckpointError` for a model without one."""
    names = checkpoint.tensors.keys()
    if "classifier.weight" not in names or "tdnn.0.kernel.weight" in names:
        raise CheckpointError(
            f"Labels come from a model with a classifier, but {checkpoint.name} has none; "
            "pass one, such as superb/wav2vec2-base-superb-er."
        )
    return ClipHead(checkpoint) if "projector.weight" in names else FrameHead(checkpoint)


def has_voice_head(checkpoint: Checkpoint) -> bool:
    """Whether a model tells voices apart."""
    return "tdnn.0.kernel.weight" in checkpoint.tensors or MATRIX in checkpoint.tensors


def read_voice_head(checkpoint: Checkpoint) -> VoiceHead | PooledHead:
    """The head that tells voices apart; `CheckpointError` for a model without one."""
    if not has_voice_head(checkpoint):
        raise CheckpointError(
            f"Voices are told apart by a model with a head for them, but {checkpoint.name} has none; "
            "pass one, such as microsoft/wavlm-base-plus-sv."
        )
    return PooledHead(checkpoint) if MATRIX in checkpoint.tensors else VoiceHead(checkpoint)


def read_labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names that `config.json` gives a classifier's outputs; `LABEL_0` and so on where it gives none."""
    count = checkpoint.rows("classifier.weight")
    given = checkpoint.settings.get("id2label")
    if given is None:
        return tuple(f"LABEL_{i}" for i in range(count))
    names = cast("dict[object, object]", given) if isinstance(given, dict) else {}
    labels = [names.get(str(i), names.get(i)) for i in range(count)]
    if len(names) != count or not all(isinstance(label, str) and label.isprintable() for label in labels):
        raise CheckpointError(
            f"id2label in config.json of {checkpoint.name} must name its {count} outputs from 0 on, "
            f"but names {len(names)} otherwise; mend it."
        )
    return tuple(cast("list[str]", labels))


def voice_threshold(checkpoint: Checkpoint) -> float | None:
    """The score from which two voices count as one, as `config.json` has it under `sonant`; None where it does not."""
    own: object = checkpoint.settings.get("sonant")
    value = cast("dict[str, object]", own).get("voice_threshold") if isinstance(own, dict) else None
    return float(value) if isinstance(value, int | float) else None


def require_languages(checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` for a classifier whose labels are no codes of languages (ISO 639: `eng`, `pt-BR`)."""
    labels = read_labels(checkpoint)
    # `ang`, `hap`, `neu` and `sad` are codes too, of languages that no model knows without knowing a great one
    codes = all(re.fullmatch(r"[a-z]{2,3}([-_]\w+)*", label, re.ASCII) for label in labels)
    if not codes or not {label[:3].rstrip("-_") for label in labels} & _GREAT:
        raise CheckpointError(
            f"Languages come from a classifier whose labels are their codes, such as eng, but those of "
            f"{checkpoint.name} are {', '.join(labels[:3])}; pass one of languages, such as facebook/mms-lid-126."
        )


def sums_of(pieces: Iterable[FloatArray], rows: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums (N, width) over every `rows` frames of pieces (T, width), and how many frames each has, all but the last."""
    sums: list[NDArray[np.float64]] = [np.zeros(width)]
    count = 0
    for piece in pieces:
        while len(piece):
            if count == rows:
                sums.append(np.zeros(width))
                count = 0
            taken, piece = piece[: rows - count], piece[rows - count :]
            sums[-1] += taken.sum(0, dtype=np.float64)
            count += len(taken)
    counts = np.full(len(sums), rows)
    counts[-1] = count
    return np.stack(sums), counts


def softmax(x: FloatArray) -> FloatArray:
    """Over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x: FloatArray) -> FloatArray:
    """Of each number, without overflow."""
    return (0.5 * (1.0 + np.tanh(0.5 * x))).astype(np.float32)


def _sizes(checkpoint: Checkpoint, name: str) -> tuple[int, ...]:
    """A list of sizes in `config.json`."""
    given: object = checkpoint.settings.get(name, _TDNN[name])
    sizes = list(cast("list[object]", given)) if isinstance(given, list | tuple) else []
    found = [size for size in sizes if isinstance(size, int) and 0 < size < 65536]
    if not found or len(found) < len(sizes):
        raise CheckpointError(f"{name} in config.json of {checkpoint.name} must be a list of sizes, but is {given!r}.")
    return tuple(found)
