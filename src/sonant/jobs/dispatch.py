"""What all groups of workers do alike: tasks taken as workers become free, outcomes given back, deaths counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from sonant.jobs.tasks import Outcome, Task

TRIES = 2
"""Workers that a task may cost."""
HEARTBEAT = 1.0
"""Seconds after which a driver is told that nothing came."""


class Dispatcher(ABC):
    """The half of `sonant.jobs.tasks.Workers` that does not depend on what the workers are."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._done: deque[Outcome] = deque()
        self._deaths: dict[str, int] = {}
        self._identity: Mapping[str, Any] | None = None

    def identity(self) -> Mapping[str, Any]:
        while self._identity is None:
            self._listen()
        return self._identity

    def map(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        more = True
        while True:
            while more and not self._waiting and self._is_free():
                taken = list(islice(tasks, self._appetite()))
                more = bool(taken)
                self._waiting.extend(taken)
                self._hand_out()
            self._hand_out()
            while self._done:
                yield self._done.popleft()
            if not more and not self._waiting and not self._is_busy():
                return
            self._listen()
            if not self._done:
                yield None

    @abstractmethod
    def _is_free(self) -> bool:
        """Whether a worker could begin a task now."""

    def _appetite(self) -> int:
        """How many tasks a worker is given at once."""
        return 1

    @abstractmethod
    def _is_busy(self) -> bool:
        """Whether a worker has a task."""

    @abstractmethod
    def _hand_out(self) -> None:
        """Give waiting tasks to free workers."""

    @abstractmethod
    def _listen(self) -> None:
        """Take what has come from the workers, after waiting `HEARTBEAT` seconds at most for the first."""

    def _finish(self, outcome: Outcome) -> None:
        self._deaths.pop(outcome.id, None)
        self._done.append(outcome)

    def _mourn(self, task: Task, how: str) -> None:
        """Have a task tried again whose worker died, or set it aside by name."""
        deaths = self._deaths[task.id] = self._deaths.get(task.id, 0) + 1
        if deaths < TRIES:
            self._waiting.append(task)
            return
        self._finish(
            Outcome(
                task.id,
                error=f"{task.source} was set aside, because {TRIES} workers in turn died while they heard it ({how}); "
                "look at the file, or give workers more memory.",
            )
        )
