"""`sonant doctor` names the fault that was planted, and is silent where there is none."""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.conftest import MODELS, SAID
from sonant import audio, cli
from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.doctor import describe_installation, examine

RATE = 16_000
Samples = np.ndarray


@pytest.fixture(scope="module")
def speech(example: Path) -> Samples:
    return audio.read(example)


def quiet_noise(count: int) -> Samples:
    return np.random.default_rng(0).standard_normal(count).astype(np.float32)


def chords(count: int) -> Samples:
    """Three chords of an organ."""
    time = np.arange(count) / RATE
    notes = [(220, 277, 330), (196, 247, 294), (220, 262, 330)]
    parts = np.array_split(time, len(notes))
    tones = [
        sum(np.sin(2 * np.pi * f * k * t) / k for f in chord for k in (1, 2, 3, 4))
        for t, chord in zip(parts, notes, strict=True)
    ]
    return (0.05 * np.concatenate(tones)).astype(np.float32)


def telephone(speech: Samples) -> Samples:
    return audio.from_array(audio.from_array(speech, RATE, 8000), 8000, RATE)


FAULTS: dict[str, tuple[Callable[[Samples], Samples], float, str, str]] = {
    "integers taken as floats": (lambda x: np.round(x * 32767).astype(np.float32), RATE, "integers", "note"),
    "declared at twice its rate": (lambda x: x, 2 * RATE, "speed", "warning"),
    "declared at half its rate": (lambda x: x, RATE / 2, "speed", "warning"),
    "one silent channel": (lambda x: np.stack([x, 0 * x]), RATE, "channel", "note"),
    "opposite phase": (lambda x: np.stack([x, -0.99 * x]), RATE, "cancelled", "error"),
    "silence": (lambda x: 0 * x, RATE, "silent", "error"),
    "hiss alone": (lambda x: 3e-5 * quiet_noise(len(x)), RATE, "silent", "error"),
    "clipping": (lambda x: np.clip(20 * x, -1, 1), RATE, "clipped", "warning"),
    "a telephone's band": (telephone, RATE, "band", "note"),
    "direct current": (lambda x: x + 0.4, RATE, "current", "note"),
    "noise": (lambda x: 0.1 * quiet_noise(len(x)), RATE, "noise", "warning"),
    "music": (lambda x: chords(len(x)), RATE, "nothing", "warning"),
    "not a number": (lambda x: np.where(np.arange(len(x)) == 5000, np.nan, x), RATE, "unreadable", "error"),
    "less than a frame": (lambda x: x[:300], RATE, "short", "error"),
    "a tenth of a second": (lambda x: chords(1600), RATE, "short", "warning"),
}
"""What is done to good speech, the rate that is declared, and the first finding that must come of it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str, speech: Samples) -> None:
    plant, rate, kind, severity = FAULTS[fault]
    found = examine(plant(speech), sample_rate=rate)
    assert [(f.kind, f.severity) for f in found.findings[:1]] == [(kind, severity)], found.to_text()
    assert found.findings[0].sentence in found.to_text()
    assert found.to_text().count("\n") < 9


def test_good_speech_has_no_finding(example: Path, asr: sonant.Recognizer) -> None:
    found = examine(example)
    assert found.findings == []
    assert "nothing is wrong" in found.verdict
    assert asr.transcribe(example).warnings == ()


def changed(folder: Path, **files: object) -> Path:
    """The model with some of its files in another form; None leaves a file out."""
    folder.mkdir()
    for path in (MODELS / "digits").iterdir():
        (folder / path.name).symlink_to(path)
    for name, values in files.items():
        (folder / f"{name}.json").unlink()
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def test_a_model_without_a_head_is_named(speech: Samples, tmp_path: Path) -> None:
    checkpoint = open_checkpoint()
    tensors = {name: array for name, array in checkpoint.tensors.items() if not name.startswith("lm_head")}
    save_checkpoint(tmp_path / "model", replace(checkpoint.config, vocab_size=None), tensors, None)
    found = examine(speech, tmp_path / "model", RATE)
    assert [f.kind for f in found.findings] == ["head"]
    assert found.facts is not None
    assert found.facts.levels.peak > 0.1


@pytest.mark.parametrize("bias", [0.0, 8.0])
def test_a_head_that_was_never_trained_or_writes_only_blanks_is_named(
    bias: float, speech: Samples, tmp_path: Path
) -> None:
    checkpoint = open_checkpoint()
    assert checkpoint.vocabulary is not None
    head = checkpoint.tensors["lm_head.weight"]
    tensors = dict(checkpoint.tensors.items())
    tensors["lm_head.weight"] = (0.0002 * np.random.default_rng(0).standard_normal(head.shape)).astype(np.float32)
    tensors["lm_head.bias"] = np.zeros(len(head), np.float32)
    tensors["lm_head.bias"][checkpoint.vocabulary.blank] = bias
    save_checkpoint(tmp_path / "model", checkpoint.config, tensors, checkpoint.vocabulary)
    found = examine(speech, tmp_path / "model", RATE)
    assert [f.kind for f in found.findings[:1]] == ["untrained"], found.to_text()


def test_a_model_that_gives_no_numbers_is_named(
    speech: Samples, asr: sonant.Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def emit(waveforms: list[Samples]) -> list[Samples]:
        raise sonant.EngineError("Log-probabilities must be finite, but tiny gave others.")

    monkeypatch.setattr(type(asr.engine), "emit", lambda self, waveforms: emit(waveforms))
    found = examine(speech, sample_rate=RATE)
    assert [f.kind for f in found.findings] == ["model"]
    assert "must be finite" in found.verdict


def test_a_vocabulary_of_another_size_is_named(speech: Samples, tmp_path: Path) -> None:
    vocabulary = json.loads(((MODELS / "digits") / "vocab.json").read_text())
    fewer = dict(list(vocabulary.items())[:-3])
    settings = {"pad_token": "<pad>", "unk_token": None, "bos_token": None, "eos_token": None}
    folder = changed(tmp_path / "model", vocab=fewer, tokenizer_config=settings, special_tokens_map={})
    found = examine(speech, folder, RATE)
    assert [f.kind for f in found.findings] == ["vocabulary"]
    assert "32 outputs" in found.verdict


def test_missing_normalisation_is_named(speech: Samples, tmp_path: Path) -> None:
    settings = {"do_normalize": False, "sampling_rate": RATE}
    folder = changed(tmp_path / "model", preprocessor_config=settings)
    found = examine(1e-2 * speech, folder, RATE)
    assert "normalisation" in [f.kind for f in found.findings], found.to_text()


def test_texts_of_the_other_letter_case_are_named(speech: Samples) -> None:
    found = examine(speech, sample_rate=RATE, said=SAID.lower())
    assert [f.kind for f in found.findings] == ["case"]
    assert examine(speech, sample_rate=RATE, said=SAID).findings == []


def test_transcripts_carry_the_warnings_once(asr: sonant.Recognizer, speech: Samples) -> None:
    talk = asr.transcribe(np.stack([speech, -speech]), RATE)
    assert talk.text == ""
    assert [warning.partition(":")[0] for warning in talk.warnings] == ["The array"]
    assert "opposite phase" in talk.warnings[0]
    assert asr.transcribe(np.stack([speech, 0 * speech]), RATE).warnings == ()  # it harms nothing


def test_the_installation_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SECRET_TOKEN", "hf_abcdefgh")
    report = describe_installation(tmp_path / ".cache" / "sonant")
    assert report["sonant"] == sonant.__version__
    assert report["libraries"]["numpy"] == np.__version__
    assert "test" not in report["extras"]
    assert set(report["extras"]["torch"]) == {"torch"}
    assert report["caches"]["sonant"] == str(Path("~/.cache/sonant"))
    assert str(tmp_path) not in json.dumps(report)
    assert "hf_abcdefgh" not in json.dumps(report)


def test_the_command_looks_at_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, speech: Samples
) -> None:
    path = tmp_path / "talk.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.stack([speech, -speech], 1) * 32767).astype("<i2").tobytes())
    for words in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["sonant", "doctor", str(path), *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
        out = capsys.readouterr().out
        if words:
            values = json.loads(out)
            assert (values["codec"], values["channels"], values["sample_rate"]) == ("pcm_s16le", 2, RATE)
            assert values["findings"][0]["kind"] == "cancelled"
        else:
            assert out.splitlines()[0].startswith("file     pcm_s16le, 16000 Hz, 2 channels")
            assert "opposite phase" in out.splitlines()[-1]


@pytest.mark.parametrize(("file", "model"), [("gone.wav", None), ("gone.wav", "gone")])
def test_what_cannot_be_read_is_said_once_and_ends_with_1(
    file: str, model: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sonant", "doctor", file, *(["--model", model] if model else [])])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("gone.wav does not exist;" if model is None else "gone.wav: A model must be a folder")
