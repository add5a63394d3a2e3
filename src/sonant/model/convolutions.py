"""The encoder's convolutions: those that turn samples into frames, and those that tell each frame where it is.

Shapes: B batch, N samples, T frames, C channels of the convolutions, K kernel, D hidden size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from sonant.model.config import EncoderConfig

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class ConvLayer(nn.Module):
    """A strided convolution, its norm and its activation; channels last from end to end, far faster on CPUs."""

    def __init__(self, config: EncoderConfig, layer: int) -> None:
        super().__init__()
        inputs = config.conv_dim[layer - 1] if layer else 1
        width, self.kernel, self.stride = config.conv_dim[layer], config.conv_kernel[layer], config.conv_stride[layer]
        self.conv = nn.Conv1d(inputs, width, self.kernel, self.stride, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(width) if config.feat_extract_norm == "layer" else nn.Identity()
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) and real lengths to the same, one layer on."""
        weight = self.conv.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x = x[:, None].permute(0, 3, 1, 2)  # (B, C, 1, T) in the strides of channels-last images
        x = F.conv2d(x, weight, self.conv.bias, (1, self.stride))
        x = x.permute(0, 2, 3, 1).squeeze(1)
        return self.activation(self.layer_norm(x)), frames_after(lengths, self.kernel, self.stride)


class TimeNormConvLayer(ConvLayer):
    """The first convolution of models with a group norm, the norm folded into its weights.

    A channel with weights w sees w.v at each window v of samples, so over time its mean is w.mean(v) and its variance
    w' cov(v) w: one small covariance a row gives all statistics before the layer is computed.
    """

    def __init__(self, config: EncoderConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.layer_norm = nn.GroupNorm(config.conv_dim[layer], config.conv_dim[layer])

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 1) and real lengths to (B, T, C) and the same, one layer on."""
        windows = x.squeeze(2).unfold(1, self.kernel, self.stride)  # (B, T, K)
        lengths = frames_after(lengths, self.kernel, self.stride)
        weight, bias = self.fold(windows, lengths)
        return self.activation(torch.baddbmm(bias, windows, weight)), lengths

    def fold(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, K) windows to each row's weights (B, K, C) and biases (B, 1, C), by its real windows only."""
        kind = torch.float32 if windows.device.type == "mps" else torch.float64  # the quadratic form cancels digits
        real, count = frame_mask(lengths, windows.shape[1])[..., None], lengths.to(kind)[:, None, None]
        windows = windows.to(kind)
        mean = (windows * real).sum(1, keepdim=True) / count  # (B, 1, K)
        centred = (windows - mean) * real
        weight, norm = self.conv.weight.squeeze(1).to(kind), self.layer_norm
        variance = ((weight @ (centred.mT @ centred / count)) * weight).sum(-1)  # (B, C)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        shift = mean @ weight.mT  # (B, 1, C)
        if self.conv.bias is not None:  # cancels out, but takes part in the graph
            shift = shift + self.conv.bias - self.conv.bias
        bias = norm.bias - scale[:, None] * shift
        return (weight * scale[..., None]).mT.to(norm.weight.dtype), bias.to(norm.weight.dtype)


class FeatureExtractor(nn.Module):
    """Waveform to 50 frames a second."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        first = TimeNormConvLayer if config.feat_extract_norm == "group" else ConvLayer
        self.conv_layers = nn.ModuleList((ConvLayer if i else first)(config, i) for i in range(len(config.conv_dim)))

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) and real samples to (B, T, C) and real frames."""
        x = waveforms[..., None]
        for layer in self.conv_layers:
            x, lengths = layer(x, lengths)
        return x, lengths


class GroupedConv(nn.Conv1d):
    """A grouped convolution with as many frames out as in."""

    def __init__(self, config: EncoderConfig, kernel: int) -> None:
        width, groups = config.hidden_size, config.num_conv_pos_embedding_groups
        super().__init__(width, width, kernel, padding=kernel // 2, groups=groups)
        # oneDNN 3.12 with AMX computes nonsense, forward and backward, for under 16 bfloat16 channels a group where
        # channels times kernel is a multiple of 32; an odd kernel never is
        self.more_taps = 1 if width // groups < 16 and kernel % 2 == 0 else 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, T) to the same."""
        weight = F.pad(self.weight, (0, self.more_taps)) if self.more_taps else self.weight
        y = F.conv1d(x, weight, self.bias, padding=self.padding, groups=self.groups)  # type: ignore[arg-type]
        return y[..., : x.shape[-1]]  # an even kernel yields one frame too many


class PositionalConv(nn.Module):
    """One wide grouped convolution whose output, added to its input, tells the transformer where it is."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        conv = GroupedConv(config, config.num_conv_pos_embeddings)
        self.batch_norm = nn.BatchNorm1d(config.hidden_size) if config.conv_pos_batch_norm else None
        self.conv = conv if config.conv_pos_batch_norm else weight_norm(conv, dim=2)
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(B, T, D), zero in padding, and the mask of real frames (B, T, 1) to (B, T, D)."""
        x = x.transpose(1, 2)
        if self.batch_norm is not None:
            x = self.batch_norm(x) * real.transpose(1, 2)  # the norm's bias would leak in from padding
        return self.activation(self.conv(x)).transpose(1, 2)


class PositionalConvLayer(nn.Module):
    """One of data2vec's positional convolutions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.conv = GroupedConv(config, config.pos_kernel)
        self.layer_norm = nn.LayerNorm(config.hidden_size, elementwise_affine=False)
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return self.activation(self.layer_norm(y))


class PositionalConvStack(nn.Module):
    """data2vec's five narrow positional convolutions in place of one wide one."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PositionalConvLayer(config) for _ in range(config.pos_depth))

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """As `PositionalConv`."""
        for layer in self.layers:
            x = layer(x * real)
        return x


def frames_after(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Outputs of a convolution without padding."""
    return torch.div(lengths - kernel, stride, rounding_mode="floor") + 1


def frame_mask(lengths: Tensor, num_frames: int) -> Tensor:
    """(B,) to (B, T): True where a frame is real."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]
