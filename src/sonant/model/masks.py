"""What training hides from the encoder, and the wrong answers it must tell from the right one.

All is drawn on the host from a generator that the caller passes, so that a seed gives the same masks on every device.
Padding is never masked, and no negative ever comes from it.

Shapes: B batch, T frames, M the most masked frames of a row, K negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sonant.errors import OptionError
from sonant.model.convolutions import frame_mask

WIDTHS = 32
"""The number of a batch's masked frames that models compute with is a multiple of this."""


@dataclass(frozen=True)
class SpanSpec:
    """How much of a row is hidden, and in how long pieces; the defaults are those of pre-training."""

    probability: float = 0.65
    """Share of a row that its spans would hide if they never overlapped; with spans of 10, .65 hides about .49."""
    length: int = 10
    """Frames (or channels) of a span."""
    minimum: int = 2
    """Spans of a row at least, as long as it has room for them."""
    equal: bool = False
    """Whether each row gets only as many spans as the shortest."""

    def __post_init__(self) -> None:
        """Raise `OptionError` for what hides nothing sensible."""
        if not 0 <= self.probability <= 1:
            raise OptionError(f"The probability of masks must be between 0 and 1, but is {self.probability}.")
        if self.length < 1 or self.minimum < 0:
            raise OptionError(
                f"Masks must be at least 1 long and their number at least 0, but are {self.length} and {self.minimum}."
            )


def sample_spans(lengths: Tensor, spec: SpanSpec, generator: torch.Generator, num_frames: int | None = None) -> Tensor:
    """Draw (B, T) masks in spans within rows of `lengths` (B,) frames, T being `num_frames` or the longest row.

    The number of spans is probability * frames / length, rounded up or down by chance; their starts are distinct,
    their frames may overlap (arXiv:2006.11477, section 4.2). A row shorter than a span stays whole. Channels are
    masked (SpecAugment, arXiv:1904.08779) by giving each row's number of channels as its length.
    """
    lengths = lengths.cpu()
    width = max(int(lengths.max()) if num_frames is None else num_frames, 0)
    rooms = (lengths - spec.length + 1).clamp(min=0)  # places where a span may start
    rounding = torch.rand(lengths.shape, generator=generator, dtype=torch.float64)
    numbers = (spec.probability * lengths.double() / spec.length + rounding).long()
    numbers = numbers.clamp(min=spec.minimum).minimum(rooms)
    if spec.equal:
        numbers = numbers.amin().expand_as(numbers)
    lots = torch.rand(len(lengths), width, generator=generator, dtype=torch.float64)
    ranks = lots.masked_fill(~frame_mask(rooms, width), 2.0).argsort(dim=1, stable=True).argsort(1)
    starts = (ranks < numbers[:, None]).long()
    begun = starts.cumsum(1)
    begun[:, spec.length :] -= begun[:, : -spec.length].clone()  # of these, the ones that have not ended
    return begun > 0


def sample_negatives(mask: Tensor, num_negatives: int, generator: torch.Generator) -> Tensor:
    """Draw (B, M, K) negatives for each masked frame of `mask` (B, T) from the other masked frames of its row.

    Frames are counted among the row's masked ones: entry (b, i, k) = j means that the j-th masked frame of row b is a
    negative of the i-th. Uniform, with repetition. A row with one masked frame has no negatives; `masked_frames`
    leaves it out. M is rounded up, for oneDNN prepares a primitive for each.
    """
    numbers = mask.cpu().sum(1)
    width = min(-(-int(numbers.max()) // WIDTHS) * WIDTHS, mask.shape[1])
    others = (numbers - 1).clamp(min=1)[:, None, None]
    drawn = torch.randint(2**40, (len(mask), width, num_negatives), generator=generator) % others
    return (drawn + (drawn >= torch.arange(width)[:, None])) % numbers.clamp(min=1)[:, None, None]


def masked_frames(mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The places (B, width) of each row's masked frames, in order, and which of them are targets (B, width).

    Behind a row's last masked frame stand places of others, which are no targets; nor is a row's only masked frame.
    """
    places = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    numbers = mask.sum(1)
    return places, frame_mask(numbers * (numbers > 1), width)
