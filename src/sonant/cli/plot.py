"""`sonant plot`: the curves of trainings as one picture."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from sonant.cli.terminal import DONE, reporting
from sonant.errors import OptionError


class Axis(StrEnum):
    """What a training is measured by."""

    step = "step"
    hours = "hours"
    minutes = "minutes"


def run(
    runs: Annotated[list[Path], typer.Argument(help="Folders of `sonant train`, drawn over each other.")],
    output: Annotated[
        Path | None,
        typer.Option(help="FILE.png, .svg or .pdf; RUN/curves.png where not given, curves.png here for several."),
    ] = None,
    by: Annotated[Axis, typer.Option(help="Over steps, hours of audio heard, or minutes of training.")] = Axis.step,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Draw losses, scores, rates and speed of trainings, finished or still going, and print the picture's name."""
    with reporting(debug):
        from sonant.plots import save_figure, training_figure

        picture = output or (runs[0] / "curves.png" if len(runs) == 1 else Path("curves.png"))
        told = [read_metrics(folder) for folder in runs]
        save_figure(training_figure(dict(zip(run_names(runs), told, strict=True)), by.value), picture)
        print(picture)
    raise SystemExit(DONE)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics, but for a last one that is still being written; `OptionError` for none."""
    try:
        text = (folder / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise OptionError(
            f"{folder} must be the folder of a training, but its metrics.jsonl cannot be read ({error.strerror}); "
            "wait for the first line of a new run, or name another folder."
        ) from error
    lines: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(cast("dict[str, Any]", value))
    if not any("loss" in line for line in lines):
        raise OptionError(
            f"{folder} must be the folder of a training that has logged something, but its metrics.jsonl has no losses "
            "yet; wait for its first line."
        )
    return lines


def run_names(folders: list[Path]) -> list[str]:
    """What tells the runs apart: the folders' names, with as much of what stands before as they need."""
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise OptionError("Every run must be named once, but one is named twice; leave it out.")
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = [str(Path(*place.parts[-depth:])) for place in places]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different folders differ in their full names")
