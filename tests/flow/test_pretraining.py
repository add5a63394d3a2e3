"""From speech alone to a model to fine-tune: both objectives through the loop, and a collapse caught."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from flow.test_training import assert_same_state, state_of, stopping_after, tone_recipe
from sonant.checkpoints import open_checkpoint
from sonant.errors import OptionError, TrainingError
from sonant.model.config import PretrainConfig
from sonant.train.feeds import cut, read_utterances
from sonant.train.guard import CollapseGuard, Limits, Reading, Verdict
from sonant.train.loop import Trainer
from sonant.train.recipe import Recipe

SMALL = {
    "conv_dim": [8] * 7,
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 9,
    "num_conv_pos_embedding_groups": 2,
}
CODES = {"num_codevectors_per_group": 12, "codevector_dim": 8, "proj_codevector_dim": 8, "num_negatives": 10}


def write_noise(folder: Path, seconds: list[float]) -> Path:
    """Recordings at 16 kHz without transcripts, whose pitch wanders."""
    random = np.random.default_rng(len(seconds))
    folder.mkdir(exist_ok=True)
    lines: list[str] = []
    for i, length in enumerate(seconds):
        pitch = np.interp(np.arange(int(length * 16000)), np.arange(40) * 4000, random.uniform(100, 3000, 40))
        samples = 0.3 * np.sin(np.cumsum(pitch) * 2 * np.pi / 16000) + 0.02 * random.standard_normal(len(pitch))
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((samples * 32000).astype("<i2").tobytes())
        lines.append(json.dumps({"audio_filepath": f"{i}.wav", "duration": len(pitch) / 16000}) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines))
    return folder / "manifest.jsonl"


def recipe_for(folder: Path, kind: str, **changes: dict[str, Any]) -> Recipe:
    """A few steps of a tiny model on a dozen recordings."""
    if not (folder / "noise").exists():
        write_noise(folder / "noise", [1.2, 0.8, 1.0, 0.9, 1.4, 0.7, 1.1, 1.3, 0.6, 1.0, 2.4])
    manifest = (str(folder / "noise" / "manifest.jsonl"),)
    sections: dict[str, dict[str, Any]] = {
        "data": {"train": manifest, "dev": manifest, "dev_rows": 3, "sample_rate": 16000, "max_seconds": 1.5},
        "model": {"config": dict(SMALL)},
        "task": {"name": kind},
        "pretrain": {"config": CODES if kind == "contrastive" else {}, "clusters": 6, "cluster_frames": 300},
        "augment": {"mask_time": 0.65, "mask_time_length": 4},
        "schedule": {"steps": 6},
        "batches": {"seconds": 3.0, "num_lengths": 3},
    }
    base = tone_recipe(folder)
    for name, values in (sections | changes).items():
        base = replace(base, **{name: replace(getattr(base, name), **(sections.get(name, {}) | values))})
    return base


@pytest.mark.parametrize("task", ["contrastive", "clusters"])
def test_resumed_is_uninterrupted_bit_for_bit(task: str, tmp_path: Path) -> None:
    lively = {"augment": {"noise": 0.7, "gain_db": 6.0, "speed": 0.1}, "model": {"config": SMALL | {"layerdrop": 0.3}}}
    recipe = recipe_for(tmp_path, task, **lively)
    assert Trainer(recipe, tmp_path / "whole").run()
    assert not Trainer(recipe, tmp_path / "parts").run(stopping_after(2))
    assert Trainer(recipe, tmp_path / "parts").run()
    assert_same_state(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))


def test_a_pretrained_model_goes_everywhere(tmp_path: Path) -> None:
    lines: list[Any] = []
    assert Trainer(recipe_for(tmp_path, "contrastive"), tmp_path / "run", lines.append).run()
    last = [line for line in lines if "contrastive" in line][-1]
    assert 1 <= last["perplexity"] <= 12
    assert {"accuracy", "codes_used", "positive_cosine", "feature_penalty", "gradient"} <= last.keys()
    temperatures = [line["temperature"] for line in lines if "temperature" in line]
    assert temperatures == sorted(temperatures, reverse=True)
    assert temperatures[0] > 1.2 > 0.6 > temperatures[-1] >= 0.5
    assert any("dev_loss" in line and "dev_accuracy" in line for line in lines)
    folder = tmp_path / "run" / "model"
    theirs, report = transformers.Wav2Vec2ForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ours = state_of(tmp_path / "run")["model"]
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.state_dict().items())
    settings = open_checkpoint(folder).settings
    assert PretrainConfig.from_dict(settings) == PretrainConfig(**CODES)  # type: ignore[arg-type]
    on = recipe_for(tmp_path, "contrastive", model={"start": str(folder), "config": {}}, task={"head": "keep"})
    trainer = Trainer(on, tmp_path / "on")
    assert all(torch.equal(tensor, ours[name]) for name, tensor in trainer.model.state_dict().items())
    fresh = replace(on, task=replace(on.task, head="fresh"))
    other = Trainer(fresh, tmp_path / "fresh").model.state_dict()
    assert not torch.equal(other["quantizer.codevectors"], ours["quantizer.codevectors"])
    name = "wav2vec2.encoder.layers.1.attention.k_proj.weight"
    assert torch.equal(other[name], ours[name])


def test_clusters_of_mfcc_then_of_a_layer(tmp_path: Path) -> None:
    lines: list[Any] = []
    recipe = recipe_for(tmp_path, "clusters", model={"base": "hubert_base", "config": dict(SMALL)})
    assert Trainer(recipe, tmp_path / "first", lines.append).run()
    assert {"masked", "unmasked", "masked_accuracy"} <= lines[0].keys()
    folder = tmp_path / "first" / "model"
    theirs, report = transformers.HubertModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    first = state_of(tmp_path / "first")["model"]
    assert all(torch.equal(tensor, first["named.hubert." + name]) for name, tensor in theirs.state_dict().items())
    assert first["centres"].shape == (6, 39)
    assert len(first["centres"].unique(dim=0)) == 6
    second = recipe_for(tmp_path, "clusters", pretrain={"teacher": str(folder), "teacher_layer": 1, "clusters": 5})
    assert Trainer(second, tmp_path / "second").run()
    assert state_of(tmp_path / "second")["model"]["centres"].shape == (5, 16)
    with pytest.raises(OptionError, match="at most 2, the layers of"):
        Trainer(recipe_for(tmp_path, "clusters", pretrain={"teacher": str(folder)}), tmp_path / "third")
    narrow = SMALL | {"conv_kernel": [10, 3, 3, 3, 3, 2, 4]}
    with pytest.raises(OptionError, match="MFCC at 16 kHz come every 320 and see 400"):
        Trainer(recipe_for(tmp_path, "clusters", model={"config": narrow}), tmp_path / "fourth")


def test_labels_are_those_of_the_clean_row_alone(tmp_path: Path) -> None:
    noisy = recipe_for(tmp_path, "clusters", augment={"noise": 1.0, "noise_db": (0.0, 1.0)})
    trainer = Trainer(noisy, tmp_path / "run")
    trainer.begin()
    step = max(trainer.planner.steps(0), key=lambda step: len(step.rows))
    batch, _ = trainer.loader.batch(step.rows, step.seconds, 0, 1.0)
    assert batch.clean is not None
    assert not torch.equal(batch.clean, batch.waveforms)
    together = trainer.task.describe(batch.clean, batch.lengths)  # type: ignore[attr-defined]
    for row, found in zip(step.rows, together, strict=True):
        alone = torch.from_numpy(trainer.loader.normalized(trainer.loader.row(row)))[None]
        assert torch.equal(trainer.task.describe(alone, torch.tensor([alone.shape[1]]))[0], found)  # type: ignore[attr-defined]


def collapsing(folder: Path, **run: Any) -> Recipe:
    """A run whose codebooks collapse: nothing keeps codes apart, and equal codes are no negatives."""
    return recipe_for(
        folder,
        "contrastive",
        pretrain={"config": CODES | {"diversity_loss_weight": 0.0}, "temperatures": (2.0, 0.1), "anneal": 0.05},
        optim={"lr": 0.03},
        schedule={"steps": 600, "warmup": 0.01},
        run={"evaluate_steps": 1000, **run},
    )


def test_a_collapse_is_caught_within_200_steps(tmp_path: Path) -> None:
    trainer = Trainer(collapsing(tmp_path), tmp_path / "run")
    with pytest.raises(TrainingError, match=r"codebooks have collapsed|tell utterances apart"):
        trainer.run()
    assert trainer.place.step <= 200


class Doomed(CollapseGuard):
    """Finds a run lost after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__(limits=Limits(window=1))
        self.last = steps

    def fresh(self) -> CollapseGuard:
        return Doomed(self.last)

    def watch(self, reading: Reading) -> Verdict | None:
        self.steps += 1
        return Verdict("doom", "All is lost.", stop=True) if self.steps >= self.last else None


