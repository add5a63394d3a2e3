"""`sonant lm tune`: the weights of a language model, found on speech whose text is known, and kept with the model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant.cli.options import (
    Debug,
    Device,
    Engine,
    EngineName,
    EnginePrecision,
    Format,
    Language,
    Lexicon,
    Model,
    Precision,
    Threads,
)
from sonant.cli.terminal import DONE, FAILED, ProgressBar, millions_bar, reporting, say
from sonant.errors import OptionError
from sonant.files import make_folder

if TYPE_CHECKING:
    from sonant.checkpoints import Checkpoint
    from sonant.decode.beam import BeamDecoder
    from sonant.recognizer import Recognizer
    from sonant.train.scores import Evaluation, Rate
    from sonant.train.tune import Tuning


def tune(
    manifest: Annotated[Path, typer.Argument(help="JSON lines with audio_filepath and text, a few hundred of them.")],
    model: Model = None,
    lm: Annotated[
        str | None, typer.Option(help="An n-gram language model; the one that comes with the model where not given.")
    ] = None,
    lexicon: Lexicon = None,
    output: Annotated[
        Path | None, typer.Option(help="A new folder for the model and what is found; its own folder where not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is found, and keep nothing.")] = False,
    trials: Annotated[int, typer.Option(help="Weights to try.", min=10)] = 60,
    closed: Annotated[bool, typer.Option("--closed", help="Hear words of the lexicon alone.")] = False,
    beam: Annotated[int | None, typer.Option(help="Hypotheses to keep; found too where not given.", min=1)] = None,
    format: Annotated[Format, typer.Option(help="A table, or JSON with every trial.")] = Format.text,
    language: Language = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Find lm_weight, word_bonus, unknown_penalty, prior_weight and the beam that make the fewest errors; keep them.

    They are written into the model's folder with the language model, so that the model decodes with them from then on.
    Take speech that neither model was trained on. What was heard is kept in the cache: the next search starts at once.
    """
    with reporting(debug):
        from sonant.checkpoints import BUILT_IN
        from sonant.data.manifest import read_manifest
        from sonant.recognizer import choose_decoder, load
        from sonant.train.evaluate import check_texts

        utterances = list(read_manifest(manifest))
        check_texts(utterances)
        place = None if dry_run else name_place(model or BUILT_IN, output)
        heard_by: dict[str, Any] = {"engine": engine, "device": device, "precision": precision, "threads": threads}
        asr = load(model, lm=False, language=language, progress=sys.stderr.isatty(), **heard_by)
        own = asr.checkpoint.decoding() if lm is None else None
        if lm is None and own is None:
            raise OptionError(
                f"--lm must name a language model, for {asr.checkpoint.name} comes with none; build one by sonant lm."
            )
        size = {"beam_size": beam} if beam else None
        with millions_bar("language model") as bar:
            decoder: Any = choose_decoder(asr.checkpoint, lm, lexicon, beam=size, lm_progress=bar)
        found, failed = search(asr, decoder, utterances, trials, closed, beam is None, threads)
        kept = {
            "lm": decoder.lm.path,
            "lexicon": Path(lexicon) if lexicon else own and own.lexicon,
            "known_words": None if lexicon else own and own.known_words,
        }
        if place:
            keep(asr.checkpoint, place, kept, found, manifest, new=output is not None)
        show(found, format, place)
    raise SystemExit(FAILED if failed else DONE)


def search(
    asr: Recognizer, decoder: BeamDecoder, utterances: list[Any], trials: int, closed: bool, ladder: bool,
    threads: int | None,
) -> tuple[Tuning, int]:  # fmt: skip
    """What is found on the utterances that can be heard, and how many cannot, each named."""
    from sonant.train.kept import emit_all
    from sonant.train.tune import Tuner

    bar = ProgressBar(asr.checkpoint.name)
    try:
        emissions, reasons = emit_all(asr, utterances, bar)
    finally:
        bar.close()
    for reason in reasons:
        say(reason)
    heard = [(utterance, heard) for utterance, heard in zip(utterances, emissions, strict=True) if heard is not None]
    tuner = Tuner(decoder, *zip(*heard, strict=True), threads=threads or os.cpu_count() or 1) if heard else None
    if tuner is None:
        raise OptionError("Weights are found on speech, but none of the manifest's can be heard; correct its paths.")
    bar = ProgressBar("tuning", "trials")
    try:
        return tuner.tune(trials, closed=closed, ladder=ladder, progress=bar), len(reasons)
    finally:
        bar.close()


