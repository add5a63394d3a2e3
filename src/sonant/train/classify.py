"""One label a clip: a mood, a command, a language, who speaks; over a frozen encoder or one that learns too.

A clip's states enter a classifier as their mean over time, so of an encoder that stays as it is, the means of each clip
are all that has to be kept: every later epoch costs next to nothing.

Shapes: B rows, L layers and what enters the first, D hidden size, K labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sonant.checkpoints.huggingface import save_checkpoint
from sonant.data.batches import Batch
from sonant.model.heads import ClipClassifier
from sonant.train.clips import ClipTask
from sonant.train.metrics import Sums
from sonant.train.recipe import Recipe
from sonant.train.task import Losses, draw_masks, hardship


class ClassifyTask(ClipTask):
    """The labels of clips, each as often as `task.class_weights` makes it count."""

    better = "dev_loss"
    model: ClipClassifier

    def __init__(self, recipe: Recipe, labels: Sequence[str | None]) -> None:
        super().__init__(recipe, labels)
        mean = len(labels) / len(self.labels)
        counted = [mean / self.counts[label] if recipe.task.class_weights else 1.0 for label in self.labels]
        self.weights = torch.tensor(counted)

    def make_model(self) -> ClipClassifier:
        """A classifier of as many labels as were found."""
        return ClipClassifier(self.config, len(self.labels))

    def describe(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The means (B, L, D) of the states of each row."""
        return self.model.pool(waveforms, lengths)

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """Cross-entropy of each clip, times the weight of its label; averaged over these weights."""
        targets = self.targets(batch)
        scores = self.model(self._pooled(batch, generator, step)).float()
        weights = self.weights.to(scores.device)[targets]
        rows = F.cross_entropy(scores, targets, reduction="none")
        right = float((scores.argmax(-1) == targets).sum().item())
        return Losses((rows * weights).sum(), float(weights.sum()), {"accuracy": (right, float(len(targets)))})

    def _pooled(self, batch: Batch, generator: torch.Generator, step: int) -> Tensor:
        """The means (B, L, D) of a batch; kept where the encoder and its rows stay as they are."""
        if self.frozen(step):
            return torch.stack(self.heard(batch, keep=not self.varies()))
        mask, channels = draw_masks(self.recipe, self.config, batch, generator, hardship(self.recipe, step))
        return self.model.pool(batch.waveforms, batch.lengths, mask, channels)

    @torch.no_grad()
    def score(self, batches: Iterable[Batch]) -> Sums:
        """The loss with the weights of training, the share of clips labelled rightly, and the same of each label."""
        right, total, lost, weight = Counter[int](), Counter[int](), 0.0, 0.0
        for batch in batches:
            targets = self.targets(batch)
            scores = self.model(torch.stack(self.heard(batch, keep=self.still))).float()
            weights = self.weights.to(scores.device)[targets]
            lost += (F.cross_entropy(scores, targets, reduction="none") * weights).sum().item()
            weight += weights.sum().item()
            for best, target in zip(scores.argmax(-1).tolist(), targets.tolist(), strict=True):
                total[target] += 1
                right[target] += best == target
        recalls = {f"recall_{self.labels[i]}": (float(right[i]), float(total[i])) for i in total}
        return {"dev_loss": (lost, weight), "accuracy": (float(right.total()), float(total.total())), **recalls}

    def save(self, folder: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
        """Write the classifier as a folder that `sonant.load` and transformers take."""
        save_checkpoint(
            folder,
            self.config,
            self.tensors(weights),
            None,
            sample_rate=self.sample_rate,
            normalize=self.normalize,
            dtype=dtype,  # type: ignore[arg-type]
            settings={
                "architectures": [self.config.class_name("ForSequenceClassification")],
                "use_weighted_layer_sum": True,
                "classifier_proj_size": self.model.projector.out_features,
                "id2label": {str(i): label for i, label in enumerate(self.labels)},
                "label2id": dict(self.index),
            },
        )
