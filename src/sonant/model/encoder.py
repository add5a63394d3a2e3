"""The encoder of all five families in PyTorch; parameter names are Hugging Face's, so its weights load as they are.

A row's result never depends on the rows beside it: statistics are taken over real frames only, and padding is zeroed
before whatever looks sideways. Inference without PyTorch is `sonant.engines.openvino`, which follows this file.

Shapes: B batch, N samples, T frames, C channels of the convolutions, D hidden size, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sonant.model.config import EncoderConfig
from sonant.model.convolutions import ACTIVATIONS, FeatureExtractor, PositionalConv, PositionalConvStack, frame_mask


@dataclass(frozen=True)
class Encoded:
    """What the encoder knows of a batch."""

    last: Tensor
    """(B, T, D): the last layer's state, normalised where the architecture ends in a norm."""
    lengths: Tensor
    """(B,): real frames of each row."""
    states: tuple[Tensor, ...]
    """On request: what enters the first layer, then each layer's output, of which the last is `last`; else empty."""
    features: Tensor
    """(B, T, C): the convolutions' output after the projection's norm; what the quantiser of pre-training sees."""
    convolved: Tensor
    """(B, T, C): the same before that norm, for the feature penalty of pre-training."""


class FeatureProjection(nn.Module):
    """Convolution channels to the transformer's width."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.conv_dim[-1]
        self.layer_norm = nn.LayerNorm(width, config.layer_norm_eps) if config.feat_proj_layer_norm else nn.Identity()
        self.projection = nn.Linear(width, config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) to (B, T, D), and the normalised input."""
        x = self.layer_norm(x)
        return self.dropout(self.projection(x)), x


