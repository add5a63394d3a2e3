"""`sonant train`: a recipe and a manifest to a model; the same command goes on where it stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant.cli.options import Debug
from sonant.cli.terminal import DONE, FAILED, ProgressBar, cache_folder, clock, reporting, say
from sonant.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from sonant.train.loop import Trainer
    from sonant.train.recipe import Recipe
    from sonant.train.trial import Trial

COLUMNS = ("step", "loss", "lr", "gradient", "padding", "hours", "speed", "minutes_left")
"""What the live table shows of each line, before the scores."""
ROWS = 12


def run(
    recipe: Annotated[
        str, typer.Argument(help="A TOML file, a recipe that comes along (such as ctc-1h), or a run's folder.")
    ],
    set: Annotated[list[str] | None, typer.Option(help="section.name=value; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option(help="The run's folder; runs/RECIPE where not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try a few steps and say what the run will cost.")] = False,
    debug: Debug = False,
) -> None:
    """Train a model as a recipe says, from nothing or from a pre-trained one.

    The run's folder keeps its state, which SIGTERM and Ctrl-C save: the same command goes on where it stopped. The best
    model so far stands in its folder `model`, whose name is printed at the end.
    """
    with reporting(debug):
        from sonant.train.recipe import read_recipe

        source, folder = Path(recipe), output
        if (source / "recipe.toml").is_file():
            folder, source = output or source, source / "recipe.toml"
        folder = folder or Path("runs") / source.stem
        wanted = with_full_paths(read_recipe(recipe if not source.is_file() else source, set or []))
        done = try_it(wanted, folder) if dry_run else train(wanted, folder)
    raise SystemExit(DONE if done else FAILED)


def with_full_paths(recipe: Recipe) -> Recipe:
    """The recipe with paths that mean the same in any working folder."""
    data, model, augment = recipe.data, recipe.model, recipe.augment
    return replace(
        recipe,
        data=replace(data, train=_absolute(data.train), dev=_absolute(data.dev)),
        model=replace(model, start=_absolute_model(model.start)),
        pretrain=replace(recipe.pretrain, teacher=_absolute_model(recipe.pretrain.teacher)),
        augment=replace(augment, noise_files=_absolute(augment.noise_files)),
    )


def _absolute_model(source: str) -> str:
    return str(Path(source).absolute()) if source and Path(source).exists() else source


def _absolute(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path if "://" in path else str(Path(path).absolute()) for path in paths)


def train(recipe: Recipe, folder: Path) -> bool:
    """Run the recipe; whether it came to its end."""
    require_torch()
    from sonant.train.board import boarding
    from sonant.train.loop import Trainer

    with ExitStack() as stack:
        show, stopped = stack.enter_context(showing(recipe.schedule.steps)), stack.enter_context(stopping())
        show = stack.enter_context(boarding(folder, show)) if recipe.run.tensorboard else show
        trainer = Trainer(recipe, folder, show)
        stack.callback(trainer.depot.close)
        if trainer.ranks.main:
            for note in trainer.notes:
                say(note)
            if trainer.folder.state_path.exists():
                say(f"going on with {folder}.")
            elif recipe.run.check:
                check(trainer)
        done = trainer.run(lambda: bool(stopped))
    if not trainer.ranks.main:
        return done
    if not done:
        say(f"stopped after step {trainer.place.step}; `sonant train {folder}` goes on from there.")
    elif trainer.folder.model_path.is_dir():
        print(trainer.folder.model_path)
    return done


def check(trainer: Trainer) -> None:
    """Look for faults of the data and say them; `DataError` where they would spoil the run."""
    from sonant.data.check import check_manifest
    from sonant.train.feeds import at_hand, read_utterances

    recipe, task, bar = trainer.recipe, trainer.task, ProgressBar("checking the data")
    trainer.hold()
    first = at_hand(trainer.depot, [trainer.utterances[i] for i in trainer.planner.first()])
    if len(first) < len(trainer.utterances):
        say(f"of {len(trainer.utterances)} utterances the {len(first)} of the first shards are checked.")
    try:
        report = check_manifest(
            first,
            against=read_utterances(recipe, recipe.data.dev, trainer.labelled) if recipe.data.dev else (),
            vocabulary=task.vocabulary,
            config=task.config,
            sample_rate=task.sample_rate,
            labelled=task.vocabulary is not None,
            memory=cache_folder() / "sounds.db",
            progress=bar,
        )
    finally:
        bar.close()
    told = report.to_text().rstrip()
    if report.fatal:
        say(told.removesuffix(report.fatal).rstrip())
        raise DataError(f"{report.fatal} --set run.check=false trains all the same.")
    if not report.clean:
        say(told)
    if task.target == "speaker" and (crossing := report.counts["leaked speaker"]):
        raise DataError(
            f"The speakers of data.dev must be others than those of data.train, but {crossing} of {len(first)} "
            "utterances to learn from are by speakers who are in both; split them by `sonant data split`."
        )


def try_it(recipe: Recipe, folder: Path) -> bool:
    """Say what the recipe will cost."""
    require_torch()
    from sonant.train.loop import Trainer
    from sonant.train.trial import try_out

    trainer = Trainer(recipe, folder)
    for note in trainer.notes:
        say(note)
    try:
        trial = try_out(trainer)
    finally:
        trainer.depot.close()
    if trainer.ranks.main:
        print(describe(trial, str(trainer.ranks.device), trainer.precision))
    return True


def describe(trial: Trial, device: str, precision: str) -> str:
    """A trial as lines of text."""
    lengths = ", ".join(f"{seconds:.3g}" for seconds in trial.lengths)
    rows = {
        "parameters": f"{trial.parameters / 1e6:.2f} M, of which {trial.learning / 1e6:.2f} M learn",
        "data": f"{trial.utterances} utterances, {trial.hours:.2f} h",
        "steps": f"{trial.steps}, {trial.hours_a_step * 3600:.1f} s of audio each "
        f"({trial.hours_a_step * trial.steps:.1f} h heard in all)",
        "row lengths": f"{lengths} s; {trial.padding:.1%} of the audio is padding",
        "memory": f"{trial.memory / 2**30:.2f} GiB at the peak",
        "speed": f"{trial.speed:.1f} s of audio a second ({device}, {precision})",
        "time": clock(trial.minutes * 60),
    }
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items())


def require_torch() -> None:
    """Raise `MissingExtraError` where there is no PyTorch."""
    if find_spec("torch") is None:
        raise MissingExtraError("Training needs PyTorch: pip install 'sonant[train]'")


@contextmanager
def stopping() -> Generator[list[int]]:
    """A list that SIGTERM and Ctrl-C fill, so that the run saves its state and ends; the second one ends it at once."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        say("stopping after this step; once more to stop at once.")

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def showing(steps: int) -> Generator[Any]:
    """A listener that shows metrics on stderr: as a live table on a terminal, else as lines."""
    if not sys.stderr.isatty():

        def say_line(line: Mapping[str, Any]) -> None:
            say(as_line(line))

        yield say_line
        return
    from rich.console import Console
    from rich.live import Live

    lines: list[Mapping[str, Any]] = []
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False) as live:

        def show(line: Mapping[str, Any]) -> None:
            if "event" in line:
                console.print(as_line(line), markup=False)
                return
            lines.append(line)
            live.update(_table(lines[-ROWS:], steps), refresh=True)

        yield show


def _table(lines: list[Mapping[str, Any]], steps: int) -> Any:
    from rich.table import Table

    scores = sorted({name for line in lines if "loss" not in line for name in line} - {"step"})
    table = Table(title=f"{lines[-1]['step']} of {steps} steps", title_justify="left")
    for name in (*COLUMNS, *scores):
        table.add_column(name.replace("_", " "), justify="right")
    for line in lines:
        table.add_row(*(_shown(line[name]) if name in line else "" for name in (*COLUMNS, *scores)))
    return table


def as_line(line: Mapping[str, Any]) -> str:
    """A line of metrics as text: `step 40, loss 1.2, ...`."""
    shown = (f"{name.replace('_', ' ')} {_shown(value)}" for name, value in line.items() if name != "names")
    names = line.get("names", ())
    return ", ".join(shown) + "".join(f"\n  {name}" for name in names[:8])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
