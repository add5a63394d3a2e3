"""Who speaks: vectors of voices, learnt from clips with speakers, over a frozen encoder or one that learns too.

The speakers of the development set are other people: what is learnt must tell voices apart that it never heard.

Shapes: B rows, L layers and what enters the first, T frames, D hidden size, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sonant.checkpoints.huggingface import save_checkpoint
from sonant.data.batches import Batch
from sonant.errors import DataError, OptionError
from sonant.model.xvector import VoiceModel, VoiceShape
from sonant.train.clips import ClipTask
from sonant.train.metrics import Sums
from sonant.train.recipe import Recipe
from sonant.train.task import Losses, draw_masks, hardship
from sonant.train.verification import Verification, all_pairs, eer

FALSE_ACCEPTS = 0.01
"""Of pairs of two speakers of the development set, at the threshold that the model brings along."""


class XvectorTask(ClipTask):
    """Vectors by which clips of one speaker are nearer to each other than to all others."""

    target = "speaker"
    what: ClassVar[str] = "A model of voices"
    store_dtype: ClassVar[torch.dtype] = torch.float16
    better = "dev_eer"
    model: VoiceModel

    def __init__(self, recipe: Recipe, labels: Sequence[str | None]) -> None:
        super().__init__(recipe, labels)
        config, least = self.config, self.shape.context + 2
        needed = (config.receptive_field + (least - 1) * config.hop) / self.sample_rate
        if recipe.data.min_seconds < needed:
            raise OptionError(
                f"An x-vector is made of {least} frames or more, which last {needed:.3f} s, but data.min_seconds is "
                f"{recipe.data.min_seconds:g}; set it to {np.ceil(100 * needed) / 100:g} or more."
            )
        self.crop = max(round(recipe.task.crop_seconds * self.sample_rate / config.hop), least)
        self.threshold: float | None = None
        """What the development set says last."""
        own = self.checkpoint
        self.keeps_text = self.still and own.vocabulary is not None and not own.languages
        """Whether the CTC head stays beside: of an encoder that stays as it is, it still writes what it wrote."""

    @property
    def shape(self) -> VoiceShape:
        """The head's sizes, as the recipe has them."""
        task = self.recipe.task
        sizes = len(task.tdnn_dim), len(task.tdnn_kernel), len(task.tdnn_dilation)
        if len(set(sizes)) > 1 or not sizes[0]:
            raise OptionError(
                "task.tdnn_dim, task.tdnn_kernel and task.tdnn_dilation must have one entry a layer, but have "
                f"{sizes[0]}, {sizes[1]} and {sizes[2]}; correct the recipe."
            )
        return VoiceShape(task.tdnn_dim, task.tdnn_kernel, task.tdnn_dilation, task.xvector_output_dim)

    def make_model(self) -> VoiceModel:
        """A model of voices that knows as many speakers as were found while it learns."""
        return VoiceModel(self.config, self.shape, len(self.labels))

    def describe(self, waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
        """The states (L, T, D) of each row's real frames."""
        encoded = self.backbone(waveforms, lengths, None, all_states=True)
        states = torch.stack([state.half() for state in encoded.states], 1)
        return [row[:, :frames] for row, frames in zip(states, encoded.lengths.tolist(), strict=True)]

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """Additive-margin softmax over the speakers of training, a clip counting once."""
        targets = self.targets(batch)
        if self.frozen(step):
            rows = [self._cropped(row, generator) for row in self.heard(batch, keep=not self.varies())]
            states, lengths = _padded(rows)
        else:
            mask, channels = draw_masks(self.recipe, self.config, batch, generator, hardship(self.recipe, step))
            encoded = self.backbone(batch.waveforms, batch.lengths, mask, all_states=True, mask_channels=channels)
            states, lengths = torch.stack(encoded.states, 1), encoded.lengths
        return Losses(self.model.losses(self.model(states, lengths).float(), targets).sum(), float(len(targets)))

    def _cropped(self, row: Tensor, generator: torch.Generator) -> Tensor:
        """A stretch of a row (L, T, D) of `task.crop_seconds`, anywhere in it."""
        free = row.shape[1] - self.crop
        if not self.recipe.task.crop_seconds or free <= 0:
            return row
        first = int(torch.randint(free + 1, (1,), generator=generator))
        return row[:, first : first + self.crop]

    @torch.no_grad()
    def score(self, batches: Iterable[Batch]) -> Sums:
        """The equal error rate over all pairs of clips; also finds the threshold that the model is saved with.

        Raises `DataError` where a speaker is also learnt, and where there are no pairs of one speaker or of two.
        """
        vectors: list[Tensor] = []
        speakers: list[str] = []
        for batch in batches:
            if known := next((name for name in batch.texts if name in self.index), None):
                raise DataError(
                    f"The speakers of data.dev must be others than those of data.train, but {known!r} is in both; "
                    "split them by `sonant data split`, which lets no speaker cross."
                )
            states, lengths = _padded(self.heard(batch, keep=self.still))
            vectors.append(F.normalize(self.model(states, lengths).float(), dim=1).cpu())
            speakers += batch.texts
        if not any(speakers):
            return {"dev_eer": (0.0, 0.0)}
        pairs = all_pairs(speakers)
        same = [speakers[i] == speakers[j] for i, j in pairs.tolist()]
        if all(same) or not any(same):
            raise DataError(
                "data.dev must have pairs of clips of one speaker and of two, but lacks the "
                f"{'latter' if same and all(same) else 'former'}; take a larger part of the speakers."
            )
        table = torch.cat(vectors)
        scores = (table[pairs[:, 0]] * table[pairs[:, 1]]).sum(1)
        sides = [(speakers[i], speakers[j]) for i, j in pairs.tolist()]
        found = Verification(same, scores.tolist(), sides)
        least = found.threshold(FALSE_ACCEPTS)
        self.threshold = least if isfinite(least) else None
        return {"dev_eer": (eer(*found.curve) * len(speakers), float(len(speakers)))}

    def save(self, folder: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
        """Write the model as a folder that `sonant.load` and transformers take; its CTC head stays, where it can."""
        tensors, own, vocabulary = self.tensors(weights), dict[str, Any](), None
        if self.keeps_text:
            vocabulary, told = self.checkpoint.vocabulary, self.checkpoint.settings.get("sonant")
            assert vocabulary is not None
            shapes = {"weight": (len(vocabulary), self.config.hidden_size), "bias": (len(vocabulary),)}
            tensors |= {f"lm_head.{name}": self.checkpoint.weight(f"lm_head.{name}", s) for name, s in shapes.items()}
            own = dict(told) if isinstance(told, dict) else {}
        if self.threshold is not None:
            own["voice_threshold"] = round(self.threshold, 4)
        save_checkpoint(
            folder,
            replace(self.config, vocab_size=len(vocabulary)) if vocabulary else self.config,
            tensors,
            vocabulary,
            sample_rate=self.sample_rate,
            normalize=self.normalize,
            dtype=dtype,  # type: ignore[arg-type]
            settings={
                "architectures": [self.config.class_name("ForXVector")],
                "use_weighted_layer_sum": True,
                "num_labels": len(self.labels),  # nobody's name
                **asdict(self.shape),
                **({"sonant": own} if own else {}),
            },
        )


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States (L, T, D) of each row side by side, (B, L, T, D), and how many frames each has."""
    lengths = torch.tensor([row.shape[1] for row in rows])
    return pad_sequence([row.transpose(0, 1).float() for row in rows], batch_first=True).transpose(1, 2), lengths
