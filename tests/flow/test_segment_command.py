"""`sonant data segment` as a user runs it: long recordings and their texts to a manifest that a training takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.conftest import SAID
from flow.test_command import run
from sonant.audio import read
from sonant.data.manifest import read_manifest, read_utterance
from sonant.train.recipe import Recipe, to_toml
from tones import MODEL
from unit.media import wav_of

TIMES = 6
OPTIONS = ["--precision", "fp32", "--min-seconds", "2.5", "--max-seconds", "8", "--min-confidence", "0.3"]


@pytest.fixture
def books(tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings that say the same digits over and over, with their texts."""
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "books"
    folder.mkdir()
    said = np.tile(np.concatenate([read(example), np.zeros(8000)]), TIMES)
    for seed, name in enumerate(("one", "two")):
        noise = 0.001 * np.random.default_rng(seed).standard_normal(len(said))  # no two utterances are the same
        (folder / f"{name}.wav").write_bytes(wav_of((said + noise).astype(np.float32)))
        (folder / f"{name}.txt").write_text(f"{SAID}\n" * TIMES)
    return folder


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = run(monkeypatch, "data", "segment", *OPTIONS, *words)
        return code, *capsys.readouterr()

    return call


def test_books_become_utterances_that_say_their_texts(
    books: Path, segment: Run, monkeypatch: pytest.MonkeyPatch, asr: sonant.Recognizer
) -> None:
    code, out, err = segment(books, "--output", "cut")
    assert (code, "Error" in err) == (0, False), err
    assert out.splitlines()[-1].endswith("in cut/manifest.jsonl")
    found = list(read_manifest("cut/manifest.jsonl"))
    assert {u.speaker for u in found} == {"one", "two"}
    texts = {name: " ".join(u.text or "" for u in found if u.speaker == name).split() for name in ("one", "two")}
    assert [len(text) for text in texts.values()] == [6 * TIMES] * 2
    for utterance in found:
        samples = read_utterance(utterance)
        assert len(samples) == round((utterance.duration or 0) * 16_000)
        assert 2.5 <= len(samples) / 16_000 <= 8
        assert asr.transcribe(samples, 16_000).text == utterance.text
    assert run(monkeypatch, "data", "check", "cut/manifest.jsonl") == 0
    assert run(monkeypatch, "data", "split", "cut/manifest.jsonl", "--part", "dev=50%") == 0
    data = replace(Recipe().data, train=("cut/train.jsonl",), dev=("cut/dev.jsonl",))
    recipe = replace(
        Recipe(),
        data=data,
        model=replace(Recipe().model, config=dict(MODEL)),
        schedule=replace(Recipe().schedule, steps=2),
        run=replace(Recipe().run, device="cpu", precision="fp32", threads=1, log_steps=1, evaluate_steps=2),
    )
    Path("tiny.toml").write_text(to_toml(recipe))
    assert run(monkeypatch, "train", "tiny.toml", "--output", "run") == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["ctc"] > 0 for line in lines if "ctc" in line] == [True, True]
    assert any("wer" in line for line in lines)
    assert {"s", "v"} <= set(sonant.load("run/model").vocabulary.tokens)


def test_parts_of_the_recording_are_what_is_copied(books: Path, segment: Run) -> None:
    assert segment(books / "one.wav", books / "one.txt", "--output", "cut", "--speaker", "ann")[0] == 0
    assert segment(books / "one.wav", "--output", "parts", "--offsets")[0] == 0
    copied, parts = list(read_manifest("cut/manifest.jsonl")), list(read_manifest("parts/manifest.jsonl"))
    assert {u.speaker for u in copied} == {"ann"}
    assert [u.text for u in copied] == [u.text for u in parts]
    assert [path.name for path in sorted(Path("parts/one").iterdir())] == ["left-out.jsonl", "manifest.jsonl"]
    for one, other in zip(copied, parts, strict=True):
        assert other.audio == str(books / "one.wav")
        np.testing.assert_allclose(read_utterance(one), read_utterance(other), atol=1 / 32768)
    line = {
        "audio_filepath": "books/one.wav",
        "offset": 0.0,
        "duration": 12.0,
        "text": f"{SAID} " * 3,
        "language": "en",
    }
    Path("long.jsonl").write_text(json.dumps(line))
    assert segment("long.jsonl", "--output", "again", "--offsets")[0] == 0
    assert all(u.language == "en" and (u.offset or 0) < 12 for u in read_manifest("again/manifest.jsonl"))


