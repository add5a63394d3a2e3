"""`sonant identify` as a user runs it, with random models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flow.test_command import run
from parity.test_heads import RATE, opened, saved
from parity.tiny import TINY

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Four recordings of noises of their own, of two to twelve seconds."""
    paths = [tmp_path / f"{name}.wav" for name in ("a", "b", "c", "long")]
    for seed, (path, seconds) in enumerate(zip(paths, (2, 2, 3, 12), strict=True)):
        soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(seconds * RATE), RATE)
    return paths


def test_labels_as_lines_and_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, clips: list[Path]
) -> None:
    saved(tmp_path / "mood", TINY, "ForSequenceClassification", True)
    options = ["--model", tmp_path / "mood", "--precision", "fp32"]
    assert run(monkeypatch, "identify", clips[0], tmp_path / "none.wav", clips[3], *options) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"{clips[0]}: ")
    assert [line.split("  ")[1] for line in lines[2:]] == ["0:00 - 0:05", "0:05 - 0:10", "0:10 - 0:12"]
    assert "none.wav" in err
    assert run(monkeypatch, "identify", clips[3], "--step", "4", "--format", "json", *options) == 0
    found = json.loads(capsys.readouterr().out)
    expected = opened(tmp_path / "mood", "openvino").classify(clips[3], step=4.0)
    assert found["labels"] == pytest.approx(dict(expected.ranked), abs=1e-4)
    np.testing.assert_allclose(found["over_time"], expected.over_time, atol=1e-4)
    assert len(found["over_time"]) == 3


def test_voices_are_enrolled_named_verified_and_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, clips: list[Path]
) -> None:
    saved(tmp_path / "voice", TINY, "ForXVector", False)
    options = ["--model", tmp_path / "voice", "--precision", "fp32"]
    a, b, c, _ = clips
    store = tmp_path / "voices.npz"
    assert run(monkeypatch, "identify", "--enroll", f"anna={a}", f"ben={b}", "--store", store, *options) == 0
    assert run(monkeypatch, "identify", "--enroll", f"anna={c}", "--store", store, *options) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{store} knows anna (2), ben (1)"
    assert run(monkeypatch, "identify", b, "--voices", store, "--threshold", "0.5", *options) == 0
    assert capsys.readouterr().out == f"{b}: ben (1.000)\n"
    assert run(monkeypatch, "identify", b, "--voices", store, "--threshold", "1.01", *options) == 0
    assert capsys.readouterr().out == f"{b}: unknown (nearest ben, 1.000)\n"
    assert run(monkeypatch, "identify", a, "--voices", store, "--threshold", "0", "--format", "json", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["scores"]) == {"anna", "ben"}
    assert run(monkeypatch, "identify", "--verify", a, a, "--threshold", "0.5", *options) == 0
    assert capsys.readouterr().out == "the same speaker (1.000, threshold 0.5)\n"
    assert run(monkeypatch, "identify", "--forget", "anna", "--store", store, *options) == 0
    assert capsys.readouterr().out == f"{store} knows ben (1)\n"


def test_a_false_accept_rate_is_held_among_those_who_were_heard(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, clips: list[Path]
) -> None:
    saved(tmp_path / "voice", TINY, "ForXVector", False)
    options = ["--model", tmp_path / "voice", "--precision", "fp32"]
    store, others = tmp_path / "voices.npz", tmp_path / "others" / "more"
    others.mkdir(parents=True)
    for seed in range(9):
        soundfile.write(others / f"{seed}.wav", 0.1 * np.random.default_rng(50 + seed).standard_normal(RATE), RATE)
    assert run(monkeypatch, "identify", "--enroll", f"anna={clips[0]}", "--store", store, *options) == 0
    named = [*sorted(others.iterdir()), "--voices", store, "--format", "json", *options]
    assert run(monkeypatch, "identify", *named, "--false-accept", "0.2") == 2
    assert "but the store has none; give it some by --impostors FOLDER." in capsys.readouterr().err
    assert run(monkeypatch, "identify", "--impostors", others.parent, "--store", store, *options) == 0
    assert capsys.readouterr().out == f"{store} knows anna (1), and 9 impostors\n"
    assert run(monkeypatch, "identify", *named, "--false-accept", "0.2") == 0
    speakers = [json.loads(line)["speaker"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(map(str, speakers)) == ["None"] * 8 + ["anna"]  # two of ten strangers alike: one of these nine, or
    assert run(monkeypatch, "identify", *named, "--false-accept", "0.01") == 2  # the one to come
    assert "known from 99 other voices or more, but the store has 9; give it more" in capsys.readouterr().err


def test_a_threshold_that_the_model_brings_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, clips: list[Path]
) -> None:
    saved(tmp_path / "voice", TINY, "ForXVector", False)
    options = ["--model", tmp_path / "voice", "--precision", "fp32", "--verify", clips[0], clips[1]]
    assert run(monkeypatch, "identify", *options) == 2
    assert "does not say from which score a voice counts as known; give it by --threshold" in capsys.readouterr().err
    config = json.loads((tmp_path / "voice" / "config.json").read_text())
    (tmp_path / "voice" / "config.json").write_text(json.dumps(config | {"sonant": {"voice_threshold": -1}}))
    assert run(monkeypatch, "identify", *options) == 0
    assert capsys.readouterr().out.endswith("threshold -1)\n")


def test_uses_that_do_not_go_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    for wrong, said in (
        ([], "There must be at least one file"),
        (["a.wav", "--enroll"], "--store is the file that"),
        (["a.wav", "--store", "v.npz"], "--store is the file that"),
        (["--enroll", "a.wav", "--store", "v.npz"], "is NAME=FILE, but 'a.wav' came"),
        (["--enroll", "--store", "v.npz"], "There must be at least one file"),
        (["a.wav", "--forget", "a", "--store", "v.npz"], "go together; give both"),
        (["a.wav", "--false-accept", "0.1"], "--false-accept sets the threshold of --voices"),
        (["--impostors", tmp_path], "--store is the file that"),
        (["a.wav", "--verify"], "--verify compares two files, but 1 came"),
        (["a.wav", "b.wav", "--verify", "--voices", "v.npz"], "different uses; choose one"),
        (["--enroll", "a=a.wav", "--store", tmp_path / "no" / "v.npz"], "because its folder does not exist"),
        (["a.wav"], "has none; pass one, such as superb/wav2vec2-base-superb-er."),
    ):
        assert run(monkeypatch, "identify", *wrong) in (1, 2)
        assert said in capsys.readouterr().err
