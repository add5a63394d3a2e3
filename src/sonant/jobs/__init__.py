"""Bulk jobs: any number of inputs, by any number of workers, to parts that a run after a crash goes on with.

`tasks` says what is handed to workers, `stages` what these do with it, `inputs` where tasks come from, `ledger` which
are left, `parts` and `store` where results go, `pool` are the workers of this machine, `dispatch` is what they share
with those of a cluster; `run_job` brings them together and knows nothing of where the work is done.

A place of results holds `job.json` (what they depend on), `part-NUMBER-DIGEST` (the records of a block of inputs),
`open-TOKEN.jsonl` (records of blocks under way) and at the end `failures.jsonl`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sonant.errors import OptionError, OutputError
from sonant.jobs.inputs import check_apart, read_inputs
from sonant.jobs.ledger import Block, Plan, Scratch, make_plan
from sonant.jobs.parts import LINES, Parts, open_parts
from sonant.jobs.progress import Tally
from sonant.jobs.store import Store, iterate_lines, open_store
from sonant.jobs.tasks import Outcome, Setup, Task, Workers

__all__ = ["FAILURES", "Outcome", "Setup", "Tally", "Task", "Workers", "run_job"]

JOB, FAILURES = "job.json", "failures.jsonl"
FLUSH_SECONDS = 10.0
"""What a crash can cost of finished work."""
ABOUT = "about"
"""What a claim says for people only."""
FORMAT = 1
"""Of the files that a later run must understand."""


def run_job(
    sources: Iterable[str],
    setup: Setup,
    workers: Workers,
    *,
    suffix: str = LINES,
    again: bool = False,
    notice: Callable[[str], None] = lambda _: None,
    watch: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Do to every input what `setup` says, and write it to `setup.dest` in parts of `.jsonl` or `.parquet`.

    What an earlier run with the same model and settings has done is kept; `again` does all anew. `notice` is told of
    every input that failed, `watch` about once a second how far it is. Raises `OptionError` for sources and settings
    that cannot be, `OutputError` where results cannot be written.
    """
    sources = list(sources)
    check_apart(sources, setup.dest)
    store, parts = open_store(setup.dest), open_parts(suffix, setup.task)
    store.prepare()
    claim(store, {"format": FORMAT, "suffix": suffix, **workers.identity()}, again)
    with Scratch() as scratch:
        tasks = read_inputs(sources, with_text=setup.task == "align")
        with make_plan(tasks, scratch, bool(setup.each) or setup.task == "features") as plan:
            job = _Job(store, parts, scratch, plan, notice)
            job.recall()
            watch(job.tally)
            try:
                for outcome in workers.map(job.pending()):
                    if outcome is not None:
                        job.take(outcome)
                    job.flush(FLUSH_SECONDS)
                    watch(job.tally)
            except BaseException:
                with suppress(OutputError):  # perhaps that is what ended it
                    job.flush(0.0)
                raise
            job.finish()
            watch(job.tally)
            return job.tally


def claim(store: Store, identity: Mapping[str, Any], again: bool) -> None:
    """Make a place this job's, or find that it is; `OptionError` where it holds results of other settings.

    With `again` all that is there of a job is deleted first, all of it even if that is interrupted.
    """
    names = store.names()
    known = _read_claim(store) if JOB in names else None
    before = known or {}
    changed = sorted(key for key in {*before, *identity} - {ABOUT} if before.get(key) != identity.get(key))
    if not changed and not again:
        return
    if known is not None and not known.get("discarding") and not again:
        raise OptionError(
            f"The results of one place must all be made alike, but {', '.join(changed)} changed since those that are "
            "there were made; choose another --output, or replace them by --again."
        )
    foreign = [name for name in names if name.startswith(("part-", "open-"))]
    if known is None and foreign and not again:
        raise OptionError(
            f"{foreign[0]} must belong to a {JOB} beside it, but there is none; choose another --output, or replace "
            "what is there by --again."
        )
    _write_claim(store, {**identity, "discarding": True})
    for name in names:
        if name.startswith(("part-", "open-")) or name == FAILURES:
            store.remove(name)
    _write_claim(store, identity)


def _read_claim(store: Store) -> dict[str, Any]:
    try:
        return dict(json.loads(b"\n".join(iterate_lines(store, JOB))))
    except (ValueError, TypeError) as error:
        raise OptionError(
            f"{JOB} must be what an earlier run wrote, but is damaged; choose another --output, or delete it."
        ) from error


def _write_claim(store: Store, identity: Mapping[str, Any]) -> None:
    with store.write(JOB) as file:
        file.write(json.dumps(identity, indent=1, ensure_ascii=False).encode() + b"\n")


@dataclass
class _Open:
    """A block under way."""

    block: Block
    left: int
    """Inputs without an outcome."""
    unsaved: list[str] = field(default_factory=list[str])
    """Those whose records lie on this machine's scratch only."""