def test_a_lost_run_goes_back_to_its_last_good_state_at_a_lower_rate(tmp_path: Path) -> None:
    lines: list[Any] = []
    run = {"on_collapse": "restart", "restarts": 2, "save_minutes": 0.0, "log_steps": 1}
    recipe = recipe_for(tmp_path, "contrastive", schedule={"steps": 30, "kind": "constant", "warmup": 0.0}, run=run)
    trainer = Trainer(recipe, tmp_path / "run", lines.append)
    trainer.guard = Doomed(14)
    with pytest.raises(TrainingError, match=r"^All is lost\.$"):
        trainer.run()
    # state 1 is found good at step 5, state 6 at step 10; after the first restart state 7 at step 11, 12 at 16
    events = [line for line in lines if "event" in line]
    assert [line["step"] for line in events] == [6, 12]
    assert "Back from step 14" in events[0]["event"]
    rates = {line["lr"] / recipe.optim.lr for line in lines if "lr" in line}
    assert sorted(rates) == pytest.approx([0.25, 0.5, 1.0])
    assert state_of(tmp_path / "run")["restarts"] == 2
    unwilling = replace(recipe, run=replace(recipe.run, on_collapse="stop"))
    trainer = Trainer(unwilling, tmp_path / "other")
    trainer.guard = Doomed(3)
    with pytest.raises(TrainingError, match=r"^All is lost\.$"):
        trainer.run()
    assert trainer.place.step == 3
    assert not list((tmp_path / "other").glob("*.pt"))[1:]


def test_long_recordings_without_transcripts_are_cut(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, "contrastive")
    found = read_utterances(recipe, recipe.data.train, labelled=False)
    assert len(found) == 12
    pieces = [u for u in found if u.offset is not None]
    assert [u.duration for u in pieces] == [1.2, 1.2]
    assert [u.offset for u in pieces] == [0.0, 1.2]
    told: list[str] = []
    assert len(read_utterances(recipe, recipe.data.train, tell=told.append)) == 10
    assert [note.partition(",")[0] for note in told] == ["1 of 11 utterances"]
    assert cut(pieces[1], 0.7)[1].offset == pytest.approx(1.8)
