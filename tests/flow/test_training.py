"""From manifest to transcript: a tiny model learns a language of tones, and what interrupts it changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sonant
from flow.launching import launch
from sonant.data.batches import Batch, Prepared
from sonant.errors import DataError, OptionError, OutputError, TrainingError
from sonant.train.loop import Trainer
from sonant.train.metrics import Totals
from sonant.train.recipe import Recipe, read_recipe, to_toml
from sonant.train.task import Losses
from tones import MODEL, RATE, write_corpus


def tone_recipe(folder: Path, count: int = 60, **changes: dict[str, Any]) -> Recipe:
    """A recipe on `count` texts of tones, sections changed; its corpora are written into `folder` once."""
    for name, number, seed in (("train", count, 0), ("dev", 12, 1)):
        if not (folder / name).exists():
            write_corpus(folder / name, number, seed)
    recipe = replace(
        Recipe(),
        data=replace(
            Recipe().data,
            train=(str(folder / "train" / "manifest.jsonl"),),
            dev=(str(folder / "dev" / "manifest.jsonl"),),
            sample_rate=RATE,
        ),
        model=replace(Recipe().model, config=dict(MODEL)),
        optim=replace(Recipe().optim, lr=3e-3),
        schedule=replace(Recipe().schedule, steps=6),
        batches=replace(Recipe().batches, seconds=6.0, num_lengths=3),
        run=replace(Recipe().run, device="cpu", precision="fp32", threads=1, log_steps=2, evaluate_steps=1000),
    )
    for section, values in changes.items():
        recipe = replace(recipe, **{section: replace(getattr(recipe, section), **values)})
    return recipe


LIVELY: dict[str, dict[str, Any]] = {
    "model": {"config": MODEL | {"layerdrop": 0.3, "hidden_dropout": 0.1}},
    "task": {"mel_weight": 1.0},
    "optim": {"lr": 3e-3, "average": 0.9},
    "augment": {"speed": 0.1, "noise": 0.5, "room": 0.3, "band": 0.3, "gain_db": 3.0, "mask_time": 0.3,
                "mask_channel": 0.3, "mask_channel_length": 4, "clean": 0.1, "ramp": 0.4},
    "batches": {"seconds": 6.0, "num_lengths": 3, "join": 0.3, "join_seconds": 2.0, "short_share": 0.3,
                "short_seconds": 0.7},
}  # fmt: skip
"""Everything that draws numbers."""


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a if a[name].is_floating_point())


def stopping_after(steps: int) -> Any:
    """A `stop` that says so in the step after this number of them."""
    calls = iter(range(10**9))
    return lambda: next(calls) >= steps - 1


def state_of(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same_state(a: Any, b: Any, place: str = "") -> None:
    """Equal to the last bit, but for the clock."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            if key != "elapsed":
                assert_same_state(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same_state(x, y, f"{place}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    else:
        assert a == b, place


def test_a_model_of_tones_learns_and_transcribes(tmp_path: Path) -> None:
    recipe = tone_recipe(
        tmp_path,
        count=160,
        schedule={"steps": 260},
        task={"mel_weight": 0.5},
        optim={"lr": 6e-3, "average": 0.9},
        batches={"seconds": 3.0},
        run={"evaluate_steps": 130, "log_steps": 26},
    )
    lines: list[Any] = []
    assert Trainer(recipe, tmp_path / "run", lines.append).run()
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert written == lines
    losses = [line["ctc"] for line in lines if "ctc" in line]
    assert losses[-1] < 0.3 * losses[0]
    assert all(0 <= line["padding"] < 0.2 for line in lines if "padding" in line)
    assert min(line["wer"] for line in lines if "wer" in line) < 0.2
    asr = sonant.load(tmp_path / "run" / "model", precision="fp32")
    said = [json.loads(line) for line in (tmp_path / "dev" / "manifest.jsonl").read_text().splitlines()]
    heard = [asr.transcribe(tmp_path / "dev" / row["audio_filepath"]).text for row in said]
    assert sum(row["text"] == text for row, text in zip(said, heard, strict=True)) >= 8
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| wer |" in card
    assert str(tmp_path) not in card


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    recipe = tone_recipe(tmp_path, **LIVELY, schedule={"steps": 10}, run={"evaluate_steps": 4})
    assert Trainer(recipe, tmp_path / "whole").run()
    for steps in (3, 2, 1):
        assert not Trainer(recipe, tmp_path / "parts").run(stopping_after(steps))
    assert state_of(tmp_path / "parts")["place"][0] == 6
    assert Trainer(recipe, tmp_path / "parts").run()
    assert_same_state(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    for name in ("model.safetensors", "config.json", "vocab.json"):
        assert (tmp_path / "whole/model" / name).read_bytes() == (tmp_path / "parts/model" / name).read_bytes()
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def command(folder: Path, run: Path, recipe: Recipe) -> list[str]:
    """`sonant train` in a process of its own."""
    path = folder / "recipe.toml"
    path.write_text(to_toml(recipe))
    return [sys.executable, "-m", "sonant", "train", str(path), "--output", str(run)]


def wait_for(check: Any, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if check() or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError("nothing came in a minute")


@pytest.mark.parametrize("signals", [[signal.SIGKILL], [signal.SIGTERM]], ids=["killed", "asked to stop"])
def test_a_run_that_was_ended_goes_on_as_if_it_had_not_been(tmp_path: Path, signals: list[int]) -> None:
    recipe = tone_recipe(tmp_path, **LIVELY, schedule={"steps": 40}, run={"save_minutes": 0.0, "log_steps": 1})
    assert Trainer(recipe, tmp_path / "whole").run()
    arguments, run = command(tmp_path, tmp_path / "run", recipe), tmp_path / "run"
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for((run / "state.pt").exists, process)
    time.sleep(float(np.random.default_rng().uniform(0, 0.3)))
    process.send_signal(signals[0])
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if signals == [signal.SIGKILL] else 1), said
    step = state_of(run)["place"][0]
    assert 1 <= step < 40
    if signals == [signal.SIGTERM]:
        assert f"stopped after step {step}" in said
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(run / "model")
    assert_same_state(state_of(tmp_path / "whole"), state_of(run))
    assert not list(run.glob(".sonant-*"))


SMOOTH: dict[str, Any] = {"lr": 3e-3, "eps": 1e-2}
"""AdamW that does not blow rounding up where a gradient is 0 but for rounding (as of the keys' biases)."""
TWO_LENGTHS: dict[str, Any] = {"lengths": (0.6, 0.9)}


def test_accumulation_is_the_large_batch(tmp_path: Path) -> None:
    whole = tone_recipe(tmp_path, optim=SMOOTH, batches=TWO_LENGTHS | {"seconds": 7.2})
    parts = tone_recipe(tmp_path, optim=SMOOTH, batches=TWO_LENGTHS | {"seconds": 1.8, "accumulate": 4})
    one, four = Trainer(whole, tmp_path / "one"), Trainer(parts, tmp_path / "four")
    assert [step.rows for step in one.planner.steps(0)] == [step.rows for step in four.planner.steps(0)]
    before = weights(one)
    assert one.run()
    assert four.run()
    assert largest_difference(before, weights(one)) > 1e-3
    assert largest_difference(weights(one), weights(four)) < 1e-6


@pytest.mark.cluster
def test_two_ranks_are_one_with_the_doubled_batch(tmp_path: Path) -> None:
    doubled = tone_recipe(tmp_path, optim=SMOOTH, batches=TWO_LENGTHS | {"seconds": 7.2})
    one = Trainer(doubled, tmp_path / "one")
    assert one.run()
    recipe = tone_recipe(tmp_path, optim=SMOOTH, batches=TWO_LENGTHS | {"seconds": 3.6})
    for process in launch(command(tmp_path, tmp_path / "two", recipe)):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    two = state_of(tmp_path / "two")
    assert two["world"] == 2
    assert two["place"][0] == 6
    assert largest_difference(weights(one), two["model"]) < 1e-6


def test_a_step_that_is_not_finite_is_left_out_and_too_many_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tone_recipe(tmp_path, run={"max_skipped": 2}), tmp_path / "run")
    loss = trainer.task.loss

    def spoilt(batch: Batch, generator: torch.Generator, step: int) -> Losses:
        losses = loss(batch, generator, step)
        return replace(losses, sum=losses.sum * (torch.nan if step in bad else 1.0))

    monkeypatch.setattr(trainer.task, "loss", spoilt)
    bad = {1}
    batches, totals = trainer.stream(), Totals()
    before = None
    for step in range(3):
        before = weights(trainer)
        trainer.step(next(batches), totals)
        moved = largest_difference(before, weights(trainer))
        assert (moved == 0) == (step in bad)
    assert totals.skipped == 1
    assert "left out" in totals.events[0]["event"]
    bad = set(range(100))
    for _ in range(2):
        trainer.step(next(batches), totals)
    with pytest.raises(TrainingError, match=r"those of 3 steps in a row up to step 5 were not; lower optim\.lr"):
        trainer.step(next(batches), totals)
    batches.close()


def test_a_full_disk_leaves_the_last_good_state(tmp_path: Path) -> None:
    import resource

    recipe = tone_recipe(tmp_path)
    assert not Trainer(recipe, tmp_path / "run").run(stopping_after(2))
    good = (tmp_path / "run" / "state.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, limits[1]))  # no file may grow beyond this
    try:
        with pytest.raises(OutputError, match=r"state\.pt could not be written"):
            Trainer(recipe, tmp_path / "run").run(stopping_after(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "run" / "state.pt").read_bytes() == good
    assert not list((tmp_path / "run").glob(".sonant-*"))
    assert Trainer(recipe, tmp_path / "run").run()
    assert Trainer(recipe, tmp_path / "whole").run()
    assert_same_state(state_of(tmp_path / "whole"), state_of(tmp_path / "run"))


def test_rows_that_cannot_be_read_or_aligned_are_named_and_do_not_count(tmp_path: Path) -> None:
    recipe = tone_recipe(tmp_path, run={"log_steps": 1})
    manifest = tmp_path / "train" / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    (tmp_path / "train" / rows[0]["audio_filepath"]).write_bytes(b"no sound")
    rows[1]["text"] = "abcd" * 30
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines: list[Any] = []
    trainer = Trainer(replace(recipe, batches=replace(recipe.batches, seconds=100.0)), tmp_path / "run", lines.append)
    assert trainer.run()
    events = {line["event"]: line["names"] for line in lines if "event" in line}
    assert events["no alignment fits"] == [str(tmp_path / "train" / rows[1]["audio_filepath"])]
    assert rows[0]["audio_filepath"] in events["unreadable"][0]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    few = replace(recipe, run=replace(recipe.run, max_unreadable=0))
    with pytest.raises(TrainingError, match="At most 0 rows may be unreadable, but 1 are"):
        Trainer(few, tmp_path / "few").run()


def test_another_recipe_data_or_state_is_refused(tmp_path: Path) -> None:
    recipe, run = tone_recipe(tmp_path), tmp_path / "run"
    assert not Trainer(recipe, run).run(stopping_after(1))
    assert read_recipe(run / "recipe.toml") == recipe
    faster = replace(recipe, optim=replace(recipe.optim, lr=1.0))
    with pytest.raises(OptionError, match=r"was begun with optim.lr = 0.003, but 1.0 is asked for"):
        Trainer(faster, run).run()
    manifest = tmp_path / "train" / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[1:]))
    with pytest.raises(TrainingError, match="the manifests have changed"):
        Trainer(recipe, run).run()
    manifest.write_text("".join(lines))
    (run / "state.pt").write_bytes(b"damaged")
    with pytest.raises(TrainingError, match="must be the state of a run, but cannot be read"):
        Trainer(recipe, run).run()
    torch.save({"another": "file"}, run / "state.pt")
    with pytest.raises(TrainingError, match="must be the state of a run, but is another file"):
        Trainer(recipe, run).run()


def test_what_a_crash_left_is_mended(tmp_path: Path) -> None:
    recipe, run = tone_recipe(tmp_path, schedule={"steps": 2}), tmp_path / "run"
    assert Trainer(recipe, run).run()
    (run / "model").rename(run / "model.old")  # between its two renames
    (run / "model.new").mkdir()
    (run / ".sonant-1.tmp").touch()
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'[2]\n{"step": \xff')
    assert Trainer(recipe, run).run()
    assert {path.name for path in run.iterdir()} == {"metrics.jsonl", "model", "model.new", "recipe.toml", "state.pt"}
    assert all("step" in json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())


def test_manifests_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    recipe = tone_recipe(tmp_path)
    with pytest.raises(OptionError, match=r"must name manifests as data\.train"):
        Trainer(replace(recipe, data=replace(recipe.data, train=())), tmp_path / "run")
    with pytest.raises(DataError, match="must have utterances of 20 to 30 s"):
        Trainer(replace(recipe, data=replace(recipe.data, min_seconds=20.0)), tmp_path / "run")
    manifest = tmp_path / "silent.jsonl"
    manifest.write_text('{"audio_filepath": "a.wav", "duration": 1}\n')
    with pytest.raises(DataError, match="must have a text to learn from, but 1 of 1 have none"):
        Trainer(replace(recipe, data=replace(recipe.data, train=(str(manifest),))), tmp_path / "run")
    manifest.write_text('{"audio_filepath": "a.wav", "text": "a"}\n')
    with pytest.raises(DataError, match="must declare its duration"):
        Trainer(replace(recipe, data=replace(recipe.data, train=(str(manifest),))), tmp_path / "run")


def test_a_dry_run_says_what_a_run_costs_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = command(tmp_path, tmp_path / "run", tone_recipe(tmp_path))
    done = subprocess.run([*arguments, "--dry-run"], capture_output=True, text=True, check=True)
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert names == ["parameters", "data", "steps", "row lengths", "memory", "speed", "time"]
    assert not (tmp_path / "run").exists()
    wrong = subprocess.run([*arguments, "--set", "optim.rl=1"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no optim.rl (the nearest is lr)" in wrong.stderr


def test_data_that_would_spoil_a_run_stop_it_before(tmp_path: Path) -> None:
    recipe = tone_recipe(tmp_path, schedule={"steps": 1})
    leaking = replace(recipe, data=replace(recipe.data, dev=recipe.data.train))
    arguments = command(tmp_path, tmp_path / "run", leaking)
    stopped = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert stopped.returncode == 2
    assert "This would spoil a training: 60 of 60 utterances have audio that is in the other manifest" in stopped.stderr
    assert not (tmp_path / "run").exists()
    subprocess.run([*arguments, "--set", "run.check=false"], capture_output=True, check=True)


def test_a_prepared_step_says_what_it_holds(tmp_path: Path) -> None:
    trainer = Trainer(tone_recipe(tmp_path), tmp_path / "run")
    batches = trainer.stream()
    prepared: Prepared = next(batches)
    batches.close()
    assert 0 < prepared.heard <= prepared.padded
    assert asdict(prepared.place)["step"] == 1
