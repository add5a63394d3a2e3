"""Vectors of voices learnt from a few clips: tones of speakers of their own, by the states of a random encoder."""

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
from flow.test_command import run
from parity.tiny import TINY, checkpoint_of, random_model
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import DataError, OptionError
from sonant.train.loop import Trainer
from sonant.train.recipe import read_recipe
from sonant.train.states import StateStore
from sonant.train.xvector import XvectorTask

RATE = 16000
SMALL = (
    "task.tdnn_dim=[16,16,16]", "task.tdnn_kernel=[3,3,1]", "task.tdnn_dilation=[1,2,1]", "task.xvector_output_dim=8",
    "data.min_seconds=0.3", "run.precision=fp32", "batches.seconds=8", "optim.average=0", "run.check=false",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))


def corpus(folder: Path, speakers: list[str], hertz: list[float], count: int = 6) -> Path:
    """A manifest of tones, each speaker's about a pitch of his own."""
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for s, (speaker, pitch) in enumerate(zip(speakers, hertz, strict=True)):
        for i in range(count):
            random = np.random.default_rng([s, i])
            time = np.arange(int(RATE * random.uniform(0.5, 0.9))) / RATE
            samples = 0.2 * np.sin(2 * np.pi * pitch * random.uniform(0.95, 1.05) * time)
            name = f"{speaker}-{i}.wav"
            soundfile.write(folder / name, samples + 0.01 * random.standard_normal(len(time)), RATE)
            lines.append({"audio_filepath": name, "duration": len(time) / RATE, "speaker": speaker})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "manifest.jsonl"


@pytest.fixture
def start(tmp_path: Path) -> Path:
    model = random_model(TINY)
    checkpoint = checkpoint_of(model)
    tensors = {name: checkpoint.tensors[name] for name in checkpoint.tensors}
    save_checkpoint(tmp_path / "start", TINY, tensors, checkpoint.vocabulary)
    return tmp_path / "start"


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    train = corpus(tmp_path / "train", ["a", "b", "c"], [200, 800, 3000])
    return [f"data.train={train}", f"data.dev={corpus(tmp_path / 'dev', ['d', 'e'], [300, 2200])}"]


def test_what_is_learnt_is_what_transformers_reads_and_text_stays(tmp_path: Path, start: Path, data: list[str]) -> None:
    few = ["schedule.steps=40", "run.evaluate_steps=20", "run.log_steps=10", "optim.lr=1e-2", "task.crop_seconds=0.3"]
    recipe = read_recipe("xvector", [*data, f"model.start={start}", *SMALL, *few])
    lines: list[dict[str, Any]] = []
    assert Trainer(recipe, tmp_path / "run", lambda line: lines.append(dict(line))).run()
    errors = [line["dev_eer"] for line in lines if "dev_eer" in line]
    assert all(0 <= error <= 1 for error in errors)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    asr = sonant.load(tmp_path / "run" / "model", precision="fp32")
    before = sonant.load(start, precision="fp32")
    samples, _ = soundfile.read(tmp_path / "dev" / "d-0.wav", dtype="float32")
    theirs = transformers.Wav2Vec2ForXVector.from_pretrained(tmp_path / "run" / "model").eval()
    normal = torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]
    with torch.no_grad():
        expected = torch.nn.functional.normalize(theirs(normal).embeddings, dim=-1)[0]
    np.testing.assert_allclose(asr.embed(samples, RATE), expected, atol=2e-4)
    assert theirs.config.num_labels == 3
    np.testing.assert_array_equal(asr.emissions(samples, RATE).log_probs, before.emissions(samples, RATE).log_probs)
    assert -1 <= asr.checkpoint.settings["sonant"]["voice_threshold"] <= 1


