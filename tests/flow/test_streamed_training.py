"""Training on shards in a store: each fetched once an epoch, few of them here at a time, resumed bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.test_training import LIVELY, assert_same_state, state_of, stopping_after, tone_recipe
from sonant.data.manifest import read_manifest
from sonant.data.remote import fetch
from sonant.data.shards import write_shards
from sonant.train.loop import Trainer
from sonant.train.recipe import Recipe
from sonant.train.trial import try_out

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def streamed(tmp_path: Path) -> Iterator[Recipe]:
    """A recipe on tones that lie in a store, in a dozen shards or so, two of which are heard at a time."""
    recipe = tone_recipe(tmp_path, **{**LIVELY, "batches": {**LIVELY["batches"], "short_share": 0.0, "shards": 2}})
    write_shards(read_manifest(recipe.data.train[0]), tmp_path / "out", max_bytes=80_000)
    store = fsspec.filesystem("memory")
    for file in (tmp_path / "out").iterdir():
        store.pipe_file(f"/tones/{file.name}", file.read_bytes())
    (tmp_path / "train" / "0.wav").unlink()  # nothing is read from where it was
    yield tone_recipe(
        tmp_path,
        **{**LIVELY, "batches": {**LIVELY["batches"], "short_share": 0.0, "shards": 2}},
        data={"train": ("memory://tones/train.jsonl",)},
        run={"evaluate_steps": 1000, "memory": 0.0},
        schedule={"steps": 60},
    )
    store.rm("/tones", recursive=True)


def watched(recipe: Recipe, folder: Path) -> tuple[Trainer, list[tuple[int, str]], list[int]]:
    """A trainer, which shards it fetches in which epoch, and how many are here each time that one has come."""
    trainer = Trainer(recipe, folder)
    fetched, here = list[tuple[int, str]](), list[int]()

    def counted(url: str, place: Path) -> None:
        fetched.append((trainer.place.epoch, url))
        fetch(url, place)
        here.append(1 + sum(1 for _ in trainer.depot.folder.rglob("*.tar")))

    trainer.depot.fetch = counted
    return trainer, fetched, here


def test_shards_come_once_an_epoch_and_few_are_here(tmp_path: Path, streamed: Recipe) -> None:
    trainer, fetched, here = watched(streamed, tmp_path / "run")
    shards = len(trainer.planner.names)
    assert shards >= 6
    assert trainer.run()
    epochs = trainer.place.epoch
    assert epochs >= 2
    calls = Counter(url for _, url in fetched)
    assert len(calls) == shards
    assert all(epochs <= count + 1 and count <= epochs + 2 for count in calls.values())
    # the last group of an epoch may share shards with the first of the next, which stay; the next epoch's come ahead
    assert len(fetched) <= shards * (epochs + 1) + 4
    assert max(here) <= 4
    assert not trainer.depot.folder.exists()
    assert trainer.unreadable == 0


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path, streamed: Recipe) -> None:
    recipe = tone_recipe(
        tmp_path, **{s: vars(getattr(streamed, s)) for s in vars(streamed)} | {"schedule": {"steps": 12}}
    )
    assert Trainer(recipe, tmp_path / "whole").run()
    for steps in (3, 4):
        assert not Trainer(recipe, tmp_path / "parts").run(stopping_after(steps))
    assert Trainer(recipe, tmp_path / "parts").run()
    assert_same_state(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))


def test_a_lost_shard_is_counted_and_named_and_the_run_goes_on(tmp_path: Path, streamed: Recipe) -> None:
    lines: list[dict[str, object]] = []
    trainer = Trainer(streamed, tmp_path / "run", lines.append)  # type: ignore[arg-type]
    bad = trainer.planner.names[1]

    def fails(url: str, place: Path) -> None:
        if url == bad:
            raise ConnectionError("gone")
        fetch(url, place)

    trainer.depot.fetch, trainer.depot.pause = fails, 0.001
    assert trainer.run()
    assert sorted(trainer.named) == [
        f"{bad} must be fetched to be heard, but cannot (gone); its utterances are left out."
    ]
    assert trainer.unreadable == 1
    [event] = [line for line in lines if line.get("event") == "unreadable"]
    assert event["names"] == [f"{bad} must be fetched to be heard, but cannot (gone); its utterances are left out."]


def test_a_dry_run_hears_the_first_group(tmp_path: Path, streamed: Recipe) -> None:
    trainer, fetched, _ = watched(streamed, tmp_path / "run")
    assert try_out(trainer, 1).utterances == len(trainer.utterances)
    assert {url for _, url in fetched} <= set(trainer.planner.near(0, 0))
    trainer.depot.close()
