"""From speech alone: wav2vec 2.0's contrastive task and HuBERT's clusters, over the same masks, batches and encoder.

Shapes: B rows, N samples, T frames, L clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.data.batches import Batch
from sonant.errors import OptionError
from sonant.model.config import EncoderConfig, PretrainConfig
from sonant.model.encoder import Encoder
from sonant.model.heads import load_weights
from sonant.model.initial import draw_weights
from sonant.model.masks import sample_negatives
from sonant.model.pretrain import (
    ClusterModel,
    ClusterSpec,
    ContrastiveModel,
    Mean,
    PretrainOutput,
    annealed_temperature,
    perplexity,
    usage,
)
from sonant.train.clusters import assign_clusters, fit_kmeans, mfcc
from sonant.train.guard import CollapseGuard
from sonant.train.metrics import Sums, add_sums
from sonant.train.recipe import Recipe
from sonant.train.task import Losses, configure, draw_masks
from sonant.types import FloatArray

MFCC_FRAMES = 320, 400
"""Samples between two frames, and those that one sees."""


class PretrainingTask:
    """What both have in common."""

    better: str | None = None
    target = "text"
    labelled = False
    vocabulary = None
    space = " "
    watched: ClassVar[tuple[str, ...]]
    """First the part of the loss whose frames are counted."""

    def __init__(self, recipe: Recipe) -> None:
        augment = recipe.augment
        if not augment.mask_time or augment.mask_channel:
            raise OptionError(
                "A task without transcripts hides frames, and no channels, but augment.mask_time is "
                f"{augment.mask_time:g} and augment.mask_channel {augment.mask_channel:g}; set 0.65 and 0."
            )
        self.recipe, self.notes = recipe, tuple[str, ...]()
        self.checkpoint = open_checkpoint(recipe.model.start) if recipe.model.start else None
        self.sample_rate = self.checkpoint.sample_rate if self.checkpoint else recipe.data.sample_rate
        self.normalize = self.checkpoint.normalize if self.checkpoint else recipe.data.normalize
        self.config = configure(recipe, self.checkpoint, None)

    def text(self, raw: str) -> str:  # noqa: ARG002
        """Nothing: no transcript is learnt."""
        return ""

    def begin(self, waveforms: Iterator[FloatArray]) -> None:
        """Nothing need be known."""

    def set_trainable(self, step: int) -> None:
        """Everything learns from the first step on, as it was built."""

    def forward(self, batch: Batch, mask: Tensor, generator: torch.Generator) -> PretrainOutput:
        """What the model makes of a batch under a mask (B, T)."""
        raise NotImplementedError

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:  # noqa: ARG002
        """The weighted sum of the objective's parts: each is a mean over this batch, counted as its masked frames.

        So the diversity of codes, which is no sum over frames, is that of each batch, as in the paper.
        """
        out = self.forward(batch, self._mask(batch, generator), generator)
        sums = to_sums(out)
        count = sums[self.watched[0]][1]
        return Losses(out.loss * count, count, sums)

    @torch.no_grad()
    def score(self, batches: Iterable[Batch]) -> Sums:
        """The objective's parts and what is watched, under masks that are always the same."""
        generator = torch.Generator().manual_seed(self.recipe.run.seed)
        found: dict[str, tuple[float, float]] = {}
        for batch in batches:
            out = self.forward(batch, self._mask(batch, generator), generator)
            add_sums(found, to_sums(out))
        main = self.watched[0]
        return {"dev_loss" if name == main else f"dev_{name}": sums for name, sums in found.items()}

    def _mask(self, batch: Batch, generator: torch.Generator) -> Tensor:
        mask, _ = draw_masks(self.recipe, self.config, batch, generator, minimum=2)
        assert mask is not None
        return mask


def to_sums(out: PretrainOutput) -> dict[str, tuple[float, float]]:
    """Every part of the loss and every metric, fetched from the device at once."""
    means = out.losses | out.metrics
    if out.code_counts is not None:
        one = torch.ones((), device=out.code_counts.device)
        means |= {
            "perplexity": Mean(perplexity(out.code_counts).mean(), one),
            "codes_used": Mean(usage(out.code_counts).mean(), one),
        }
    pairs = [torch.stack([m.sum.detach().double(), m.count.double()]) for m in means.values()]
    return dict(zip(means, map(tuple, torch.stack(pairs).tolist()), strict=True))