class Attention(nn.Module):
    """Multi-head self-attention; WavLM's adds a position bias, gated by each query."""

    def __init__(self, config: EncoderConfig, first: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_dropout
        self.gated = config.num_buckets is not None
        if config.num_buckets is not None:
            self.gru_rel_pos_const = nn.Parameter(torch.ones(1, self.num_heads, 1, 1))
            self.gru_rel_pos_linear = nn.Linear(width // self.num_heads, 8)
            if first:  # the later layers gate the first one's bias
                self.rel_attn_embed = nn.Embedding(config.num_buckets, self.num_heads)

    def forward(self, x: Tensor, padding: Tensor | None, position: Tensor | None) -> Tensor:
        """(B, T, D), a key bias (B, 1, 1, T) or None, a position bias (H, T, T) or None, to (B, T, D)."""
        q, k, v = (self.split(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        bias = padding
        if position is not None:
            bias = self.gate(x) * position
            bias = bias if padding is None else bias + padding
        dropout = self.dropout if self.training else 0.0
        y = attend(q, k, v, bias, dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, H, T, D / H)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def gate(self, x: Tensor) -> Tensor:
        """(B, T, D) to each query's weight on the position bias, (B, H, T, 1); arXiv:2110.13900, eq. (4)."""
        a, b = self.gru_rel_pos_linear(self.split(x)).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, -1)
        return a * (b * self.gru_rel_pos_const - 1.0) + 2.0


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """Attention of (B, H, T, D / H) tensors; written out on CPUs, where that is faster at lengths of up to 30 s."""
    bias = None if bias is None else bias.to(q.dtype)
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, bias, dropout)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    with torch.autocast("cpu", enabled=False):  # it would copy the scores to float32, in which softmax adds up anyway
        weights = scores.softmax(-1)
    return F.dropout(weights, dropout, dropout > 0) @ v


class FeedForward(nn.Module):
    """The transformer's two linear layers."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.inner_dropout = nn.Dropout(config.activation_dropout)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        return self.dropout(self.output_dense(self.inner_dropout(self.activation(self.intermediate_dense(x)))))


class LanguageAdapter(nn.Module):
    """MMS: the few parameters of each layer that belong to one language; arXiv:2305.13516."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        assert config.adapter_attn_dim
        self.norm = nn.LayerNorm(config.hidden_size)
        self.linear_1 = nn.Linear(config.hidden_size, config.adapter_attn_dim)
        self.linear_2 = nn.Linear(config.adapter_attn_dim, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        return self.linear_2(F.relu(self.linear_1(self.norm(x))))


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each with a shortcut and a norm after it."""

    def __init__(self, config: EncoderConfig, first: bool) -> None:
        super().__init__()
        self.attention = Attention(config, first)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: Tensor, padding: Tensor | None, position: Tensor | None) -> Tensor:
        """(B, T, D) to the same; the biases as in `Attention`."""
        x = self.layer_norm(x + self.dropout(self.attention(x, padding, position)))
        return self.final_layer_norm(x + self.feed_forward(x))


class NormFirstLayer(EncoderLayer):
    """The same with each norm before what it serves, and MMS's adapter at the end (the other layers have none)."""

    def __init__(self, config: EncoderConfig, first: bool) -> None:
        super().__init__(config, first)
        self.adapter_layer = LanguageAdapter(config) if config.adapter_attn_dim else None

    def forward(self, x: Tensor, padding: Tensor | None, position: Tensor | None) -> Tensor:
        """(B, T, D) to the same; the biases as in `Attention`."""
        x = x + self.dropout(self.attention(self.layer_norm(x), padding, position))
        x = x + self.feed_forward(self.final_layer_norm(x))
        return x if self.adapter_layer is None else x + self.adapter_layer(x)


class Transformer(nn.Module):
    """Positions, layers and their outer norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.pos_conv_embed = (PositionalConvStack if config.conv_pos_kernel_size else PositionalConv)(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        layer = NormFirstLayer if config.do_stable_layer_norm else EncoderLayer
        self.layers = nn.ModuleList(layer(config, first=i == 0) for i in range(config.num_hidden_layers))
        self.recompute = False
        """Whether training computes layers anew in the backward pass, to keep their inputs alone till then."""
        self.drops: torch.Generator | None = None
        """What LayerDrop is drawn from; None: PyTorch's own generator."""

    def forward(self, x: Tensor, lengths: Tensor, padded: bool, all_states: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, T, D) to the same, and every state where asked; `padded` says whether any row is shorter than T."""
        states: list[Tensor] = []
        for state in self.walk(x, lengths, padded):
            states = [*states, state] if all_states else [state]
        if self.config.do_stable_layer_norm:
            states[-1] = self.layer_norm(states[-1])
        return states[-1], tuple(states) if all_states else ()

    def walk(self, x: Tensor, lengths: Tensor, padded: bool) -> Iterator[Tensor]:
        """What enters the first layer, then each layer's output, before the last norm; arguments as in `forward`."""
        mask = frame_mask(lengths, x.shape[1])
        padding = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -math.inf)[:, None, None]
        real = mask[..., None]
        x = x * real
        x = x + self.pos_conv_embed(x, real)
        if not self.config.do_stable_layer_norm:
            x = self.layer_norm(x)
        x = self.dropout(x)
        position = self.position_bias(x.shape[1], x.device)
        yield x
        for layer in self.layers:
            if not self.drop():
                x = self.apply_layer(layer, x, padding if padded else None, position)
            yield x

    def drop(self) -> bool:
        """Whether LayerDrop leaves the next layer out, arXiv:1909.11556."""
        rate = self.config.layerdrop
        return self.training and rate > 0 and bool(torch.rand((), generator=self.drops) < rate)

    def apply_layer(self, layer: nn.Module, x: Tensor, padding: Tensor | None, position: Tensor | None) -> Tensor:
        """(B, T, D) to the same; drawn numbers are the same when it is computed anew."""
        if self.recompute and self.training:
            return checkpoint(layer, x, padding, position, use_reentrant=False)  # type: ignore[return-value]
        return layer(x, padding, position)

    def position_bias(self, num_frames: int, device: torch.device) -> Tensor | None:
        """WavLM's bias by distance, (H, T, T), which every layer gates for itself."""
        if self.config.num_buckets is None or not len(self.layers):
            return None
        distance = torch.arange(1 - num_frames, num_frames, device=device)
        buckets = distance_buckets(distance, self.config.num_buckets, self.config.max_bucket_distance)
        by_distance = self.get_submodule("layers.0.attention.rel_attn_embed")(buckets).T  # (H, 2 T - 1)
        return by_distance.unfold(1, num_frames, 1).flip(1)  # query i sees the distances from -i on


def distance_buckets(distance: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Signed distances to buckets: exact when near, logarithmic when far, the sign in the upper half (T5's scheme)."""
    half = num_buckets // 2
    exact = half // 2
    far = distance.abs()
    log = torch.log(far.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    large = (exact + log.long()).clamp(max=half - 1)
    return (distance > 0) * half + torch.where(far < exact, far, large)


class Encoder(nn.Module):
    """Waveforms to states, for every family."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = FeatureProjection(config)
        self.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size).uniform_())
        self.encoder = Transformer(config)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        all_states: bool = False,
        mask_channels: Tensor | None = None,
    ) -> Encoded:
        """Encode (B, N) samples, of which `lengths` (B,) are real (all, where None).

        Before the transformer, `mask` (B, T) replaces frames by the learned mask vector, then `mask_channels` (B, D)
        sets channels to 0. A row must be at least `config.receptive_field` samples long. Keep `lengths` on the host:
        looking at them there waits for no GPU.
        """
        padded = lengths is not None and bool((lengths < waveforms.shape[1]).any())
        real = torch.full(waveforms.shape[:1], waveforms.shape[1]) if lengths is None else lengths
        real = real.to(waveforms.device)
        if padded:
            waveforms = waveforms.masked_fill(~frame_mask(real, waveforms.shape[1]), 0)  # there may be NaN
        convolved, real = self.feature_extractor(waveforms, real)
        x, features = self.feature_projection(convolved)
        if mask is not None:
            x = torch.where(mask[..., None], self.masked_spec_embed.to(x.dtype), x)
        if mask_channels is not None:
            x = x.masked_fill(mask_channels[:, None], 0)
        last, states = self.encoder(x, real, padded, all_states)
        return Encoded(last, real, states, features, convolved)


def count_parameters(parameters: Iterable[Tensor]) -> int:
    """How many numbers a model learns."""
    return sum(p.numel() for p in parameters)
