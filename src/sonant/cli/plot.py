"""`sonant plot`: a recording as a model hears it, or the curves of trainings, as one picture."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sonant.cli.options import Debug, Model
from sonant.cli.terminal import DONE, ProgressBar, reporting
from sonant.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sonant.recognizer import Recognizer
    from sonant.types import Emissions, FloatArray, Word


class Axis(StrEnum):
    """What a training is measured by."""

    step = "step"
    hours = "hours"
    minutes = "minutes"


class Theme(StrEnum):
    """The ground of a picture of speech."""

    light = "light"
    dark = "dark"


def run(
    sources: Annotated[
        list[str], typer.Argument(help="A recording (- reads standard input), or folders of `sonant train`.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="FILE.png, .svg or .pdf; where not given talk.png here, or curves.png in the run's folder."),
    ] = None,
    features: Annotated[str | None, typer.Option(help="Recording: layers to show, such as 4,8, or all.")] = None,
    start: Annotated[float, typer.Option(help="Recording: seconds where the picture begins.", min=0)] = 0.0,
    end: Annotated[float | None, typer.Option(help="Recording: seconds where it ends.", min=0)] = None,
    theme: Annotated[Theme, typer.Option(help="Recording: the ground.")] = Theme.light,
    model: Model = None,
    by: Annotated[Axis, typer.Option(help="Runs: over steps, hours of audio, or minutes of training.")] = Axis.step,
    debug: Debug = False,
) -> None:
    """Draw a recording and what a model hears in it, or the curves of trainings, and print the picture's name.

    Of a recording: its wave and spectrogram, the layers asked for, what is probable in each frame, and over it the
    letters and words. Of trainings, finished or still going: losses, scores, rates and speed, drawn over each other.
    """
    with reporting(debug):
        from sonant.plots import check_format, save_figure, training_figure

        if any(is_recording(source) for source in sources):
            if len(sources) > 1:
                raise OptionError(f"A picture shows one recording, but {len(sources)} inputs came; draw each alone.")
            picture = output or Path("stdin.png" if sources[0] == "-" else Path(sources[0]).stem + ".png")
            check_format(picture)
            save_figure(draw_recording(sources[0], features, start, end, theme, model), picture)
        else:
            runs = [Path(source) for source in sources]
            picture = output or (runs[0] / "curves.png" if len(runs) == 1 else Path("curves.png"))
            told = [read_metrics(folder) for folder in runs]
            save_figure(training_figure(dict(zip(run_names(runs), told, strict=True)), by.value), picture)
        print(picture)
    raise SystemExit(DONE)


def is_recording(source: str) -> bool:
    """Whether this is a file, there or not, rather than the folder of a training."""
    return source == "-" or Path(source).is_file() or (bool(Path(source).suffix) and not Path(source).exists())


def draw_recording(
    source: str, features: str | None, start: float, end: float | None, theme: Theme, model: str | None
) -> Any:
    """The figure of a part of a recording, with emissions where the model has a CTC head."""
    from sonant import audio
    from sonant.engines import choose_layers
    from sonant.features import parse_layers
    from sonant.plots import LONGEST, check_length, speech_figure
    from sonant.recognizer import load

    if end is not None and end <= start:
        raise OptionError(f"--end must be later than --start, but {end:g} s is not later than {start:g} s; correct it.")
    asked = parse_layers(features) if features else ()
    asr = load(model, progress=sys.stderr.isatty())
    layers, rate = choose_layers(asr.checkpoint, asked), asr.checkpoint.sample_rate
    wanted = LONGEST + 1 if end is None else end - start
    samples = audio.read(source, rate, offset=start or None, duration=wanted)
    check_length(len(samples) / rate)
    emissions, states = hear(asr, samples, layers, source)
    words: Sequence[Word] = ()
    if emissions is not None:
        state = asr.decoder.start(asr.vocabulary)
        state.feed(emissions)
        words = state.finish()[0].words
    named = {name.replace("_", " "): array for name, array in states.items()}
    name = "standard input" if source == "-" else Path(source).name
    title = f"{name} · {asr.checkpoint.name}"
    return speech_figure(samples, rate, emissions, words, named, start=start, title=title, theme=theme.value)


def hear(
    asr: Recognizer, samples: FloatArray, layers: Sequence[int], source: str
) -> tuple[Emissions | None, dict[str, FloatArray]]:
    """Emissions where the model has a CTC head, and the layers asked for by their names, with a progress bar."""
    import numpy as np

    from sonant import audio, windows

    rate = asr.checkpoint.sample_rate
    bar, seconds, emissions = ProgressBar(source), len(samples) / rate, None
    states: dict[str, FloatArray] = {}
    pieces: list[Emissions] = []
    try:
        if asr.checkpoint.vocabulary is not None:
            with audio.open_audio(samples, rate, array_rate=rate) as stream:
                for piece in asr.pieces(stream):
                    pieces.append(piece)
                    bar(piece.start + piece.duration, seconds)
            emissions = windows.concatenate(pieces)
        if layers:
            parts = list(asr.feature_pieces(samples, rate, layers=layers, progress=bar))
            states = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    finally:
        bar.close()
    return emissions, states


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
