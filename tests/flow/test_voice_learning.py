"""Voices learnt in closed form over a random encoder: `sonant identify --learn`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

import sonant
from flow.test_command import run
from parity.tiny import TINY, checkpoint_of, random_model
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import DataError
from sonant.train.linear import learn_voices, statistics_of

RATE = 16000


def test_speakers_are_told_apart_though_clips_vary_more() -> None:
    """What varies from clip to clip is larger than what tells speakers apart, and in other directions."""
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(40), 8)
    voices, noises = random.standard_normal((6, 12)), random.standard_normal((4, 12))

    def clips(who: np.ndarray, known: np.ndarray) -> np.ndarray:
        rows = known[who] @ voices + 3 * random.standard_normal((len(who), 4)) @ noises
        rows += 0.1 * random.standard_normal(rows.shape)
        return np.stack([random.standard_normal((len(who), 2, 6)), rows.reshape(-1, 2, 6)], 1).astype(np.float32)

    found = learn_voices(clips(who, random.standard_normal((40, 6))), [f"s{i}" for i in who])
    assert found.layer == 1
    assert found.eer < 0.1
    vectors = found.embed(clips(who, random.standard_normal((40, 6))))
    scores, same = vectors @ vectors.T, who[:, None] == who
    assert (scores[~same] >= found.threshold).mean() == pytest.approx(0.01, abs=0.01)
    off = same & ~np.eye(len(who), dtype=bool)
    assert np.median(scores[off]) > np.quantile(scores[~same], 0.95)
    with pytest.raises(DataError, match=r"but 10 clips of 5 speakers came; add others\.$"):
        learn_voices(np.zeros((10, 1, 2, 3)), list("aabbccddee"))


def test_statistics_are_those_of_pieces() -> None:
    states = np.random.default_rng(0).standard_normal((2, 25, 3))
    found = statistics_of([list(states[:, :4]), list(states[:, 4:])], 10)
    assert found.shape == (3, 2, 2, 3)
    np.testing.assert_allclose(found[1, :, 0], states[:, 10:20].mean(1), atol=1e-6)
    np.testing.assert_allclose(found[2, :, 1], states[:, 20:].std(1, ddof=1), atol=1e-6)
    assert len(statistics_of([list(states[:, :4])], 10)) == 1


def test_a_model_that_writes_learns_voices_and_still_writes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(random_model(TINY))
    save_checkpoint(tmp_path / "ctc", TINY, dict(checkpoint.tensors), checkpoint.vocabulary)
    lines: list[str] = []
    for speaker in range(7):
        for i in range(3):
            random, name = np.random.default_rng([speaker, i]), f"{speaker}-{i}.wav"
            noise = np.convolve(random.standard_normal(RATE), np.random.default_rng(speaker).standard_normal(9), "same")
            soundfile.write(tmp_path / name, 0.05 * noise, RATE)
            lines.append(json.dumps({"audio_filepath": name, "duration": 1.0, "speaker": f"s{speaker}"}) + "\n")
    (tmp_path / "people.jsonl").write_text("".join(lines))
    options = ["--model", tmp_path / "ctc", "--precision", "fp32"]
    assert run(monkeypatch, "identify", "--learn", tmp_path / "people.jsonl", *options) == 2
    assert "writes a model to --output FOLDER; give both" in capsys.readouterr().err
    learning = ["--learn", tmp_path / "people.jsonl", "--output", tmp_path / "voice"]
    assert run(monkeypatch, "identify", *learning, *options) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'voice'}\n"
    assert "7 speakers, layer" in err
    assert json.loads((tmp_path / "voice" / "config.json").read_text())["architectures"] == ["Wav2Vec2ForXVector"]
    asr, before = (sonant.load(tmp_path / name, precision="fp32") for name in ("voice", "ctc"))
    samples, _ = soundfile.read(tmp_path / "3-1.wav", dtype="float32")
    np.testing.assert_array_equal(asr.emissions(samples, RATE).log_probs, before.emissions(samples, RATE).log_probs)
    theirs = transformers.Wav2Vec2ForXVector.from_pretrained(tmp_path / "voice").eval()
    normal = torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]
    with torch.no_grad():
        expected = torch.nn.functional.normalize(theirs(normal).embeddings, dim=-1)[0]
    np.testing.assert_allclose(asr.embed(samples, RATE), expected, atol=2e-3)
    pair = [tmp_path / "1-0.wav", tmp_path / "1-1.wav", "--model", tmp_path / "voice", "--precision", "fp32"]
    assert run(monkeypatch, "identify", "--verify", *pair) == 0
    assert "threshold" in capsys.readouterr().out
    assert run(monkeypatch, "identify", *learning, *options) == 2
    assert "must be a new or an empty folder" in capsys.readouterr().err
