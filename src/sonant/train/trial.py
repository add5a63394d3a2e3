"""What a run will cost, found out by a few of its steps; nothing of them is kept."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import torch

from sonant.data.plan import Place, Step
from sonant.model.encoder import count_parameters
from sonant.train.loop import Trainer
from sonant.train.metrics import Totals


@dataclass(frozen=True)
class Trial:
    """The size and speed of a run."""

    parameters: int
    learning: int
    """Parameters that learn once nothing is frozen for the beginning alone."""
    utterances: int
    hours: float
    """Of the training set."""
    steps: int
    hours_a_step: float
    lengths: tuple[float, ...]
    """Seconds that rows are padded to."""
    padding: float
    """Share of the audio."""
    memory: int
    """Bytes at the peak: of the GPU, or of this process."""
    speed: float
    """Seconds of audio a second."""
    minutes: float
    """What all steps will take."""


def try_out(trainer: Trainer, count: int = 2) -> Trial:
    """Take the costliest step of an epoch, for its memory, then `count` usual ones twice, timed the second time."""
    trainer.task.set_trainable(trainer.recipe.schedule.steps)
    learning = count_parameters(p for p in trainer.parameters if p.requires_grad)
    trainer.hold()
    steps = [step for step in trainer.planner.steps(0) if step.group == 0]
    audio = sum(row.seconds for step in steps for row in step.rows)
    usual = sorted(steps, key=lambda step: step.seconds * len(step.rows))[len(steps) // 2 :][:count]
    _take(trainer, max(steps, key=lambda step: (step.seconds * len(step.rows), step.seconds)))
    for step in usual:  # shapes are prepared when they come for the first time
        _take(trainer, step)
    began = time.monotonic()
    for step in usual:
        _take(trainer, step)
    seconds = time.monotonic() - began
    speed = sum(row.seconds for step in usual for row in step.rows) / seconds
    total = trainer.recipe.schedule.steps
    return Trial(
        parameters=count_parameters(trainer.parameters),
        learning=learning,
        utterances=len(trainer.utterances),
        hours=float(trainer.planner.durations.sum()) / 3600,
        steps=total,
        hours_a_step=audio / len(steps) / 3600,
        lengths=tuple(trainer.planner.lengths.tolist()),
        padding=trainer.planner.padding(),
        memory=peak_memory(trainer.ranks.device),
        speed=speed,
        minutes=total * audio / len(steps) / speed / 60,
    )


def _take(trainer: Trainer, step: Step) -> None:
    """Learn from a step as at the end of the run, when all is learnt and masked."""
    trainer.place = Place(trainer.recipe.schedule.steps - 1)
    trainer.step(trainer.loader.step(step, trainer.place, trainer.ranks.rank, trainer.ranks.world, 1.0), Totals())


def peak_memory(device: torch.device) -> int:
    """Bytes that were in use at most: of the GPU, else of this process (0 where the system does not say)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
