"""What is learnt of whole clips over an encoder that stays as it is, or learns too: what such tasks share.

Shapes: B rows, L layers and what enters the first, D hidden size.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from sonant.checkpoints import open_checkpoint
from sonant.data.batches import Batch
from sonant.errors import DataError, OptionError
from sonant.model.encoder import Encoder
from sonant.model.heads import load_weights
from sonant.train.recipe import Recipe
from sonant.train.states import StateStore, name_of_clip, name_of_encoder
from sonant.train.task import configure
from sonant.types import FloatArray


class ClipTask:
    """A head that learns the labels of clips, in front of the encoder that a recipe starts from."""

    target: str = "label"
    what: ClassVar[str] = "A classifier"
    store_dtype: ClassVar[torch.dtype] = torch.float32
    labelled, wants_clean, guard, watched = True, False, None, ()
    vocabulary, space, notes = None, " ", ()

    def __init__(self, recipe: Recipe, labels: Sequence[str | None]) -> None:
        """Raise `DataError` for labels that teach nothing, `OptionError` for a recipe that does not fit."""
        self.recipe = recipe
        self.counts = self._count(labels)
        self.labels = tuple(sorted(self.counts))
        self.index = {label: i for i, label in enumerate(self.labels)}
        if recipe.batches.join:
            raise OptionError(f"{self.what} hears one clip a row, but batches.join is not 0; set it to 0.")
        if not recipe.model.start:
            raise OptionError(f"{self.what} stands on an encoder that has learnt, but model.start is empty; name one.")
        self.checkpoint = open_checkpoint(recipe.model.start)
        self.sample_rate, self.normalize = self.checkpoint.sample_rate, self.checkpoint.normalize
        self.config = configure(recipe, self.checkpoint, None)
        self.model = self.make_model()
        with torch.device("meta"):
            encoder = Encoder(self.config)
        load_weights(encoder, self.checkpoint)
        self.backbone.load_state_dict(encoder.state_dict(), assign=True)
        self.still = recipe.task.freeze_transformer_steps >= recipe.schedule.steps
        """Whether the encoder never learns."""
        self.kept: dict[str, Tensor] = {}
        """By names of clips what an encoder that does not learn makes of them."""
        self.keys: dict[str, str] = {}
        """By names of clips where that lies on disk."""
        self._store: StateStore | None = None

    def make_model(self) -> nn.Module:
        """The encoder's place with a fresh head."""
        raise NotImplementedError

    def describe(self, waveforms: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        """What the head is to know of each row of (B, N) samples, from the encoder alone."""
        raise NotImplementedError

    @property
    def backbone(self) -> Encoder:
        """The encoder."""
        return self.model.get_submodule(self.config.prefix)  # type: ignore[return-value]

    @property
    def store(self) -> StateStore:
        """Where what is kept lies on disk."""
        if self._store is None:
            told = self.normalize, self.sample_rate, self.recipe.run.precision, self.config.to_dict()
            about = json.dumps([type(self).__name__, *told])
            name = name_of_encoder(about, self.backbone.state_dict())
            self._store = StateStore(name, self.recipe.run.states * 1e9)
        return self._store

    def _count(self, labels: Sequence[str | None]) -> Counter[str]:
        if missing := sum(label is None for label in labels):
            raise DataError(
                f"Every utterance must have a {self.target} to learn from, but {missing} of {len(labels)} have none; "
                "leave them out of the manifest."
            )
        counts = Counter(label for label in labels if label is not None)
        if len(counts) < 2:
            raise DataError(
                f"{self.what} learns to tell {self.target}s apart, but all {len(labels)} utterances have the "
                f"{self.target} {', '.join(counts)}; add utterances with others."
            )
        return counts

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
        for name, parameter in self.backbone.named_parameters():
            held = self.recipe.task.freeze_convolutions and name.startswith("feature_extractor.")
            parameter.requires_grad_(not self.frozen(step) and not held)

    def varies(self) -> bool:
        """Whether a clip is heard otherwise each time."""
        augment = self.recipe.augment
        return any((augment.speed, augment.gain_db, augment.noise, augment.room, augment.band))

    @torch.no_grad()
    def heard(self, batch: Batch, keep: bool) -> list[Tensor]:
        """What an encoder that drops nothing makes of each row; what is kept is not computed again."""
        found = [self._recalled(name, i, batch) if keep else None for i, name in enumerate(batch.names)]
        missing = [i for i, known in enumerate(found) if known is None]
        if missing:
            learning = self.backbone.training
            self.backbone.eval()
            try:
                rows = self.describe(batch.waveforms[missing], batch.lengths[missing])
            finally:
                self.backbone.train(learning)
            for i, row in zip(missing, rows, strict=True):
                found[i] = row
                if keep:
                    self._keep(batch.names[i], row)
        return [known for known in found if known is not None]

    def _recalled(self, name: str, row: int, batch: Batch) -> Tensor | None:
        if name in self.kept:
            return self.kept[name]
        if name not in self.keys:
            self.keys[name] = name_of_clip(batch.waveforms[row, : int(batch.lengths[row])].cpu().numpy())
        array = self.store.get(self.keys[name])
        if array is None:
            return None
        found = torch.from_numpy(array.copy()).to(batch.waveforms.device)
        if found.dim() == 2:
            self.kept[name] = found
        return found

    def _keep(self, name: str, row: Tensor) -> None:
        if row.dim() == 2:  # small: (L, D)
            self.kept[name] = row
        self.store.put(self.keys[name], row.to(self.store_dtype).cpu().numpy())

    def targets(self, batch: Batch) -> Tensor:
        """The numbers of the labels (B,); `DataError` for one that is not learnt."""
        unknown = next((label for label in batch.texts if label and label not in self.index), None)
        if unknown is not None:
            raise DataError(
                f"Labels of the development set must be among those learnt, but {unknown!r} is not; "
                "leave its utterances out, or learn it."
            )
        numbers = [self.index.get(label, 0) for label in batch.texts]  # none: of a pass that counts nothing
        return torch.tensor(numbers, device=batch.waveforms.device)

    def tensors(self, weights: Mapping[str, Tensor]) -> dict[str, FloatArray]:
        """Weights as they are saved."""
        return {key: tensor.cpu().numpy() for key, tensor in weights.items()}
