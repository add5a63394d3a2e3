from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sonant.data.manifest import Utterance, read_manifest, read_utterance
from sonant.data.shards import read_shards, write_shards
from sonant.errors import AudioError, DataError, OptionError, OutputError
from unit.media import tone, wav_of, write_media


@pytest.fixture
def utterances(tmp_path: Path) -> list[Utterance]:
    """Three files and two parts of one of them."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    found: list[Utterance] = []
    for i in range(3):
        (folder / f"{i}.wav").write_bytes(wav_of((tone(1.0, hertz=200.0 + 99 * i) * 32_768).astype(np.int16)))
        found.append(Utterance(str(folder / f"{i}.wav"), 1.0, f"größe {i}", speaker=str(i), extra={"room": i}))
    parts = [Utterance(found[0].audio, 0.25, "part", offset=at) for at in (0.25, 0.5)]
    return [*found, *parts]


def same(first: Utterance, second: Utterance) -> bool:
    fields = ("duration", "text", "speaker", "language", "label", "extra")
    alike = all(getattr(first, name) == getattr(second, name) for name in fields)
    return alike and np.array_equal(read_utterance(first), read_utterance(second))


@pytest.mark.parametrize("max_bytes", [10**9, 80_000])
def test_what_is_read_is_what_was_written(tmp_path: Path, utterances: list[Utterance], max_bytes: int) -> None:
    out = tmp_path / "new" / "shards"
    paths = write_shards(iter(utterances), out, "dev", max_bytes=max_bytes)
    count = 1 if max_bytes > 80_000 else 2  # two files of 32 kB, or one and the parts
    assert [path.name for path in paths] == [f"dev-{i:06}.tar" for i in range(count)]
    assert all(path.stat().st_size <= max(max_bytes, 10_240) for path in paths)
    assert sorted(place.name for place in out.iterdir()) == sorted(["dev.jsonl", *(path.name for path in paths)])
    for again in (list(read_shards(paths)), list(read_manifest(out / "dev.jsonl"))):
        assert len(again) == len(utterances)
        assert all(same(a, b) for a, b in zip(again, utterances, strict=True))
        assert all(u.offset is None for u in again)


def test_shards_can_be_moved_and_sharded_again(tmp_path: Path, utterances: list[Utterance]) -> None:
    write_shards(utterances, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    [first] = write_shards(read_shards([tmp_path / "b" / "train-000000.tar"]), tmp_path / "c")
    [second] = write_shards(read_manifest(tmp_path / "b" / "train.jsonl"), tmp_path / "d")
    assert first.read_bytes() == second.read_bytes() == (tmp_path / "b" / "train-000000.tar").read_bytes()


def test_members_are_pairs_of_one_name(tmp_path: Path) -> None:
    path = write_media(tmp_path / "talk.flac", tone(0.5), codec="flac")
    [shard] = write_shards([Utterance(str(path), 0.5, "talk")], tmp_path)
    with tarfile.open(shard) as tar:
        assert tar.getnames() == ["00000000.flac", "00000000.json"]
        assert tar.extractfile("00000000.flac").read() == path.read_bytes()
        line = {"audio_filepath": "00000000.flac", "duration": 0.5, "text": "talk"}
        assert json.load(tar.extractfile("00000000.json")) == line


def test_all_or_nothing_is_written(tmp_path: Path, utterances: list[Utterance]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(AudioError, match=r"gone\.wav cannot be read"):
        write_shards([*utterances, Utterance(str(tmp_path / "gone.wav"))], out, max_bytes=80_000)
    with pytest.raises(OptionError, match="allow larger shards"):
        write_shards(utterances, out, max_bytes=20_000)
    (out / "train.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"train\.jsonl is a folder"):
        write_shards(utterances, out)
    assert [place.name for place in out.iterdir()] == ["train.jsonl"]
    (out / "train.jsonl").rmdir()
    write_shards(utterances, out)
    with pytest.raises(OutputError, match="holds shards of the name train already"):
        write_shards(utterances, out)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="file"):
        write_shards(utterances, file)


@pytest.mark.parametrize("kind", ["missing", "text", "cut in a file", "without a line", "folder"])
def test_what_is_no_shard_is_named(tmp_path: Path, utterances: list[Utterance], kind: str) -> None:
    [shard] = write_shards(utterances, tmp_path / "out")
    if kind == "missing":
        shard.unlink()
    elif kind == "text":
        shard.write_text("four score and seven years ago\n" * 99)
    elif kind == "cut in a file":
        shard.write_bytes(shard.read_bytes()[:50_000])
    elif kind == "folder":
        shard.unlink()
        shard.mkdir()
    else:
        with tarfile.open(shard, "a") as tar:
            tar.add(utterances[0].audio, "alone.wav")
    with pytest.raises(DataError, match=r"train-000000\.tar .*\.$"):
        list(read_shards([shard]))
