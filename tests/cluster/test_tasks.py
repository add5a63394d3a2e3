"""Every task of a bulk job, and every place of its files, on a cluster: results are those of a plain loop."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster.plain import Loop, results
from flow.bucket import opened_store
from flow.conftest import EXAMPLE, SAID
from parity.test_heads import saved
from parity.tiny import TINY
from sonant.errors import OutputError
from sonant.jobs import Setup, run_job

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes as Linux does"),
]
MODEL = {"source": None, "precision": "fp32", "threads": 1}


@pytest.fixture(scope="module")
def bucket() -> Iterator[None]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with opened_store():
        yield


@pytest.fixture(scope="module")
def ray(bucket: None, cluster: Any) -> Iterator[None]:
    """A cluster whose processes know the bucket."""
    from sonant.cluster.connection import connected

    with connected(cluster.address):
        yield


def run_both(sources: list[str], one: Setup, other: Setup) -> int:
    """The same by a loop and on the cluster; how many inputs failed."""
    from sonant.cluster.jobs import ClusterWorkers

    expected = run_job(sources, one, Loop(one))
    with closing(ClusterWorkers(other, 1)) as workers:
        tally = run_job(sources, other, workers)
    assert (tally.done, tally.failed) == (expected.done, expected.failed)
    assert tally.done
    return tally.failed


@pytest.mark.parametrize("task", ["align", "features", "identify", "voices"])
@pytest.mark.usefixtures("ray")
def test_every_task_gives_what_a_loop_gives(tmp_path: Path, task: str) -> None:
    manifest = tmp_path / "list.jsonl"
    shutil.copy(EXAMPLE, tmp_path / "a.ogg")
    (tmp_path / "bad.wav").write_text("not audio")
    lines = [{"audio_filepath": "a.ogg", "text": SAID}, {"audio_filepath": "bad.wav", "text": SAID}]
    lines.append({"audio_filepath": "a.ogg", "offset": 0.5, "duration": 2.0, "text": "SEVEN THREE NINE"})
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings: dict[str, Any] = {"task": task, "model": MODEL}
    if task == "align":
        settings["each"] = (".srt",)
    elif task == "features":
        settings |= {"layers": "2,4", "model": MODEL | {"lm": False}}
    else:
        kind = "ForXVector" if task == "voices" else "ForSequenceClassification"
        saved(tmp_path / "head", TINY, kind, True)
        settings = {"task": "identify", "model": MODEL | {"source": str(tmp_path / "head"), "lm": False}}
    one, other = (Setup(str(tmp_path / name), **settings) for name in ("loop", "cluster"))
    assert run_both([str(manifest)], one, other) == 1
    assert results(other.dest) == results(one.dest)


@pytest.mark.usefixtures("ray")
def test_inputs_and_results_lie_in_an_object_store() -> None:
    import s3fs

    files = s3fs.S3FileSystem()
    files.mkdir("speech")
    for name in ("a.ogg", "deep/b.ogg"):
        files.put_file(EXAMPLE, f"speech/in/{name}")
    files.pipe_file("speech/in/bad.wav", b"not audio")
    one, other = (
        Setup(f"s3://speech/{name}", model=MODEL, each=(".vtt",), look={"karaoke": True})
        for name in ("loop", "cluster")
    )
    assert run_both(["s3://speech/in"], one, other) == 1
    files.invalidate_cache()
    found = [
        {path.removeprefix(f"speech/{name}/"): files.cat_file(path) for path in files.find(f"speech/{name}")}
        for name in ("loop", "cluster")
    ]
    assert found[0] == found[1]
    assert {"failures.jsonl", "files/deep/b.ogg.vtt"} <= set(found[0])


@pytest.mark.usefixtures("ray")
def test_a_place_without_room_ends_the_job_which_goes_on_once_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sonant.cluster.jobs import ClusterWorkers

    source = tmp_path / "in"
    source.mkdir()
    for number in range(4):
        shutil.copy(EXAMPLE, source / f"{number}.ogg")
    dest = tmp_path / "out"
    setup = Setup(str(dest), model=MODEL, each=(".srt",))
    expected = Setup(str(tmp_path / "loop"), model=MODEL, each=(".srt",))
    run_job([str(source)], expected, Loop(expected))
    dest.mkdir()
    (dest / "files").write_text("in the way of what workers write")
    taken = pytest.raises(OutputError, match="must be a folder, but cannot be made")
    with closing(ClusterWorkers(setup, 1)) as workers, taken:
        run_job([str(source)], setup, workers)
    (dest / "files").unlink()

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(ClusterWorkers(setup, 1)) as workers, monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)  # of the driver
        with pytest.raises(OutputError, match=r"could not be written \(No space left on device\).* make room"):
            run_job([str(source)], setup, workers)
    with closing(ClusterWorkers(setup, 1)) as workers:
        run_job([str(source)], setup, workers)
    assert results(dest) == results(expected.dest)
