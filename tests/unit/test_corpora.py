"""Miniature corpora in every layout, as they are published, become the same kind of utterance."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sonant.data.corpora import LAYOUTS, measure
from sonant.data.layouts import Choice
from sonant.data.manifest import Utterance, read_utterance
from sonant.errors import DataError, MissingExtraError, OptionError
from unit.media import tone, wav_of, write_media


def sound(path: Path, seconds: float = 0.5) -> Path:
    """A short recording, in the format that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wav":
        path.write_bytes(wav_of((tone(seconds) * 32_768).astype(np.int16)))
        return path
    return write_media(path, tone(seconds), codec={".flac": "flac", ".mp3": "libmp3lame"}[path.suffix])


def text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def prepared(layout: str, folder: Path, choice: Choice | None = None, left_out: list[str] | None = None):
    missing: list[str] = []
    utterances = list(measure(LAYOUTS[layout](folder, choice or Choice()), missing, threads=1))
    if left_out is None:
        assert missing == []
    else:
        left_out += missing
    return utterances


def test_librispeech(tmp_path: Path) -> None:
    text(tmp_path / "dev/84/121/84-121.trans.txt", "84-121-0000 GO DO YOU HEAR", "84-121-0001 BUT")
    first = sound(tmp_path / "dev/84/121/84-121-0000.flac", 0.5)
    second = sound(tmp_path / "dev/84/121/84-121-0001.wav", 0.75)  # as some convert it
    expected = [
        Utterance(str(first), 0.5, "GO DO YOU HEAR", speaker="84", language="en", extra={"chapter": "121"}),
        Utterance(str(second), 0.75, "BUT", speaker="84", language="en", extra={"chapter": "121"}),
    ]
    assert prepared("librispeech", tmp_path / "dev") == expected
    assert prepared("librispeech", tmp_path, Choice("dev")) == expected


def test_mls(tmp_path: Path) -> None:
    path = sound(tmp_path / "mls_german/test/audio/10148/10119/10148_10119_000000.flac")
    text(tmp_path / "mls_german/test/transcripts.txt", "10148_10119_000000\tich wunderte mich")
    expected = [Utterance(str(path), 0.5, "ich wunderte mich", speaker="10148", extra={"book": "10119"})]
    assert prepared("mls", tmp_path / "mls_german", Choice("test")) == expected
    assert prepared("mls", tmp_path / "mls_german" / "test") == expected


def test_fleurs(tmp_path: Path) -> None:
    path = sound(tmp_path / "de_de/audio/train/10008.wav")
    row = ["1664", "10008.wav", 'Er sagte: "Ja".', "er sagte ja", "e r | s a g t e | j a |", "8000", "MALE"]
    text(tmp_path / "de_de/train.tsv", "\t".join(row))
    [utterance] = prepared("fleurs", tmp_path / "de_de")
    assert utterance == Utterance(
        str(path), 0.5, "er sagte ja", language="de",
        extra={"sentence": "1664", "text_raw": 'Er sagte: "Ja".', "gender": "male"},
    )  # fmt: skip
    text(tmp_path / "de_de/dev.tsv", "1664\t10008.wav")
    with pytest.raises(DataError, match=r"dev\.tsv:1 must have 7 columns"):
        prepared("fleurs", tmp_path / "de_de", Choice("dev"))


HEADER = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment"
)


def test_commonvoice(tmp_path: Path) -> None:
    columns = HEADER.replace(" ", "\t")
    first = sound(tmp_path / "clips/common_voice_de_1.mp3")
    second = sound(tmp_path / "clips/common_voice_de_2.mp3")
    row = "abc\t{}\t9\t{}\t\t2\t0\tthirties\tfemale_feminine\t\t\tde\t"
    lines = [row.format("common_voice_de_1.mp3", 'Er rief "Halt'), row.format("common_voice_de_2", "Zwei")]
    text(tmp_path / "train.tsv", columns, *lines)
    utterances = prepared("commonvoice", tmp_path)
    assert [u.audio for u in utterances] == [str(first), str(second)]
    assert [(u.text, u.speaker, u.language) for u in utterances] == [
        ('Er rief "Halt', "abc", "de"),
        ("Zwei", "abc", "de"),
    ]
    assert utterances[0].extra == {"gender": "female_feminine", "age": "thirties"}
    assert utterances[0].duration == pytest.approx(0.5, abs=0.08)
    text(tmp_path / "clip_durations.tsv", "clip\tduration[ms]", "common_voice_de_1.mp3\t4321")
    assert prepared("commonvoice", tmp_path)[0].duration == 4.321
    with pytest.raises(DataError, match=r"test\.tsv \(Common Voice\), but holds none"):
        prepared("commonvoice", tmp_path, Choice("test"))


