"""What a job on a cluster is held against: the same job by a plain loop, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sonant.jobs.stages import Workbench
from sonant.jobs.tasks import Outcome, Setup, Task


class Loop:
    """Workers that are a plain loop."""

    def __init__(self, setup: Setup) -> None:
        self.bench = Workbench(setup)

    def identity(self) -> Mapping[str, Any]:
        return self.bench.identity()

    def map(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        return map(self.bench, tasks)

    def close(self) -> None:
        pass


def results(dest: str | Path) -> dict[str, bytes]:
    """All files of a job."""
    return {str(path.relative_to(dest)): path.read_bytes() for path in Path(dest).rglob("*") if path.is_file()}
