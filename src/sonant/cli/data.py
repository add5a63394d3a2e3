"""`sonant data`: corpora to manifests, and what is in them, wrong with them, and to be made of them."""

from __future__ import annotations

import random
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli import segment
from sonant.cli.options import (
    Debug,
    Device,
    Engine,
    EngineName,
    EnginePrecision,
    Format,
    Model,
    Precision,
    Threads,
)
from sonant.cli.terminal import DONE, FAILED, ProgressBar, cache_folder, reporting, say
from sonant.errors import DataError, OptionError
from sonant.files import make_folder

if TYPE_CHECKING:
    from sonant.data.manifest import Utterance

NAMED = 20
"""Files that are named one by one."""

verbs = typer.Typer(
    no_args_is_help=True, help="Corpora to manifests: prepare, check, count, cut, split, shard and label them."
)

Manifest = Annotated[Path, typer.Argument(help="JSON lines with audio_filepath, duration and text.")]
Output = Annotated[Path, typer.Option(help="The manifest to write.")]


class LayoutName(StrEnum):
    """How a corpus lies in its folder."""

    librispeech = "librispeech"
    commonvoice = "commonvoice"
    fleurs = "fleurs"
    mls = "mls"
    audiofolder = "audiofolder"
    csv = "csv"
    kaldi = "kaldi"
    lhotse = "lhotse"
    hf = "hf"


