"""A model in shards over two ranks learns what one rank learns that holds it whole, and is written just the same."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flow.launching import launch
from flow.test_pretraining import SMALL, recipe_for
from flow.test_training import (
    SMOOTH,
    assert_same_state,
    command,
    largest_difference,
    state_of,
    tone_recipe,
    wait_for,
    weights,
)
from sonant.train.feeds import DevSet
from sonant.train.loop import Trainer
from sonant.train.recipe import Recipe
from tones import MODEL

pytestmark = pytest.mark.cluster


def run_two(folder: Path, name: str, recipe: Recipe) -> dict[str, Any]:
    """The state that two ranks end with."""
    for process in launch(command(folder, folder / name, recipe)):
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    return state_of(folder / name)


def test_two_sharded_ranks_are_one_with_the_doubled_batch(tmp_path: Path) -> None:
    def recipe(seconds: float, **run: Any) -> Recipe:
        return tone_recipe(
            tmp_path,
            data={"dev_rows": 11},
            model={"config": MODEL | {"num_hidden_layers": 3, "layerdrop": 0.3}},
            task={"mel_weight": 1.0, "freeze_transformer_steps": 2},
            optim=SMOOTH | {"average": 0.9},
            batches={"seconds": seconds, "lengths": (0.9,)},
            run={"evaluate_steps": 3, "check": False, **run},
        )

    one = Trainer(recipe(1.8, shard=True), tmp_path / "one")  # for LayerDrop, which then drops the same
    steps = one.planner.steps(0)
    assert [len(step.rows) for step in steps[:3]] == [2, 2, 2]
    for i in (0, 2):  # one rank then has nothing to hear
        Path(one.utterances[steps[i].rows[i // 2].utterances[0]].audio).write_bytes(b"no sound")
    shares = [DevSet(recipe(0.9), one.task, replace(one.ranks, rank=rank, world=2)).steps for rank in range(2)]
    assert [len(share) for share in shares] == [6, 5]
    before = weights(one)
    assert one.run()
    two = run_two(tmp_path, "two", recipe(0.9, shard=True, checkpoint_layers=True))
    assert two["place"][0] == 6
    assert two["unreadable"] + 1 == one.unreadable == 2
    assert largest_difference(before, weights(one)) > 1e-3
    assert largest_difference(weights(one), two["model"]) < 1e-6
    assert two["best"] == pytest.approx(one.best)

    (tmp_path / "alone").mkdir()
    torch.save(two | {"world": 1}, tmp_path / "alone" / "state.pt")
    alone = Trainer(recipe(0.9), tmp_path / "alone")
    assert alone.resume()
    for part in ("model", "optimiser", "average"):
        assert_same_state(alone.state()[part], two[part])


def test_sharded_pretraining_is_that_of_copies_and_survives_a_lost_rank(tmp_path: Path) -> None:
    def recipe(**run: Any) -> Recipe:
        base = recipe_for(
            tmp_path,
            "contrastive",
            model={"config": SMALL | {"hidden_dropout": 0.1}},
            optim=SMOOTH | {"average": 0.9},
            schedule={"steps": 16},
            run={"save_minutes": 0.0, "log_steps": 1, "evaluate_steps": 8, "check": False, **run},
        )
        return replace(base, batches=replace(base.batches, accumulate=2))

    copies = run_two(tmp_path, "copies", recipe())
    whole = run_two(tmp_path, "whole", recipe(shard=True))
    assert largest_difference(copies["model"], whole["model"]) < 1e-6
    assert largest_difference(copies["average"], whole["average"]) < 1e-6

    arguments, run = command(tmp_path, tmp_path / "lost", recipe(shard=True)), tmp_path / "lost"
    ranks = launch(arguments)
    wait_for((run / "state.pt").exists, ranks[0])
    ranks[1].send_signal(signal.SIGKILL)
    _, said = ranks[0].communicate(timeout=600)
    ranks[1].communicate()
    assert ranks[0].returncode not in (0, None)
    assert "another one has ended or does not answer" in said
    assert "Traceback" not in said
    assert 1 <= state_of(run)["place"][0] < 16
    assert_same_state(run_two(tmp_path, "lost", recipe(shard=True)), whole)
    stored = [tmp_path / name / "model" / "model.safetensors" for name in ("whole", "lost")]
    assert stored[0].read_bytes() == stored[1].read_bytes()
