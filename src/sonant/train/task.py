"""What the loop knows of what is learnt: a model, its loss on a batch, its scores and the folder it becomes.

Shapes: B rows, T frames, D hidden size.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from sonant.checkpoints import Checkpoint
from sonant.data.batches import Batch
from sonant.errors import CheckpointError, OptionError
from sonant.model import config as architectures
from sonant.model.config import EncoderConfig
from sonant.model.masks import SpanSpec, sample_spans
from sonant.train.guard import CollapseGuard
from sonant.train.metrics import Sums
from sonant.train.recipe import Recipe
from sonant.types import FloatArray, Vocabulary


@dataclass(frozen=True)
class Losses:
    """What a batch costs: a sum and a count, so that any number of batches and ranks learns as one large batch."""

    sum: Tensor
    """What is minimised, added up over `count` items: its gradient is divided by all ranks' and batches' count."""
    count: float
    """Items that the sum is over: letters, masked frames."""
    metrics: Sums = field(default_factory=dict[str, tuple[float, float]])
    excluded: tuple[str, ...] = ()
    """Rows that were left out because no alignment exists."""


class Task(Protocol):
    """Something a model can learn."""

    config: EncoderConfig
    sample_rate: int
    """Hertz of the batches."""
    normalize: bool
    """Whether rows are brought to mean 0 and variance 1."""
    space: str
    """What stands between the texts of joined utterances."""
    notes: tuple[str, ...]
    """What the user should know before the run, a sentence each."""

    @property
    def target(self) -> str:
        """The field of a manifest's lines that is learnt, if any is."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether transcripts are learnt."""
        ...

    @property
    def wants_clean(self) -> bool:
        """Whether batches must have their rows as they were before they were varied, too."""
        ...

    @property
    def better(self) -> str | None:
        """Name of the score that chooses the best model, lower is better; None where the last one is."""
        ...

    @property
    def guard(self) -> CollapseGuard | None:
        """What watches each step."""
        ...

    @property
    def watched(self) -> tuple[str, ...]:
        """Metrics that it is told of, those of all ranks added up; first the loss."""
        ...

    @property
    def model(self) -> nn.Module:
        """Every number that a resumed run needs."""
        ...

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The tokens that texts are spelled with; None where no text is learnt."""
        ...

    def text(self, raw: str) -> str:
        """A transcript as it is learnt."""
        ...

    def begin(self, waveforms: Iterator[FloatArray]) -> None:
        """Find out what must be known of the data before the first step, from rows in a random order without end."""
        ...

    def set_trainable(self, step: int) -> None:
        """Let those weights learn that learn at this step."""
        ...

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """What the model, in training mode, costs on a batch that is on its device."""
        ...

    def score(self, batches: Iterable[Batch]) -> Sums:
        """How good the model, in evaluation mode, is; the names are those of any other batches."""
        ...

    def save(self, folder: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
        """Write `weights`, named as in the state of `model`, as a new folder in Hugging Face's layout."""
        ...


def hardship(recipe: Recipe, step: int) -> float:
    """How much rows are spoilt and masked at a step, 0 to 1."""
    done, augment = step / recipe.schedule.steps, recipe.augment
    if augment.ramp == 0:
        return float(done >= augment.clean)
    return min(1.0, max(0.0, (done - augment.clean) / augment.ramp))


def draw_masks(
    recipe: Recipe,
    config: EncoderConfig,
    batch: Batch,
    generator: torch.Generator,
    share: float = 1.0,
    minimum: int = 0,
) -> tuple[Tensor | None, Tensor | None]:
    """Masked frames (B, T) and channels (B, D) of a batch, on its device; None where the recipe masks none.

    `share` of the recipe's masks, `minimum` spans a row.
    """
    augment, device = recipe.augment, batch.waveforms.device
    frames = torch.tensor([config.num_frames(n) for n in batch.lengths.tolist()])
    mask = channels = None
    if augment.mask_time * share:
        spec = SpanSpec(augment.mask_time * share, augment.mask_time_length, minimum)
        num = config.num_frames(batch.waveforms.shape[1])
        mask = sample_spans(frames, spec, generator, num).to(device)
    if augment.mask_channel * share:
        spec = SpanSpec(augment.mask_channel * share, augment.mask_channel_length, minimum=0)
        channels = sample_spans(torch.full((len(frames),), config.hidden_size), spec, generator).to(device)
    return mask, channels


def configure(recipe: Recipe, checkpoint: Checkpoint | None, vocab_size: int | None) -> EncoderConfig:
    """The architecture that a recipe asks for."""
    if checkpoint is not None:
        base = checkpoint.config
    else:
        functions = dict(inspect.getmembers(architectures, inspect.isfunction))
        known = [n for n, f in functions.items() if f.__module__ == architectures.__name__ and n[0] != "_"]
        if recipe.model.base not in known:
            raise OptionError(f"model.base must be one of {', '.join(known)}, but is {recipe.model.base!r}; name one.")
        base = functions[recipe.model.base]()
    try:
        return EncoderConfig.from_dict(base.to_dict() | recipe.model.config | {"vocab_size": vocab_size})
    except CheckpointError as error:  # the base is sound: what is wrong stands in the recipe
        raise OptionError(str(error).replace("config.json", "model.config")) from error
