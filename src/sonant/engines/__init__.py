"""What runs an encoder: OpenVINO on CPUs (no PyTorch), PyTorch on GPUs. `open_engine` chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from sonant.types import FloatArray

Precision = Literal["fp32", "bf16"]


class Engine(Protocol):
    """A model ready to hear. Waveforms are mono float32 at the model's rate, normalised if it wants that (`windows`)."""

    name: str
    """`openvino` or `torch`."""
    device: str
    """`cpu`, `cuda:0`, `mps`."""
    precision: Precision

    def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-probabilities (T, V) of each waveform (N,); a clip's result does not depend on its neighbours."""
        ...

    def states(self, waveform: FloatArray, layers: Sequence[int] | None = None) -> list[FloatArray]:
        """States (T, D) of the layers asked for (all, where None): 0 enters the first layer, i is layer i's output."""
        ...
