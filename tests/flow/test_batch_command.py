"""`sonant batch` as a user runs it, and as a machine ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.conftest import EXAMPLE, SAID
from flow.test_command import run
from sonant.jobs.stages import fields_of
from unit.media import wav_of

QUICK = """
from sonant import jobs
jobs.FLUSH_SECONDS = 0.0
from sonant.cli import main
main()
"""
COMMON = ["--precision", "fp32"]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))


def start(*words: object) -> subprocess.Popen[str]:
    """A job in a process of its own, which saves every record at once."""
    command = [sys.executable, "-c", QUICK, "batch", *map(str, words), *COMMON]
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it, and so would this one
    try:
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if what():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("nothing came")


def results(dest: Path) -> dict[str, bytes]:
    return {p.relative_to(dest).as_posix(): p.read_bytes() for p in sorted(dest.rglob("*")) if p.is_file()}


def clips(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        shutil.copy(EXAMPLE, folder / f"{number}.ogg")
    return folder


def test_a_job_gives_what_a_loop_gives_and_is_done_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = clips(tmp_path / "in", 2)
    spoken = sonant.audio.read(EXAMPLE)
    long = np.concatenate([spoken * level for level in np.linspace(0.4, 1.0, 14, dtype=np.float32)])
    (source / "long.wav").write_bytes(wav_of(long))  # of several windows, which two workers share
    (source / "cut.ogg").write_bytes(EXAMPLE.read_bytes()[:200])
    options = ["--output", tmp_path / "out", "--each", "srt,json", "--workers", 2, *COMMON]
    metrics = tmp_path / "metrics"
    assert run(monkeypatch, "batch", source, source / "0.ogg", *options, "--metrics", metrics) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "cut.ogg" in err
    assert "3 done" in err
    assert "1 named more than once and done once, 1 failed, see failures.jsonl there." in err
    assert "sonant_batch_done_total 3\n" in metrics.read_text()

    asr = sonant.load(precision="fp32", threads=1)
    [part] = (tmp_path / "out").glob("part-*.jsonl")
    records = [json.loads(line) for line in part.read_text().splitlines()]
    assert [Path(record["source"]).name for record in records] == ["0.ogg", "1.ogg", "long.wav"]
    for record in records:
        transcript = asr.transcribe(record["source"])
        assert list(record) == ["id", "source", "offset", "duration", *fields_of(transcript)]
        assert {key: record[key] for key in fields_of(transcript)} == fields_of(transcript)
        saved = tmp_path / "out" / "files" / f"{Path(record['source']).name}.json"
        assert sonant.Transcript.read(saved).text == transcript.text
    assert "Seven three nine" in (tmp_path / "out" / "files" / "0.ogg.srt").read_text()
    [failure] = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert failure["source"] == str(source / "cut.ogg")
    assert failure["error"] in err

    before = results(tmp_path / "out")
    assert run(monkeypatch, "batch", source, *options[:-2], "--workers", 1, *COMMON) == 1
    assert "0 done" in (err := capsys.readouterr().err)
    assert "3 kept from before, 1 failed" in err
    assert results(tmp_path / "out") == before
    assert run(monkeypatch, "batch", source, *options, "--sure", 0.5) == 2
    assert "but sure changed since" in capsys.readouterr().err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """Inputs, and the results of a job that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    source = clips(folder / "in", 40)  # enough to be caught in their midst
    process = start(source, "--output", folder / "out", "--workers", 1, "--each", "vtt")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return source, results(folder / "out")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_job_whose_driver_is_ended_goes_on_where_it_was(
    whole: tuple[Path, dict[str, bytes]], tmp_path: Path, end: signal.Signals
) -> None:
    source, dest = whole[0], tmp_path / "out"
    arguments = [source, "--output", dest, "--workers", 1, "--each", "vtt"]
    process = start(*arguments)
    wait_until(lambda: len(list(dest.glob("open-*"))) > 1, process)
    process.send_signal(end)
    _, err = process.communicate(timeout=60)
    if end != signal.SIGKILL:
        assert process.returncode == 130
        assert f"Stopped; what is done stays in {dest}" in err
    assert len(list(dest.glob("part-*"))) == 0
    saved = sum(len(path.read_bytes().splitlines()) for path in dest.glob("open-*"))
    assert 0 < saved < 40
    again = start(*arguments)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert f"{saved} kept from before" in err
    assert results(dest) == whole[1]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_worker_that_is_killed_costs_nothing_and_all_end_with_their_driver(tmp_path: Path) -> None:
    source, dest = clips(tmp_path / "in", 8), tmp_path / "out"
    process = start(source, "--output", dest, "--workers", 1)
    wait_until(lambda: any(dest.glob("open-*")), process)
    [worker] = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: bool({*children(process.pid)} - {worker}), process)
    [second] = {*children(process.pid)} - {worker}
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    [part] = dest.glob("part-*")
    assert [json.loads(line)["text"] for line in part.read_text().splitlines()] == [SAID] * 8
    assert not Path(f"/proc/{second}").exists()
    orphaned = start(source, "--output", tmp_path / "other", "--workers", 1)
    wait_until(lambda: any((tmp_path / "other").glob("open-*")), orphaned)
    [left] = children(orphaned.pid)
    orphaned.kill()
    orphaned.communicate()
    for _ in range(100):
        if not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text().rpartition(")")[2]:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a worker outlived its driver")


def children(pid: int) -> list[int]:
    """The workers of a driver; not the process that multiprocessing keeps for its own books."""
    pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in pids if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing.wav"], "missing.wav does not exist"),
        (["empty"], "empty must lead to audio"),
        (["in", "--output", "in/out"], "in/out is inside in"),
        (["in", "--each", "srt,doc"], "--each takes text, json"),
        (["in", "--task", "features", "--each", "srt"], "--task features writes no words"),
        (["in", "--task", "identify", "--beam", "5"], "--task identify writes no words"),
        (["in", "--units"], "say which features are written, but the task is transcribe"),
        (["in", "--width", "30"], "is that of the files of --each"),
        (["in", "--greedy", "--beam", "5"], "leave out one of both"),
        (["in", "--model", "nowhere"], "there is no folder nowhere"),
        (["in", "--metrics", "no/such/port"], "no/such/port cannot be written"),
        (["in/0.ogg", "--output", "in/0.ogg/out"], "in/0.ogg/out must be a folder that can be written"),
    ],
)
def test_wrong_use_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], sentence: str
) -> None:
    clips(tmp_path / "in", 1)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    options = [] if "--output" in words else ["--output", "out"]
    assert run(monkeypatch, "batch", *words, *options, "--workers", 1) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("out/part-*"))
