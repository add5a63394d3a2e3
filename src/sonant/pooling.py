"""Voices by what layers give in the mean, and by how much it varies: a head in closed form.

Of each layer's channels the mean and the deviation over a recording are known. One matrix takes from these what varies
within speakers, and turns the rest so that the directions in which speakers differ most come first. These few and all
others are brought to length 1 apart: else a voice that is like many in the former would be judged by the noise in the
latter. `sonant.train.linear` learns the matrix; what enters the first layers of an encoder that learnt to write has the
most of a voice, the convolutions' outputs.

Shapes: T frames, C channels of a layer, S statistics (twice all channels), E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints import Checkpoint
from sonant.errors import AudioError, CheckpointError
from sonant.types import FloatArray

if TYPE_CHECKING:
    from sonant.engines import Engine

LEAST_FRAMES = 16
"""A third of a second: a voice is not known by less."""
MATRIX, CENTER = "voice.matrix", "voice.center"
"""The names of a head's tensors."""


@dataclass(frozen=True)
class Bands:
    """The two parts of a vector, each of a length of its own."""

    main: int
    """How many directions come first, in which speakers differ most."""
    share: float
    """Of a score, what these count; the others count the rest."""


@dataclass(frozen=True, order=True)
class Layer:
    """A convolution, or a state of the transformer (0: what enters its first layer)."""

    kind: str
    """`conv` or `layer`."""
    number: int

    def __str__(self) -> str:
        return f"{self.kind}_{self.number}"


class Hearing(Protocol):
    """What looks at the frames of a recording, window after window."""

    def hear(self, engine: Engine, waveform: FloatArray) -> FloatArray:
        """Samples (N,) to what it makes of each frame (T, D)."""
        ...


class Moments:
    """Hears layers of a model: by the frame the means and the mean squares of their channels, side by side."""

    def __init__(self, checkpoint: Checkpoint, layers: Sequence[Layer]) -> None:
        config, self.layers = checkpoint.config, layers
        widths = [config.conv_dim[at.number] if at.kind == "conv" else config.hidden_size for at in layers]
        self.cuts = np.cumsum([2 * width for width in widths])[:-1]
        self.width = 2 * sum(widths)
        """S."""

    def hear(self, engine: Engine, waveform: FloatArray) -> FloatArray:
        """Samples (N,) to (T, S)."""
        numbers = {kind: [at.number for at in self.layers if at.kind == kind] for kind in ("conv", "layer")}
        found: dict[Layer, FloatArray] = {}
        if convolutions := numbers["conv"]:
            given = engine.moments(waveform, convolutions)
            found |= {Layer("conv", i): array for i, array in zip(convolutions, given, strict=True)}
        if states := numbers["layer"]:
            for i, state in zip(states, engine.states(waveform, states), strict=True):
                found[Layer("layer", i)] = np.concatenate([state, state * state], 1)
        frames = min(len(array) for array in found.values())
        return np.concatenate([found[at][:frames] for at in self.layers], 1)

    def statistics(self, means: NDArray[np.float64]) -> list[FloatArray]:
        """Of each layer, the means and the deviations (N, 2 C) that what was heard has on average (N, S)."""
        found: list[FloatArray] = []
        for part in np.split(means, self.cuts, axis=1):
            mean, square = np.split(part, 2, axis=1)
            varied = np.sqrt(np.maximum(square - mean * mean, 1e-10))
            found.append(np.concatenate([mean, varied], 1).astype(np.float32))
        return found


class PooledHead:
    """What makes a vector of length 1 of a recording, by the means and deviations of layers."""

    least_frames = LEAST_FRAMES
    alike = 0.25
    """Mean score of two groups of short windows from which they are one voice; found by benchmarks/speakers.py."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        layers, self.bands = read_settings(checkpoint)
        self.moments = Moments(checkpoint, layers)
        self.width = checkpoint.rows(MATRIX)
        """E."""
        self.matrix = checkpoint.weight(MATRIX, (self.width, self.moments.width)).astype(np.float32)
        self.center = checkpoint.weight(CENTER, (self.moments.width,)).astype(np.float32)
        if not 0 < self.bands.main < self.width:
            raise CheckpointError(
                f"The main directions of the voices of {checkpoint.name} must be 1 to {self.width - 1}, but are "
                f"{self.bands.main}; mend config.json."
            )

    @property
    def fingerprint(self) -> str:
        """What tells this model from others that give vectors too."""
        return sha256(self.matrix.tobytes() + self.center.tobytes()).hexdigest()[:32]

    def hear(self, engine: Engine, waveform: FloatArray) -> FloatArray:
        """Samples (N,) to the means and mean squares of the layers, by the frame, (T, S)."""
        return self.moments.hear(engine, waveform)

    def embed(self, pieces: Iterable[FloatArray]) -> FloatArray:
        """What is heard (T, S), piece after piece, to one vector (E,) of length 1.

        Raises `AudioError` for a recording of fewer than 16 frames.
        """
        count, total = 0, np.zeros(self.moments.width)
        for piece in pieces:
            count += len(piece)
            total += piece.sum(0, dtype=np.float64)
        if count < self.least_frames:
            raise AudioError(
                f"A voice is known by {self.least_frames} frames or more, but the recording has only {count}; "
                "pass a longer one."
            )
        statistics = np.concatenate(self.moments.statistics(total[None] / count), 1)
        return embed(statistics, self.center, self.matrix, self.bands)[0]


def embed(statistics: FloatArray, center: FloatArray, matrix: FloatArray, bands: Bands) -> FloatArray:
    """Means and deviations (N, S) to vectors (N, E) of length 1."""
    turned = (statistics - center) @ matrix.T
    for band, share in ((turned[:, : bands.main], bands.share), (turned[:, bands.main :], 1 - bands.share)):
        band *= share**0.5 / np.maximum(np.linalg.norm(band, axis=1, keepdims=True), 1e-12)
    return turned.astype(np.float32)


def convolutions(checkpoint: Checkpoint) -> list[Layer]:
    """What `sonant identify --learn` looks at.

    Transformer layers know the speakers that their encoder learnt from better than others: where voices are learnt from
    the same speech, they would be chosen by that.
    """
    return [Layer("conv", i) for i in range(len(checkpoint.config.conv_dim))]


def all_layers(checkpoint: Checkpoint) -> list[Layer]:
    """Everything that a head may look at."""
    states = range(checkpoint.config.num_hidden_layers + 1)
    return [*convolutions(checkpoint), *(Layer("layer", i) for i in states)]


def read_settings(checkpoint: Checkpoint) -> tuple[list[Layer], Bands]:
    """The layers that a model's voices are known by, and the parts of a vector, as config.json has them."""
    own: object = checkpoint.settings.get("sonant")
    told: object = cast("Mapping[str, object]", own).get("voice") if isinstance(own, dict) else None
    values = cast("Mapping[str, object]", told if isinstance(told, dict) else {})
    names, main, share = values.get("layers"), values.get("main"), values.get("main_share")
    known = {str(at): at for at in all_layers(checkpoint)}
    given = cast("list[object]", names) if isinstance(names, list) else []
    layers = [known[name] for name in given if isinstance(name, str) and name in known]
    wrong = not layers or len(set(layers)) < len(given) or not isinstance(main, int)
    if wrong or not isinstance(share, float) or not 0 < share < 1:
        raise CheckpointError(
            f"config.json of {checkpoint.name} must name layers of the model, the number of main directions and what "
            f"these count as `voice` under `sonant`, but has {told!r}; fetch it again."
        )
    return layers, Bands(cast("int", main), share)
