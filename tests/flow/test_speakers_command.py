"""Who speaks, as a user of `sonant transcribe` asks it; the model of voices is random."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.conftest import SAID
from flow.test_command import run
from parity.test_heads import opened, saved
from parity.tiny import TINY
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import OptionError
from sonant.model.xvector import VoiceShape
from sonant.speakers import label_speakers

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def ear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "voice"
    saved(folder, TINY, "ForXVector", True)
    return folder


def test_speakers_are_told_apart_as_in_python(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, example: Path, ear: Path, asr: sonant.Recognizer
) -> None:
    options = ["--voice-model", ear, "--precision", "fp32"]
    assert run(monkeypatch, "transcribe", example, "--speakers", "2", "--format", "json", *options) == 0
    found = json.loads(capsys.readouterr().out)
    expected = label_speakers(asr.transcribe(example), example, opened(ear, "openvino"), speakers=2)
    assert found["text"] == expected.text == SAID
    assert [word["speaker"] for part in found["segments"] for word in part["words"]] == [
        word.speaker for word in expected.words
    ]
    assert {part["speaker"] for part in found["segments"]} == {part.speaker for part in expected.segments}
    assert found["segments"][0]["speaker"] == "speaker 1"
    assert run(monkeypatch, "transcribe", example, "--speakers", "1", *options) == 0
    assert capsys.readouterr().out == f"speaker 1: {SAID}\n"


def test_those_who_are_enrolled_are_named_and_others_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, example: Path, ear: Path, tmp_path: Path
) -> None:
    store, options = tmp_path / "voices.npz", ["--precision", "fp32"]
    assert run(monkeypatch, "identify", "--enroll", f"anna={example}", "--store", store, "--model", ear, *options) == 0
    options += ["--voices", store, "--voice-model", ear]
    capsys.readouterr()
    assert run(monkeypatch, "transcribe", example, "--threshold", "-1", "--format", "vtt", *options) == 0
    assert "<v anna>Seven three nine one five eight\n" in capsys.readouterr().out
    assert run(monkeypatch, "transcribe", example, "--threshold", "1.01", "--format", "srt", *options) == 0
    assert "\nunknown: Seven three" in capsys.readouterr().out
    assert run(monkeypatch, "transcribe", example, *options) == 2
    assert "does not say from which score a voice counts as known" in capsys.readouterr().err
    saved(tmp_path / "other", TINY, "ForXVector", False)
    wrong = [*options[:-1], tmp_path / "other", "--threshold", "0"]
    assert run(monkeypatch, "transcribe", example, *wrong) == 2
    assert "but were enrolled with another model" in capsys.readouterr().err


def test_a_model_with_both_heads_needs_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, example: Path, asr: sonant.Recognizer, tmp_path: Path
) -> None:
    rng, own = np.random.default_rng(0), asr.checkpoint
    shapes = {"projector": (8, own.config.hidden_size), "feature_extractor": (6, 2 * 12)}
    sizes = [8, 8, 8, 8, 8, 12]
    shapes |= {
        f"tdnn.{i}.kernel": (sizes[i + 1], sizes[i] * kernel) for i, kernel in enumerate(VoiceShape().tdnn_kernel)
    }
    tensors = {f"{name}.weight": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    settings = {"architectures": ["Wav2Vec2ForXVector"], "tdnn_dim": sizes[1:]}
    options = {"sample_rate": own.sample_rate, "normalize": own.normalize, "settings": settings}
    save_checkpoint(tmp_path / "both", own.config, {**own.tensors, **tensors}, own.vocabulary, **options)
    options = ["--model", tmp_path / "both", "--precision", "fp32", "--format", "json", "--greedy"]
    assert run(monkeypatch, "transcribe", example, "--speakers", "1", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == SAID
    assert {part["speaker"] for part in found["segments"]} == {"speaker 1"}
    assert found["settings"]["voice_model"] == str(tmp_path / "both")


def test_wishes_that_cannot_be_met_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, example: Path, ear: Path, asr: sonant.Recognizer
) -> None:
    for wrong, said in (
        (["--speakers", "two"], "--speakers is auto or how many there are, but 'two' came"),
        (["--speakers", "0"], "--speakers is auto or how many there are, but '0' came"),
        (["--speakers", "auto", "--voices", "v.npz"], "choose one of both"),
        (["--threshold", "0.5"], "for --voices and --speakers auto"),
        (["--threshold", "0.5", "--speakers", "2"], "for --voices and --speakers auto"),
        (["--false-accept", "0.1", "--speakers", "auto"], "says whom --voices names"),
        (["--voices", "v.npz", "--threshold", "0.5", "--false-accept", "0.1"], "give it, or --threshold"),
        (["--voice-model", ear], "give it with --speakers or --voices"),
        (["--speakers", "auto"], "digits has none; name one by --voice-model"),
        (["--voices", "none.npz", "--voice-model", ear, "--threshold", "0"], "There are no voices at none.npz"),
    ):
        assert run(monkeypatch, "transcribe", example, *wrong) == 2
        assert said in capsys.readouterr().err
    assert run(monkeypatch, "transcribe", "-", "--speakers", "2", "--voice-model", ear) == 2
    assert "but - comes once" in capsys.readouterr().err
    talk = asr.transcribe(example)
    with pytest.raises(OptionError, match=r"There must be one speaker or more, but 0 came"):
        label_speakers(talk, example, opened(ear, "openvino"), speakers=0)
    with pytest.raises(OptionError, match=r"there is no threshold; give one"):
        label_speakers(talk, example, opened(ear, "openvino"), voices="v.npz")
