"""Classifiers learnt from a few clips: tones that are high or low, by the states of a random encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers

import sonant
from parity.tiny import TINY, checkpoint_of, random_model
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import DataError, OptionError
from sonant.train.loop import Trainer
from sonant.train.recipe import read_recipe

RATE = 16000


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))


def corpus(folder: Path, count: int, seed: int, labels: tuple[str, ...] = ("low", "high", "high")) -> Path:
    """A manifest of tones; `low` is half as frequent as `high`."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    with (folder / "manifest.jsonl").open("w") as file:
        for i in range(count):
            label = labels[i % len(labels)]
            time = np.arange(int(RATE * generator.uniform(0.4, 0.9))) / RATE
            hertz = generator.uniform(200, 300) if label == "low" else generator.uniform(1500, 2500)
            samples = 0.2 * np.sin(2 * np.pi * hertz * time) + 0.01 * generator.standard_normal(len(time))
            soundfile.write(folder / f"{i}.wav", samples, RATE)
            line = {"audio_filepath": f"{i}.wav", "duration": len(time) / RATE, "label": label}
            file.write(json.dumps(line) + "\n")
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder with a CTC head, which is left behind."""
    model, folder = random_model(TINY), tmp_path_factory.mktemp("start") / "model"
    checkpoint = checkpoint_of(model)
    tensors = {name: checkpoint.tensors[name] for name in checkpoint.tensors}
    save_checkpoint(folder, TINY, tensors, checkpoint.vocabulary)
    return folder


def train(folder: Path, start: Path, *settings: str) -> list[dict[str, Any]]:
    data = [f"data.train={corpus(folder / 'train', 24, 0)}", f"data.dev={corpus(folder / 'dev', 12, 1)}"]
    few = ["schedule.steps=40", "run.evaluate_steps=20", "run.log_steps=20", "batches.seconds=8", "optim.average=0"]
    recipe = read_recipe("classify", [*data, f"model.start={start}", *few, "run.precision=fp32", *settings])
    lines: list[dict[str, Any]] = []
    assert Trainer(recipe, folder / "run", lambda line: lines.append(dict(line))).run()
    return lines


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_learnt_is_what_is_said_and_what_transformers_says(tmp_path: Path, start: Path, whole: bool) -> None:
    learnt = ["task.freeze_transformer_steps=0", "optim.lr=1e-3"] if whole else []
    lines = train(tmp_path, start, *learnt)
    assert [line for line in lines if "dev_loss" in line][-1]["accuracy"] == 1.0
    asr = sonant.load(tmp_path / "run" / "model", precision="fp32")
    theirs = transformers.Wav2Vec2ForSequenceClassification.from_pretrained(tmp_path / "run" / "model").eval()
    for line in (tmp_path / "dev" / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        found = asr.classify(tmp_path / "dev" / row["audio_filepath"])
        assert found.label == row["label"]
    samples, _ = soundfile.read(tmp_path / "dev" / "0.wav", dtype="float32")
    normal = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(normal)[None]).logits.softmax(-1)[0]
    np.testing.assert_allclose(asr.classify(samples, RATE).probabilities, expected, atol=2e-4)
    moved = [
        key
        for key, tensor in random_model(TINY).backbone.state_dict().items()
        if not np.array_equal(asr.checkpoint.tensors[f"wav2vec2.{key}"], tensor.numpy())
    ]
    assert bool(moved) == whole


def test_an_encoder_that_stays_hears_each_clip_once(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sonant.model.heads import ClipClassifier

    heard = 0
    pool = ClipClassifier.pool

    def counted(self: ClipClassifier, waveforms: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        nonlocal heard
        heard += len(waveforms)
        return pool(self, waveforms, *rest, **more)

    monkeypatch.setattr(ClipClassifier, "pool", counted)
    train(tmp_path, start)
    assert heard == 36
    train(tmp_path / "again", start)
    assert heard == 36  # they lie on disk


def test_rare_labels_count_as_much_as_frequent_ones(tmp_path: Path, start: Path) -> None:
    manifest = corpus(tmp_path / "train", 24, 0)
    from sonant.train.classify import ClassifyTask

    recipe = read_recipe("classify", [f"data.train={manifest}", f"model.start={start}"])
    labels = ["low", "high", "high"] * 8
    task = ClassifyTask(recipe, labels)
    counts = {label: labels.count(label) for label in task.labels}
    shares = [float(task.weights[i]) * counts[label] for i, label in enumerate(task.labels)]
    assert shares == pytest.approx([12.0, 12.0])
    alike = read_recipe("classify", [f"data.train={manifest}", f"model.start={start}", "task.class_weights=false"])
    assert ClassifyTask(alike, labels).weights.tolist() == [1.0, 1.0]


def test_what_cannot_be_learnt_is_said(tmp_path: Path, start: Path) -> None:
    from sonant.train.classify import ClassifyTask

    recipe = read_recipe("classify", [f"model.start={start}"])
    with pytest.raises(DataError, match=r"must have a label to learn from, but 1 of 3 have none;"):
        ClassifyTask(recipe, ["a", None, "b"])
    with pytest.raises(DataError, match=r"but all 2 utterances have the label a; add utterances with others\.$"):
        ClassifyTask(recipe, ["a", "a"])
    with pytest.raises(OptionError, match=r"batches\.join is not 0; set it to 0\.$"):
        ClassifyTask(read_recipe("classify", [f"model.start={start}", "batches.join=0.5"]), ["a", "b"])
    with pytest.raises(OptionError, match=r"but model\.start is empty; name one\.$"):
        ClassifyTask(read_recipe("classify", []), ["a", "b"])
    corpus(tmp_path / "other", 3, 2, ("middle",))
    data = [f"data.train={corpus(tmp_path / 'train', 12, 0)}", f"data.dev={tmp_path / 'other' / 'manifest.jsonl'}"]
    recipe = read_recipe("classify", [*data, f"model.start={start}", "schedule.steps=1", "batches.seconds=8"])
    with pytest.raises(DataError, match=r"must be among those learnt, but 'middle' is not;"):
        Trainer(recipe, tmp_path / "run").run()