class _Job:
    """A run, from its plan to its end."""

    def __init__(self, store: Store, parts: Parts, scratch: Scratch, plan: Plan, notice: Callable[[str], None]) -> None:
        self.store, self.parts, self.scratch, self.plan, self.notice = store, parts, scratch, plan, notice
        self.tally = Tally(plan.num_inputs, plan.seconds, plan.duplicates)
        self._there = {name for name in store.names() if name.startswith(("part-", "open-"))}
        self._current: set[str] = set()
        """Names of the parts that are right."""
        self._given: dict[str, tuple[_Open, int, Task]] = {}
        """Tasks that are with workers, and where in their block they stand."""
        self._open: dict[int, _Open] = {}
        self._flushed = time.monotonic()
        self._journals: dict[str, set[int]] = {}
        """Files of records of blocks under way, with the numbers of those blocks."""

    def recall(self) -> None:
        """Take in the records of earlier runs that stand in no part that is right."""
        whole = {name + self.parts.suffix for name in self.plan.names}
        for name in sorted(self._there - whole):
            is_part = name.startswith("part-")
            records = self.parts.read(self.store, name) if is_part else iterate_lines(self.store, name)
            try:
                for record in records:
                    self.scratch.keep(json.loads(record)["id"], record)
            except (ValueError, KeyError, TypeError) as error:
                raise OutputError(
                    f"{name} must be what an earlier run wrote, but is damaged; delete it, to have it made anew."
                ) from error

    def pending(self) -> Iterator[Task]:
        """The tasks that are left to do; blocks that have none are written at once."""
        self.tally.began = time.monotonic()
        for block, lines in self.plan.blocks():
            whole = block.whole + self.parts.suffix
            state = None if whole in self._there else _Open(block, len(block.ids))
            if state:
                self._open[block.number] = state
            else:
                self._current.add(whole)
                self.tally.kept += len(block.ids) - len(block.errors)
                if not block.errors:
                    continue
            for place in range(len(block.ids)):
                task = Task.of_line(lines.readline())
                if task.error:
                    self._fail(block, place, task, task.error)
                elif state and self.scratch.kept(task.id) is None:
                    self._given[task.id] = state, place, task
                    yield task
                    continue
                elif state:
                    self.tally.kept += 1
                if state:
                    self._close(state)

    def take(self, outcome: Outcome) -> None:
        """Keep what became of a task; `OutputError` where nothing can be written any more."""
        if outcome.fatal:
            raise OutputError(outcome.error)
        state, place, task = self._given.pop(outcome.id)
        if outcome.record is None:
            self._fail(state.block, place, task, outcome.error or "")
        else:
            self.tally.done += 1
            self.tally.seconds += outcome.seconds
            self.tally.nodes[outcome.node] = self.tally.nodes.get(outcome.node, 0.0) + outcome.seconds
            self.scratch.keep(outcome.id, outcome.record)
            state.unsaved.append(outcome.id)
        self._close(state)

    def flush(self, seconds: float) -> None:
        """Save the records of blocks under way, if that was not done for so many seconds."""
        if time.monotonic() - self._flushed < seconds:
            return
        self._flushed = time.monotonic()
        waiting = [state for state in self._open.values() if state.unsaved]
        if not waiting:
            return
        name = f"open-{secrets.token_hex(8)}.jsonl"
        with self.store.write(name) as file:
            for state in waiting:
                for id in state.unsaved:
                    file.write((self.scratch.kept(id) or b"") + b"\n")
                state.unsaved.clear()
        self._journals[name] = {state.block.number for state in waiting}

    def finish(self) -> None:
        """Name what failed, and take away what is no part of the result."""
        if self.tally.failed:
            with self.store.write(FAILURES) as file:
                for line in self.scratch.failures():
                    file.write(line + b"\n")
        else:
            self.store.remove(FAILURES)
        for name in sorted({*self._there, *self._journals, *self.store.unfinished()} - self._current):
            self.store.remove(name)

    def _fail(self, block: Block, place: int, task: Task, sentence: str) -> None:
        self.tally.failed += 1
        self.notice(sentence)
        line = json.dumps({"id": task.id, "source": task.source, "offset": task.offset, "error": sentence})
        self.scratch.fail(task.id, block.number << 16 | place, line.encode())

    def _close(self, state: _Open) -> None:
        """One input less is left of a block; with the last its part is written."""
        state.left -= 1
        if state.left:
            return
        block = state.block
        recorded = [id for id in block.ids if self.scratch.kept(id) is not None]
        name = block.part(recorded) + self.parts.suffix
        if recorded and name not in self._there:
            with self.store.write(name) as file:
                self.parts.write(file, (self.scratch.kept(id) or b"" for id in recorded))
        self._current.add(name)
        self.scratch.drop(recorded)
        self._open.pop(block.number, None)
        for journal in [name for name, numbers in self._journals.items() if block.number in numbers]:
            self._journals[journal].discard(block.number)
            if not self._journals[journal]:
                del self._journals[journal]
                self.store.remove(journal)
