"""Where a model's numbers lie: a copy on every rank, or in shards, each rank holding its part of every tensor.

Both add gradients up over the ranks and divide nothing, so that the loop's arithmetic is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sonant.errors import OptionError
from sonant.model.encoder import Transformer
from sonant.train.optim import WeightAverage, clip_gradients, scale_gradients
from sonant.train.ranks import Ranks
from sonant.train.sections import Run

T = TypeVar("T")


class Layout(Protocol):
    """What the loop asks of either."""

    lockstep: bool
    """Whether all ranks must make the same passes through the model, in the same order."""

    def rounds(self, count: int) -> int:
        """How many passes this rank must make that has batches for so many."""
        ...

    def run(self, work: Callable[[], T]) -> T:
        """Do work that calls parts of the model."""
        ...

    def add(self, sums: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """Replace `sums` and the parameters' gradients by their sums over all ranks."""
        ...

    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """As `sonant.train.optim.clip_gradients`."""
        ...

    def copies(self) -> list[Tensor]:
        """Those of the model's tensors that every rank holds whole."""
        ...

    def whole(self, values: Any) -> Any:
        """Nested values with whole tensors, at least on the first rank; called by all ranks."""
        ...

    def spread(self, read: Callable[[], T]) -> T:
        """What the first rank, at least, reads, for `part` to take tensors out of."""
        ...

    def part(self, stored: Any, like: Tensor) -> Tensor:
        """This rank's part of a tensor out of what `spread` gave, in the form of `like`; called by all ranks."""
        ...


