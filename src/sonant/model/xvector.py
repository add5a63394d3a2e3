"""What turns states into a voice: x-vectors, and the loss that draws those of one speaker together.

Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition" (2018); the head is that of transformers'
`...ForXVector`.

Shapes: B rows, L layers and what enters the first, T frames, D hidden size, E width of an embedding, S speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonant.model.config import EncoderConfig
from sonant.model.encoder import Encoder

SCALE, MARGIN = 30.0, 0.4
"""Of the loss: how steep, and by how much the right speaker must be nearer (transformers' values)."""


@dataclass(frozen=True)
class VoiceShape:
    """Sizes of a head, under transformers' names."""

    tdnn_dim: tuple[int, ...] = (512, 512, 512, 512, 1500)
    tdnn_kernel: tuple[int, ...] = (5, 3, 3, 1, 1)
    tdnn_dilation: tuple[int, ...] = (1, 2, 3, 1, 1)
    xvector_output_dim: int = 512

    @property
    def context(self) -> int:
        """Frames that the network sees beside one."""
        return sum((k - 1) * d for k, d in zip(self.tdnn_kernel, self.tdnn_dilation, strict=True))


class DelayLayer(nn.Module):
    """A convolution over frames, stored as a linear layer, as transformers stores it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.size, self.dilation = kernel, dilation
        self.kernel = nn.Linear(inputs * kernel, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, inputs) to (B, T - (kernel - 1) * dilation, outputs)."""
        weight = self.kernel.weight.unflatten(1, (self.size, -1)).transpose(1, 2)
        return F.conv1d(x.transpose(1, 2), weight, self.kernel.bias, dilation=self.dilation).relu().transpose(1, 2)


class Margin(nn.Module):
    """Additive-margin softmax over speakers (arXiv:1801.05599)."""

    def __init__(self, width: int, num_speakers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, num_speakers))

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        """Vectors (B, E) and speakers (B,) to the loss of each, (B,)."""
        cosines = F.normalize(x, dim=1) @ F.normalize(self.weight, dim=0)
        right = F.one_hot(targets, cosines.shape[1])
        return F.cross_entropy(SCALE * (cosines - MARGIN * right), targets, reduction="none")


class VoiceModel(nn.Module):
    """An encoder with a vector a clip; its state dict has the keys of transformers' `...ForXVector`."""

    def __init__(self, config: EncoderConfig, shape: VoiceShape, num_speakers: int) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.add_module(config.prefix, Encoder(config))
        depth, dims = config.num_hidden_layers + 1, shape.tdnn_dim
        self.layer_weights = nn.Parameter(torch.full((depth,), 1 / depth))
        self.projector = nn.Linear(config.hidden_size, dims[0])
        self.tdnn = nn.ModuleList(
            DelayLayer(*sizes)
            for sizes in zip((dims[0], *dims[:-1]), dims, shape.tdnn_kernel, shape.tdnn_dilation, strict=True)
        )
        self.feature_extractor = nn.Linear(2 * dims[-1], shape.xvector_output_dim)
        self.classifier = nn.Linear(shape.xvector_output_dim, shape.xvector_output_dim)
        self.objective = Margin(shape.xvector_output_dim, num_speakers)

    @property
    def backbone(self) -> Encoder:
        """The encoder, which the state dict names after its family."""
        return self.get_submodule(self.config.prefix)  # type: ignore[return-value]

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States (B, L, T, D), real frames of each row (B,), over `context + 1` of them, to embeddings (B, E)."""
        x = self.projector((states * self.layer_weights.softmax(0)[:, None, None]).sum(1))
        for layer in self.tdnn:
            x = layer(x)
        counts = (lengths - self.shape.context).to(x.device)
        real = (torch.arange(x.shape[1], device=x.device) < counts[:, None]).unsqueeze(-1)
        counts = counts[:, None].to(x)
        mean = (x * real).sum(1) / counts
        squares = ((x - mean[:, None]).square() * real).sum(1)
        deviation = (squares / (counts - 1)).clamp(min=1e-10).sqrt()  # whose slope has no bound at 0
        return self.feature_extractor(torch.cat([mean, deviation], 1))

    def losses(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Embeddings (B, E) and speakers (B,) to the loss of each, (B,)."""
        return self.objective(self.classifier(embeddings), targets)
