"""`sonant batch`: any number of recordings, by many workers, in a job that can be gone on with."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant.cli.options import (
    Beam,
    Debug,
    Device,
    Engine,
    EngineName,
    Greedy,
    Hotwords,
    Language,
    LanguageModel,
    Lexicon,
    Model,
    Precision,
    Sure,
    decoding_options,
)
from sonant.cli.terminal import DONE, FAILED, ProgressBar, clock, reporting, say
from sonant.cli.writing import (
    SUFFIXES,
    CaseOption,
    GapOption,
    KaraokeOption,
    LinesOption,
    MaxDurationOption,
    MinDurationOption,
    ReadingSpeedOption,
    TranscriptFormat,
    WidthOption,
    Writer,
)
from sonant.errors import OptionError

if TYPE_CHECKING:
    from sonant.jobs import Setup, Tally, Workers


class JobTask(StrEnum):
    """What is done with every input."""

    transcribe = "transcribe"
    align = "align"
    features = "features"
    identify = "identify"


class PartFormat(StrEnum):
    """How results are written."""

    jsonl = "jsonl"
    parquet = "parquet"


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Files, folders, globs, manifests (.jsonl, .tsv, .csv) and tar shards, here or at URLs (s3://...).",
    ),
]
Dest = Annotated[str, typer.Option(metavar="DEST", help="Folder, or URL of one, for the results.")]
TaskOption = Annotated[JobTask, typer.Option(help="What is done; align takes texts from manifests.")]
Each = Annotated[
    str | None, typer.Option(metavar="FORMAT,...", help="Also a file an input in DEST/files: srt,vtt,json.")
]
NumWorkers = Annotated[
    int | None, typer.Option(help="Processes, or engines of a cluster, with one thread each; one a core.", min=1)
]
Cluster = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Ray's: auto, HOST:PORT, ray://HOST:PORT.")]
Again = Annotated[bool, typer.Option("--again", help="Replace all results in DEST, and begin anew.")]
Metrics = Annotated[
    str | None, typer.Option(metavar="PORT|FILE", help="Show progress to Prometheus, at a port or in a file.")
]
JobPrecision = Annotated[
    Precision, typer.Option(help="auto takes bf16 where the processor has it, but fp32 for units.")
]


def run(
    sources: Sources,
    output: Dest,
    task: TaskOption = JobTask.transcribe,
    format: Annotated[PartFormat, typer.Option(help="JSON lines or Parquet.")] = PartFormat.jsonl,
    each: Each = None,
    workers: NumWorkers = None,
    cluster: Cluster = None,
    again: Again = False,
    metrics: Metrics = None,
    layers: Annotated[str | None, typer.Option(help="Of features: all (where not given), or such as 6,9.")] = None,
    units: Annotated[bool, typer.Option("--units", help="Of features: codes of a pre-trained model.")] = False,
    model: Model = None,
    case: CaseOption = None,
    karaoke: KaraokeOption = False,
    width: WidthOption = None,
    lines: LinesOption = None,
    reading_speed: ReadingSpeedOption = None,
    min_duration: MinDurationOption = None,
    max_duration: MaxDurationOption = None,
    gap: GapOption = None,
    lm: LanguageModel = None,
    lexicon: Lexicon = None,
    hotword: Hotwords = None,
    beam: Beam = None,
    greedy: Greedy = False,
    sure: Sure = None,
    language: Language = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: JobPrecision = Precision.auto,
    debug: Debug = False,
) -> None:
    """Transcribe, align, or otherwise hear any number of recordings, on all cores of this machine or a cluster's.

    Results go to DEST in parts, a record an input. The same command again does only what is missing, after a crash as
    well. An input that fails is named on standard error and in DEST/failures.jsonl, the others are still heard, and
    the exit code is 1.
    """
    with reporting(debug):
        decoding = decoding_options(lm, lexicon, hotword or [], beam, 1, greedy, sure)
        if task in (JobTask.features, JobTask.identify):
            decoding = no_decoding(task, decoding, each)
        loading = {"source": model, "language": language, "engine": engine.value, "device": device, "threads": 1}
        loading |= {"precision": precision_of(precision, task, units), **decoding}
        cues = {"width": width, "lines": lines, "reading_speed": reading_speed, "gap": gap}
        cues |= {"min_duration": min_duration, "max_duration": max_duration}
        writer = Writer(TranscriptFormat.json, case, karaoke, cues)
        setup = make_setup(output, task, loading, suffixes_of(each), writer, layers, units)
        with opened_workers(setup, workers, cluster) as opened:
            tally = run_with(opened, sources, setup, f".{format.value}", again, metrics)
    raise SystemExit(FAILED if tally.failed else DONE)


def precision_of(given: Precision, task: JobTask, units: bool) -> str:
    """What `load` is told: close calls of codebooks fall as in the paper in fp32 alone."""
    wants_units = task is JobTask.features and units
    return Precision.fp32.value if wants_units and given is Precision.auto else given.value


def no_decoding(task: JobTask, decoding: dict[str, Any], each: str | None) -> dict[str, Any]:
    """What `load` is told where nothing is decoded; `OptionError` where something was to be."""
    if each or any(value for name, value in decoding.items() if name != "lm" or value is not False):
        raise OptionError(
            f"--task {task.value} writes no words, but was given options for these; leave out --each and decoding."
        )
    return {"lm": False}


def suffixes_of(each: str | None) -> tuple[str, ...]:
    """`srt,json` as `.srt` and `.json`; `OptionError` for a format that there is not."""
    known = {format.value: suffix for format, suffix in SUFFIXES.items()}
    names = [name.strip().lower() for name in each.split(",")] if each else []
    for name in names:
        if name not in known:
            raise OptionError(f"--each takes {', '.join(known)}, with commas, but {name!r} came; choose among these.")
    return tuple(known[name] for name in dict.fromkeys(names))


def make_setup(
    output: str,
    task: JobTask,
    model: dict[str, Any],
    each: tuple[str, ...],
    writer: Writer,
    layers: str | None,
    units: bool,
) -> Setup:
    """What workers must know; `OptionError` for options that do not go together."""
    from sonant.jobs import Setup

    if task is not JobTask.features and (layers or units):
        raise OptionError(f"--layers and --units say which features are written, but the task is {task.value}.")
    if not each and (writer.case or writer.karaoke or any(value is not None for value in writer.cues.values())):
        raise OptionError("The form of subtitles is that of the files of --each, but it is not there; name it too.")
    layers = layers or ("" if units else "all")
    usual = "asis" if task is JobTask.align else None  # a text that was given has the case that it is to have
    look = (
        {"case": writer.case.value if writer.case else usual, "cues": writer.spec, "karaoke": writer.karaoke}
        if each
        else {}
    )
    return Setup(output, task.value, model, each, look, layers, units)


def usual_workers(device: str) -> int:
    """A process a core that this one may use; one for a GPU."""
    if device not in ("auto", "cpu"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def opened_workers(setup: Setup, count: int | None, cluster: str | None) -> Generator[Workers]:
    """So many workers, here or on a cluster; they end with the block."""
    if cluster is not None:
        from sonant.cluster.connection import require_ray

        require_ray()
        from sonant.cluster.jobs import workers_on

        with workers_on(cluster, setup, count) as workers:
            yield workers
        return
    from sonant.jobs.pool import ProcessPool

    pool = ProcessPool(setup, count or usual_workers(str(setup.model["device"])))
    try:
        yield pool
    finally:
        pool.close()


def run_with(
    workers: Workers, sources: list[str], setup: Setup, suffix: str, again: bool, metrics: str | None
) -> Tally:
    """The job on any workers, its progress shown; a signal to end it keeps what is done."""
    from sonant.jobs import run_job
    from sonant.jobs.progress import open_metrics

    bar = JobBar()
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with open_metrics(metrics) as show:

            def watch(tally: Tally) -> None:
                show(tally)
                bar.show(tally)

            tally = run_job(sources, setup, workers, suffix=suffix, again=again, notice=say, watch=watch)
    except KeyboardInterrupt:
        say(f"Stopped; what is done stays in {setup.dest}, and the same command goes on from there.")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        bar.close()
    say(summary(tally, setup.dest))
    return tally


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def summary(tally: Tally, dest: str) -> str:
    """A finished job in one line."""
    from sonant.jobs import FAILURES

    parts = [f"{tally.done} done ({clock(tally.seconds)} of sound at {tally.speed:.1f}x real time)"]
    parts += [f"{tally.kept} kept from before"] if tally.kept else []
    parts += [f"{tally.duplicates} named more than once and done once"] if tally.duplicates else []
    parts += [f"{tally.failed} failed, see {FAILURES} there"] if tally.failed else []
    heard = [f"{node} {clock(seconds)}" for node, seconds in sorted(tally.nodes.items()) if node]
    parts += [f"heard by {', '.join(heard)}"] if heard else []
    return f"{dest}: {', '.join(parts)}."


class JobBar:
    """Inputs done and failed, hours of sound, speed and time left, on stderr."""

    def __init__(self) -> None:
        self.bar: ProgressBar | None = None

    def show(self, tally: Tally) -> None:
        """Show a tally."""
        self.bar = self.bar or ProgressBar("batch")
        tried = tally.done + tally.failed
        rest = tally.inputs - tally.kept
        name = f"{tried} of {rest}"
        name += f", {tally.failed} failed" if tally.failed else ""
        name += f", on {len(tally.nodes)} machines" if len(tally.nodes) > 1 else ""
        self.bar.rename(name)
        self.bar(tally.seconds, tally.seconds * rest / tried if tried else None)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.close()
