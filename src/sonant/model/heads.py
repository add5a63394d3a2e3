"""What turns states into answers: the heads of CTC and of classifiers; and how a checkpoint's weights get in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sonant.model.config import EncoderConfig
from sonant.model.convolutions import frame_mask
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


class ClipClassifier(nn.Module):
    """An encoder with one label a clip; its state dict has the keys of transformers' `...ForSequenceClassification`."""

    def __init__(self, config: EncoderConfig, num_labels: int, width: int = 256) -> None:
        super().__init__()
        self.config = config
        self.add_module(config.prefix, Encoder(config))
        self.layer_weights = nn.Parameter(
            torch.full((config.num_hidden_layers + 1,), 1 / (config.num_hidden_layers + 1))
        )
        self.projector = nn.Linear(config.hidden_size, width)
        self.classifier = nn.Linear(width, num_labels)

    @property
    def backbone(self) -> Encoder:
        """The encoder, which the state dict names after its family."""
        return self.get_submodule(self.config.prefix)  # type: ignore[return-value]

    def pool(
        self, waveforms: Tensor, lengths: Tensor, mask: Tensor | None = None, mask_channels: Tensor | None = None
    ) -> Tensor:
        """(B, N) samples to the mean of each layer's states over real frames, (B, L, D)."""
        encoded = self.backbone(waveforms, lengths, mask, all_states=True, mask_channels=mask_channels)
        real = frame_mask(encoded.lengths.to(waveforms.device), encoded.last.shape[1]).unsqueeze(-1)
        states = torch.stack([(state.float() * real).sum(1) for state in encoded.states], 1)
        return states / encoded.lengths.to(states).clamp(min=1)[:, None, None]

    def forward(self, pooled: Tensor) -> Tensor:
        """Means (B, L, D), which are mixed as they are learnt, to scores of labels (B, K)."""
        mixed = (pooled * self.layer_weights.softmax(0)[:, None]).sum(1)
        return self.classifier(self.projector(mixed))


# What a model can do without: inference never reads it, and training can begin with a fresh one.
_DISPENSABLE = ("masked_spec_embed", "encoder.pos_conv_embed.batch_norm.num_batches_tracked")


def load_weights(
    model: CtcModel | ClipClassifier | ContrastiveModel | Encoder,
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
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
