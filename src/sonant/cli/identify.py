"""`sonant identify`: what a classifier says of recordings, and whose voice is in them."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant.cli.learning import learn as learn_voices
from sonant.cli.options import Debug, Device, Engine, EngineName, EnginePrecision, Format, Model, Precision, Threads
from sonant.cli.terminal import DONE, FAILED, ProgressBar, clock, load_model, reporting, say
from sonant.errors import OptionError, SonantError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sonant.identify import Classification
    from sonant.recognizer import Recognizer
    from sonant.types import FloatArray
    from sonant.voices import Voices


class Task(StrEnum):
    """What a classifier is asked for."""

    language = "language"


Learn = Annotated[Path | None, typer.Option(help="Manifest with speakers: make of --model one that knows voices.")]
Output = Annotated[Path | None, typer.Option(help="New folder for the model that --learn makes.")]
SHOWN = 5
"""Labels that a line of text names at most."""


def run(
    files: Annotated[
        list[str] | None, typer.Argument(help="Audio or video files; - reads standard input. NAME=FILE to enrol.")
    ] = None,
    model: Model = None,
    task: Annotated[Task | None, typer.Option(help="What the labels must be.")] = None,
    step: Annotated[float | None, typer.Option(help="Seconds that a label over time stands for.", min=0.02)] = None,
    enroll: Annotated[bool, typer.Option("--enroll", help="Learn voices: anna=a.wav anna=b.wav ben=c.wav.")] = False,
    forget: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Take a voice out of the store.")] = None,
    store: Annotated[Path | None, typer.Option(help="Where enrolled voices are kept: voices.npz.")] = None,
    voices: Annotated[Path | None, typer.Option(help="Name the speakers that were enrolled there.")] = None,
    impostors: Annotated[
        Path | None, typer.Option(help="Folder of others' recordings, one a person, kept as vectors: for rates.")
    ] = None,
    false_accept: Annotated[
        float | None, typer.Option(help="Share of strangers that may be taken for somebody: 0.01.", min=1e-6, max=0.5)
    ] = None,
    learn: Learn = None,
    output: Output = None,
    verify: Annotated[bool, typer.Option("--verify", help="Is it one speaker in two files?")] = False,
    threshold: Annotated[
        float | None, typer.Option(help="Score from which a voice counts as known; the model's where not given.")
    ] = None,
    format: Annotated[Format, typer.Option(help="Lines; or a JSON object a line.")] = Format.text,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Say what a recording is (its mood, language, command), or whose voice is in it.

    With a classifier every label has a probability, over time too where a recording is longer than a step. With a
    model that tells voices apart, people are enrolled once by --enroll and named by --voices; --verify compares two
    files. Voices are biometric data: the store is a local file that its owner alone may read.
    """
    with reporting(debug):
        files = files or []
        if (learn is None) != (output is None):
            raise OptionError("--learn MANIFEST writes a model to --output FOLDER; give both.")
        if not learn:
            check_use(files, enroll, forget or [], impostors, store, voices, verify)
        if false_accept is not None and (not voices or threshold is not None):
            raise OptionError("--false-accept sets the threshold of --voices; give it with them, without --threshold.")
        asr = load_model(model, lm=False, engine=engine, device=device, precision=precision, threads=threads)
        if task is Task.language:
            require_languages(asr)
        if learn and output:
            failed = learn_voices(asr, learn, output)
        elif store:
            failed = change_store(asr, store, list(map(split_name, files)), forget or [], impostors, debug)
        elif verify:
            failed = compare(asr, files, threshold_of(asr, threshold), format)
        elif voices:
            known = open_voices(asr, voices)
            least = threshold_of(asr, threshold) if false_accept is None else known.threshold(false_accept)
            failed = for_each(files, lambda file, bar: name_speaker(asr, known, least, file, bar, format), debug)
        else:
            failed = for_each(files, lambda file, bar: label(asr, file, step, bar, format), debug)
    raise SystemExit(FAILED if failed else DONE)


def check_use(
    files: list[str],
    enroll: bool,
    forget: list[str],
    impostors: Path | None,
    store: Path | None,
    voices: Path | None,
    verify: bool,
) -> None:
    """Raise `OptionError` for options that do not go together."""
    if bool(store) != bool(enroll or forget or impostors):
        raise OptionError(
            "--store is the file that --enroll, --forget and --impostors change; name it with them, and only then."
        )
    if sum((bool(store), bool(voices), verify)) > 1:
        raise OptionError("--enroll, --voices and --verify are different uses; choose one of them.")
    if verify and len(files) != 2:
        raise OptionError(f"--verify compares two files, but {len(files)} came; name two.")
    if not files and not forget and not impostors:
        raise OptionError("There must be at least one file, but none came; name it.")
    if bool(enroll) != bool(files) and store:
        raise OptionError("--enroll and its NAME=FILE go together; give both, or neither of them.")
    if store:
        from sonant.voices import check_store

        check_store(store)


def require_languages(asr: Recognizer) -> None:
    """Raise `CheckpointError` for a model that does not tell languages apart."""
    from sonant import identify

    identify.read_classifier(asr.checkpoint)
    identify.require_languages(asr.checkpoint)


def split_name(argument: str) -> tuple[str, str]:
    """`anna=a.wav` to its two parts."""
    name, sign, file = argument.partition("=")
    if not sign or not name or not file:
        raise OptionError(f"A voice to enrol is NAME=FILE, but {argument!r} came; write anna=a.wav.")
    return name, file


