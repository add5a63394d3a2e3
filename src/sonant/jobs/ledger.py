"""What a job still has to do: its inputs in blocks, and the parts that hold a block's results.

A part's name says which inputs it has the results of, so the parts themselves are the ledger: a block whose part is
there is done. Blocks end where an input's id says so, not after so many: a list that changes in one place changes
the blocks there alone. What must be known of all inputs lies in a scratch folder of this machine; memory holds the
blocks under way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from tempfile import TemporaryFile, gettempdir
from typing import IO

from sonant.errors import OutputError
from sonant.jobs.tasks import Task

MEAN_BLOCK, LARGEST_BLOCK = 1000, 4000
"""Inputs of a block, in the mean and at most."""


@dataclass
class Block:
    """Inputs that follow one another, whose results stand in one part."""

    number: int
    ids: list[str]
    bytes: int
    """Of its tasks in the plan."""
    errors: list[str]
    """Ids of those that cannot be tried; they never have a record."""

    def part(self, recorded: Iterable[str]) -> str:
        """What the part is called that holds the records of these of its inputs."""
        digest = blake2b(digest_size=6)
        for id in recorded:
            digest.update(bytes.fromhex(id))
        return f"part-{self.number:06}-{digest.hexdigest()}"

    @property
    def whole(self) -> str:
        """What the part is called that has all of its results."""
        errors = frozenset(self.errors)
        return self.part(id for id in self.ids if id not in errors)


class Scratch(AbstractContextManager["Scratch"]):
    """A job's memory of all of its inputs, in files of this machine that vanish with the process."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # on disk, in a file without a name
        for command in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -16384",  # kibibytes
            "CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE named (name TEXT PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE records (id BLOB PRIMARY KEY, line BLOB)",
            "CREATE TABLE failures (id BLOB PRIMARY KEY, place INTEGER, line BLOB)",
        ):
            self._database.execute(command)

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def is_new(self, id: str) -> bool:
        """Whether this is the first time that an input is named."""
        return self._change("INSERT OR IGNORE INTO seen VALUES (?)", bytes.fromhex(id))

    def is_free(self, name: str) -> bool:
        """Whether this is the first input whose own files are called so."""
        return self._change("INSERT OR IGNORE INTO named VALUES (?)", name)

    def keep(self, id: str, record: bytes) -> None:
        """Hold a record until its part is written."""
        self._change("INSERT OR REPLACE INTO records VALUES (?, ?)", bytes.fromhex(id), record)

    def kept(self, id: str) -> bytes | None:
        """The record of an input, if there is one."""
        row = self._database.execute("SELECT line FROM records WHERE id = ?", (bytes.fromhex(id),)).fetchone()
        return row and row[0]

    def drop(self, ids: Iterable[str]) -> None:
        """Let go of records that are written."""
        for id in ids:
            self._change("DELETE FROM records WHERE id = ?", bytes.fromhex(id))

    def fail(self, id: str, place: int, line: bytes) -> None:
        """Note why an input has no record."""
        self._change("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", bytes.fromhex(id), place, line)

    def failures(self) -> Iterator[bytes]:
        """All that was noted, in the order of the inputs."""
        for (line,) in self._database.execute("SELECT line FROM failures ORDER BY place"):
            yield line

    def _change(self, command: str, *values: object) -> bool:
        try:
            return self._database.execute(command, values).rowcount > 0
        except sqlite3.OperationalError as error:
            raise _no_room(str(error)) from error


@dataclass
class Plan:
    """The inputs of a run, each once, in blocks, as they were listed when it began."""

    file: IO[bytes]
    num_inputs: int = 0
    seconds: float | None = 0.0
    """Of sound, as declared; None where an input does not say."""
    duplicates: int = 0
    """Inputs that were named again."""
    names: set[str] = field(default_factory=set[str])
    """Of the parts that hold a block's results wholly."""

    def blocks(self) -> Iterator[tuple[Block, IO[bytes]]]:
        """Each block with the file that stands at its first task."""
        self.file.seek(0)
        while head := self.file.readline():
            block = Block(*json.loads(head))
            after = self.file.tell() + block.bytes
            yield block, self.file
            self.file.seek(after)


@contextmanager
def make_plan(tasks: Iterable[Task], scratch: Scratch, own_files: bool) -> Generator[Plan]:
    """List all inputs and cut them into blocks; `own_files` says whether two must not have one name."""
    with TemporaryFile() as file:
        plan = Plan(file)
        try:
            for number, block in enumerate(_cut(_unique(tasks, scratch, plan, own_files))):
                lines = b"".join(task.to_line().encode() + b"\n" for task in block)
                errors = [task.id for task in block if task.error]
                head = Block(number, [task.id for task in block], len(lines), errors)
                plan.names.add(head.whole)
                file.write(json.dumps([head.number, head.ids, head.bytes, head.errors]).encode() + b"\n" + lines)
            file.flush()
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise _no_room(error.strerror) from error
        yield plan


def _no_room(reason: str | None) -> OutputError:
    return OutputError(
        f"{gettempdir()} must have room for a list of all inputs, but cannot be written ({reason}); make room, or let "
        "TMPDIR name another folder."
    )


def _unique(tasks: Iterable[Task], scratch: Scratch, plan: Plan, own_files: bool) -> Iterator[Task]:
    for task in tasks:
        if not scratch.is_new(task.id):
            plan.duplicates += 1
            continue
        plan.num_inputs += 1
        if plan.seconds is not None:
            plan.seconds = plan.seconds + task.duration if task.duration else None
        if own_files and not task.error and not scratch.is_free(task.name):
            sentence = (
                f"{task.source} must have a name of its own, but the files of another input are called {task.name}; "
                "give it to a job with another --output."
            )
            task = replace(task, error=sentence)
        yield task


def _cut(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    block: list[Task] = []
    for task in tasks:
        block.append(task)
        if len(block) == LARGEST_BLOCK or int(task.id[:8], 16) % MEAN_BLOCK == 0:
            yield block
            block = []
    if block:
        yield block
