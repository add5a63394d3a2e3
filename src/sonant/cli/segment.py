"""`sonant data segment`: long recordings with their texts to utterances for training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli.options import Debug, Device, Engine, EngineName, EnginePrecision, Language, Model, Precision, Threads
from sonant.cli.pairs import TEXTS, pair_texts, read_text
from sonant.cli.terminal import DONE, FAILED, ProgressBar, clock, load_model, reporting, result_names, say
from sonant.errors import AlignmentError, DataError, OptionError, OutputError, SonantError
from sonant.files import make_folder, open_output

if TYPE_CHECKING:
    from sonant.data.manifest import Utterance
    from sonant.recognizer import Recognizer
    from sonant.segment import SegmentSpec


WAY = "options.json"
"""The file of an output that says how its recordings are cut."""


@dataclass(frozen=True)
class Way:
    """How recordings are cut."""

    spec: SegmentSpec
    speaker: str | None
    offsets: bool
    exact: bool


def run(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="BOOK.mp3 BOOK.txt",
            help="A recording and its text; several; a folder of them; or a manifest with long texts.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for manifest.jsonl, and for a folder a recording.")],
    model: Model = None,
    min_seconds: Annotated[float, typer.Option(help="The shortest utterance.")] = 5.0,
    max_seconds: Annotated[float, typer.Option(help="The longest utterance.")] = 20.0,
    min_confidence: Annotated[
        float, typer.Option(help="What is less sure is left out: geometric mean over letters, 0 to 1.")
    ] = 0.1,
    min_pause: Annotated[float, typer.Option(help="Seconds of quiet where an utterance may end.")] = 0.15,
    offsets: Annotated[
        bool, typer.Option("--offsets", help="Copy no audio: the manifest names parts of the recordings.")
    ] = False,
    speaker: Annotated[
        str | None, typer.Option(help="Who reads; the recording's name stands for it where not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out recordings that the folder has already.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Align without the proof that no other way is likelier.")
    ] = False,
    language: Language = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Cut long recordings with their texts into utterances at pauses, and write a manifest of them.

    Words that are not heard, speech without a text and what is too unsure are left out, counted, and listed in
    left-out.jsonl. A recording's utterances appear whole or not at all. A recording that fails is named on standard
    error, the others are still cut, and the exit code is 1.
    """
    with reporting(debug):
        from sonant.segment import MANIFEST, SegmentSpec

        spec = SegmentSpec(min_seconds, max_seconds, min_confidence, min_pause)
        told: list[str] = []
        books = name_books(files, told)
        make_folder(output)
        done = {name for name in books if (output / name).exists()}
        if not resume and (done or (output / MANIFEST).exists()):
            held = min(done, default=MANIFEST)
            raise OutputError(f"{output} holds {held} already; add --resume to keep it, or name another folder.")
        asr = load_model(model, language=language, engine=engine, device=device, precision=precision, threads=threads)
        left = {name: book for name, book in books.items() if name not in done}
        way = Way(spec, speaker, offsets, not fast)
        keep_way(asr, output, way)
        told += cut_all(asr, left, output, way, debug)
        print(join(output))
    raise SystemExit(FAILED if told else DONE)


