"""Processes that are given tasks: every task has one outcome, whatever dies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from sonant.errors import CheckpointError, EngineError
from sonant.jobs.pool import ProcessPool
from sonant.jobs.tasks import Outcome, Setup, Task
from unit.benches import Bench


def tasks(*names: str) -> Iterator[Task]:
    return (Task(f"{number:032x}", f"{name}.wav", name) for number, name in enumerate(names))


def pool(size: int, task: str = "fake") -> ProcessPool:
    return ProcessPool(Setup("nowhere", task), size, cast("Callable[[Setup], Any]", Bench))


def outcomes(workers: ProcessPool, given: Iterator[Task]) -> dict[int, Outcome]:
    came = [outcome for outcome in workers.map(given) if outcome]
    assert len({outcome.id for outcome in came}) == len(came)
    return {int(outcome.id, 16): outcome for outcome in came}


def test_what_kills_its_worker_is_tried_twice_and_named_while_the_others_go_on() -> None:
    with closing(pool(2)) as workers:
        assert workers.identity() == {"task": "fake"}
        came = outcomes(workers, tasks("a", "poison", "b", "fault", "c", "d"))
        assert sorted(came) == [0, 1, 2, 3, 4, 5]
        assert came[1].error
        assert (
            "poison.wav was set aside, because 2 workers in turn died while they heard it (signal 9)" in came[1].error
        )
        assert came[3].error == "It is broken."
        assert all(came[i].record for i in (0, 2, 4, 5))
        again = outcomes(workers, tasks("e", "poison"))  # a pool that went through that is as good as new
        assert again[0].record
        assert "set aside" in str(again[1].error)


def test_a_long_file_is_shared_with_those_that_have_nothing_else_to_do() -> None:
    with closing(pool(2)) as workers:
        came = outcomes(workers, tasks("long"))
    record = json.loads(came[0].record or b"")
    assert record["windows"] == list(range(9))
    assert record["workers"] == 2


def test_a_helper_that_dies_loses_no_window() -> None:
    with closing(pool(2)) as workers:
        outcomes(workers, tasks("long"))  # by both, which are ready then
        before = {worker.process.pid for worker in workers._workers}
        came = outcomes(workers, tasks("long-poison"))
        assert len(before & {worker.process.pid for worker in workers._workers}) == 1
    assert json.loads(came[0].record or b"")["windows"] == [0, -1, 2, 3, 4, 5, 6, 7, 8]


def test_no_more_tasks_are_taken_than_can_be_begun() -> None:
    taken: list[str] = []

    def endless() -> Iterator[Task]:
        for task in tasks(*(f"n{i}" for i in range(1000))):
            taken.append(task.name)
            yield task

    with closing(pool(1)) as workers:
        done = 0
        for outcome in workers.map(endless()):
            done += outcome is not None
            assert len(taken) <= done + 2
            if done == 20:
                break


def test_a_model_that_cannot_be_loaded_ends_the_pool_with_its_own_error() -> None:
    with closing(pool(2, "unfit")) as workers, pytest.raises(CheckpointError, match="name another"):
        workers.identity()


def test_workers_that_die_of_loading_end_the_pool() -> None:
    with (
        closing(pool(1, "dying")) as workers,
        pytest.raises(EngineError, match=r"3 in a row died of it \(exit c"),
    ):
        workers.identity()
