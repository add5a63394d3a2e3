"""What a job's sources stand for."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sonant.data.manifest import Utterance
from sonant.data.shards import write_shards
from sonant.errors import AudioError, DataError, OptionError
from sonant.jobs.inputs import LONGEST_NAME, read_inputs, safe_name
from sonant.jobs.stages import open_task
from sonant.jobs.tasks import Task
from unit.media import wav_of


def listed(*sources: object, with_text: bool = False) -> list[Task]:
    return list(read_inputs(map(str, sources), with_text=with_text))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    for name in ("b/2.flac", "b/10.WAV", "a.mp3", "notes.txt", "list.jsonl", "c.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_folders_give_their_recordings_in_the_order_of_names(folder: Path) -> None:
    tasks = listed(folder)
    assert [task.name for task in tasks] == ["a.mp3", "b/10.WAV", "b/2.flac"]
    assert [task.audio for task in tasks] == [str(folder / task.name) for task in tasks]
    assert [task.id for task in listed(folder)] == [task.id for task in tasks]
    assert len({task.id for task in tasks}) == 3


def test_links_are_followed_once_and_broken_ones_are_named(folder: Path) -> None:
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "d").symlink_to(folder / "b")
    (folder / "lost.wav").symlink_to(folder / "nowhere.wav")
    names = ["a.mp3", "b/10.WAV", "b/2.flac", "d/10.WAV", "d/2.flac", "lost.wav"]
    assert [task.name for task in listed(folder)] == names


def test_globs_are_those_of_a_shell(folder: Path) -> None:
    assert [task.name for task in listed(folder / "**" / "*.flac")] == ["b/2.flac"]
    assert [task.name for task in listed(folder / "*" / "*")] == ["b/10.WAV", "b/2.flac"]
    odd = folder / "one [1].mp3"
    odd.touch()
    assert [task.audio for task in listed(odd)] == [str(odd)]  # a file of that name is no pattern


def test_what_holds_nothing_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.tar").write_bytes(b"x" * 600)
    for source in (tmp_path / "empty", tmp_path / "*.wav"):
        with pytest.raises(OptionError, match=r"must lead to audio.* but nothing of the kind is there"):
            listed(source)
    with pytest.raises(OptionError, match=r"missing.wav does not exist"):
        listed(tmp_path / "missing.wav")
    with pytest.raises(DataError, match=r"no.tar must be a whole tar archive, not packed"):
        listed(tmp_path / "no.tar")


def test_manifests_and_tables_give_parts_and_texts(tmp_path: Path) -> None:
    line = {"audio_filepath": "x/talk.wav", "offset": 1.5, "duration": 2.0, "text": "ONE"}
    (tmp_path / "list.jsonl").write_text(json.dumps(line) + "\n\n")
    (tmp_path / "list.tsv").write_text("path\toffset\tduration\tsentence\nx/talk.wav\t1.5\t2\tTWO\n")
    [task] = listed(tmp_path / "list.jsonl")
    assert (task.name, task.offset, task.duration, task.text) == ("x/talk.wav@1.5", 1.5, 2.0, None)
    assert listed(tmp_path / "list.tsv") == [task]  # what is said makes no other input, unless it is asked for
    texts = [listed(tmp_path / name, with_text=True)[0] for name in ("list.jsonl", "list.tsv")]
    assert [t.text for t in texts] == ["ONE", "TWO"]
    assert len({t.id for t in (task, *texts)}) == 3


def test_a_task_survives_its_line() -> None:
    for task in (
        Task("0" * 32, "a\udc80.wav", "a"),
        Task("1" * 32, "é.tar/b.wav", "b", 0.5, 1.0, "said", (3, 4), "no"),
    ):
        assert Task.of_line(task.to_line()) == task


def test_shards_give_what_was_put_into_them(tmp_path: Path) -> None:
    for number in range(3):
        samples = np.full(1600 + 16 * number, 0.1, np.float32)
        (tmp_path / f"{number}.wav").write_bytes(wav_of(samples))
    utterances = [Utterance(str(tmp_path / f"{n}.wav"), 0.1, f"text {n}") for n in range(3)]
    [shard] = write_shards(utterances, tmp_path / "shards")
    tasks = listed(shard, with_text=True)
    assert [task.name for task in tasks] == [f"{shard.name}/0000000{n}.wav" for n in range(3)]
    assert [task.text for task in tasks] == ["text 0", "text 1", "text 2"]
    for number, task in enumerate(tasks):
        with open_task(task, 16_000) as stream:
            assert sum(map(len, stream)) == 1600 + 16 * number


def test_archives_without_lines_are_shards_too(tmp_path: Path) -> None:
    data = wav_of(np.full(1600, 0.1, np.float32))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("readme.txt", "./x/1.wav", "x/2.wav", "x/2.json", "lone.json"):
            body = data if name.endswith(".wav") else b'{"text": 3}' if name == "x/2.json" else b"{"
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    first, second = listed(tmp_path / "a.tar", with_text=True)
    assert (first.name, first.text, second.name, second.text) == ("a.tar/x/1.wav", None, "a.tar/x/2.wav", "3")
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[: second.place[0] + 10 if second.place else 0])
    with pytest.raises(AudioError, match=r"must have \d+ bytes, but 10 came"), open_task(second, 16_000):
        pass


def test_names_of_files_stay_below_their_folder() -> None:
    assert safe_name("../../etc/x.wav", "0" * 32) == "etc/x.wav"
    assert safe_name("/abs/x.wav", "0" * 32) == "abs/x.wav"
    assert safe_name("s3://bucket/k/x.wav", "0" * 32) == "bucket/k/x.wav"
    assert safe_name("/", "ab" * 16) == "ab" * 16
    assert safe_name("n" * 300, "ab" * 16) == "n" * LONGEST_NAME + "-abababab"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    data = wav_of(np.full(1600, 0.1, np.float32))
    for name in ("x/b.wav", "x/a.wav", "x/deep/c.wav", "x/notes.txt"):
        files.pipe(f"/inputs/{name}", data)
    files.pipe("/inputs/list.jsonl", b'{"audio_filepath": "x/a.wav"}\n')
    utterances = [Utterance(str(tmp_path / "0.wav"), 0.1, "said")]
    (tmp_path / "0.wav").write_bytes(data)
    [shard] = write_shards(utterances, tmp_path / "shards")
    files.pipe("/inputs/s.tar", shard.read_bytes())
    yield "memory://inputs"
    files.rm("/inputs", recursive=True)


def test_stores_are_listed_and_read_like_folders(store: str) -> None:
    names = [task.name for task in listed(f"{store}/x")]
    assert names == ["a.wav", "b.wav", "deep/c.wav"]
    assert [task.name for task in listed(f"{store}/x/*.wav")] == ["a.wav", "b.wav"]
    [from_manifest] = listed(f"{store}/list.jsonl")
    [from_shard] = listed(f"{store}/s.tar")
    for task in (*listed(f"{store}/x"), from_manifest, from_shard):
        with open_task(task, 16_000) as stream:
            assert sum(map(len, stream)) == 1600
            assert stream.name == task.audio
    with pytest.raises(OptionError, match="does not exist"):
        listed(f"{store}/missing.wav")
    missing = Task("0" * 32, f"{store}/missing.wav", "missing.wav")
    with pytest.raises(AudioError, match=r"missing.wav does not exist"), open_task(missing, 16_000):
        pass