@dataclass(frozen=True)
class Copies:
    """Every rank holds the whole model; gradients are added up once a step."""

    ranks: Ranks
    model: nn.Module
    lockstep = False

    def rounds(self, count: int) -> int:
        """No more than there are batches."""
        return count

    def run(self, work: Callable[[], T]) -> T:
        """Nothing need be prepared."""
        return work()

    def add(self, sums: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """One sum a tensor."""
        self.ranks.add(sums, *(p.grad for p in parameters if p.grad is not None))

    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """Every rank has all gradients."""
        return clip_gradients(parameters, limit)

    def copies(self) -> list[Tensor]:
        """All of them."""
        return list(self.model.state_dict().values())

    def whole(self, values: Any) -> Any:
        """They are whole."""
        return values

    def spread(self, read: Callable[[], T]) -> T:
        """Every rank reads for itself."""
        return read()

    def part(self, stored: Tensor, like: Tensor) -> Tensor:
        """All of it."""
        return stored.to(like.device)


@dataclass(frozen=True)
class _Absent:
    """A tensor that another rank has read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class _Root(nn.Module):
    """Runs whatever calls a model's parts, so that FSDP first gathers those that belong to no layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Any]) -> Any:
        """The work's result; tensors whose gradients begin a backward pass must stand in a tuple or be it."""
        return work()


class Shards:
    """PyTorch's FSDP: each rank holds its part of weights, gradients and the optimiser's state.

    A layer's weights are gathered when it computes and let go after; its gradients are added up over the ranks at every
    backward pass. What is written is what a run without shards would write.
    """

    lockstep = True

    def __init__(self, ranks: Ranks, model: nn.Module) -> None:
        """Cut up a model that is on the processor, one layer after the other, so that no device holds it whole."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard
        from torch.distributed.tensor import DTensor

        if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
            raise OptionError(f"run.shard needs PyTorch 2.8 or later, but this is {torch.__version__}; upgrade it.")
        self.ranks, self.model, self.sharded = ranks, model, DTensor
        mesh = init_device_mesh(ranks.device.type, (ranks.world,))
        for transformer in transformers(model):
            for layer in transformer.layers:
                for name, part in layer.named_modules():
                    if name.endswith(".rel_attn_embed"):  # WavLM's, which is called from outside its layer
                        fully_shard(part, mesh=mesh)
                fully_shard(layer, mesh=mesh)
        self.root: Any = fully_shard(_Root(model), mesh=mesh)
        for module in self.root.modules():
            if isinstance(module, FSDPModule):  # sums, where FSDP would give means
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def rounds(self, count: int) -> int:
        """As many as the rank with the most batches."""
        most = torch.tensor(count, device=self.ranks.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most)

    def run(self, work: Callable[[], T]) -> T:
        """With the parts gathered that belong to no layer; they stay so until a backward pass, if one follows."""
        done = self.root(work)
        if not _grows(done):
            self.root.reshard()
        return done

    def add(self, sums: Tensor, parameters: Sequence[nn.Parameter]) -> None:  # noqa: ARG002 - they are added up
        """FSDP has added up the gradients."""
        self.ranks.add(sums)

    @torch.no_grad()
    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """The norm over all ranks' parts."""
        parts = [self._own(p.grad) for p in parameters if p.grad is not None]
        square = nn.utils.get_total_norm(parts).double().square()
        self.ranks.add(square)
        norm = square.sqrt()
        if limit:
            scale_gradients(parameters, (limit / (norm + 1e-6)).clamp(max=1.0).item())  # as PyTorch's own does
        return norm

    def copies(self) -> list[Tensor]:
        """Buffers: each number of the rest lies on one rank only."""
        return [tensor for tensor in self.model.state_dict().values() if not isinstance(tensor, self.sharded)]

    def whole(self, values: Any) -> Any:
        """Gathered one after the other, and kept in the memory of the first rank's processor alone."""
        if isinstance(values, Mapping):
            return {name: self.whole(value) for name, value in values.items()}
        if isinstance(values, list):
            return [self.whole(value) for value in values]
        if not isinstance(values, Tensor):
            return values
        full = values.full_tensor() if isinstance(values, self.sharded) else values
        return full.detach().cpu() if self.ranks.main else _Absent(tuple(full.shape), full.dtype)

    def spread(self, read: Callable[[], T]) -> T:
        """Only the first rank reads; of its tensors, the others learn the shapes."""
        found: Any = read() if self.ranks.main else None
        told = self.ranks.agree(_without_tensors(found))
        return found if self.ranks.main else told

    def part(self, stored: Any, like: Tensor) -> Tensor:
        """The first rank sends each tensor whole; each keeps its part."""
        from torch.distributed.tensor import distribute_tensor

        device = self.ranks.device
        if self.ranks.main:
            full = stored.to(device).contiguous()
        else:
            full = torch.empty(stored.shape, dtype=stored.dtype, device=device)
        self.ranks.share(full)
        if not isinstance(like, self.sharded) or full.shape != like.shape:
            return full  # a buffer, a count of steps
        mine = torch.zeros_like(like, dtype=full.dtype, requires_grad=False)
        cut = distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)
        self._own(mine).copy_(self._own(cut))  # the cut may be a view, which would keep the whole
        return mine

    def _own(self, tensor: Any) -> Tensor:
        return tensor.to_local() if isinstance(tensor, self.sharded) else tensor


def make_layout(run: Run, ranks: Ranks, model: nn.Module) -> Layout:
    """The layout that a recipe asks for, with the model on its device; one rank alone holds everything."""
    if run.shard and ranks.world > 1:
        return Shards(ranks, model)
    return Copies(ranks, model.to(ranks.device))


def restore(
    state: Mapping[str, Any],
    layout: Layout,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage | None,
) -> None:
    """Take up the tensors of a state that `layout.spread` gave."""
    own, part, stored = model.state_dict(), layout.part, state["optimiser"]
    model.load_state_dict({name: part(state["model"][name], like) for name, like in own.items()})
    learnt = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments = {i: {name: part(t, learnt[i]) for name, t in values.items()} for i, values in stored["state"].items()}
    optimiser.load_state_dict({**stored, "state": moments})
    if average:
        average.weights = {name: part(state["average"][name], like) for name, like in own.items()}


def transformers(model: nn.Module) -> list[Transformer]:
    """The transformers inside a model."""
    return [module for module in model.modules() if isinstance(module, Transformer)]


def _grows(done: Any) -> bool:
    """Whether a backward pass can begin at a result."""
    values = done if isinstance(done, tuple) else (done,)
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def _without_tensors(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _without_tensors(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_without_tensors(value) for value in values]
    return _Absent(tuple(values.shape), values.dtype) if isinstance(values, Tensor) else values