class ContrastiveTask(PretrainingTask):
    """wav2vec 2.0: which of the codes of other frames is the hidden one's (arXiv:2006.11477)."""

    watched = (
        "contrastive",
        "accuracy",
        "perplexity",
        "clashes",
        "positive_cosine",
        "negative_cosine",
        "feature_penalty",
    )
    wants_clean = False

    def __init__(self, recipe: Recipe, texts: Sequence[str | None]) -> None:  # noqa: ARG002 - no text is learnt
        super().__init__(recipe)
        given = self.checkpoint.settings if self.checkpoint else {}
        told = {name: given[name] for name in PretrainConfig().to_dict() if name in given}
        self.pretrain = PretrainConfig.from_dict(told | recipe.pretrain.config)
        self.model = ContrastiveModel(self.config, self.pretrain)
        draw_weights(self.model, torch.default_generator)
        if self.checkpoint and recipe.task.head == "keep":
            load_weights(self.model, self.checkpoint)
        elif self.checkpoint:
            load_encoder(self.model, self.config, self.checkpoint)
        self.guard = CollapseGuard(self.pretrain.num_negatives)

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """As in every task, at the step's temperature."""
        start, end = self.recipe.pretrain.temperatures
        done = step / max(self.recipe.pretrain.anneal * self.recipe.schedule.steps, 1)
        self.model.quantizer.temperature = annealed_temperature(done, start, end)
        losses = super().loss(batch, generator, step)
        return replace(losses, metrics={**losses.metrics, "temperature": (self.model.quantizer.temperature, 1.0)})

    def forward(self, batch: Batch, mask: Tensor, generator: torch.Generator) -> PretrainOutput:
        """Masks, negatives and noise all come from `generator`."""
        device = batch.waveforms.device
        negatives = sample_negatives(mask, self.pretrain.num_negatives, generator).to(device)
        if device.type != "cpu":
            seed = int(torch.randint(2**62, (), generator=generator))
            generator = torch.Generator(device).manual_seed(seed)
        return self.model(batch.waveforms, batch.lengths, mask, negatives, generator)

    def save(self, folder: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
        """Write a folder that transformers' `Wav2Vec2ForPreTraining` takes, and every fine-tuning."""
        save_pretrained(folder, self, weights, dtype, self.pretrain.to_dict() | FOR_PRETRAINING)


FOR_PRETRAINING = {"architectures": ["Wav2Vec2ForPreTraining"]}


class ClusterTraining(nn.Module):
    """HuBERT's model, and the centres of the clusters that it names."""

    centres: Tensor

    def __init__(self, named: ClusterModel, width: int) -> None:
        super().__init__()
        self.named = named
        self.register_buffer("centres", torch.zeros(named.spec.num_clusters, width))


class ClusterTask(PretrainingTask):
    """HuBERT: to which cluster of sounds the hidden frame belongs (arXiv:2106.07447).

    The clusters are those of MFCC, or of what a layer of another model makes of the speech.
    """

    watched = ("masked", "feature_penalty")
    better = "dev_loss"
    wants_clean = True

    def __init__(self, recipe: Recipe, texts: Sequence[str | None]) -> None:  # noqa: ARG002 - no text is learnt
        super().__init__(recipe)
        asked = recipe.pretrain
        self.teacher = open_teacher(asked.teacher, asked.teacher_layer) if asked.teacher else None
        own = self.config.hop, self.config.receptive_field
        labels = (self.teacher.config.hop, self.teacher.config.receptive_field) if self.teacher else MFCC_FRAMES
        if own != labels or (self.teacher is None and self.sample_rate != 16000):
            raise OptionError(
                f"Labels must be of the model's frames, which come every {own[0]} samples and see {own[1]}, but those "
                f"of {asked.teacher or 'MFCC at 16 kHz'} come every {labels[0]} and see {labels[1]}; "
                "choose another pretrain.teacher or other convolutions."
            )
        spec = ClusterSpec(asked.clusters, unmasked_weight=asked.unmasked, feature_penalty_weight=asked.penalty)
        named = ClusterModel(self.config, spec)
        draw_weights(named, torch.default_generator)
        if self.checkpoint:
            load_encoder(named, self.config, self.checkpoint)
        self.model = ClusterTraining(named, self.teacher.config.hidden_size if self.teacher else 39)
        self.guard = CollapseGuard()

    def begin(self, waveforms: Iterator[FloatArray]) -> None:
        """Find the clusters."""
        asked, device = self.recipe.pretrain, self.model.centres.device

        def features() -> Iterator[Tensor]:
            heard = 0
            while heard < asked.cluster_frames:
                samples = torch.from_numpy(next(waveforms))[None]
                found = self.describe(samples.to(device), torch.tensor([samples.shape[1]]))[0]
                heard += len(found)
                yield found

        generator = torch.Generator().manual_seed(self.recipe.run.seed)
        self.model.centres.copy_(fit_kmeans(features(), asked.clusters, generator, asked.cluster_frames))

    @torch.no_grad()
    def describe(self, waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
        """What is clustered: (B, N) clean samples to each row's (T, D), on the samples' device."""
        if self.teacher is None:
            rows = zip(waveforms.cpu(), lengths.tolist(), strict=True)
            return [mfcc(row[:num]).to(waveforms.device) for row, num in rows]
        self.teacher.to(waveforms.device)
        states = self.teacher(waveforms, lengths)
        return [row[:num].float() for row, num in zip(states.last, states.lengths.tolist(), strict=True)]

    def forward(self, batch: Batch, mask: Tensor, generator: torch.Generator) -> PretrainOutput:  # noqa: ARG002
        """The labels are those of the rows before they were varied."""
        labels = torch.full(mask.shape, -1, device=mask.device)
        clean = batch.waveforms if batch.clean is None else batch.clean
        for row, found in zip(labels, self.describe(clean, batch.lengths), strict=True):
            row[: len(found)] = assign_clusters(found, self.model.centres)
        return self.model.named(batch.waveforms, batch.lengths, mask, labels)

    def save(self, folder: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
        """Write the encoder, from which every fine-tuning begins, as transformers' bare model."""
        prefix = f"named.{self.config.prefix}."
        own = {name.removeprefix("named."): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        save_pretrained(folder, self, own, dtype, {})


def save_pretrained(
    folder: Path, task: PretrainingTask, weights: Mapping[str, Tensor], dtype: str, settings: Mapping[str, object]
) -> None:
    """Write a model without a vocabulary as a folder in Hugging Face's layout."""
    save_checkpoint(
        folder,
        task.config,
        {name: tensor.cpu().numpy() for name, tensor in weights.items()},
        None,
        sample_rate=task.sample_rate,
        normalize=task.normalize,
        dtype=dtype,  # type: ignore[arg-type]
        language=task.recipe.data.language or None,
        settings=settings,
    )


def load_encoder(model: ContrastiveModel | ClusterModel, config: EncoderConfig, checkpoint: Checkpoint) -> None:
    """Give a model the weights of a checkpoint's encoder."""
    with torch.device("meta"):
        encoder = Encoder(config)
    load_weights(encoder, checkpoint)
    model.backbone.load_state_dict(encoder.state_dict(), assign=True)


def open_teacher(source: str, layer: int) -> Encoder:
    """The first layers of a model, frozen."""
    checkpoint = open_checkpoint(source)
    if layer > checkpoint.config.num_hidden_layers:
        raise OptionError(
            f"pretrain.teacher_layer must be at most {checkpoint.config.num_hidden_layers}, the layers of {source}, "
            f"but is {layer}; name another."
        )
    config = EncoderConfig.from_dict(checkpoint.config.to_dict() | {"num_hidden_layers": layer, "layerdrop": 0.0})
    with torch.device("meta"):
        encoder = Encoder(config)
    load_weights(encoder, checkpoint)
    return encoder.eval().requires_grad_(False)