def threshold_of(asr: Recognizer, given: float | None) -> float:
    """The score from which two voices count as one; `OptionError` where neither user nor model say it."""
    if given is not None:
        return given
    from sonant.identify import voice_threshold

    value = voice_threshold(asr.checkpoint)
    if value is None:
        raise OptionError(
            f"{asr.checkpoint.name} does not say from which score a voice counts as known; give it by --threshold, "
            "after a look at the scores of known pairs (--verify --threshold 0)."
        )
    return value


def for_each(files: list[str], one: Callable[[str, ProgressBar], None], debug: bool) -> int:
    """Each file in turn; how many failed."""
    failed = 0
    for file in files:
        bar = ProgressBar(file)
        try:
            one(file, bar)
        except SonantError as error:
            if debug:
                raise
            bar.close()
            say(str(error))
            failed += 1
        finally:
            bar.close()
    return failed


def label(asr: Recognizer, file: str, step: float | None, bar: ProgressBar, format: Format) -> None:
    """Print what a classifier says of a file."""
    found = asr.classify(file, step=step, progress=bar)
    bar.close()
    print(json.dumps(as_json(file, found), ensure_ascii=False) if format is Format.json else as_text(file, found))


def as_text(file: str, found: Classification) -> str:
    """A line, and one for each step where there are several."""
    lines = [f"{file}: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.ranked[:SHOWN])]
    if found.exclusive and len(found.over_time) > 1:
        for i, row in enumerate(found.over_time):
            best = int(row.argmax())
            end = min((i + 1) * found.step, found.duration)
            lines.append(f"  {clock(i * found.step)} - {clock(end)}  {found.labels[best]} {100 * row[best]:.1f} %")
    return "\n".join(lines)


def as_json(file: str, found: Classification) -> dict[str, Any]:
    """Everything: of each step its probabilities in the order of `labels`."""
    return {
        "file": file,
        "duration": round(found.duration, 3),
        "labels": dict(zip(found.labels, (round(float(p), 5) for p in found.probabilities), strict=True)),
        "step": round(found.step, 3),
        "over_time": [[round(float(p), 5) for p in row] for row in found.over_time],
    }


def change_store(
    asr: Recognizer,
    store: Path,
    enrolled: list[tuple[str, str]],
    forgotten: list[str],
    impostors: Path | None,
    debug: bool,
) -> int:
    """Forget, enrol and hear strangers; how many recordings failed. The store is written once, at the end."""
    import numpy as np

    from sonant.identify import read_voice_head
    from sonant.voices import Voices

    head = read_voice_head(asr.checkpoint)
    others = find_recordings(impostors) if impostors else []
    voices = open_voices(asr, store) if store.exists() or forgotten else Voices(head.fingerprint)
    for name in forgotten:
        voices.forget(name)
    names = {file: name for name, file in enrolled}
    if len(names) < len(enrolled):
        raise OptionError("A recording is one person's, but one was named twice; name each once.")
    failed = for_each(list(names), lambda file, bar: voices.add(names[file], asr.embed(file, progress=bar)), debug)
    if others:
        vectors: list[FloatArray] = []
        failed += for_each(others, lambda file, bar: vectors.append(asr.embed(file, progress=bar)), debug)
        voices.impostors = np.array(vectors, np.float64).reshape(len(vectors), head.width)
    voices.save(store)
    known = ", ".join(f"{name} ({voices.counts[name]})" for name in voices.names) or "nobody"
    print(f"{store} knows {known}" + (f", and {len(voices.impostors)} impostors" if len(voices.impostors) else ""))
    return failed


def find_recordings(folder: Path) -> list[str]:
    """All audio and video files below a folder; `OptionError` where there is none."""
    from sonant.data.layouts import SUFFIXES

    found = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise OptionError(
            f"--impostors names a folder with recordings of other people, but {folder} has none; name another."
        )
    return found


def open_voices(asr: Recognizer, path: Path) -> Voices:
    """The voices in a file, of this very model."""
    from sonant.identify import read_voice_head
    from sonant.voices import Voices

    return Voices.of_model(path, read_voice_head(asr.checkpoint).fingerprint, asr.checkpoint.name)


def name_speaker(
    asr: Recognizer, voices: Voices, threshold: float, file: str, bar: ProgressBar, format: Format
) -> None:
    """Print whose voice a file has, or that it is unknown."""
    scores = voices.scores(asr.embed(file, progress=bar))
    bar.close()
    best, score = scores[0] if scores else ("nobody", -1.0)
    known = score >= threshold
    if format is Format.json:
        said = {"file": file, "speaker": best if known else None, "threshold": threshold}
        print(json.dumps(said | {"scores": {name: round(s, 5) for name, s in scores}}, ensure_ascii=False))
    else:
        print(f"{file}: {best} ({score:.3f})" if known else f"{file}: unknown (nearest {best}, {score:.3f})")


def compare(asr: Recognizer, files: list[str], threshold: float, format: Format) -> int:
    """Print whether two files have one voice."""
    vectors: list[FloatArray] = []
    for file in files:
        bar = ProgressBar(file)
        try:
            vectors.append(asr.embed(file, progress=bar))
        finally:
            bar.close()
    score = float(vectors[0] @ vectors[1])
    same = score >= threshold
    if format is Format.json:
        print(json.dumps({"files": files, "same": same, "score": round(score, 5), "threshold": threshold}))
    else:
        print(f"{'the same speaker' if same else 'different speakers'} ({score:.3f}, threshold {threshold:g})")
    return 0
