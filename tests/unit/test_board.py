"""TensorBoard's files of a training show what its metrics show."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flow.test_command import run
from flow.test_training import tone_recipe
from sonant.errors import MissingExtraError, OutputError
from sonant.train.board import Board, boarding
from sonant.train.recipe import Recipe, to_toml
from sonant.train.state import RunFolder


def told(folder: Path, board: Any, *lines: Mapping[str, Any]) -> None:
    """As a training tells its lines: the metrics first."""
    files = RunFolder(folder, Recipe())
    for line in lines:
        files.log(line)
        board(line)


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard makes of a run."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, round(event.value, 4)) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_every_number_stands_under_its_part(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    heard: list[Mapping[str, Any]] = []
    with boarding(tmp_path, heard.append) as listener:
        told(
            tmp_path,
            listener,
            {"step": 2, "epoch": 0, "loss": 3.0, "lr": 0.5},
            {"step": 2, "wer": 0.9, "dev_loss": 4.0},
        )
        told(tmp_path, listener, {"step": 4, "event": "unreadable", "names": ["a.wav"]})
    assert len(heard) == 3
    assert shown(tmp_path) == {
        "train/loss": [(2, 3.0)], "train/lr": [(2, 0.5)], "dev/wer": [(2, 0.9)], "dev/loss": [(2, 4.0)],
    }  # fmt: skip


def test_what_is_done_again_takes_the_place_of_what_was_lost(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    files = RunFolder(tmp_path, Recipe())
    first = Board(tmp_path)
    told(tmp_path, first, *({"step": step, "loss": 1.0} for step in (2, 4, 6, 8)))
    first.close()
    files.rewind(4)
    again = Board(tmp_path)
    told(tmp_path, again, *({"step": step, "loss": 2.0} for step in (6, 8, 10)))
    assert shown(tmp_path)["train/loss"] == [(2, 1.0), (4, 1.0), (6, 2.0), (8, 2.0), (10, 2.0)]
    files.rewind(6)  # the same process goes back to a good state
    told(tmp_path, again, {"step": 6, "event": "collapsed"}, {"step": 8, "loss": 3.0})
    again.close()
    assert shown(tmp_path)["train/loss"] == [(2, 1.0), (4, 1.0), (6, 2.0), (8, 3.0)]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert shown(tmp_path)["train/loss"] == [(line["step"], line["loss"]) for line in lines if "loss" in line]


def test_the_command_writes_them_where_the_recipe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "recipe.toml").write_text(to_toml(tone_recipe(tmp_path, run={"tensorboard": True, "check": False})))
    assert run(monkeypatch, "train", tmp_path / "recipe.toml", "--output", tmp_path / "run") == 0
    assert [step for step, _ in shown(tmp_path / "run")["train/ctc"]] == [2, 4, 6]
    assert [step for step, _ in shown(tmp_path / "run")["dev/wer"]] == [6]


def test_a_run_that_was_killed_before_its_first_state_begins_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    first = Board(tmp_path)
    told(tmp_path, first, {"step": 2, "loss": 1.0}, {"step": 4, "loss": 1.0})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo\n')
    again = Board(tmp_path)
    told(tmp_path, again, {"step": 2, "loss": 2.0})
    again.close()
    assert shown(tmp_path)["train/loss"] == [(2, 2.0)]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").touch()
    with pytest.raises(OutputError, match=r"tensorboard could not be written .*run\.tensorboard=false"):
        told(tmp_path, Board(tmp_path), {"step": 2, "loss": 1.0})


def test_without_tensorboard_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sonant\[tensorboard\]'"):
        Board(tmp_path)
