"""Recipes: read, refused in a sentence, saved whole; those that come along build."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch

from sonant.checkpoints import Checkpoint
from sonant.errors import OptionError
from sonant.model import config as architectures
from sonant.model.config import PretrainConfig
from sonant.model.encoder import count_parameters
from sonant.model.heads import ClipClassifier, CtcModel
from sonant.model.pretrain import ClusterModel, ClusterSpec, ContrastiveModel
from sonant.model.xvector import VoiceModel, VoiceShape
from sonant.train.recipe import Recipe, read_recipe, recipe_names, to_toml
from sonant.train.task import configure
from sonant.train.tasks import TASKS

STARTS = {
    "facebook/wav2vec2-base": architectures.wav2vec2_base(),
    "facebook/wav2vec2-xls-r-300m": architectures.wav2vec2_large_lv60(),
    "facebook/mms-1b-all": architectures.mms_1b(),
}


def write(folder: Path, text: str, name: str = "own.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(path: Path, *settings: str) -> str:
    with pytest.raises(OptionError) as error:
        read_recipe(path, settings)
    return str(error.value)


def test_a_recipe_says_only_what_differs(tmp_path: Path) -> None:
    recipe = read_recipe(
        write(tmp_path, '[optim]\nlr = 1\n[data]\ntrain = "a.jsonl"\n[augment]\nnoise_db = [1, 2.5]\n')
    )
    assert recipe.optim == replace(Recipe().optim, lr=1.0)
    assert type(recipe.optim.lr) is float
    assert recipe.data.train == ("a.jsonl",)
    assert recipe.augment.noise_db == (1.0, 2.5)
    assert recipe.schedule == Recipe().schedule


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    assert "no optim.learning_rte" in refusal(write(tmp_path, "[optim]\nlearning_rte = 1\n"))
    assert "no schedule.warmpu (the nearest is warmup)" in refusal(write(tmp_path, "[schedule]\nwarmpu = 1\n"))
    assert "no optm (the nearest is optim)" in refusal(write(tmp_path, "[optm]\nlr = 1\n"))
    wrong = refusal(write(tmp_path, "[model.config]\nhiden_size = 1\n"))
    assert "no model.config.hiden_size (the nearest is hidden_size)" in wrong


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[schedule]\nsteps = "many"', "schedule.steps in a recipe must be a whole number, but is 'many'"),
        ("[schedule]\nsteps = 1.5", "must be a whole number"),
        ("[optim]\nlr = true", "optim.lr in a recipe must be a number, but is True"),
        ('[schedule]\nkind = "cosin"', "must be one of 'constant', 'tri-stage'"),
        ("[data]\ntrain = [1]", "data.train in a recipe must be a text, but is 1"),
        ("optim = 3", "optim in a recipe must be a section with kind, lr"),
        ("[model]\nconfig = 3", "model.config in a recipe must be a table"),
        ("[schedule]\nsteps = 0", "schedule.steps in a recipe must be at least 1, but is 0"),
        ("[batches]\nseconds = 0.0", "batches.seconds in a recipe must be over 0, but is 0.0"),
        ("[optim]\nbetas = [0.9]", "optim.betas in a recipe must be two numbers"),
        ("[optim]\nbetas = [0.9, 1.0]", "optim.betas in a recipe must be from 0 to below 1"),
        ("[augment]\nnoise_db = [9.0, 8.0]", "augment.noise_db in a recipe must be the least, then the greatest"),
        ("[augment]\ngain_db = -1.0", "augment.gain_db in a recipe must be at least 0, but is -1.0"),
        ("[pretrain]\ntemperatures = [2.0, 0.0]", "pretrain.temperatures in a recipe must be over 0"),
        ("[run]\nseed = -1", "run.seed in a recipe must be at least 0"),
        ("[optim", "must be a TOML file"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(write(tmp_path, text + "\n"))


def test_a_recipe_extends_one_other(tmp_path: Path) -> None:
    write(tmp_path, "[optim]\nlr = 1.0\neps = 2.0\n", "below.toml")
    recipe = read_recipe(write(tmp_path, 'extends = "below.toml"\n[optim]\neps = 3.0\n'))
    assert (recipe.optim.lr, recipe.optim.eps) == (1.0, 3.0)
    write(tmp_path, 'extends = "ctc-10h"\n', "below.toml")
    assert "extends one other" in refusal(tmp_path / "own.toml")
    own = read_recipe(write(tmp_path, 'extends = "ctc-10h"\n[optim]\nlr = 1.0\n'))
    assert own.schedule == read_recipe("ctc-10h").schedule


def test_settings_change_a_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, "[model.config]\nhidden_size = 8\n")
    settings = ["optim.lr=3e-4", "data.train=['a', 'b']", "schedule.kind=inverse", "model.config.layerdrop=0.1"]
    recipe = read_recipe(path, settings)
    assert (recipe.optim.lr, recipe.data.train, recipe.schedule.kind) == (3e-4, ("a", "b"), "inverse")
    assert recipe.model.config == {"hidden_size": 8, "layerdrop": 0.1}
    assert "must read section.name=value" in refusal(path, "optim.lr")


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    assert "the nearest is ctc-10h" in refusal(Path("ctc-10hh"))
    assert "There is no recipe" in refusal(tmp_path / "none.toml")
    assert ", ".join(recipe_names()) in refusal(Path("mine"))
    assert "is not (Is a directory); mend it" in refusal(tmp_path)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_that_comes_along_builds_and_repeats_itself(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    assert recipe.task.name in TASKS
    assert read_recipe(write(tmp_path, to_toml(recipe))) == recipe
    start = recipe.model.start
    checkpoint = Checkpoint(start, STARTS[start], {}, None) if start else None
    config = configure(recipe, checkpoint, 30 if recipe.task.name == "ctc" else None)
    pretrain = PretrainConfig.from_dict(recipe.pretrain.config)
    with torch.device("meta"):
        kinds = {
            "ctc": lambda: CtcModel(config),
            "contrastive": lambda: ContrastiveModel(config, pretrain),
            "classify": lambda: ClipClassifier(config, 4),
            "xvector": lambda: VoiceModel(config, VoiceShape(recipe.task.tdnn_dim), 4),
            "clusters": lambda: ClusterModel(config, ClusterSpec(recipe.pretrain.clusters)),
        }
        model = kinds[recipe.task.name]()
    assert count_parameters(model.parameters()) > 3e6


def test_every_setting_is_saved(tmp_path: Path) -> None:
    odd = replace(
        Recipe(),
        data=replace(Recipe().data, train=('a "b"\\\n.jsonl', "ü\x7f"), keep=""),
        model=replace(Recipe().model, config={"conv_dim": [1, 2], "layerdrop": 0.5, "conv_bias": True}),
    )
    assert read_recipe(write(tmp_path, to_toml(odd))) == odd
    assert all(is_dataclass(getattr(odd, f.name)) for f in fields(odd))


def test_muon_is_refused_for_shards(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, '[run]\nshard = true\n[optim]\nkind = "muon"\n'))
    assert said.startswith("run.shard needs optim.kind=adamw")


@pytest.mark.parametrize(
    ("name", "steps", "rate", "frozen", "channels", "layerdrop"),
    [
        ("ctc-10min", 13_000, 5e-5, 10_000, 0.25, 0.1),
        ("ctc-1h", 13_000, 5e-5, 10_000, 0.25, 0.1),
        ("ctc-10h", 20_000, 5e-5, 10_000, 0.5, 0.05),
        ("ctc-100h", 80_000, 3e-5, 0, 0.5, 0.1),
    ],
)
def test_schedules_of_fine_tuning_are_those_of_its_authors(
    name: str, steps: int, rate: float, frozen: int, channels: float, layerdrop: float
) -> None:
    """The numbers of fairseq's examples/wav2vec/config/finetuning/base_{10m,1h,10h,100h}.yaml (arXiv:2006.11477, B)."""
    recipe = read_recipe(name)
    assert (recipe.schedule.steps, recipe.optim.lr, recipe.task.freeze_transformer_steps) == (steps, rate, frozen)
    assert (recipe.augment.mask_channel, recipe.model.config["layerdrop"]) == (channels, layerdrop)
    # what the four have in common
    assert recipe.task.freeze_convolutions
    assert recipe.model.config["activation_dropout"] == 0.1
    assert (recipe.augment.mask_time, recipe.augment.mask_time_length, recipe.augment.mask_channel_length) == (
        0.65,
        10,
        64,
    )
    schedule, optim, batches = recipe.schedule, recipe.optim, recipe.batches
    assert (schedule.kind, schedule.warmup, schedule.hold, schedule.final) == ("tri-stage", 0.1, 0.4, 0.05)
    assert (optim.kind, optim.betas, optim.eps, optim.clip) == ("adamw", (0.9, 0.98), 1e-8, 0.0)
    assert batches.seconds * batches.accumulate == 3_200_000 / 16_000 * 4 * 2  # max_tokens, update_freq, GPUs