def test_the_loss_is_that_of_transformers(start: Path) -> None:
    task = XvectorTask(read_recipe("xvector", [f"model.start={start}", *SMALL]), ["a", "b", "c"])
    model, random = task.model.eval(), torch.Generator().manual_seed(0)
    config = transformers.Wav2Vec2Config(
        **{k: v for k, v in TINY.to_dict().items() if k not in ("architectures", "vocab_size")},
        use_weighted_layer_sum=True, tdnn_dim=[16, 16, 16], tdnn_kernel=[3, 3, 1], tdnn_dilation=[1, 2, 1],
        xvector_output_dim=8, num_labels=3,
    )  # fmt: skip
    theirs = transformers.Wav2Vec2ForXVector(config).eval()
    theirs.load_state_dict(model.state_dict(), strict=False)
    waveforms, targets = torch.randn(2, 9000, generator=random), torch.tensor([2, 0])
    for i in range(2):  # in batches transformers hears padding
        row = waveforms[i : i + 1]
        expected = theirs(row, labels=targets[i : i + 1])
        states = torch.stack(theirs.wav2vec2(row, output_hidden_states=True).hidden_states, 1)
        ours = model(states, torch.tensor([states.shape[2]]))
        torch.testing.assert_close(ours, expected.embeddings, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.losses(ours, targets[i : i + 1])[0], expected.loss, atol=1e-5, rtol=1e-5)
    alone = model(states, torch.tensor([states.shape[2]]))
    padded = torch.nn.functional.pad(states, (0, 0, 0, 7), value=3.0)
    torch.testing.assert_close(model(padded, torch.tensor([states.shape[2]])), alone, atol=1e-5, rtol=1e-5)


def test_an_encoder_may_learn_too(tmp_path: Path, start: Path, data: list[str]) -> None:
    more = ["task.freeze_transformer_steps=0", "optim.lr=1e-3", "schedule.steps=2", "run.evaluate_steps=2"]
    assert Trainer(read_recipe("xvector", [*data, f"model.start={start}", *SMALL, *more]), tmp_path / "run").run()
    asr = sonant.load(tmp_path / "run" / "model")
    assert asr.checkpoint.vocabulary is None  # what it wrote it writes no more
    assert asr.embed(tmp_path / "dev" / "d-0.wav").shape == (8,)


def test_what_cannot_be_learnt_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, start: Path, data: list[str]
) -> None:
    settings = [f"model.start={start}", *SMALL]
    for labels, wrong, said in (
        (["a", None], [], r"must have a speaker to learn from, but 1 of 2 have none;"),
        (["a", "a"], [], r"tell speakers apart, but all 2 utterances have the speaker a;"),
        (["a", "b"], ["data.min_seconds=0.1"], r"made of 8 frames or more, which last 0\.165 s, .* set it to 0\.17 or"),
        (["a", "b"], ["task.tdnn_kernel=[3,3]"], r"one entry a layer, but have 3, 2 and 3; correct the recipe\.$"),
    ):
        with pytest.raises((DataError, OptionError), match=said):
            XvectorTask(read_recipe("xvector", [*settings, *wrong]), labels)
    both = [data[0], data[0].replace("train=", "dev="), *settings, "schedule.steps=1"]
    with pytest.raises(DataError, match=r"but 'a' is in both; split them by `sonant data split`"):
        Trainer(read_recipe("xvector", both), tmp_path / "run").run()
    both[1] = f"data.dev={corpus(tmp_path / 'same', ['a', 'b', 'c'], [230, 900, 2500])}"
    command = [part for setting in [*both, "run.check=true"] for part in ("--set", setting)]
    assert run(monkeypatch, "train", "xvector", *command, "--output", tmp_path / "other") == 2
    assert "of 18 utterances to learn from are by speakers who are in both" in capsys.readouterr().err
    one = corpus(tmp_path / "one", ["z"], [500])
    with pytest.raises(DataError, match=r"pairs of clips of one speaker and of two, but lacks the latter;"):
        Trainer(read_recipe("xvector", [*both[2:], data[0], f"data.dev={one}"]), tmp_path / "third").run()


def test_kept_states_stay_below_their_bound_and_come_back_whole(tmp_path: Path) -> None:
    rows = {name: np.random.default_rng(i).standard_normal((3, 5)).astype(np.float16) for i, name in enumerate("abc")}
    size = rows["a"].nbytes + 128
    store = StateStore("model", 2 * size, tmp_path)
    assert [store.put(name, row) for name, row in rows.items()] == [True, True, False]
    np.testing.assert_array_equal(store.get("a"), rows["a"])
    assert store.get("c") is None
    again = StateStore("other", 2 * size, tmp_path)
    assert again.put("c", rows["c"])  # what another run left makes room
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.npy")) <= 2 * size
    left = next(tmp_path.glob("model/*.npy"))
    left.write_bytes(left.read_bytes()[:40])
    assert StateStore("model", 2 * size, tmp_path).get(left.stem) is None
    assert not list(tmp_path.glob("*/.sonant-*"))