def name_place(model: str, output: Path | None) -> Path:
    """The folder that will hold what is found; `OptionError`, before any work, where there can be none."""
    from sonant.checkpoints import model_folder

    folder = model_folder(Path(model).expanduser()) if output is None else output
    if output is None and not folder.is_dir():
        raise OptionError(
            f"What is found is kept in the model's folder, but {model} is none of this machine; "
            "name a new folder by --output, or keep nothing by --dry-run."
        )
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OptionError(f"--output must be a new or an empty folder, but something is in {output}; name another.")
    make_folder(folder)
    return folder


def keep(
    checkpoint: Checkpoint, place: Path, files: dict[str, Path | None], found: Tuning, manifest: Path, new: bool
) -> None:
    """Write the settings, and the model where its folder is new."""
    from sonant.checkpoints.conversion import convert
    from sonant.checkpoints.decoding import write_decoding

    if new:
        convert(checkpoint, place)
    rates = {name: rate.value for name, rate in rates_of(found).items()}
    tuned = {"manifest": manifest.name, "utterances": len(found.after.utterances), "unit": found.unit}
    facts: dict[str, Any] = {"priors": found.priors, "tuned": {**tuned, **rates, "held_out": found.held_out}}
    if checkpoint.languages and not new:  # a new folder holds one language alone
        facts["language"] = checkpoint.language
    write_decoding(place, files, found.settings, facts)


def rates_of(found: Tuning) -> dict[str, Rate]:
    """The rates that were to be lowered: greedily, with the weights as they came, and with those found."""
    evaluations = {"greedy": found.greedy, "before": found.before, "after": found.after}
    return {name: each.words if found.unit == "word" else each.letters for name, each in evaluations.items()}


def show(found: Tuning, format: Format, place: Path | None) -> None:
    """Print a table, or all of it as JSON."""
    if format is Format.json:
        print(json.dumps(as_json(found, place), ensure_ascii=False))
        return
    after = found.after
    print(f"{len(after.utterances)} utterances, {after.words.errors.length:,} words; "
          f"95 % intervals over {found.after.num_units} {after.unit}s\n")  # fmt: skip
    print(f"{'':8}{'WER':>8}{'':16}{'CER':>8}")
    for name, each in (("greedy", found.greedy), ("before", found.before), ("after", after)):
        print(f"{name:8}{shown(each, 'words')}  {shown(each, 'letters')}".rstrip())
    print(f"\n{'WER' if found.unit == 'word' else 'CER'} of weights chosen on other utterances: "
          f"{100 * found.held_out:.2f} %")  # fmt: skip
    for rung in found.ladder:
        print(f"beam {rung.beam_size:3}, threshold {rung.score_threshold:2g}: {100 * rung.rate:.2f} % at "
              f"{rung.speed:,.0f} times real time")  # fmt: skip
    print("\n" + ", ".join(f"{name} {value}" for name, value in found.settings.items()))
    print(f"kept in {place}" if place else "not kept")


def shown(evaluation: Evaluation, kind: str) -> str:
    """`  12.30 % (11.02-13.61) `, of one width."""
    rate = getattr(evaluation, kind)
    interval = "" if rate.low is None else f"({100 * rate.low:.2f}-{100 * rate.high:.2f})"
    return f"{100 * rate.value:6.2f} % {interval:15}"


def as_json(found: Tuning, place: Path | None) -> dict[str, Any]:
    """Everything, every trial with the number of its errors."""
    from dataclasses import asdict

    from sonant.train.evaluate import summary

    evaluations = {"greedy": found.greedy, "before": found.before, "after": found.after}
    return {
        "settings": found.settings,
        "priors": found.priors,
        "unit": found.unit,
        "held_out": found.held_out,
        **{name: {key: summary(each)[key] for key in ("wer", "cer")} for name, each in evaluations.items()},
        "ladder": [asdict(rung) for rung in found.ladder],
        "trials": [{**trial.weights, "errors": int(trial.errors.sum())} for trial in found.trials],
        "folder": None if place is None else str(place),
    }
