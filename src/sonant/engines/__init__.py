"""What runs an encoder: OpenVINO on CPUs (no PyTorch), PyTorch on GPUs. `open_engine` chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from sonant.errors import EngineError, MissingExtraError, OptionError
from sonant.types import FloatArray

if TYPE_CHECKING:
    from sonant.checkpoints import Checkpoint

ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "fp32", "bf16")

Precision = Literal["fp32", "bf16"]


class Engine(Protocol):
    """A model ready to hear. Waveforms are mono float32 at the model's rate, normalised if it wants that."""

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

    def adapt(self, checkpoint: Checkpoint) -> None:
        """Take over the language of a checkpoint that is the same model otherwise: its adapters and its head."""
        ...

    def moments(self, waveform: FloatArray, layers: Sequence[int]) -> list[FloatArray]:
        """What the convolutions asked for (0 is the first) give in each frame's time: means, mean squares (T, 2 C)."""
        ...

    def convolved(self, waveform: FloatArray) -> FloatArray:
        """What the convolutions give (T, C), normalised where the family does that: what quantizers choose by."""
        ...


def open_engine(
    checkpoint: Checkpoint,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Engine:
    """An engine that holds the checkpoint's model.

    `engine` `auto` is OpenVINO, unless `device` names a GPU (`cuda`, `cuda:1`, `mps`), which only PyTorch can use:
    PyTorch is not even looked for where nobody asks for it or for a GPU. With `torch`, `device` `auto` is a GPU if it
    finds one. `precision` `auto` is bf16 where the device multiplies it faster, else fp32. `threads` None is all cores.
    Raises `EngineError` for what is not to be had here, `MissingExtraError` where PyTorch is wanted but not installed.
    """
    if engine not in ENGINES:
        raise EngineError(f"An engine must be auto, openvino or torch, but is {engine!r}; choose one of these.")
    wanted = check_precision(precision)
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu", "cuda", "mps") and not (kind == "cuda" and number.isdecimal()):
        raise EngineError(f"A device must be auto, cpu, cuda, cuda:N or mps, but is {device!r}; choose one of these.")
    on_gpu = device not in ("auto", "cpu")
    if engine == "openvino" and on_gpu:
        raise EngineError(
            f"The engine openvino runs on the device cpu only, but the device is {device}; take torch or auto."
        )
    if engine == "torch" or on_gpu:
        return _open_torch(checkpoint, device, wanted, threads)
    from sonant.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(checkpoint, wanted, threads)


def check_precision(name: str) -> Literal["auto", "fp32", "bf16"]:
    """The name of a precision; `EngineError` for any other."""
    if name not in PRECISIONS:
        raise EngineError(f"A precision must be auto, fp32 or bf16, but is {name!r}; choose one of these.")
    return name


def check_finite(log_probs: FloatArray, checkpoint: Checkpoint, num_samples: int) -> None:
    """Raise `EngineError` where a clip of so many samples gave numbers out of range."""
    if not np.isfinite(log_probs).all():
        raise EngineError(
            f"Log-probabilities must be finite, but {checkpoint.name} gave others for a clip of "
            f"{num_samples} samples; look for samples that are huge or not finite."
        )


def choose_layers(checkpoint: Checkpoint, layers: Sequence[int] | None) -> Sequence[int]:
    """The layers asked for, all where None; `OptionError` for one that the model lacks."""
    count = checkpoint.config.num_hidden_layers + 1
    wanted = range(count) if layers is None else layers
    for layer in wanted:
        if not 0 <= layer < count:
            raise OptionError(
                f"A layer of {checkpoint.name} must be from 0 to {count - 1}, but is {layer}; choose among these."
            )
    return wanted


def _open_torch(
    checkpoint: Checkpoint, device: str, precision: Literal["auto", "fp32", "bf16"], threads: int | None
) -> Engine:
    try:
        from sonant.engines.torch import TorchEngine
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError(
            "The engine torch, which GPUs need, runs on PyTorch, which is not installed: pip install 'sonant[torch]'"
        ) from None
    return TorchEngine(checkpoint, device, precision, threads)
