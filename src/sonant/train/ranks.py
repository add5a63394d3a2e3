"""The processes that train together, as a launcher started them."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sonant.engines.torch import find_device
from sonant.errors import MissingExtraError, TrainingError
from sonant.train.sections import Run

T = TypeVar("T")
_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|peer|Broken pipe|timed? ?out", re.IGNORECASE)
"""What PyTorch says where another process does not answer; its errors have no type of their own for all backends."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int
    world: int
    device: torch.device
    first_here: bool = True
    """Whether this one fetches for all of its machine."""

    @property
    def main(self) -> bool:
        """Whether this one writes and evaluates."""
        return self.rank == 0

    def add(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all ranks."""
        if self.world > 1:
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                assert work is not None
                work.wait()

    def share(self, *tensors: Tensor) -> None:
        """Replace each tensor by that of the first rank."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def agree(self, value: T) -> T:
        """The first rank's value."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    @contextmanager
    def together(self) -> Generator[None]:
        """Raise `TrainingError` where another rank has ended, which shows in whatever is exchanged next."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
                raise
            reason = str(error).partition("\n")[0][:200]
            raise TrainingError(
                f"All {self.world} processes must train to the end, but another one has ended or does not answer "
                f"({reason}); see what it said, then start all of them again: the run goes on from its last state."
            ) from error


def open_ranks(run: Run) -> Ranks:
    """The ranks that a launcher (`accelerate launch`, `torchrun`) started, or this process alone."""
    try:
        from accelerate import PartialState
    except ImportError:
        raise MissingExtraError("Training needs accelerate: pip install 'sonant[train]'") from None
    state = PartialState(cpu=run.device == "cpu")
    shared = state.num_processes > 1 and state.device is not None
    device = torch.device(state.device if shared else find_device(run.device))  # type: ignore[arg-type]
    return Ranks(state.process_index, state.num_processes, device, state.local_process_index == 0)
