"""Bulk jobs on a cluster of two machines: whatever dies in their midst, results are those of a plain loop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import processes
from cluster.plain import Loop, results
from flow.conftest import EXAMPLE
from flow.serving import wav
from sonant import audio
from sonant.jobs import FAILURES, Setup, Tally, run_job
from sonant.jobs.tasks import Task

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes as Linux does"),
]
MODEL = {"source": None, "precision": "fp32", "threads": 1}
FEW, MANY = 4, 14


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, one of several windows, and one that is no sound."""
    folder = tmp_path_factory.mktemp("inputs")
    samples = audio.read(EXAMPLE)
    for i in range(MANY):
        (folder / f"clip-{i:02}.wav").write_bytes(wav(np.roll(samples, 1000 * i)))
    (folder / "long.wav").write_bytes(wav(np.tile(samples, 25)))
    (folder / "none.wav").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    setup = Setup(str(tmp_path_factory.mktemp("loop")), model=MODEL)
    assert run_job([str(inputs)], setup, Loop(setup)).failed == 1
    return results(setup.dest)


@pytest.fixture(scope="module")
def workers(cluster: Any) -> Iterator[Any]:
    from sonant.cluster.jobs import workers_on

    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sonant.cluster.jobs.CALL_SECONDS", 0.0)  # one task a call, so that there is a midst of the job
        with workers_on(cluster.address, Setup("unused", model=MODEL), 2) as workers:
            yield workers
    time.sleep(1)
    assert not processes.find("Worker")


def run(workers: Any, inputs: Path, dest: Path, meanwhile: Callable[[], None] = lambda: None) -> Tally:
    """The job, in whose midst something happens once."""
    happened: list[bool] = []

    def watch(tally: Tally) -> None:
        if tally.done >= FEW and not happened:
            happened.append(True)
            meanwhile()

    return run_job([str(inputs)], Setup(str(dest), model=MODEL), workers, watch=watch)


def test_results_are_those_of_a_plain_loop(
    workers: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    tally = run(workers, inputs, tmp_path)
    assert results(str(tmp_path)) == expected
    assert (tally.done, tally.failed) == (MANY + 1, 1)
    assert len(tally.nodes) in (1, 2)  # the second may have come too late to hear any
    assert sum(tally.nodes.values()) == pytest.approx(tally.seconds)


def test_workers_may_be_killed(workers: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    run(workers, inputs, tmp_path, lambda: os.kill(min(processes.find("Worker")), signal.SIGKILL))
    assert results(str(tmp_path)) == expected


def test_short_tasks_share_calls(
    workers: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonant.cluster.jobs.CALL_SECONDS", 10.0)
    monkeypatch.setattr("sonant.cluster.jobs.TASKS_A_CALL", 5)
    taken: list[int] = []
    take = workers._take_waiting

    def watched() -> list[Task]:
        tasks = take()
        taken.append(len(tasks))
        return tasks

    monkeypatch.setattr(workers, "_take_waiting", watched)
    tally = run(workers, inputs, tmp_path)
    assert results(str(tmp_path)) == expected
    assert (sum(taken), max(taken)) == (MANY + 2, 5)
    assert (tally.done, tally.failed) == (MANY + 1, 1)


@pytest.mark.parametrize("call_seconds", [0.0, 10.0])
def test_a_file_that_kills_is_set_aside(
    workers: Any,
    inputs: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call_seconds: float,
) -> None:
    """Whoever opens it is killed, as by a fault of a codec; where it was not alone, it is not yet known who it was."""
    monkeypatch.setattr("sonant.cluster.jobs.CALL_SECONDS", call_seconds)
    poison = inputs / "long.wav"
    killed: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for pid in processes.find("Worker") - killed:
                if poison in open_files(pid):
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        tally = run(workers, inputs, tmp_path)
    finally:
        ended.set()
        watching.join()
    assert tally.failed == 2
    assert len(killed) == (3 if call_seconds else 2)
    assert f"{poison} was set aside, because 2 workers in turn died" in (tmp_path / FAILURES).read_text()
    tally = run(workers, inputs, tmp_path)
    assert (tally.done, tally.kept, tally.failed) == (1, MANY, 1)
    assert results(str(tmp_path)) == expected


def open_files(pid: int) -> set[Path]:
    """What a process has open."""
    found: set[Path] = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found.add(link.readlink())
    except OSError:  # it has ended, or the file was closed meanwhile
        pass
    return found


def test_a_full_object_store_only_costs_time(
    workers: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    import ray

    held = [ray.get(ray.put(np.zeros(10 << 20, np.uint8))) for _ in range(12)]  # in use: they cannot be moved to disk
    run(workers, inputs, tmp_path)
    assert len(held) == 12
    assert results(str(tmp_path)) == expected


def test_a_machine_may_go(cluster: Any, workers: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    [node] = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
    run(workers, inputs, tmp_path, lambda: cluster.remove_node(node, allow_graceful=False))
    assert results(str(tmp_path)) == expected


def test_hands_without_engines_give_the_same(
    cluster: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """As on GPUs; the only engine dies meanwhile."""
    from sonant.cluster.connection import connected
    from sonant.cluster.jobs import ClusterWorkers

    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    with connected(cluster.address), closing(ClusterWorkers(Setup("unused", model=MODEL), 1, apart=True)) as workers:
        workers.identity()
        [engine] = [actor for actor in workers._engines if actor not in workers._hands]
        run(workers, inputs, tmp_path, lambda: ray_kill(engine.handle))
    assert results(str(tmp_path)) == expected


def ray_kill(handle: Any) -> None:
    import ray

    ray.kill(handle)


def test_settings_that_changed_are_refused(workers: Any, inputs: Path, tmp_path: Path) -> None:
    from sonant.errors import OptionError

    setup = Setup(str(tmp_path), model=MODEL | {"sure": 0.5})
    run_job([str(inputs / "clip-00.wav")], setup, Loop(setup))
    with pytest.raises(OptionError, match="sure changed"):
        run_job([str(inputs)], replace(setup, model=MODEL), workers)
