"""What turns states into answers: the CTC head."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sonant.model.config import EncoderConfig
from sonant.model.encoder import Encoder


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
