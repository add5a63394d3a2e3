"""torchaudio's `Wav2Vec2Model` over sonant's encoder. B batch, N samples, T frames, D width, V labels."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sonant.errors import OptionError
from sonant.model.convolutions import frames_after
from sonant.model.encoder import Encoder, Transformer


class Wav2Vec2Model(nn.Module):
    """An encoder, with a CTC head where it was fine-tuned, called as torchaudio's."""

    def __init__(self, encoder: Encoder, head: nn.Linear | None, normalize: bool) -> None:
        super().__init__()
        self.encoder, self.aux = encoder, head
        self.normalize_waveform = normalize
        """Whether a batch is brought to mean 0 and variance 1 as a whole, padding included, as torchaudio does."""

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits (B, T, V), or states (B, T, D) without a head, and real frames (B,), None where `lengths` is."""
        x, frames = self._project(waveforms, lengths)
        real = torch.full(x.shape[:1], x.shape[1], device=x.device) if frames is None else frames
        x, _ = self.encoder.encoder(x, real, frames is not None, False)
        return (x if self.aux is None else self.aux(x)), frames

    def extract_features(
        self, waveforms: Tensor, lengths: Tensor | None = None, num_layers: int | None = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """The states (B, T, D) after each of the first `num_layers` layers (all, where None), and real frames (B,).

        What enters the first layer is not among them, and the last one is not normed after.
        """
        x, frames = self._project(waveforms, lengths)
        return _layers(self.encoder.encoder, x, frames, num_layers), frames

    def _project(self, waveforms: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the transformer takes (B, T, D), its first norm over padding too, and real frames."""
        if self.normalize_waveform:
            waveforms = F.layer_norm(waveforms, waveforms.shape)
        whole = torch.full(waveforms.shape[:1], waveforms.shape[1], device=waveforms.device)
        convolved, _ = self.encoder.feature_extractor(waveforms, whole)
        x, _ = self.encoder.feature_projection(convolved)
        if lengths is None:
            return x, None
        frames = lengths.to(waveforms.device)
        config = self.encoder.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            frames = frames_after(frames, kernel, stride).clamp(min=0)
        return x, frames


class AlignmentModel(Wav2Vec2Model):
    """A fine-tuned model that gives log-probabilities, and last, if `star`, a column of ones for any sound."""

    def __init__(self, encoder: Encoder, head: nn.Linear, normalize: bool, star: bool) -> None:
        super().__init__(encoder, head, normalize)
        self.append_star = star

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities (B, T, V), or (B, T, V + 1) with the star, and real frames as of `Wav2Vec2Model`."""
        logits, frames = super().forward(waveforms, lengths)
        return F.pad(logits.log_softmax(-1), (0, int(self.append_star))), frames


def _layers(transformer: Transformer, x: Tensor, frames: Tensor | None, num_layers: int | None) -> list[Tensor]:
    """The state after each layer, before the last norm."""
    count = len(transformer.layers)
    if num_layers is not None and not 0 < num_layers <= count:
        raise OptionError(f"num_layers must be between 1 and {count}, but is {num_layers}; leave it out for all.")
    whole = torch.full(x.shape[:1], x.shape[1], device=x.device)
    walk = transformer.walk(x, whole if frames is None else frames, padded=frames is not None)
    return list(islice(walk, 1, None if num_layers is None else num_layers + 1))
