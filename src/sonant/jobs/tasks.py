"""What a bulk job hands to its workers and gets back, and what a group of workers must be able to do.

The driver of a job (`sonant.jobs.run_job`) knows these alone: a pool of processes and a cluster are the same to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

TASKS = ("transcribe", "align", "features", "identify")
"""What a job may do with its inputs."""


@dataclass(frozen=True, slots=True)
class Task:
    """One input: a recording, or a part of one."""

    id: str
    """32 hexadecimal digits; equal inputs have equal ones, in this run and every other."""
    audio: str
    """A path, a URL, or an archive and its member: `a.tar/17.flac`."""
    name: str
    """What files of its own are called: a relative path without suffix of its own choice."""
    offset: float | None = None
    """Seconds from the beginning; None where it is the whole file."""
    duration: float | None = None
    """Seconds, as declared."""
    text: str | None = None
    """What is said, where a manifest tells."""
    place: tuple[int, int] | None = None
    """The first byte in its archive, and how many there are."""
    error: str | None = None
    """Why it cannot even be tried: a sentence."""

    @property
    def source(self) -> str:
        """What records and messages call it: its path in letters that every file can hold."""
        return self.audio.encode(errors="backslashreplace").decode()

    def to_line(self) -> str:
        """One line that `of_line` reads."""
        fields = (self.id, self.audio, self.name, self.offset, self.duration, self.text, self.place, self.error)
        return json.dumps(fields)

    @classmethod
    def of_line(cls, line: str | bytes) -> Self:
        """What `to_line` wrote."""
        fields: list[Any] = json.loads(line)
        *rest, place, error = fields
        return cls(*rest, place=place and tuple(place), error=error)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task: a record, or a sentence."""

    id: str
    record: bytes | None = None
    """A JSON object on one line, without its end; it begins with the task's `id`."""
    error: str | None = None
    """Why there is no record."""
    seconds: float = 0.0
    """Of sound that were heard."""
    fatal: bool = False
    """Whether it would be the same with every other input: no room, no right to write."""
    node: str = ""
    """The machine, where there are several."""


@dataclass(frozen=True)
class Setup:
    """All that a worker must know to do tasks; it travels to other processes and machines."""

    dest: str
    """Where results go: a folder or a URL."""
    task: str = "transcribe"
    """One of `TASKS`."""
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What `sonant.load` is told."""
    each: tuple[str, ...] = ()
    """Suffixes of the files that every input gets for itself: `.srt`."""
    look: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What `sonant.subtitles.render` is told of these files."""
    layers: str = "all"
    """Of features."""
    units: bool = False
    """Whether features are speech units too."""


class Workers(Protocol):
    """Where tasks are done: processes of this machine, or of a cluster."""

    def identity(self) -> Mapping[str, Any]:
        """What results depend on beside the input, `sonant.jobs.stages.Workbench.identity` of any worker.

        Raises the `SonantError` of a model that cannot be loaded.
        """
        ...

    def map(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """Each task's outcome, as they come; None about once a second, where none came.

        Of `tasks` no more are taken than can be begun at once. A task whose worker died is tried once more, then its
        outcome is an error that names it. Raises the `SonantError` that no worker can live with.
        """
        ...

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        ...
