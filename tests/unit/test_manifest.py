from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sonant.data.manifest import Utterance, read_manifest, read_utterance, write_manifest
from sonant.errors import AudioError, DataError, OutputError
from unit.media import tone, wav_of

SAMPLES = (tone(2.0) * 32_768).astype(np.int16)


def manifest(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    inside, outside = tmp_path / "corpus" / "a.wav", tmp_path / "elsewhere" / "grün.flac"
    utterances = [
        Utterance(str(inside), 1.5, "ONE TWO", speaker="7", extra={"chapter": 3, "tags": ["x"]}),
        Utterance(str(outside), 2.0, offset=0.0, language="de", label="calm"),
        Utterance(str(inside), 0.25, "", offset=60.125),
    ]
    path = tmp_path / "corpus" / "train.jsonl"
    path.parent.mkdir()
    assert write_manifest(path, iter(utterances)) == 3
    assert list(read_manifest(path)) == utterances
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {
        "audio_filepath": "a.wav", "duration": 1.5, "text": "ONE TWO", "speaker": "7", "chapter": 3, "tags": ["x"]
    }  # fmt: skip
    assert lines[1]["audio_filepath"] == outside.as_posix()
    assert "grün" in path.read_text(encoding="utf-8")


def test_a_folder_can_be_moved_with_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("x.wav").write_bytes(wav_of(SAMPLES))
    write_manifest("m.jsonl", [Utterance("x.wav")])
    folder.rename(tmp_path / "b")
    [utterance] = read_manifest(tmp_path / "b" / "m.jsonl")
    np.testing.assert_array_equal(read_utterance(utterance), SAMPLES / np.float32(32_768))


def test_manifests_are_read_line_by_line(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.jsonl", {"audio_filepath": "a.wav"}, "", "{broken")
    utterances = read_manifest(path)
    assert next(utterances).audio == str(tmp_path / "a.wav")
    with pytest.raises(DataError, match=r"m\.jsonl:3 must be a JSON object"):
        next(utterances)


def test_gzip_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf{"audio_filepath": "a.wav", "speaker": 12}\r\n'))
    assert list(read_manifest(path)) == [Utterance(str(tmp_path / "a.wav"), speaker="12")]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ([1, 2], "one a line"),
        ({"text": "x"}, "must name a file as audio_filepath, but has None"),
        ({"audio_filepath": 3}, "audio_filepath, but has 3"),
        ({"audio_filepath": "a", "duration": "1.0"}, "seconds as duration, but has '1.0'"),
        ({"audio_filepath": "a", "duration": 0}, "seconds as duration, but has 0"),
        ({"audio_filepath": "a", "offset": -1}, "seconds as offset, but has -1"),
        ('{"audio_filepath": "a", "offset": NaN}', "seconds as offset, but has nan"),
        ({"audio_filepath": "a", "duration": True}, "seconds as duration, but has True"),
        ({"audio_filepath": "a", "text": ["x"]}, "a text as text, but has"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object, part: str) -> None:
    path = manifest(tmp_path / "m.jsonl", {"audio_filepath": "a.wav"}, line)
    with pytest.raises(DataError, match=r"m\.jsonl:2 ") as caught:
        list(read_manifest(path))
    assert part in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "latin-1", "cut gzip", "spoilt gzip"])
def test_what_is_no_manifest_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.jsonl"
    packed = gzip.compress(b'{"audio_filepath": "a.wav"}\n' * 9)
    if kind == "folder":
        path.mkdir()
    elif kind == "latin-1":
        path.write_bytes('{"audio_filepath": "grün.wav"}\n'.encode("latin-1"))
    elif kind == "cut gzip":
        path.write_bytes(packed[:-12])
    elif kind == "spoilt gzip":
        path.write_bytes(packed[:10] + b"\xff" * 8 + packed[18:])
    elif kind == "empty":
        path.touch()
    with pytest.raises(DataError, match=r"m\.jsonl.*[^.]\.$"):
        list(read_manifest(path))


def test_a_broken_source_leaves_no_half_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.jsonl", {"audio_filepath": "a.wav"}, "{broken")
    with pytest.raises(DataError):
        write_manifest(tmp_path / "copy.jsonl", read_manifest(path))
    with pytest.raises(OutputError, match="folder does not exist"):
        write_manifest(tmp_path / "no" / "copy.jsonl", [Utterance("a.wav")])
    assert [place.name for place in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_whole_file_is_read_whole_and_a_part_as_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_of(SAMPLES))
    exact = SAMPLES / np.float32(32_768)
    np.testing.assert_array_equal(read_utterance(Utterance(str(path), duration=1.9)), exact)  # rounded, mostly
    part = read_utterance(Utterance(str(path), duration=0.5, offset=1.25))
    np.testing.assert_array_equal(part, exact[20_000:28_000])
    assert len(read_utterance(Utterance(str(path), offset=1.25), 8_000)) == 6_000


def test_audio_is_read_out_of_an_archive(tmp_path: Path) -> None:
    data = wav_of(SAMPLES)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("./deep/x.wav", "y.txt"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path = manifest(tmp_path / "m.jsonl", {"audio_filepath": "a.tar/deep/x.wav", "offset": 1.0, "duration": 0.5})
    [utterance] = read_manifest(path)
    np.testing.assert_array_equal(read_utterance(utterance), SAMPLES[16_000:24_000] / np.float32(32_768))
    for missing, part in (("a.tar/z.wav", "must hold z.wav"), ("b.tar/z.wav", "b.tar does not exist")):
        with pytest.raises(AudioError, match=part):
            read_utterance(Utterance(str(tmp_path / missing)))
    (tmp_path / "c.tar").write_bytes(b"no archive at all" * 99)
    with pytest.raises(AudioError, match=r"c\.tar cannot be read"):
        read_utterance(Utterance(str(tmp_path / "c.tar/x.wav")))


def test_bytes_that_came_along_are_named_in_messages() -> None:
    np.testing.assert_array_equal(
        read_utterance(Utterance("a.tar/x.wav", encoded=wav_of(SAMPLES))), SAMPLES / np.float32(32_768)
    )
    with pytest.raises(AudioError, match=r"a\.tar/x\.wav is not audio"):
        read_utterance(Utterance("a.tar/x.wav", encoded=b"some text that is no audio" * 99))
