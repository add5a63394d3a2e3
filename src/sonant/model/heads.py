"""What turns states into answers: the CTC head; and how a checkpoint's weights get into a model."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonant.model.config import EncoderConfig
from sonant.model.encoder import Encoder

# What a checkpoint may lack: it is learnt or counted in training alone.
_TRAINING_ONLY = ("masked_spec_embed", "num_batches_tracked")


@dataclass(frozen=True)
class CtcOutput:
    """Scores of a batch."""

    logits: Tensor
    """(B, T, V)"""
    lengths: Tensor
    """(B,): real frames of each row."""
    states: tuple[Tensor, ...]
    """As in `Encoded`."""


class CtcModel(nn.Module):
    """An encoder with a linear layer over its vocabulary; its state dict has the keys of transformers' `...ForCTC`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        assert config.vocab_size, "a CTC model needs vocab_size"
        self.config = config
        self.add_module(config.prefix, Encoder(config))
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)

    @property
    def backbone(self) -> Encoder:
        """The encoder, which the state dict names after its family."""
        return self.get_submodule(self.config.prefix)  # type: ignore[return-value]

    def forward(
        self, waveforms: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None, all_states: bool = False
    ) -> CtcOutput:
        """(B, N) samples to (B, T, V) logits; arguments as in `Encoder.forward`."""
        encoded = self.backbone(waveforms, lengths, mask, all_states)
        return CtcOutput(self.lm_head(self.dropout(encoded.last)), encoded.lengths, encoded.states)


def load_weights(
    module: nn.Module, weight: Callable[[str, tuple[int, ...]], np.ndarray], names: Container[str]
) -> None:
    """Fill a model in place with a checkpoint's weights: `load_weights(model, checkpoint.weight, checkpoint.tensors)`.

    Raises the `CheckpointError` of `weight` for a tensor that is missing, not finite, or of another shape.
    """
    for name, tensor in module.state_dict().items():
        if name in names or not name.endswith(_TRAINING_ONLY):
            array = weight(name, tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(np.array(array)))  # a copy: the checkpoint's arrays are read-only


class Weights(Protocol):
    """Named weights, as a `Checkpoint` gives them."""

    config: EncoderConfig

    def has(self, name: str) -> bool: ...

    def weight(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]: ...


# Which a model can do without: inference never reads them, and training can start with fresh ones.
_DISPENSABLE = ("masked_spec_embed", "encoder.pos_conv_embed.batch_norm.num_batches_tracked")


def load_weights(model: CtcModel | Encoder, weights: Weights, device: torch.device | str = "cpu") -> None:
    """Give a model, best one on the meta device, copies of a checkpoint's weights on `device`; others are ignored.

    One tensor is read after the other, so that memory holds the model once. Raises `CheckpointError` where a weight
    is missing or has another shape.
    """
    state: dict[str, Tensor] = {}
    for key, old in model.state_dict().items():
        name = key.removeprefix(model.config.prefix + ".")
        if name in _DISPENSABLE and not weights.has(name):
            new = torch.zeros(old.shape, dtype=old.dtype, device=device)
            state[key] = new.uniform_() if new.is_floating_point() else new
        else:
            array = weights.weight(name, tuple(old.shape))
            state[key] = torch.tensor(np.asarray(array), dtype=old.dtype, device=device)  # a copy: files are read-only
    model.load_state_dict(state, assign=True)