def test_audiofolder(tmp_path: Path) -> None:
    with_text, without = sound(tmp_path / "b/deep/x.WAV".replace("WAV", "wav")), sound(tmp_path / "a.flac")
    text(tmp_path / "b/deep/x.txt", "two lines", " of text")
    text(tmp_path / "notes.txt", "no transcript")
    assert prepared("audiofolder", tmp_path) == [
        Utterance(str(without), 0.5),
        Utterance(str(with_text), 0.5, "two lines of text"),
    ]


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_csv(tmp_path: Path, between: str) -> None:
    path = sound(tmp_path / "wav/1.wav")
    quoted = "one, two; three" if between == "\t" else '"one, two; three"'
    table = text(
        tmp_path / "my.csv",
        between.join(["path", "sentence", "client_id", "emotion", "room"]),
        between.join(["wav/1.wav", quoted, "7", "calm", "hall"]),
        between.join(["wav/1.wav", "", "", "", ""]),
    )
    expected = [
        Utterance(str(path), 0.5, "one, two; three", speaker="7", label="calm", extra={"room": "hall"}),
        Utterance(str(path), 0.5, ""),
    ]
    assert prepared("csv", table) == prepared("csv", tmp_path) == expected
    text(table, between.join(["recording", "text"]), between.join(["wav/1.wav", "one"]))
    with pytest.raises(DataError, match=r"my\.csv:2 must name a file in a column .* but has recording, text; rename"):
        prepared("csv", table)


def test_lj_speech_has_no_header(tmp_path: Path) -> None:
    path = sound(tmp_path / "wavs/LJ001-0001.wav")
    text(tmp_path / "metadata.csv", 'LJ001-0001|Printing, in 1900 "is|Printing, in nineteen hundred "is')
    [utterance] = prepared("csv", tmp_path)
    assert (utterance.audio, utterance.text) == (str(path), 'Printing, in nineteen hundred "is')
    assert utterance.extra == {"text_raw": 'Printing, in 1900 "is'}


def test_kaldi_segments_become_parts(tmp_path: Path) -> None:
    path = sound(tmp_path / "talk.wav", 3.0)
    text(tmp_path / "data/wav.scp", f"rec1 {path}")
    text(tmp_path / "data/text", "s1-a hello world", "s1-b")
    text(tmp_path / "data/utt2spk", "s1-a s1", "s1-b s1")
    text(tmp_path / "data/segments", "s1-a rec1 0.5 1.75", "s1-b rec1 2.0 -1", "s1-c rec1 3.5 -1")
    left_out: list[str] = []
    first, second = prepared("kaldi", tmp_path / "data", left_out=left_out)
    assert first == Utterance(str(path), 1.25, "hello world", 0.5, "s1", extra={"id": "s1-a"})
    assert (second.offset, second.duration, second.text) == (2.0, 1.0, "")
    assert len(read_utterance(first)) == 20_000
    assert len(left_out) == 1
    assert "begins after the file's end" in left_out[0]


@pytest.mark.parametrize(
    ("name", "line", "part"),
    [
        ("wav.scp", "rec1 sph2pipe -f wav x.sph |", r"wav\.scp:1 names a command"),
        ("segments", "a rec1 2.0 1.0", r"segments:1 must end after it begins"),
        ("segments", "a rec9 1.0 2.0", "recording rec9"),
        ("segments", "a rec1 1.0", "UTTERANCE RECORDING START END"),
    ],
)
def test_kaldi_lines_that_cannot_be_taken_are_named(tmp_path: Path, name: str, line: str, part: str) -> None:
    text(tmp_path / "wav.scp", f"rec1 {sound(tmp_path / 'x.wav')}")
    text(tmp_path / name, line)
    with pytest.raises(DataError, match=part):
        prepared("kaldi", tmp_path)


def recording(path: Path, channels: list[int]) -> dict[str, object]:
    source = {"type": "file", "channels": channels, "source": str(path)}
    return {"id": "r", "sources": [source], "sampling_rate": 16_000, "num_samples": 48_000, "duration": 3.0}


def lhotse_cut(path: Path, start: float, channels: list[int], **fields: object) -> dict[str, object]:
    supervision = {"id": "s", "recording_id": "r", "start": 0.25, "duration": 1.0, "channel": 0, "text": "hi",
                   "language": "English", "speaker": "7", "custom": {"snr": 9.5}}  # fmt: skip
    cut = {"id": "c", "start": start, "duration": 2.0, "channel": 0, "supervisions": [supervision], "type": "MonoCut"}
    return cut | {"recording": recording(path, channels)} | fields


