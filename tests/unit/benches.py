"""What stands in for a model in the workers of a pool."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace
from typing import Any

import numpy as np

from sonant.errors import CheckpointError
from sonant.jobs.tasks import Outcome, Setup, Task
from sonant.types import FloatArray


class Engine:
    name, device, precision = "fake", "cpu", "fp32"
    states = moments = adapt = convolved = None
    leads = False

    def emit(self, waveforms: list[FloatArray]) -> list[FloatArray]:
        """What went in, and which process it went to."""
        if any(waveform[0] < 0 for waveform in waveforms) and not Engine.leads:
            os.kill(os.getpid(), signal.SIGKILL)
        return [np.array([[waveform[0], os.getpid()]], np.float32) for waveform in waveforms]


class Bench:
    """Does what a task's name says."""

    def __init__(self, setup: Setup) -> None:
        if setup.task == "unfit":
            raise CheckpointError("There must be a model, but there is none; name another.")
        if setup.task == "dying":
            os._exit(3)
        self.asr = SimpleNamespace(engine=Engine(), group=1)

    def identity(self) -> dict[str, Any]:
        return {"task": "fake"}

    def __call__(self, task: Task) -> Outcome:
        fields: dict[str, Any] = {"id": task.id, "source": task.source}
        if task.name == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        if task.name == "fault":
            return Outcome(task.id, error="It is broken.")
        if task.name.startswith("long"):
            Engine.leads = True
            poison = task.name == "long-poison"
            pids: set[int] = set()
            windows = [np.full(4, -1 if poison and i == 1 else i, np.float32) for i in range(9)]
            while len(pids) < 2 and not poison:  # the other may not be ready yet
                emitted = self.asr.engine.emit(windows)
                pids = {int(each[0, 1]) for each in emitted}
            emitted = self.asr.engine.emit(windows)
            Engine.leads = False
            fields |= {"windows": [int(each[0, 0]) for each in emitted], "workers": len(pids)}
        return Outcome(task.id, json.dumps(fields).encode(), seconds=1.0)
