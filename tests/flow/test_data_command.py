"""`sonant data` as a user runs it: from a corpus to manifests, parts and shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flow.conftest import MODELS, SAID
from flow.test_command import run
from sonant.audio import read
from sonant.data.manifest import read_manifest, read_utterance
from sonant.data.shards import read_shards
from sonant.train.pseudo import confidence, label_utterances
from sonant.types import Segment, Transcript, Word
from unit.media import wav_of
from unit.test_data_check import voice


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve recordings of four speakers, laid out as LibriSpeech is."""
    for speaker in range(1, 5):
        folder = tmp_path / "corpus" / str(speaker) / "7"
        folder.mkdir(parents=True)
        lines = [f"{speaker}-7-{i:04} THE WIND BLEW {'ON ' * (i + 1)}".rstrip() + "\n" for i in range(3)]
        (folder / f"{speaker}-7.trans.txt").write_text("".join(lines))
        for i in range(3):
            (folder / f"{speaker}-7-{i:04}.wav").write_bytes(wav_of(voice(1.0 + 0.25 * i, 10 * speaker + i)))
    return tmp_path / "corpus"


def test_from_a_corpus_to_parts_and_shards(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "data", "prepare", "librispeech", corpus, "--output", "all.jsonl") == 0
    assert capsys.readouterr().out == "12 utterances in all.jsonl\n"
    first = json.loads(Path("all.jsonl").read_text().splitlines()[0])
    assert first["audio_filepath"] == "corpus/1/7/1-7-0000.wav"
    assert first["duration"] == 1.0

    assert run(monkeypatch, "data", "split", "all.jsonl", "--part", "dev=25%", "--seed", "1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "train.jsonl: 9 utterances, 0.00 hours, 3 speakers",
        "dev.jsonl: 3 utterances, 0.00 hours, 1 speakers",
    ]
    assert run(monkeypatch, "data", "check", "train.jsonl", "--against", "dev.jsonl") == 0
    out = capsys.readouterr().out
    assert out.startswith("9 utterances")
    assert "note: 9 with a text that is in the other manifest" in out

    assert run(monkeypatch, "data", "shard", "train.jsonl", "--output", "shards", "--megabytes", "1") == 0
    assert capsys.readouterr().out == "9 utterances in 1 shards, listed in shards/train.jsonl\n"
    sharded = {u.text: u for u in read_shards(["shards/train-000000.tar"]) if u.speaker == "1"}
    for utterance in read_manifest("train.jsonl"):
        if utterance.speaker == "1":
            np.testing.assert_array_equal(read_utterance(sharded[utterance.text]), read_utterance(utterance))


def test_files_that_cannot_be_read_are_named_and_left_out(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "2/7/2-7-0001.wav").unlink()
    (corpus / "3/7/3-7-0000.wav").write_text("no audio")
    assert run(monkeypatch, "data", "prepare", "librispeech", corpus, "--output", "all.jsonl") == 1
    out, err = capsys.readouterr()
    assert out == "10 utterances in all.jsonl\n"
    assert ["2-7-0001" in err, "3-7-0000.wav is not audio" in err, "sonant: 2 left out\n" in err] == [True] * 3


