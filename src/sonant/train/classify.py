"""One label a clip: a mood, a command, a language, who speaks; over a frozen encoder or one that learns too.

A clip's states enter a classifier as their mean over time, so of an encoder that stays as it is, the means of each clip
are all that has to be kept: every later epoch costs next to nothing.

Shapes: B rows, L layers and what enters the first, D hidden size, K labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.data.batches import Batch
from sonant.errors import DataError, OptionError
from sonant.model.encoder import Encoder
from sonant.model.heads import ClipClassifier, load_weights
from sonant.train.metrics import Sums
from sonant.train.recipe import Recipe
from sonant.train.task import Losses, configure, draw_masks, hardship
from sonant.types import FloatArray


class ClassifyTask:
    """The labels of clips, each as often as `task.class_weights` makes it count."""

    better, target = "dev_loss", "label"
    labelled, wants_clean, guard, watched = True, False, None, ()
    vocabulary, space, notes = None, " ", ()

    def __init__(self, recipe: Recipe, labels: Sequence[str | None]) -> None:
        if missing := sum(label is None for label in labels):
            raise DataError(
                f"Every utterance must have a {self.target} to learn from, but {missing} of {len(labels)} have none; "
                "leave them out of the manifest."
            )
        counts = Counter(label for label in labels if label is not None)
        self.labels = tuple(sorted(counts))
        if len(self.labels) < 2:
            raise DataError(
                f"A classifier learns to tell labels apart, but all {len(labels)} utterances have the {self.target} "
                f"{', '.join(self.labels)}; add utterances with others."
            )
        if recipe.batches.join:
            raise OptionError("Rows of a classifier are one clip each, but batches.join is not 0; set it to 0.")
        if not recipe.model.start:
            raise OptionError("A classifier stands on an encoder that has learnt, but model.start is empty; name one.")
        self.recipe = recipe
        checkpoint = open_checkpoint(recipe.model.start)
        self.sample_rate, self.normalize = checkpoint.sample_rate, checkpoint.normalize
        self.config = configure(recipe, checkpoint, None)
        self.model = ClipClassifier(self.config, len(self.labels))
        with torch.device("meta"):
            encoder = Encoder(self.config)
        load_weights(encoder, checkpoint)
        self.model.backbone.load_state_dict(encoder.state_dict(), assign=True)
        self.index = {label: i for i, label in enumerate(self.labels)}
        mean = len(labels) / len(self.labels)
        self.weights = torch.tensor(
            [mean / counts[label] if recipe.task.class_weights else 1.0 for label in self.labels]
        )
        self.still = recipe.task.freeze_transformer_steps >= recipe.schedule.steps
        """Whether the encoder never learns."""
        self.kept: dict[str, Tensor] = {}
        """By names of clips the means (L, D) of an encoder that does not learn."""

    def text(self, raw: str) -> str:
        """A label as it stands."""
        return raw

    def begin(self, waveforms: Iterator[FloatArray]) -> None:
        """Nothing need be known."""

    def frozen(self, step: int) -> bool:
        """Whether the head learns alone."""
        return step < self.recipe.task.freeze_transformer_steps

    def set_trainable(self, step: int) -> None:
        """The head always; the encoder after its first steps, but for its convolutions where they are frozen."""
        for name, parameter in self.model.backbone.named_parameters():
            held = self.recipe.task.freeze_convolutions and name.startswith("feature_extractor.")
            parameter.requires_grad_(not self.frozen(step) and not held)

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """Cross-entropy of each clip, times the weight of its label; averaged over these weights."""
        targets = self._targets(batch)
        scores = self.model(self._pooled(batch, generator, step)).float()
        weights = self.weights.to(scores.device)[targets]
        rows = F.cross_entropy(scores, targets, reduction="none")
        right = float((scores.argmax(-1) == targets).sum().item())
        return Losses((rows * weights).sum(), float(weights.sum()), {"accuracy": (right, float(len(targets)))})

    def _pooled(self, batch: Batch, generator: torch.Generator, step: int) -> Tensor:
        """The means (B, L, D) of a batch; kept where the encoder and its rows stay as they are."""
        if self.frozen(step):
            return self._heard(batch, keep=not self._varies())
        mask, channels = draw_masks(self.recipe, self.config, batch, generator, hardship(self.recipe, step))
        return self.model.pool(batch.waveforms, batch.lengths, mask, channels)

    @torch.no_grad()
    def _heard(self, batch: Batch, keep: bool) -> Tensor:
        """The same from an encoder that drops nothing; what is kept is not computed again."""
        if keep and all(name in self.kept for name in batch.names):
            return torch.stack([self.kept[name] for name in batch.names])
        learning = self.model.backbone.training
        self.model.backbone.eval()
        try:
            pooled = self.model.pool(batch.waveforms, batch.lengths)
        finally:
            self.model.backbone.train(learning)
        if keep:
            self.kept |= zip(batch.names, pooled, strict=True)
        return pooled

    def _varies(self) -> bool:
        augment = self.recipe.augment
        return any((augment.speed, augment.gain_db, augment.noise, augment.room, augment.band))

    @torch.no_grad()
    def score(self, batches: Iterable[Batch]) -> Sums:
        """The loss with the weights of training, the share of clips labelled rightly, and the same of each label."""
        right, total, lost, weight = Counter[int](), Counter[int](), 0.0, 0.0
        for batch in batches:
            targets = self._targets(batch)
            scores = self.model(self._heard(batch, keep=self.still)).float()
            weights = self.weights.to(scores.device)[targets]
            lost += (F.cross_entropy(scores, targets, reduction="none") * weights).sum().item()
            weight += weights.sum().item()
            for best, target in zip(scores.argmax(-1).tolist(), targets.tolist(), strict=True):
                total[target] += 1
                right[target] += best == target
        recalls = {f"recall_{self.labels[i]}": (float(right[i]), float(total[i])) for i in total}
        return {"dev_loss": (lost, weight), "accuracy": (float(right.total()), float(total.total())), **recalls}

    def _targets(self, batch: Batch) -> Tensor:
        unknown = next((label for label in batch.texts if label not in self.index), None)
        if unknown is not None:
            raise DataError(
                f"Labels of the development set must be among those learnt, but {unknown!r} is not; "
                "leave its utterances out, or learn it."
            )
        return torch.tensor([self.index[label] for label in batch.texts], device=batch.waveforms.device)

    def save(self, folder: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
        """Write the classifier as a folder that `sonant.load` and transformers take."""
        name = self.config.to_dict()["architectures"][0].removesuffix("Model")
        save_checkpoint(
            folder,
            self.config,
            {key: tensor.cpu().numpy() for key, tensor in weights.items()},
            None,
            sample_rate=self.sample_rate,
            normalize=self.normalize,
            dtype=dtype,  # type: ignore[arg-type]
            settings={
                "architectures": [name + "ForSequenceClassification"],
                "use_weighted_layer_sum": True,
                "classifier_proj_size": self.model.projector.out_features,
                "id2label": {str(i): label for i, label in enumerate(self.labels)},
                "label2id": dict(self.index),
            },
        )
