"""Learning from speech alone: wav2vec 2.0's contrastive objective and HuBERT's masked prediction of clusters.

Both share the encoder, the masks of `sonant.model.masks` and one form of result, in which everything is a sum beside
its count, so that means are right for any batch, accumulation and number of machines. The loop is `sonant.train`.

Shapes: B batch, N samples, T frames, M the most masked frames of a row, K negatives, C channels of the convolutions,
D hidden size, G codebooks, V entries of a codebook, L clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonant.model.config import EncoderConfig, PretrainConfig
from sonant.model.convolutions import frame_mask
from sonant.model.encoder import Encoded, Encoder
from sonant.model.masks import masked_frames


@dataclass(frozen=True)
class Mean:
    """A mean that adds up: over micro-batches and machines, add the sums and the counts apart."""

    sum: Tensor
    """Scalar float32."""
    count: Tensor
    """Scalar: what the sum runs over."""

    @property
    def value(self) -> Tensor:
        """The mean; 0 of nothing."""
        return self.sum / self.count.clamp(min=1)


@dataclass(frozen=True)
class PretrainOutput:
    """What a batch costs, and what there is to watch."""

    losses: dict[str, Mean]
    """Parts of the loss, with gradients."""
    weights: dict[str, float]
    """Of each part in the whole."""
    metrics: dict[str, Mean]
    """What to watch, without gradients; the names are the same in every batch."""
    code_counts: Tensor | None = None
    """(G, V): how often each codebook entry was chosen for a masked frame; of several batches, add them up."""
    code_probabilities: Tensor | None = None
    """(G, V): the same before the choice, as summed probabilities."""

    @property
    def loss(self) -> Tensor:
        """The weighted sum of this batch's means; across batches, divide each part by its count in all of them."""
        return sum((self.weights[name] * part.value for name, part in self.losses.items()), torch.zeros(()))


def perplexity(counts: Tensor) -> Tensor:
    """How many entries are in use, (..., V) counts or summed probabilities to (...): 1 for one alone, V for all alike.

    The exponential of the distribution's entropy, arXiv:2006.11477, section 3.2.
    """
    shares = counts / counts.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    logs = shares.clamp(min=torch.finfo(torch.float32).tiny).log()  # finite, and so is its gradient, for unused entries
    return torch.exp(-(shares * logs).sum(-1))


def usage(counts: Tensor) -> Tensor:
    """The share of entries that were chosen at all, (..., V) to (...)."""
    return (counts > 0).float().mean(-1)


def annealed_temperature(done: float, start: float = 2.0, end: float = 0.5) -> float:
    """The Gumbel softmax's temperature when this share of its fall is done; the defaults are the base model's.

    It falls by the same factor each step, arXiv:2006.11477, section 4.2 (the large model's to 0.1).
    """
    return start * (end / start) ** min(done, 1.0)


@dataclass(frozen=True)
class Quantized:
    """Frames as entries of the codebooks."""

    vectors: Tensor
    """(..., codevector_dim): the chosen entries, joined."""
    codes: Tensor
    """(..., G): their indices."""
    probabilities: Tensor
    """(..., G, V): of each entry, without noise and at temperature 1."""


