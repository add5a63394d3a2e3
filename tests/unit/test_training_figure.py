"""The curves of trainings as a picture, and `sonant plot`."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from flow.test_command import run
from sonant.plots import MANY, read_curves, running_mean, training_figure

CTC = [
    {"step": 10, "epoch": 0, "loss": 40.0, "ctc": 40.0, "lr": 1e-4, "gradient": 5.0, "skipped": 0, "hours": 1.0},
    {"step": 20, "epoch": 0, "loss": 1.0, "ctc": 1.0, "lr": 2e-4, "gradient": math.nan, "skipped": 0, "hours": 3.0},
    {"step": 15, "wer": 0.5, "cer": 0.2, "dev_loss": 1.5},
    {"step": 20, "event": "unreadable", "names": ["a.wav"]},
]
PRETRAINING = [
    {"step": 10, "loss": 5.0, "contrastive": 4.5, "diversity": 0.9, "accuracy": 0.01, "dev_accuracy": 0.02, "odd": 3},
    {"step": 20, "loss": 4.0, "contrastive": 3.5, "diversity": 0.8, "accuracy": 0.02, "skipped": 1, "odd": 2},
]


def titles(figure: Any) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def test_scores_and_events_stand_between_the_lines_around_them() -> None:
    curves = read_curves(CTC, "hours")
    assert curves.series["loss"] == ([1.0, 3.0], [40.0, 1.0])
    assert curves.series["wer"] == ([2.0], [0.5])
    assert curves.events == {"unreadable": [3.0]}
    assert curves.scores >= {"wer", "cer", "dev_loss"}
    assert "ctc" not in curves.series  # it is all of the loss
    assert not {"hours", "epoch", "step"} & curves.series.keys()
    assert read_curves(CTC, "minutes").series == {}  # nobody told them
    mixed = read_curves([*PRETRAINING, {"step": 20, "dev_loss": 3.6}])
    assert mixed.series["dev_contrastive"] == ([20.0], [3.6])  # it is told of that part alone
    assert "dev_contrastive" in mixed.scores


def test_panels_are_those_that_have_something_to_show() -> None:
    pytest.importorskip("matplotlib")
    figure = training_figure({"a": CTC})
    assert titles(figure) == ["loss", "errors on the development set", "learning rate", "gradient norm"]
    loss = figure.axes[0]
    assert loss.get_yscale() == "log"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["loss", "dev loss"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unreadable (1)"]
    figure = training_figure({"b": PRETRAINING})
    assert titles(figure) == ["loss", "side losses", "accuracy", "steps left out", "odd"]
    assert figure.axes[0].get_yscale() == "linear"


def test_several_runs_share_panels_and_differ_in_colour() -> None:
    pytest.importorskip("matplotlib")
    figure = training_figure({"a": CTC, "b": PRETRAINING})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    colours = {line.get_color() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2}
    assert len(colours) == 2
    assert "odd" in titles(figure)


def test_a_long_curve_is_drawn_as_running_means() -> None:
    pytest.importorskip("matplotlib")
    lines = [{"step": i, "loss": float(i % 2)} for i in range(MANY + 1)]
    raw, mean = (line.get_ydata() for line in training_figure({"a": lines}).axes[0].get_lines())
    assert list(raw[:3]) == [0, 1, 0]
    assert max(mean[2:-2]) == pytest.approx(0.6)
    assert running_mean([1.0, 2.0, 6.0], 1) == [1.5, 3.0, 4.0]
    assert running_mean([1.0, math.nan, 5.0], 1) == [1.0, 3.0, 5.0]
    assert math.isnan(running_mean([math.inf], 1)[0])


def write(folder: Path, lines: list[dict[str, Any]], end: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return folder


def test_the_command_draws_a_run_that_is_still_going(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "one" / "run", CTC, '{"step": 30, "lo')
    assert run(monkeypatch, "plot", folder) == 0
    assert capsys.readouterr().out == f"{folder / 'curves.png'}\n"
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    other = write(tmp_path / "two" / "run", PRETRAINING)
    assert run(monkeypatch, "plot", folder, other, "--output", "both.svg") == 0
    ET.parse(tmp_path / "both.svg")
    names = "".join((tmp_path / "both.svg").read_text().split("<!--"))
    assert "one/run" in names
    assert "two/run" in names
    assert run(monkeypatch, "plot", folder, other, "--by", "hours") == 0  # the second has told no hours
    assert (tmp_path / "curves.png").exists()


def test_a_folder_without_metrics_is_named_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "plot", tmp_path / "nothing") == 2
    assert "metrics.jsonl cannot be read (No such file or directory)" in capsys.readouterr().err
    empty = write(tmp_path / "empty", [], "\n[1]\n")
    assert run(monkeypatch, "plot", empty) == 2
    assert "has no losses yet; wait for its first line" in capsys.readouterr().err
    whole = write(tmp_path / "whole", CTC)
    assert run(monkeypatch, "plot", whole, whole) == 2
    assert "named once" in capsys.readouterr().err
    assert run(monkeypatch, "plot", whole, "--output", tmp_path / "a.bmp") == 2
    assert not list(tmp_path.glob("a.*"))
