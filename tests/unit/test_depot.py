"""Shards at URLs: fetched whole or not at all, each once, no more of them on the disk than are held."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from sonant.data.depot import Depot
from sonant.data.manifest import Utterance, read_encoded, read_manifest, read_utterance
from sonant.data.remote import fetch
from sonant.data.shards import write_shards
from sonant.errors import AudioError, DataError
from unit.media import tone, write_media

fsspec = pytest.importorskip("fsspec")
BASE = "memory://speech"


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[list[Utterance]]:
    """Five shards of one utterance in a store, with their manifest beside them, and what that lists."""
    path = write_media(tmp_path / "talk.wav", tone(0.2))
    every = [Utterance(str(path), 0.2, f"row {i}", extra={"i": i}) for i in range(5)]
    write_shards(every, tmp_path / "out", max_bytes=path.stat().st_size + 13_000)
    store = fsspec.filesystem("memory")
    for file in (tmp_path / "out").iterdir():
        store.pipe_file(f"/speech/{file.name}", file.read_bytes())
    yield list(read_manifest(f"{BASE}/train.jsonl"))
    store.rm("/speech", recursive=True)


def shard(i: int) -> str:
    return f"{BASE}/train-{i:06}.tar"


def tars(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.tar"))


def test_a_manifest_at_a_url_leads_into_shards_beside_it(stored: list[Utterance], tmp_path: Path) -> None:
    assert [u.audio.rpartition("/")[0] for u in stored] == [shard(i) for i in range(5)]
    with pytest.raises(AudioError, match=r"must lie on this machine for anything but data\.train"):
        read_utterance(stored[0])
    with pytest.raises(DataError, match="does not exist"):
        next(read_manifest(f"{BASE}/none.jsonl"))
    with pytest.raises(DataError, match="leads nowhere"):
        next(read_manifest("nowhere://train.jsonl"))


def test_what_is_held_is_here_and_what_is_not_is_gone(stored: list[Utterance], tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    def counted(url: str, place: Path) -> None:
        calls[url] += 1
        fetch(url, place)

    place = tmp_path / "depot"
    (place / "left by a killed run").mkdir(parents=True)
    depot = Depot(place, fetch=counted)
    for held in ([0, 1], [0, 1], [1, 2], [2, 3], [3, 4]):
        depot.hold([shard(i) for i in held])
        near = [depot.near(stored[i]) for i in held]
        assert [u.name for u in near] == [stored[i].name for i in held]
        assert all(len(read_utterance(u)) == 3200 for u in near)
        assert all(read_encoded(u) for u in near)
        assert tars(place) == [f"train-{i:06}.tar" for i in held]
        assert len(list(place.iterdir())) == 2
    assert set(calls.values()) == {1}
    assert len(calls) == 5
    depot.close()
    assert not place.exists()
    depot.hold([shard(0)])
    assert read_utterance(depot.near(stored[0])).size
    depot.close()


def test_a_shard_is_fetched_again_until_it_is_whole(stored: list[Utterance], tmp_path: Path) -> None:
    calls: list[float] = []

    def flaky(url: str, place: Path) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("reset by peer")
        place.write_bytes(b"half")
        if len(calls) == 2:
            raise OSError("4 of 9 bytes came")
        fetch(url, place)

    depot = Depot(tmp_path / "depot", fetch=flaky, pause=0.001)
    depot.hold([shard(0)])
    assert np.array_equal(read_utterance(depot.near(stored[0])), read_utterance(depot.near(stored[0])))
    assert len(calls) == 3
    assert [path.name for path in (tmp_path / "depot").rglob("*") if path.is_file()] == ["train-000000.tar"]
    depot.close()


def test_what_comes_short_is_no_shard(stored: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    monkeypatch.setattr(type(store), "size", lambda self, path: len(self.cat_file(path)) + 1)
    with pytest.raises(OSError, match=r"\d+ of \d+ bytes came"):
        fetch(shard(0), tmp_path / "short")


def test_a_lost_shard_is_named_the_same_for_all_its_rows_and_on_all_ranks(
    stored: list[Utterance], tmp_path: Path
) -> None:
    def lost(url: str, place: Path) -> None:
        raise PermissionError("not yours")

    first = Depot(tmp_path / "depot", fetch=lost, pause=0.001)
    second = Depot(tmp_path / "depot", leads=False)
    said = set()
    for depot in (first, second):
        depot.hold([shard(0)])
        for _ in range(2):
            with pytest.raises(
                AudioError, match=r"000000\.tar must be fetched to be heard, but cannot \(not yours"
            ) as e:
                depot.near(stored[0])
            said.add(str(e.value))
    assert len(said) == 1
    first.close()
    second.close()


def test_one_process_of_a_machine_fetches_for_all(stored: list[Utterance], tmp_path: Path) -> None:
    def never(url: str, place: Path) -> None:
        raise AssertionError("fetched twice")

    first, second = Depot(tmp_path / "depot"), Depot(tmp_path / "depot", leads=False, fetch=never)
    second.hold([shard(0), shard(1)])
    first.hold([shard(0), shard(1)])
    for depot in (second, first):
        assert len(read_utterance(depot.near(stored[1]))) == 3200
    second.close()
    first.close()


def test_closing_ends_the_waiting(stored: list[Utterance], tmp_path: Path) -> None:
    depot = Depot(tmp_path / "depot")
    depot.hold([shard(0)])
    errors: list[str] = []

    def wait() -> None:
        try:
            depot.near(stored[1])  # not held
        except AudioError as error:
            errors.append(str(error))

    thread = Thread(target=wait)
    thread.start()
    depot.close()
    thread.join(10)
    assert errors == [f"{shard(1)} was let go of."]


def test_shards_of_this_machine_stay_where_they_are(tmp_path: Path) -> None:
    path = write_media(tmp_path / "talk.wav", tone(0.2))
    write_shards([Utterance(str(path), 0.2, "here")], tmp_path / "out")
    [utterance] = read_manifest(tmp_path / "out" / "train.jsonl")
    depot = Depot(tmp_path / "depot")
    depot.hold([str(tmp_path / "out" / "train-000000.tar")])
    assert depot.near(utterance) is utterance
    depot.close()
    assert tarfile.is_tarfile(tmp_path / "out" / "train-000000.tar")
    assert not (tmp_path / "depot").exists()