class Quantizer(nn.Module):
    """Chooses one entry of each codebook for a frame; arXiv:2006.11477, eq. (1)."""

    def __init__(self, config: EncoderConfig, pretrain: PretrainConfig) -> None:
        super().__init__()
        self.shape = pretrain.num_codevector_groups, pretrain.num_codevectors_per_group
        groups, entries = self.shape
        self.codevectors = nn.Parameter(torch.empty(1, groups * entries, pretrain.codevector_dim // groups).uniform_())
        self.weight_proj = nn.Linear(config.conv_dim[-1], groups * entries)
        self.temperature = 2.0
        """Of the Gumbel softmax in training; set it before each step (`annealed_temperature`)."""

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """Quantise (..., C) features: by chance in training, with noise from `generator`, else to the likeliest entry.

        In training the choice is hard and its gradient that of the softmax (straight through). A generator on the
        features' device spares a copy of the noise.
        """
        logits = self.weight_proj(features).float().unflatten(-1, self.shape)
        if self.training:
            assert generator is not None, "training needs a generator for the Gumbel noise"
            relaxed = ((logits + gumbel_noise(logits, generator)) / self.temperature).softmax(-1)
            codes = relaxed.argmax(-1)
            # in this order the choice is exactly 0 and 1: equal codes give equal vectors
            choice = F.one_hot(codes, self.shape[1]) + (relaxed - relaxed.detach())
        else:
            codes = logits.argmax(-1)
            choice = F.one_hot(codes, self.shape[1]).to(logits.dtype)
        books = self.codevectors.view(*self.shape, -1)
        vectors = torch.einsum("...gv,gvd->...gd", choice, books).flatten(-2)
        return Quantized(vectors, codes, logits.softmax(-1))


def gumbel_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent numbers of the standard Gumbel distribution in a tensor's shape, on its device."""
    noise = torch.empty(like.shape, dtype=like.dtype, device=generator.device)
    return noise.exponential_(generator=generator).log().neg().to(like.device)


class ContrastiveModel(nn.Module):
    """wav2vec 2.0 in pre-training; its state dict has the keys of transformers' `Wav2Vec2ForPreTraining`."""

    def __init__(self, config: EncoderConfig, pretrain: PretrainConfig) -> None:
        super().__init__()
        self.config, self.pretrain = config, pretrain
        self.add_module(config.prefix, Encoder(config))
        self.dropout_features = nn.Dropout(pretrain.feat_quantizer_dropout)
        self.quantizer = Quantizer(config, pretrain)
        self.project_hid = nn.Linear(config.hidden_size, pretrain.proj_codevector_dim)
        self.project_q = nn.Linear(pretrain.codevector_dim, pretrain.proj_codevector_dim)

    @property
    def backbone(self) -> Encoder:
        """The encoder, which the state dict names after its family."""
        return self.get_submodule(self.config.prefix)  # type: ignore[return-value]

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | None,
        mask: Tensor,
        negatives: Tensor,
        generator: torch.Generator | None = None,
    ) -> PretrainOutput:
        """The cost of telling each masked frame's code from those of its negatives, on (B, N) samples.

        `mask` (B, T) and `negatives` (B, M, K) come from `sample_spans` and `sample_negatives`, on the model's device;
        `lengths` as in `Encoder.forward`, `generator` as in `Quantizer.forward`. Frames of rows in which only one is
        masked count for nothing.
        """
        encoded = self.backbone(waveforms, lengths, mask)
        places, targets = masked_frames(mask, negatives.shape[1])
        context = self.project_hid(taken(encoded.last, places))
        quantized = self.quantizer(self.dropout_features(taken(encoded.features, places)), generator)
        cosines = pairwise_cosines(context, self.project_q(quantized.vectors))  # (B, M, M)
        positive = cosines.diagonal(dim1=1, dim2=2)
        others = cosines.take_along_dim(negatives, -1)  # (B, M, K)
        clashing = same_codes(quantized.codes, negatives)

        logits = torch.cat([positive[..., None], others.masked_fill(clashing, -torch.inf)], -1)
        costs = logits.div(self.pretrain.contrastive_logits_temperature)
        costs = costs.logsumexp(-1) - costs[..., 0]  # eq. (3)
        count = targets.sum()
        chosen = quantized.probabilities, F.one_hot(quantized.codes, self.quantizer.shape[1])
        soft, hard = ((part * targets[..., None, None]).sum((0, 1)) for part in chosen)  # (G, V)
        losses = {
            "contrastive": Mean(costs.where(targets, 0).sum(), count),
            # scaled like the rest, or it outweighs or vanishes beside it
            "diversity": Mean((1 - perplexity(soft).sum() / soft.numel()) * count, count),
            "feature_penalty": feature_penalty(encoded),
        }
        with torch.no_grad():
            metrics = watched(positive, others, clashing, targets)
        weights = {"contrastive": 1.0, "diversity": self.pretrain.diversity_loss_weight,
                   "feature_penalty": self.pretrain.feature_penalty_weight}  # fmt: skip
        return PretrainOutput(losses, weights, metrics, hard, soft.detach())


def taken(states: Tensor, places: Tensor) -> Tensor:
    """The frames (B, M, D) of (B, T, D) states at (B, M) places."""
    return states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))