def test_lhotse_cuts_and_recordings_agree(tmp_path: Path) -> None:
    path = sound(tmp_path / "talk.wav", 3.0)
    cut = lhotse_cut(path, 0.75, [0])
    expected = [Utterance(str(path), 1.0, "hi", 1.0, "7", "English", extra={"id": "s", "snr": 9.5})]
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x_cuts_train.jsonl.gz").write_bytes(gzip.compress(json.dumps(cut).encode()))
    assert prepared("lhotse", tmp_path / "a", Choice("train")) == expected
    text(tmp_path / "b/r_recordings.jsonl", json.dumps(cut["recording"]))
    text(tmp_path / "b/r_supervisions.jsonl", json.dumps(cut["supervisions"][0] | {"start": 1.0}))
    assert prepared("lhotse", tmp_path / "b") == expected
    whole = lhotse_cut(path, 0.0, [0], supervisions=[], duration=3.0)
    assert prepared("lhotse", text(tmp_path / "one.jsonl", json.dumps(whole))) == [Utterance(str(path), 3.0)]


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"type": "MixedCut"}, "but is 'MixedCut'"),
        ({"recording": {"sources": []}}, "one source"),
        ({}, "channel 0 of 2"),
    ],
)
def test_lhotse_cuts_that_are_no_stretch_of_a_file_are_named(tmp_path: Path, fields: dict, part: str) -> None:
    cut = lhotse_cut(sound(tmp_path / "x.wav"), 0.0, [0, 1], **fields)
    with pytest.raises(DataError, match=rf"cuts\.jsonl:1 .*{part}"):
        prepared("lhotse", text(tmp_path / "cuts.jsonl", json.dumps(cut)))


def test_hugging_face_metadata(tmp_path: Path) -> None:
    first, second = sound(tmp_path / "train/a.wav"), sound(tmp_path / "test/b.wav")
    text(tmp_path / "train/metadata.csv", "file_name,transcription", 'a.wav,"Hello, you"')
    text(tmp_path / "test/metadata.jsonl", json.dumps({"file_name": "b.wav", "text": "bye", "speaker_id": 3}))
    assert prepared("hf", tmp_path, Choice("train")) == [Utterance(str(first), 0.5, "Hello, you")]
    assert prepared("hf", tmp_path, Choice("test")) == [Utterance(str(second), 0.5, "bye", speaker="3")]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_hugging_face_tables_with_the_audio_inside(tmp_path: Path, kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    data = sound(tmp_path / "x.wav").read_bytes()
    rows = [{"audio": {"bytes": data, "path": "x.wav"}, "text": word, "speaker_id": 5, "id": i} for i, word in
            enumerate(["one", "two"])]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    (tmp_path / "set/data").mkdir(parents=True)
    if kind == "parquet":
        parquet.write_table(table, tmp_path / "set/data/train-00000-of-00001.parquet")
    else:
        with pa.ipc.new_stream(str(tmp_path / "set/data/train.arrow"), table.schema) as writer:
            writer.write_table(table)
    choice = Choice("train", tmp_path / "train-audio")
    utterances = prepared("hf", tmp_path / "set", choice)
    assert [(u.text, u.speaker, u.duration, u.extra) for u in utterances] == [
        ("one", "5", 0.5, {"source_id": 0}),
        ("two", "5", 0.5, {"source_id": 1}),
    ]
    assert Path(utterances[1].audio).read_bytes() == data
    assert Path(utterances[1].audio).parent == tmp_path / "train-audio"
    with pytest.raises(OptionError, match="no folder"):
        prepared("hf", tmp_path / "set")


def test_tables_without_pyarrow_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    text(tmp_path / "train.parquet", "x")
    with pytest.raises(MissingExtraError, match=r"pip install 'sonant\[parquet\]'"):
        prepared("hf", tmp_path, Choice(extract=tmp_path / "audio"))


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    text(tmp_path / "train.parquet", "not a table at all")
    with pytest.raises(DataError, match=r"train\.parquet must be a table"):
        prepared("hf", tmp_path, Choice(extract=tmp_path / "audio"))


def test_what_cannot_be_opened_is_left_out_and_named(tmp_path: Path) -> None:
    good = sound(tmp_path / "good.wav")
    text(tmp_path / "bad.wav", "no audio " * 99)
    (tmp_path / "empty.flac").touch()
    table = text(
        tmp_path / "t.csv", "path,text,duration", "good.wav,a,", "bad.wav,b,", "gone.wav,c,2.0", "empty.flac,d,"
    )
    left_out: list[str] = []
    assert prepared("csv", table, left_out=left_out) == [Utterance(str(good), 0.5, "a")]
    names = ("bad.wav is not audio", "gone.wav does not exist", "empty.flac is empty")
    assert [name in line for name, line in zip(names, left_out, strict=True)] == [True] * 3


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_of_another_layout_is_refused(tmp_path: Path, layout: str, kind: str) -> None:
    folder = tmp_path / "corpus"
    if kind == "empty":
        folder.mkdir()
    with pytest.raises(DataError, match=r"corpus.* must (be|hold)|does not exist"):
        prepared(layout, folder, Choice(extract=tmp_path))


def test_a_language_is_put_where_there_is_none(tmp_path: Path) -> None:
    utterances = [Utterance(str(sound(tmp_path / "a.wav"))), Utterance(str(tmp_path / "a.wav"), language="fr")]
    assert [u.language for u in measure(utterances, [], language="de")] == ["de", "fr"]
