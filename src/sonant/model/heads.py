"""What turns states into answers: the CTC head; and how a checkpoint's weights get into a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sonant.model.config import EncoderConfig
from sonant.model.encoder import Encoder

if TYPE_CHECKING:
    from sonant.checkpoints import Checkpoint
    from sonant.model.pretrain import ContrastiveModel


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


# What a model can do without: inference never reads it, and training can begin with a fresh one.
_DISPENSABLE = ("masked_spec_embed", "encoder.pos_conv_embed.batch_norm.num_batches_tracked")


def load_weights(
    model: CtcModel | ContrastiveModel | Encoder, checkpoint: Checkpoint, device: torch.device | str = "cpu"
) -> None:
    """Give a model, best one on the meta device, copies of a checkpoint's weights on `device`; others are ignored.

    One tensor is read after the other, so that memory holds the model once. Raises `CheckpointError` where a weight
    is missing, has another shape or is not finite.
    """
    prefix = model.config.prefix + "."
    state: dict[str, Tensor] = {}
    for key, old in model.state_dict().items():
        name = key.removeprefix(prefix)
        if name in _DISPENSABLE and not {name, prefix + name} & checkpoint.tensors.keys():
            new = torch.zeros(old.shape, dtype=old.dtype, device=device)
            state[key] = new.uniform_() if new.is_floating_point() else new
        else:
            array = checkpoint.weight(name, tuple(old.shape))
            state[key] = torch.tensor(array, dtype=old.dtype, device=device)  # a copy: the file is read-only
    model.load_state_dict(state, assign=True)