def pairwise_cosines(a: Tensor, b: Tensor) -> Tensor:
    """(B, M, D) and (B, L, D) or (L, D) to (B, M, L) cosines, in float32: bfloat16 would blur a temperature of 0.1."""
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).mT


def same_codes(codes: Tensor, negatives: Tensor) -> Tensor:
    """(B, M, G) codes and (B, M, K) indices of frames to (B, M, K): True where a negative is the positive itself."""
    rows = torch.arange(len(codes), device=codes.device)[:, None, None]
    return (codes[rows, negatives] == codes[:, :, None]).all(-1)


def watched(positive: Tensor, others: Tensor, clashing: Tensor, targets: Tensor) -> dict[str, Mean]:
    """From cosines to the positives (B, M) and the negatives (B, M, K): what tells learning from collapse.

    A frame whose negatives all are the positive itself has nothing to be told from, so it is not counted as right.
    """
    distinct = ~clashing & targets[..., None]
    right = positive > others.masked_fill(~distinct, -torch.inf).amax(-1)
    count = targets.sum()
    return {
        "accuracy": Mean((right & distinct.any(-1)).sum().float(), count),
        "positive_cosine": Mean(positive.where(targets, 0).sum(), count),
        "negative_cosine": Mean(others.where(distinct, 0).sum(), distinct.sum()),
        "clashes": Mean((clashing & targets[..., None]).sum().float(), count * clashing.shape[-1]),
    }


def feature_penalty(encoded: Encoded) -> Mean:
    """The mean square of what the convolutions give for real frames, which keeps their scale in bounds."""
    real = frame_mask(encoded.lengths, encoded.convolved.shape[1])
    squares = encoded.convolved.float().square().sum(-1)
    return Mean(squares.where(real, 0).sum(), real.sum() * encoded.convolved.shape[-1])


@dataclass(frozen=True)
class ClusterSpec:
    """HuBERT's objective; the defaults are those of its base model's first round, arXiv:2106.07447."""

    num_clusters: int = 100
    """L: 100 of MFCC at first, 500 of a layer's features after."""
    width: int = 256
    """In which frames and clusters are compared."""
    temperature: float = 0.1
    unmasked_weight: float = 0.0
    """Of the loss over frames that are not masked."""
    feature_penalty_weight: float = 10.0


class ClusterModel(nn.Module):
    """HuBERT in pre-training: the encoder, and one learnt vector a cluster."""

    def __init__(self, config: EncoderConfig, spec: ClusterSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.add_module(config.prefix, Encoder(config))
        self.final_proj = nn.Linear(config.hidden_size, spec.width)
        self.label_embs_concat = nn.Parameter(torch.empty(spec.num_clusters, spec.width).uniform_())

    @property
    def backbone(self) -> Encoder:
        """The encoder, which the state dict names after its family."""
        return self.get_submodule(self.config.prefix)  # type: ignore[return-value]

    def forward(self, waveforms: Tensor, lengths: Tensor | None, mask: Tensor, labels: Tensor) -> PretrainOutput:
        """The cost of naming the cluster of each frame, masked and not, on (B, N) samples; arXiv:2106.07447, eq. (3).

        `mask` (B, T) is that of `sample_spans`; `labels` (B, T) are clusters, negative where a frame has none.
        """
        encoded = self.backbone(waveforms, lengths, mask)
        cosines = pairwise_cosines(self.final_proj(encoded.last), self.label_embs_concat)  # (B, T, L)
        labelled = frame_mask(encoded.lengths, labels.shape[1]) & (labels >= 0)
        known = labels.where(labelled, 0)
        costs = F.cross_entropy(cosines.div(self.spec.temperature).mT, known, reduction="none")
        right = cosines.detach().argmax(-1) == known
        parts = {"masked": labelled & mask, "unmasked": labelled & ~mask}
        losses = {name: Mean(costs.where(part, 0).sum(), part.sum()) for name, part in parts.items()}
        metrics = {f"{name}_accuracy": Mean((right & part).sum().float(), part.sum()) for name, part in parts.items()}
        losses["feature_penalty"] = feature_penalty(encoded)
        weights = {"masked": 1.0, "unmasked": self.spec.unmasked_weight,
                   "feature_penalty": self.spec.feature_penalty_weight}  # fmt: skip
        return PretrainOutput(losses, weights, metrics)