@verbs.command("prepare", short_help="A corpus to a manifest.")
def prepare(
    layout: Annotated[LayoutName, typer.Argument(help="How the corpus lies there.")],
    folder: Annotated[Path, typer.Argument(help="The corpus; for csv and lhotse also one file.")],
    output: Output,
    split: Annotated[
        str | None, typer.Option(help="The part to take, by the corpus' own name: train, dev, test.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Language code, where the corpus does not say it.")] = None,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Write a manifest of a corpus; nothing is copied but audio that lies inside tables (hf).

    Durations come from the files' headers. Files that are missing or cannot be opened are named on standard error and
    left out, and the exit code is 1.
    """
    with reporting(debug):
        from sonant.data.corpora import LAYOUTS, measure
        from sonant.data.layouts import Choice
        from sonant.data.manifest import write_manifest

        left_out: list[str] = []
        found = LAYOUTS[layout](folder, Choice(split, output.with_name(f"{output.stem}-audio")))
        with progress_bar(str(folder), "files") as bar:
            measured = measure(found, left_out, language=language, threads=threads)
            count = write_manifest(output, at_least_one(counted(measured, bar), left_out))
        print(f"{count} utterances in {output}")
        name_all(left_out, "left out")
    raise SystemExit(FAILED if left_out else DONE)


@verbs.command("check", short_help="What would spoil a training.")
def check(
    manifest: Manifest,
    against: Annotated[
        list[Path] | None, typer.Option(help="A manifest that may share nothing with this one, a test set; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A folder or a Hugging Face name, whose letters count.")] = None,
    clean: Annotated[Path | None, typer.Option(help="Where to write the utterances without fault.")] = None,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Leave the texts alone.")] = False,
    format: Annotated[Format, typer.Option(help="A summary; or every fault, as JSON.")] = Format.text,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Decode every utterance and look for faults of audio, of texts, and for what training and test set share.

    What was decoded once is remembered until its file changes. The report goes to standard output.
    The exit code is 0 where there is no fault, else 1.
    """
    with reporting(debug):
        from sonant.checkpoints import open_checkpoint
        from sonant.data.check import check_manifest
        from sonant.data.manifest import read_manifest, write_manifest

        checkpoint = open_checkpoint(model, progress=True) if model else None
        utterances = list(read_manifest(manifest))
        others = [utterance for path in against or [] for utterance in read_manifest(path)]
        with progress_bar(str(manifest)) as bar:
            report = check_manifest(
                utterances, against=others, labelled=False if unlabelled else None, threads=threads,
                memory=cache_folder() / "sounds.db", progress=bar,
                vocabulary=checkpoint.require_vocabulary() if checkpoint and not unlabelled else None,
                config=checkpoint and checkpoint.config, sample_rate=checkpoint.sample_rate if checkpoint else 16_000,
            )  # fmt: skip
        sys.stdout.write(report.to_json() if format is Format.json else report.to_text())
        if clean:
            count = write_manifest(clean, at_least_one(report.cleaned(), ["every utterance has a fault"]))
            say(f"{count} of {len(utterances)} utterances are in {clean}")
    raise SystemExit(DONE if report.clean else FAILED)


@verbs.command("stats", short_help="Hours, speakers, letters, lengths.")
def stats(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests, counted together.")],
    picture: Annotated[Path | None, typer.Option(help="Draw them: FILE.png, .svg or .pdf.")] = None,
    headers: Annotated[bool, typer.Option(help="Open the files for their sample rates.")] = True,
    format: Annotated[Format, typer.Option(help="Lines; or all of it as JSON.")] = Format.text,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Count what manifests hold."""
    with reporting(debug):
        from sonant.data.manifest import read_manifest
        from sonant.data.stats import measure_manifest

        utterances = (utterance for path in manifests for utterance in read_manifest(path))
        with progress_bar(str(manifests[0]), "files") as bar:
            numbers = measure_manifest(utterances, headers=headers, threads=threads, progress=bar)
        if picture:
            from sonant.plots import manifest_figure, save_figure

            save_figure(manifest_figure(numbers), picture)
        sys.stdout.write(numbers.to_json() if format is Format.json else numbers.to_text())


@verbs.command("split", short_help="Parts without a common speaker.")
def split(
    manifest: Manifest,
    part: Annotated[list[str], typer.Option(help="NAME=SIZE, a share (0.1, 10%) or a time (2h, 30m); repeatable.")],
    output: Annotated[Path | None, typer.Option(help="Folder for the parts; the manifest's where not given.")] = None,
    rest: Annotated[str, typer.Option(help="Name of what is left.")] = "train",
    seed: Annotated[int, typer.Option(help="Another number gives other speakers.", min=0)] = 0,
    debug: Debug = False,
) -> None:
    """Write NAME.jsonl for each part and one for the rest; no speaker is in two of them."""
    with reporting(debug):
        from sonant.data.manifest import read_manifest, write_manifest
        from sonant.data.split import Size, split_manifest

        sizes = {name: Size.parse(size) for name, _, size in (text.partition("=") for text in part)}
        folder = output or manifest.parent
        places = {name: folder / f"{name}.jsonl" for name in (*sizes, rest)}
        if len(places) != len(part) + 1 or not all(name and Path(name).name == name for name in places):
            raise OptionError(
                f"Every part must have a name of its own, but {', '.join([*part, rest])} came; rename them."
            )
        if any(place.exists() and place.samefile(manifest) for place in places.values()):
            raise OptionError(
                f"{manifest} would be overwritten by one of its parts; name another folder with --output."
            )
        make_folder(folder)
        for name, utterances in split_manifest(list(read_manifest(manifest)), sizes, rest=rest, seed=seed).items():
            write_manifest(places[name], utterances)
            hours = sum(utterance.duration or 0.0 for utterance in utterances) / 3600
            speakers = len({utterance.speaker for utterance in utterances if utterance.speaker})
            print(f"{places[name]}: {len(utterances)} utterances, {hours:.2f} hours, {speakers} speakers")


@verbs.command("shard", short_help="Tar shards, read front to back.")
def shard(
    manifest: Manifest,
    output: Annotated[Path, typer.Option(help="Folder for the shards and their manifest.")],
    name: Annotated[str, typer.Option(help="What they are called: NAME-000000.tar, NAME.jsonl.")] = "train",
    megabytes: Annotated[int, typer.Option(help="The most a shard may take.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the order; shards are read as they lie.", min=0)] = 0,
    debug: Debug = False,
) -> None:
    """Pack the utterances of a manifest into tar archives, in a random order, all of them or none."""
    with reporting(debug):
        from sonant.data.manifest import read_manifest
        from sonant.data.shards import write_shards

        utterances = list(read_manifest(manifest))
        random.Random(seed).shuffle(utterances)  # no secret
        with progress_bar(str(manifest), "files") as bar:
            paths = write_shards(counted(utterances, bar, len(utterances)), output, name, max_bytes=megabytes * 10**6)
        print(f"{len(utterances)} utterances in {len(paths)} shards, listed in {output / name}.jsonl")


@verbs.command("pseudo-label", short_help="Texts of speech that nobody wrote down.")
def pseudo_label(
    manifest: Manifest,
    output: Output,
    model: Model = None,
    min_confidence: Annotated[float, typer.Option(help="What is less sure is left out.", min=0.0, max=1.0)] = 0.9,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Transcribe a manifest's utterances with a model, and keep those of which it is confident enough."""
    with reporting(debug):
        from sonant.data.manifest import read_manifest, write_manifest
        from sonant.recognizer import load
        from sonant.train.pseudo import label_utterances

        asr = load(model, engine=engine, device=device, precision=precision, threads=threads)
        failed: list[str] = []
        with progress_bar(str(manifest)) as bar:
            labelled = label_utterances(asr, read_manifest(manifest), min_confidence, failed, bar)
            none = f"no utterance reaches a confidence of {min_confidence:g}"
            count = write_manifest(output, at_least_one(labelled, failed or [none]))
        print(f"{count} utterances in {output}")
        name_all(failed, "not heard")
    raise SystemExit(FAILED if failed else DONE)


verbs.command("segment", short_help="Long recordings and their texts to utterances.")(segment.run)


@contextmanager
def progress_bar(name: str, unit: str | None = None) -> Generator[ProgressBar]:
    """A bar that is taken away at the end."""
    bar = ProgressBar(name, unit)
    try:
        yield bar
    finally:
        bar.close()


def counted(utterances: Iterable[Utterance], bar: ProgressBar, total: int | None = None) -> Iterator[Utterance]:
    """The same, counted by the bar."""
    for count, utterance in enumerate(utterances, 1):
        bar(count, total)
        yield utterance


def at_least_one(utterances: Iterable[Utterance], reasons: list[str]) -> Iterator[Utterance]:
    """The same; `DataError` with the first of the reasons where there is none, so that no empty manifest is written."""
    found = False
    for utterance in utterances:
        found = True
        yield utterance
    if not found:
        why = reasons[0].rstrip(".") if reasons else "the source is empty"
        raise DataError(f"A manifest must have at least one utterance, but none is left ({why}); nothing was written.")


def name_all(sentences: list[str], what: str) -> None:
    """The first of them on stderr, and how many there are."""
    for sentence in sentences[:NAMED]:
        say(sentence)
    if sentences:
        more = f", {len(sentences) - NAMED} of them not named here" if len(sentences) > NAMED else ""
        say(f"{len(sentences)} {what}{more}")