def keep_way(asr: Recognizer, output: Path, way: Way) -> None:
    """Write down how recordings are cut; `OptionError` where the folder holds some that were cut in another way."""
    from sonant.segment import MANIFEST
    from sonant.train.evaluate import fingerprint

    now = {**asdict(way.spec), "speaker": way.speaker, "offsets": way.offsets, "fast": not way.exact}
    now |= {"model": asr.checkpoint.name, "fingerprint": fingerprint(asr)}
    if any(output.glob(f"*/{MANIFEST}")):
        try:
            before = dict(json.loads((output / WAY).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            before = {}
        if changed := [name for name, value in now.items() if name not in before or before[name] != value]:
            raise OptionError(
                f"{output} holds recordings that were cut with another {' and '.join(changed)}; resume with what "
                f"its {WAY} says, or name another folder."
            )
    with open_output(output / WAY) as file:
        file.write(json.dumps(now, indent=1).encode() + b"\n")


def name_books(files: list[str], told: list[str]) -> dict[str, tuple[Utterance, str | None]]:
    """Each recording under a name of its own, with the file of its text; None where the recording has its own.

    What has no text is said and noted in `told`.
    """
    from sonant.data.manifest import Utterance, read_manifest

    if len(files) == 1 and ".jsonl" in Path(files[0]).name:
        books = list(read_manifest(files[0]))
        names = [Path(book.audio).stem for book in books]
        return {f"{name}-{i}" if names.count(name) > 1 else name: (book, None)
                for i, (name, book) in enumerate(zip(names, books, strict=True), 1)}  # fmt: skip
    if len(files) == 1 and Path(files[0]).is_dir():
        files = list(found_in(Path(files[0]), told))
    pairs = dict(pair_texts(files))
    return {name: (Utterance(recording), pairs[recording]) for recording, name in result_names(pairs).items()}


def found_in(folder: Path, told: list[str]) -> Iterator[str]:
    """The recordings below a folder that have a text of their name beside them."""
    from sonant.data.layouts import SUFFIXES

    found = sorted(place for place in folder.rglob("*") if place.suffix.lower() in SUFFIXES)
    if not found:
        raise OptionError(f"{folder} must hold recordings with their texts, but holds none; check the path.")
    for place in found:
        if any(place.with_suffix(suffix).is_file() for suffix in TEXTS):
            yield str(place)
        else:
            told.append(str(place))
            say(f"{place} must have its text beside it, but there is no {place.stem}.txt; it is left out.")


def cut_all(
    asr: Recognizer, books: dict[str, tuple[Utterance, str | None]], output: Path, way: Way, debug: bool
) -> list[str]:
    """Each recording in turn, a line for each; the names of those that failed."""
    failed: list[str] = []
    for name, (book, text) in books.items():
        try:
            said = read_text(text) if text else book.text
            print(
                cut(asr, replace(book, text=said, speaker=way.speaker or book.speaker), output, name, way), flush=True
            )
        except OutputError:
            raise  # it would fail for every other recording as well
        except SonantError as error:
            if debug:
                raise
            failed.append(name)
            place = text if text and isinstance(error, AlignmentError | DataError) else book.audio
            say(str(error) if place in str(error) else f"{place}: {error}")
    return failed


def cut(asr: Recognizer, book: Utterance, output: Path, name: str, way: Way) -> str:
    """One recording, with a progress bar; a line that says what came of it."""
    from sonant.segment import segment_book, write_book

    bar = ProgressBar(name)
    try:
        found = segment_book(asr, book, way.spec, exact=way.exact, progress=bar)
    finally:
        bar.close()
    write_book(found, book, output, name, None if way.offsets else asr.checkpoint.sample_rate)
    untold = sum(u.duration or 0.0 for u in found.left_out if u.text is None)
    return (
        f"{name}: {len(found.pieces)} utterances, {clock(found.used_seconds)} of {clock(found.seconds)}, "
        f"{found.num_used} of {found.num_words} words; speech without text: {clock(untold)}"
    )


def join(output: Path) -> str:
    """Write the manifests of all recordings in a folder as one; a line that says what it holds."""
    from sonant.data.manifest import read_manifest, write_manifest
    from sonant.segment import LEFT_OUT, MANIFEST

    folders = sorted(place.parent for place in output.glob(f"*/{MANIFEST}"))
    if not folders:
        raise OptionError(f"{output} got no utterances, for no recording could be cut; see what is said above.")
    pieces = [utterance for folder in folders for utterance in read_manifest(folder / MANIFEST)]
    left = [folder / LEFT_OUT for folder in folders if (folder / LEFT_OUT).stat().st_size]
    write_manifest(output / LEFT_OUT, (utterance for path in left for utterance in read_manifest(path)))
    write_manifest(output / MANIFEST, pieces)
    hours = sum(piece.duration or 0.0 for piece in pieces) / 3600
    return f"{len(pieces)} utterances, {hours:.2f} hours, in {output / MANIFEST}"