def test_what_does_not_belong_is_left_out_and_listed(books: Path, segment: Run) -> None:
    lines = [SAID] * TIMES
    lines[1] = "ZERO ZERO TWO TWO FOUR FOUR SIX SIX"
    lines[4] = "SEVEN 100% NINE ONE FIVE EIGHT"
    del lines[3]
    (books / "one.txt").write_text("\n".join(lines))
    code, _, err = segment(books / "one.wav", "--output", "cut", "--offsets")
    assert code == 0, err
    left = [json.loads(line) for line in Path("cut/left-out.jsonl").read_text().splitlines()]
    assert {"no text", "cannot be spelled"} <= {line["reason"] for line in left}
    assert [line["text"] for line in left if line["reason"] == "cannot be spelled"] == ["100%"]
    texts = [u.text or "" for u in read_manifest("cut/manifest.jsonl")]
    assert texts
    assert all(f" {text} " in f" {SAID} {SAID} " for text in texts)


def test_books_that_fail_stop_no_other_and_resume_does_the_rest(books: Path, segment: Run) -> None:
    (books / "bad.mp3").write_text("no audio")
    (books / "bad.txt").write_text(SAID)
    (books / "alone.wav").write_bytes((books / "one.wav").read_bytes())
    (books / "empty.wav").write_bytes(wav_of(np.zeros(48_000, np.float32)))
    (books / "empty.txt").write_text("SEVEN THREE")
    (books / "wordless.wav").write_bytes((books / "one.wav").read_bytes())
    (books / "wordless.txt").write_text("...")
    code, _, err = segment(books, "--output", "cut")
    assert code == 1
    assert [err.count(name) for name in ("bad.mp3", "alone.wav", "empty.txt", "wordless.txt")] == [1, 1, 1, 1], err
    lists = ["left-out.jsonl", "manifest.jsonl", "one", "options.json", "two"]
    assert sorted(path.name for path in Path("cut").iterdir()) == lists
    code, _, err = segment(books, "--output", "cut")
    assert (code, "cut holds one already; add --resume" in err) == (2, True)
    before = Path("cut/manifest.jsonl").read_text()
    (books / "bad.mp3").unlink()
    (books / "bad.txt").unlink()
    again = segment(books / "one.wav", books / "two.wav", "--output", "cut", "--resume")
    assert (again[0], again[1].splitlines()[:-1]) == (0, [])
    assert Path("cut/manifest.jsonl").read_text() == before
    changed = segment(books / "one.wav", "--output", "cut", "--resume", "--min-pause", "0.2", "--speaker", "ann")
    assert (changed[0], "were cut with another min_pause and speaker; resume" in changed[2]) == (2, True)
    Path("cut/options.json").write_text("[1]")
    assert segment(books / "one.wav", "--output", "cut", "--resume")[0] == 2
    assert Path("cut/manifest.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["books/one.wav", "books/one.txt", "--max-seconds", "1"], "Pieces must last some seconds"),
        (["cut"], "cut must hold recordings with their texts"),
        (["books/one.wav", "books/three.wav"], "three.wav must have one text"),
        (["none.jsonl"], "none.jsonl does not exist"),
    ],
)
def test_what_cannot_be_is_one_sentence(books: Path, segment: Run, words: list[str], message: str) -> None:
    Path("cut").mkdir()
    code, out, err = segment(*words, "--output", "cut")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
