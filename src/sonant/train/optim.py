"""AdamW and Muon over groups of parameters, learning rates as functions of the step, a running mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sonant.train.sections import Optim, Schedule


def rate_at(step: int, schedule: Schedule) -> float:
    """The learning rate of a step (the first is 0) as a share of its peak."""
    warmup = schedule.warmup * schedule.steps
    if step < warmup:
        return schedule.initial + (1 - schedule.initial) * step / warmup
    left = max(schedule.steps - warmup, 1.0)
    done = min((step - warmup) / left, 1.0)
    if schedule.kind == "cosine":
        return schedule.final + (1 - schedule.final) * (0.5 + 0.5 * math.cos(math.pi * done))
    if schedule.kind == "linear":
        return 1 - done
    if schedule.kind == "inverse":
        return math.sqrt(max(warmup, 1.0) / max(step, 1.0)) if step > warmup else 1.0
    if schedule.kind == "tri-stage":  # arXiv:1904.08779, section 3.2, as the fine-tunings of arXiv:2006.11477 take it
        hold = schedule.hold * schedule.steps
        fall = max(schedule.steps - warmup - hold, 1.0)
        fallen = min(max(step - warmup - hold, 0.0) / fall, 1.0)
        return schedule.final**fallen
    return 1.0


class Muon(torch.optim.AdamW):
    """AdamW, but for groups marked `orthogonal`: their matrices move along their momentum made orthogonal.

    Muon (K. Jordan, 2024) with its steps as long as AdamW's, as arXiv:2502.16982, section 2.2, scales them: one
    learning rate serves both kinds of groups. Kernels of convolutions count as matrices of a row an output channel.
    """

    MOMENTUM = 0.95

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """As any optimiser's; the gradients of orthogonal groups are dropped, so that AdamW passes them by."""
        for group in self.param_groups:
            if not group.get("orthogonal"):
                continue
            alike: dict[tuple[int, int], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault((parameter.shape[0], parameter[0].numel()), []).append(parameter)
            for shape, parameters in alike.items():
                moves = orthogonal(torch.stack([self._momentum(p).flatten(1) for p in parameters]))
                for parameter, move in zip(parameters, moves, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(move.view_as(parameter), alpha=-0.2 * math.sqrt(max(shape)) * group["lr"])
        return super().step(closure)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        """Nesterov's: where the momentum is going to be."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())  # AdamW looks for it when a state is loaded
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - self.MOMENTUM)
        parameter.grad = None
        return gradient.lerp(state["momentum"], self.MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) to about the nearest matrices with equal singular values: five steps of Newton and Schulz."""
    x = matrices.bfloat16()
    x = x.mT if matrices.shape[1] > matrices.shape[2] else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if matrices.shape[1] > matrices.shape[2] else x).to(matrices)


def make_optimiser(parameters: Iterable[nn.Parameter], optim: Optim, device: torch.device | str) -> torch.optim.AdamW:
    """AdamW or Muon, neither of which lets a norm, bias or other vector decay; AdamW's part fused where the device can.

    Muon takes what has 48 rows and columns or more: heads of few labels and the first convolution stay AdamW's.
    """
    large, small, vectors = [], [], []
    for parameter in parameters:
        wide = parameter.ndim > 1 and min(parameter.shape[0], parameter[0].numel()) >= 48
        (large if wide and optim.kind == "muon" else small if parameter.ndim > 1 else vectors).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": large, "weight_decay": optim.weight_decay, "orthogonal": True},
        {"params": small, "weight_decay": optim.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    fused = torch.device(device).type in ("cpu", "cuda")
    beta1, beta2 = optim.betas
    make = Muon if optim.kind == "muon" else torch.optim.AdamW
    return make([g for g in groups if g["params"]], lr=optim.lr, betas=(beta1, beta2), eps=optim.eps, fused=fused)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def scale_gradients(parameters: Sequence[nn.Parameter], factor: Tensor | float) -> None:
    """Multiply every gradient in place."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """The norm of all gradients together, which are then scaled down to at most `limit`, if there is one."""
    return nn.utils.clip_grad_norm_(parameters, limit or math.inf)


class WeightAverage:
    """An exponential mean of a model's weights: `decay` at most, less in the first steps so that it forgets them."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after so many steps."""
        keep = min(self.decay, step / (step + 10))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - keep)
            else:
                self.weights[name].copy_(tensor)

    @contextmanager
    def instead(self, model: nn.Module) -> Generator[None]:
        """The mean in the place of a model's weights, for a while."""
        own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)
