"""`sonant evaluate` of classifiers and of models that tell voices apart, with random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from flow.test_command import run
from parity.test_heads import RATE, opened, saved
from parity.tiny import TINY

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six noises of three speakers, and a silence; the labels change from clip to clip."""
    lines: list[dict[str, Any]] = []
    for i in range(7):
        noise = np.random.default_rng(i).standard_normal(RATE) * (0.1 if i < 6 else 0)
        soundfile.write(tmp_path / f"{i}.wav", noise, RATE)
        lines.append(
            {"audio_filepath": f"{i}.wav", "duration": 1.0, "label": ["anger", "joy"][i % 2], "speaker": f"s{i % 3}"}
        )
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_classifier_is_judged_by_labels(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, manifest: Path
) -> None:
    saved(tmp_path / "mood", TINY, "ForSequenceClassification", True)
    saved(tmp_path / "last", TINY, "ForSequenceClassification", False)
    options = ["--model", tmp_path / "mood", "--precision", "fp32", "--by", "speaker"]
    both = [*options, "--against", tmp_path / "last"]
    picture, kept = tmp_path / "mood.svg", tmp_path / "kept"
    assert (
        run(monkeypatch, "evaluate", manifest, *both, "--format", "json", "--picture", picture, "--output", kept) == 1
    )
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "6.wav" in "".join(found["failures"])
    assert "is silent" in err
    asr = opened(tmp_path / "mood", "openvino")
    heard = [asr.classify(tmp_path / f"{i}.wav").label for i in range(6)]
    right = [label == ["anger", "joy"][i % 2] for i, label in enumerate(heard)]
    assert found["accuracy"]["value"] == pytest.approx(np.mean(right), abs=1e-6)
    assert found["recall"]["value"] == pytest.approx((np.mean(right[::2]) + np.mean(right[1::2])) / 2, abs=1e-6)
    assert np.sum(found["confusion"]) == found["clips"] == 6
    assert set(found["by"]["speaker"]) == {"s0", "s1", "s2"}
    np.testing.assert_allclose(found["layer_shares"], [0.25] * 4, atol=0.1)
    change = found["against"]["accuracy"]["value"] - found["accuracy"]["value"]
    assert found["comparison"]["accuracy"]["value"] == pytest.approx(change, abs=1e-5)
    assert json.loads((kept / "evaluation.json").read_text()) == found
    assert picture.stat().st_size > 5000
    assert run(monkeypatch, "evaluate", manifest, *options) == 1
    assert "6 clips; intervals over 3 speakers" in capsys.readouterr().out


def test_voices_are_judged_by_speakers_and_by_trials(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, manifest: Path
) -> None:
    saved(tmp_path / "voice", TINY, "ForXVector", False)
    options = ["--model", tmp_path / "voice", "--precision", "fp32", "--format", "json"]
    picture = tmp_path / "voice.png"
    assert run(monkeypatch, "evaluate", manifest, *options, "--picture", picture, "--theme", "dark") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["trials"], found["same"], found["resampled"]["number"]) == (15, 3, 3)
    assert picture.stat().st_size > 5000
    trials = tmp_path / "trials.txt"
    trials.write_text("".join(f"{int(i % 3 == j % 3)} {i}.wav {j}.wav\n" for i in range(6) for j in range(i + 1, 6)))
    assert run(monkeypatch, "evaluate", trials, *options) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["eer"]["value"] == found["eer"]["value"]
    assert listed["min_dcf"]["0.01"]["value"] == found["min_dcf"]["0.01"]["value"]
    assert listed["resampled"]["number"] == 6
    trials.write_text(
        "".join(f"{i}.wav {j}.wav {'non' * (i % 3 != j % 3)}target\n\n" for i in range(6) for j in (0, 3))
    )
    assert run(monkeypatch, "evaluate", trials, *options[:4]) == 0
    assert "12 trials, 4 of one speaker" in capsys.readouterr().out


def test_what_cannot_be_judged_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, manifest: Path
) -> None:
    saved(tmp_path / "voice", TINY, "ForXVector", False)
    saved(tmp_path / "mood", TINY, "ForSequenceClassification", False)
    trials, bare, silence = tmp_path / "trials.txt", tmp_path / "bare.jsonl", tmp_path / "silence.jsonl"
    trials.write_text("1 0.wav 3.wav\n")
    bare.write_text('{"audio_filepath": "0.wav"}\n')
    silence.write_text('{"audio_filepath": "6.wav", "label": "joy"}\n')
    for source, model, more, said in (
        (trials, "voice", [], r"1 are of one and 0 of two; add the others."),
        (bare, "voice", [], "must name its speaker, but 1 of 1 do not"),
        (bare, "mood", [], "must have the label that is right, but 1 of 1 have none"),
        (silence, "mood", [], "Nothing could be heard, first because"),
        (manifest, "mood", ["--by", "room"], "but no utterance has room; correct the option."),
        (manifest, "voice", ["--by", "speaker"], "voices are judged in pairs"),
        (manifest, "mood", ["--task", "speaker"], "has none; pass one, such as microsoft/wavlm-base-plus-sv."),
        (manifest, "mood", ["--picture", tmp_path / "x.gif"], "A picture is written as"),
    ):
        assert run(monkeypatch, "evaluate", source, "--model", tmp_path / model, *more) == 2
        assert said in capsys.readouterr().err
    trials.write_text("1 0.wav\n")
    assert run(monkeypatch, "evaluate", trials, "--model", tmp_path / "voice") == 2
    assert "trials.txt:1 must read like `1 a.wav b.wav`, but is '1 0.wav'; correct it." in capsys.readouterr().err
