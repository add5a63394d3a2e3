"""AdamW over parameter groups, learning rates as pure functions of the step, and a running mean of the weights."""

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


def make_optimiser(parameters: Iterable[nn.Parameter], optim: Optim, device: torch.device | str) -> torch.optim.AdamW:
    """AdamW that lets no norm, bias or other vector decay; fused where the device can."""
    matrices, vectors = [], []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": optim.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    fused = torch.device(device).type in ("cpu", "cuda")
    beta1, beta2 = optim.betas
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=optim.lr, betas=(beta1, beta2), eps=optim.eps, fused=fused
    )


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