def test_nothing_is_written_where_nothing_is_left(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in corpus.rglob("*.wav"):
        path.write_bytes(b"")
    assert run(monkeypatch, "data", "prepare", "librispeech", corpus, "--output", "all.jsonl") == 2
    assert "none is left" in capsys.readouterr().err
    assert not Path("all.jsonl").exists()


def test_faults_are_reported_and_cleaned(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "4/7/4-7-0002.wav").write_bytes(wav_of(np.zeros(24_000, np.int16)))
    assert run(monkeypatch, "data", "prepare", "librispeech", corpus, "--output", "all.jsonl") == 0
    capsys.readouterr()
    assert run(monkeypatch, "data", "check", "all.jsonl", "--clean", "clean.jsonl", "--format", "json") == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["counts"] == {"silent": 1}
    assert [fault["line"] for fault in report["faults"]] == [12]
    assert "11 of 12 utterances are in clean.jsonl" in err
    assert run(monkeypatch, "data", "check", "clean.jsonl") == 0
    assert capsys.readouterr().out.endswith("No fault was found.\n")


def test_a_model_s_letters_count(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = corpus / "4/7/4-7.trans.txt"
    place.write_text(place.read_text().replace("WIND", "ВЕТЕР"))
    assert run(monkeypatch, "data", "prepare", "librispeech", corpus, "--output", "all.jsonl") == 0
    assert run(monkeypatch, "data", "check", "all.jsonl", "--model", MODELS / "digits") == 1
    out = capsys.readouterr().out
    assert "3 with letters outside the vocabulary" in out
    assert "This would spoil a training: 3 of 12 utterances have letters outside the vocabulary" in out


def test_manifests_are_counted_and_drawn(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "data", "prepare", "librispeech", corpus, "--output", "all.jsonl") == 0
    capsys.readouterr()
    assert run(monkeypatch, "data", "stats", "all.jsonl", "all.jsonl") == 0
    out = capsys.readouterr().out
    assert "utterances  24" in out
    assert "seconds     1 to 1.5, median 1.25" in out
    assert "speakers    4, seconds each: 8 to 8, median 8" in out
    assert "16000 Hz (24)" in out
    assert run(monkeypatch, "data", "stats", "all.jsonl", "--format", "json", "--no-headers") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert (numbers["utterances"], numbers["seconds"], numbers["rates"]) == (12, 15.0, {})
    assert numbers["letters"]["W"] == 24
    pytest.importorskip("matplotlib")
    for name in ("all.png", "all.svg"):
        assert run(monkeypatch, "data", "stats", "all.jsonl", "--picture", name) == 0
    assert Path("all.png").read_bytes()[1:4] == b"PNG"
    assert b"<svg" in Path("all.svg").read_bytes()


def test_a_model_labels_what_it_is_sure_of(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = (np.clip(read(example), -1, 1) * 32_767).astype(np.int16)
    for name, samples in (("said", loud), ("silence", np.zeros(32_000, np.int16))):
        Path(f"{name}.wav").write_bytes(wav_of(samples))
    lines = [{"audio_filepath": f"{name}.wav", "room": 3} for name in ("said", "silence", "gone")]
    Path("raw.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["data", "pseudo-label", "raw.jsonl", "--output", "labelled.jsonl", "--precision", "fp32"]
    assert run(monkeypatch, *command, "--min-confidence", "0.5") == 1
    out, err = capsys.readouterr()
    assert out == "1 utterances in labelled.jsonl\n"
    assert "gone.wav does not exist" in err
    [utterance] = read_manifest("labelled.jsonl")
    assert (utterance.text, utterance.extra["room"]) == (SAID, 3)
    assert 0.5 <= utterance.extra["confidence"] <= 1
    assert run(monkeypatch, *command, "--min-confidence", "1") == 2
    assert "none is left" in capsys.readouterr().err


def test_a_confidence_counts_letters() -> None:
    words = tuple(
        Word(text, 0, 1, sure, letters=(None,) * len(text))  # type: ignore[arg-type]
        for text, sure in (("ABC", 0.9), ("D", 0.5))
    )
    transcript = Transcript((Segment(words),), 1.0)
    assert confidence(transcript) == pytest.approx((0.9**3 * 0.5) ** 0.25)
    assert confidence(Transcript((), 1.0)) == 0.0
    with pytest.raises(ValueError, match="between 0 and 1"):
        list(label_utterances(None, [], 1.5, []))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["check", "gone.jsonl"], "gone.jsonl does not exist"),
        (["prepare", "nemo", ".", "--output", "a.jsonl"], "nemo"),
        (["prepare", "librispeech", ".", "--output", "a.jsonl"], "*.trans.txt"),
        (["prepare", "librispeech", ".", "--output", "no/a.jsonl"], "its folder does not exist"),
        (["split", "m.jsonl", "--part", "dev=3 apples"], "3 apples"),
        (["split", "m.jsonl", "--part", "m=10%"], "would be overwritten"),
        (["split", "m.jsonl", "--part", "train=10%"], "a name of its own"),
        (["split", "m.jsonl", "--part", "../dev=10%"], "a name of its own"),
        (["split", "m.jsonl", "--part", "dev=10%"], "1 speakers"),
        (["stats", "m.jsonl", "--no-headers", "--picture", "a.bmp"], "a.bmp"),
        (["shard", "m.jsonl", "--output", "out"], "x.wav cannot be read"),
    ],
)
def test_wrong_usage_is_code_2_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    Path("m.jsonl").write_text('{"audio_filepath": "x.wav", "duration": 2.0}\n')
    if "a.bmp" in words:
        pytest.importorskip("matplotlib")
    assert run(monkeypatch, "data", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert "Traceback" not in err
