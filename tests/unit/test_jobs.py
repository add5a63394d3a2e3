"""A job that is stopped at any moment, and gone on with, equals one that never was."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sonant import jobs
from sonant.errors import OptionError, OutputError
from sonant.jobs import Setup, Tally, Task, ledger, run_job
from sonant.jobs.store import FolderStore, open_store
from sonant.jobs.tasks import Outcome


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MEAN_BLOCK", 3)
    monkeypatch.setattr(ledger, "LARGEST_BLOCK", 6)
    monkeypatch.setattr(jobs, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr("os.fsync", lambda _: None)  # only a machine that dies would tell


class Loop:
    """Workers that do tasks one after another, the odd ones late."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = {"task": "transcribe", "about": str(id(self)), **(settings or {})}
        self.heard: list[str] = []

    def identity(self) -> Mapping[str, Any]:
        return self.settings

    def map(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        late: list[Task] = []
        for task in tasks:
            late.append(task)
            if len(late) == 3:
                yield self.do(late.pop(1))
                yield None
        for task in late:
            yield self.do(task)

    def do(self, task: Task) -> Outcome:
        self.heard.append(task.audio)
        if "bad" in task.audio:
            return Outcome(task.id, error=f"{task.source} is bad.")
        fields = {"id": task.id, "source": task.source, "offset": None, "duration": 1.0}
        said = {"language": None, "text": f"Wörter {task.name}", "warnings": [], "segments": []}
        return Outcome(task.id, json.dumps(fields | said, ensure_ascii=False).encode(), seconds=1.0)

    def close(self) -> None:
        pass


def manifest(path: Path, names: list[str]) -> str:
    path.write_text("".join(json.dumps({"audio_filepath": name}) + "\n" for name in names))
    return str(path)


def job(source: str, dest: Path | str, workers: Loop | None = None, **options: Any) -> tuple[Tally, Loop]:
    workers = workers or Loop()
    return run_job([source], Setup(str(dest)), workers, **options), workers


def contents(dest: Path) -> dict[str, bytes]:
    """Every file of a place, but for what is said to people only."""
    read = {path.relative_to(dest).as_posix(): path.read_bytes() for path in sorted(dest.rglob("*")) if path.is_file()}
    read.pop("job.json", None)
    return read


NAMES = [f"a/{i}.wav" for i in range(20)] + ["a/bad.wav"]


class KilledError(BaseException):
    """In place of kill -9: nothing may be written after it."""


class Dying:
    """A folder that is no more after so many changes; the last is half done, or done and not heard of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, changes: int, after: bool) -> None:
        self.left, self.after = changes, after
        write, remove = FolderStore.write, FolderStore.remove

        @contextmanager
        def dying_write(store: FolderStore, name: str) -> Iterator[BinaryIO]:
            self.check(not self.after)
            with write(store, name) as file:
                yield file
            self.check(self.after)

        def dying_remove(store: FolderStore, name: str) -> None:
            self.check(not self.after)
            remove(store, name)
            self.check(self.after)

        monkeypatch.setattr(FolderStore, "write", dying_write)
        monkeypatch.setattr(FolderStore, "remove", dying_remove)

    def check(self, counts: bool) -> None:
        self.left -= counts
        if self.left < 0 or (self.left == 0 and counts):
            self.left = -1
            raise KilledError


@pytest.mark.parametrize(("suffix", "after"), [(".jsonl", False), (".jsonl", True), (".parquet", False)])
def test_a_job_killed_at_any_change_ends_as_if_it_never_was(tmp_path: Path, suffix: str, after: bool) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    source = manifest(tmp_path / "list.jsonl", NAMES)
    tally, _ = job(source, tmp_path / "whole", suffix=suffix)
    assert (tally.inputs, tally.done, tally.failed) == (21, 20, 1)
    whole = contents(tmp_path / "whole")
    assert len(whole) > 4
    for changes in range(1, 200):
        dest = tmp_path / f"killed{changes}"
        with pytest.MonkeyPatch.context() as patch:
            Dying(patch, changes, after)
            try:
                job(source, dest, suffix=suffix)
            except KilledError:
                killed = True
            else:
                killed = False
        for folder in (dest, dest / "files" / "a"):  # as kill -9 may leave them
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".sonant-0123.tmp").touch()
        tally, workers = job(source, dest, suffix=suffix)
        assert contents(dest) == whole
        assert tally.kept + tally.done == 20
        assert len(workers.heard) == tally.done + 1
        if not killed:
            assert workers.heard == [str(tmp_path / "a/bad.wav")]  # what failed is tried again
            return
    raise AssertionError("the job never came to its end")


def test_a_list_that_changed_costs_its_new_inputs_only(tmp_path: Path) -> None:
    source = manifest(tmp_path / "list.jsonl", NAMES)
    job(source, tmp_path / "out")
    changed = ["a/new.wav", *NAMES[3:9], "a/newer.wav", *reversed(NAMES[9:]), NAMES[5]]
    manifest(tmp_path / "list.jsonl", changed)
    tally, workers = job(source, tmp_path / "out")
    heard = {Path(path).name for path in workers.heard}
    assert heard == {"new.wav", "newer.wav", "bad.wav"}
    assert (tally.inputs, tally.kept, tally.done, tally.duplicates) == (20, 17, 2, 1)
    job(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_records_stand_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    job(manifest(tmp_path / "list.jsonl", NAMES), tmp_path / "out")
    parts = sorted((tmp_path / "out").glob("part-*.jsonl"))
    assert len(parts) > 2
    sources = [json.loads(line)["source"] for part in parts for line in part.read_text().splitlines()]
    assert sources == [str(tmp_path / name) for name in NAMES[:-1]]
    failure = json.loads((tmp_path / "out" / "failures.jsonl").read_text())
    assert failure["source"] == str(tmp_path / "a/bad.wav")
    assert failure["error"] == f"{tmp_path / 'a/bad.wav'} is bad."


def test_failures_are_forgotten_once_the_inputs_are_mended(tmp_path: Path) -> None:
    source = manifest(tmp_path / "list.jsonl", ["bad.wav", "x.wav"])
    job(source, tmp_path / "out")
    assert (tmp_path / "out" / "failures.jsonl").exists()

    class Mended(Loop):
        def do(self, task: Task) -> Outcome:
            return super().do(Task(task.id, task.audio.replace("bad", "good"), task.name))

    tally, workers = job(source, tmp_path / "out", Mended())
    assert len(workers.heard) == 1
    assert tally.failed == 0
    assert not (tmp_path / "out" / "failures.jsonl").exists()


def test_other_settings_are_refused_and_replace_all_if_told_to(tmp_path: Path) -> None:
    source = manifest(tmp_path / "list.jsonl", NAMES)
    job(source, tmp_path / "out", Loop({"lm": "a"}))
    with pytest.raises(OptionError, match=r"but beam, lm changed .* replace them by --again"):
        job(source, tmp_path / "out", Loop({"lm": "b", "beam": 5}))
    with pytest.raises(OptionError, match="but suffix changed"):
        job(source, tmp_path / "out", Loop({"lm": "a"}), suffix=".parquet")
    tally, workers = job(source, tmp_path / "out", Loop({"lm": "b"}), again=True)
    assert tally.kept == 0
    assert len(workers.heard) == 21
    (tmp_path / "out" / "job.json").unlink()
    with pytest.raises(OptionError, match=r"part-.* must belong to a job.json beside it"):
        job(source, tmp_path / "out", Loop({"lm": "b"}))
    (tmp_path / "out" / "job.json").write_text("{")
    with pytest.raises(OptionError, match=r"job.json must be what an earlier run wrote, but is damaged"):
        job(source, tmp_path / "out", Loop({"lm": "b"}))


def test_replacing_all_is_finished_if_it_was_interrupted(tmp_path: Path) -> None:
    source = manifest(tmp_path / "list.jsonl", NAMES)
    job(source, tmp_path / "fresh", Loop({"lm": "b"}))
    for changes in range(1, 16):
        dest = tmp_path / f"killed{changes}"
        job(source, dest, Loop({"lm": "a"}))
        with pytest.MonkeyPatch.context() as patch:
            Dying(patch, changes, after=False)
            with pytest.raises(KilledError):
                job(source, dest, Loop({"lm": "b"}), again=True)
        if changes > 1:  # from the first change on it is the new job's
            job(source, dest, Loop({"lm": "b"}))
            assert contents(dest) == contents(tmp_path / "fresh")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    source = manifest(tmp_path / "list.jsonl", NAMES)
    job(source, tmp_path / "out")
    part = min((tmp_path / "out").glob("part-*"))
    part.write_bytes(part.read_bytes()[:-9])
    manifest(tmp_path / "list.jsonl", NAMES[1:])
    with pytest.raises(OutputError, match=f"{part.name} must be what an earlier run wrote, but is damaged"):
        job(source, tmp_path / "out")


def test_a_line_that_is_no_utterance_fails_alone(tmp_path: Path) -> None:
    lines = ['{"audio_filepath": "x.wav"}', "{broken", '{"audio_filepath": 7}', '{"audio_filepath": "y.wav"}']
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    told: list[str] = []
    for _ in range(2):
        tally, _ = job(str(tmp_path / "list.jsonl"), tmp_path / "out", notice=told.append)
        assert (tally.done + tally.kept, tally.failed) == (2, 2)
    failed = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert [failure["source"] for failure in failed] == [f"{tmp_path}/list.jsonl:{number}" for number in (2, 3)]
    assert told[:2] == [failure["error"] for failure in failed] == told[2:]


def test_two_inputs_never_share_their_own_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").touch()
    workers = Loop()
    told: list[str] = []
    setup = Setup(str(tmp_path / "out"), each=(".srt",))
    tally = run_job([str(tmp_path / "a"), str(tmp_path / "b")], setup, workers, notice=told.append)
    assert (tally.done, tally.failed) == (1, 1)
    assert "b/x.wav must have a name of its own, but the files of another input are called x.wav" in told[0]


def test_results_never_lie_among_the_inputs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.wav").touch()
    with pytest.raises(OptionError, match=r"must not lie among the inputs, but .*a/out is inside .*a;"):
        job(str(tmp_path / "a"), tmp_path / "a" / "out")
    assert not (tmp_path / "a" / "out").exists()
    with pytest.raises(OptionError, match="must not lie among the inputs"):
        job(str(tmp_path / "**" / "*.wav"), tmp_path / "a" / "out")
    tally, _ = job(str(tmp_path / "a" / "*.wav"), tmp_path / "a" / "out")
    assert tally.done == 1


def test_a_place_that_cannot_be_written_is_known_before_any_work(tmp_path: Path) -> None:
    source = manifest(tmp_path / "list.jsonl", NAMES)
    (tmp_path / "file").touch()
    workers = Loop()
    with pytest.raises(OutputError, match="must be a folder that can be written"):
        job(source, tmp_path / "file" / "out", workers)
    assert not workers.heard


def test_what_no_input_could_survive_ends_the_job_and_keeps_what_is_done(tmp_path: Path) -> None:
    source = manifest(tmp_path / "list.jsonl", NAMES)

    class Full(Loop):
        def do(self, task: Task) -> Outcome:
            outcome = super().do(task)
            return Outcome(task.id, error="There is no room.", fatal=True) if len(self.heard) == 9 else outcome

    with pytest.raises(OutputError, match="There is no room"):
        job(source, tmp_path / "out", Full())
    tally, _ = job(source, tmp_path / "out")
    assert tally.kept == 8
    job(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_full_disk_is_one_sentence_and_the_job_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = manifest(tmp_path / "list.jsonl", NAMES)
    calls: list[int] = []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match=r"could not be written \(No space left on device\).* make room"):
            job(source, tmp_path / "out")
    tally, _ = job(source, tmp_path / "out")
    assert tally.kept > 0
    job(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_an_object_store_holds_the_same_files(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    source = manifest(tmp_path / "list.jsonl", NAMES)
    job(source, tmp_path / "whole")
    dest = "memory://bulk/out"
    try:
        broken = Loop()
        broken.do = lambda task: (_ for _ in ()).throw(KilledError) if len(broken.heard) == 7 else Loop.do(broken, task)
        with pytest.raises(KilledError):
            job(source, dest, broken)
        tally, _ = job(source, dest)
        assert tally.kept == 7
        store = open_store(dest)
        assert store.names() == sorted([*contents(tmp_path / "whole"), "job.json"])
        for name, expected in contents(tmp_path / "whole").items():
            with store.open(name) as file:
                assert file.read() == expected
    finally:
        fsspec.filesystem("memory").rm("/bulk", recursive=True)
