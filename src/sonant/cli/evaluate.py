"""`sonant evaluate`: how well a model transcribes speech whose text is known, alone or against another model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant.cli.judging import Task, judge, task_of
from sonant.cli.options import (
    Beam,
    Debug,
    Device,
    Engine,
    EngineName,
    EnginePrecision,
    Format,
    Greedy,
    Hotwords,
    Language,
    LanguageModel,
    Lexicon,
    Model,
    Precision,
    Sure,
    Threads,
    decoding_options,
)
from sonant.cli.plot import Theme
from sonant.cli.terminal import DONE, FAILED, ProgressBar, load_model, reporting, say
from sonant.errors import OptionError
from sonant.files import make_folder

if TYPE_CHECKING:
    from sonant.data.manifest import Utterance
    from sonant.recognizer import Recognizer
    from sonant.train.scores import Evaluation, Normalisation

Output = Annotated[
    Path | None, typer.Option(help="Folder for a JSON line an utterance, and what is printed as evaluation.json.")
]
Alignments = Annotated[
    Path | None, typer.Option(help="Folder of TextGrids or the like: judge the times of words, not the texts.")
]
SaveTimes = Annotated[
    bool, typer.Option("--save-times", help="Keep with the model how late and how short it hears words.")
]
TaskOption = Annotated[Task, typer.Option(help="What is judged; auto asks the model's head.")]
Picture = Annotated[Path | None, typer.Option(help="Of labels and voices: FILE.png, .svg or .pdf.")]
ThemeOption = Annotated[Theme, typer.Option(help="The picture's ground.")]


def run(
    manifest: Annotated[Path, typer.Argument(help="JSON lines with audio_filepath and text.")],
    model: Model = None,
    against: Annotated[str | None, typer.Option(help="A second model, to be compared with the first.")] = None,
    by: Annotated[list[str] | None, typer.Option(help="A field of the manifest to tell apart by; repeatable.")] = None,
    output: Output = None,
    format: Annotated[Format, typer.Option(help="Tables, or all of it as JSON.")] = Format.text,
    worst: Annotated[int, typer.Option(help="Utterances to show, those with the most errors.", min=0)] = 5,
    confusions: Annotated[int, typer.Option(help="Frequent errors to show.", min=0)] = 10,
    match_case: Annotated[bool, typer.Option("--match-case", help="Count a wrong letter case as an error.")] = False,
    keep: Annotated[str, typer.Option(help="Marks that count where they stand inside a word.")] = "'",
    no_digits: Annotated[bool, typer.Option("--no-digits", help="Leave out numbers written in digits.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Compare the texts as they stand.")] = False,
    seed: Annotated[int, typer.Option(help="Of the resampling behind intervals.", min=0)] = 0,
    lm: LanguageModel = None,
    lexicon: Lexicon = None,
    hotword: Hotwords = None,
    beam: Beam = None,
    greedy: Greedy = False,
    sure: Sure = None,
    alignments: Alignments = None,
    save_times: SaveTimes = False,
    task: TaskOption = Task.auto,
    picture: Picture = None,
    theme: ThemeOption = Theme.light,
    language: Language = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Transcribe the utterances of a manifest and compare the texts with those that were said.

    Classifiers are judged by `label`, voices by pairs of `speaker`s or a list of trials: `1 a.wav b.wav`.
    Models are decoded as --lm, --lexicon, --hotword, --beam or --greedy say, or else each as it comes.
    Both sides are compared without letter case and punctuation. With --output an evaluation that was interrupted goes
    on where it stopped. Audio that cannot be heard is named on standard error, and the exit code is 1.

    With --alignments the times of words are judged instead; --save-times keeps in config.json how late they are.
    """
    with reporting(debug):
        runner: dict[str, Any] = {"engine": engine, "device": device, "precision": precision, "threads": threads}
        runner |= {"language": language, **decoding_options(lm, lexicon, hotword or [], beam, 1, greedy, sure)}
        from sonant.train.scores import Normalisation

        sources, as_json = [model] if against is None else [model, against], format is Format.json
        kind = Task.text if alignments or save_times else task_of(task, model, manifest)
        if kind is not Task.text:
            raise SystemExit(judge(kind, sources, manifest, by or [], output, picture, theme, as_json, seed, runner))
        utterances = read_checked(manifest, by or [])
        if alignments is not None or save_times:
            raise SystemExit(judge_times(sources, utterances, alignments, save_times, by, output, format, runner))
        rules = Normalisation("as is" if match_case else "lower", keep, not no_digits, raw)
        evaluations = [  # one model after the other, for two large ones may not fit side by side
            evaluate_one(load_model(source, **runner), utterances, rules, seed, journal)
            for source, journal in zip(sources, name_journals(output, manifest), strict=False)
        ]
        tell(evaluations, by or [], output, None if as_json else (worst, confusions))
    raise SystemExit(FAILED if any(evaluation.failures for evaluation in evaluations) else DONE)


def judge_times(
    sources: list[str | None],
    utterances: list[Utterance],
    folder: Path | None,
    save: bool,
    by: list[str] | None,
    output: Path | None,
    format: Format,
    runner: dict[str, Any],
) -> int:
    """The times of words in place of their texts: what `--alignments` asks for; the exit code."""
    from sonant.checkpoints import BUILT_IN
    from sonant.checkpoints.huggingface import save_word_times
    from sonant.cli.word_times import evaluate_times, place_of, tell_times
    from sonant.types import WordTimes

    if folder is None:
        raise OptionError("--save-times keeps what is found by --alignments, but none were named; name their folder.")
    if any(runner.get(name) for name in ("lm", "lexicon", "hotwords", "beam")):
        raise OptionError("--alignments places words that are known, which no decoder changes; leave its options out.")
    place = place_of(sources[0] or BUILT_IN) if save else None
    by = by or (["speaker"] if len({utterance.speaker for utterance in utterances}) > 1 else [])
    found: list[dict[str, Any]] = []
    failed = False
    for source in sources:
        asr = load_model(source, **{**runner, "lm": False})
        told, missed = evaluate_times(asr, utterances, folder, by)
        found.append(told)
        failed |= missed
        del asr
    tell_times(found, output, format is Format.json)
    if place:
        save_word_times(place, WordTimes(**found[0]["times"]["estimated"]))
        say(f"kept in {place / 'config.json'}")
    return FAILED if failed else DONE


def evaluate_one(
    asr: Recognizer, utterances: list[Utterance], rules: Normalisation, seed: int, path: Path | None
) -> Evaluation:
    """One model, with a progress bar, what it could not hear named."""
    from sonant.train.evaluate import Journal, evaluate, fingerprint

    checkpoint = asr.checkpoint
    if asr.vocabulary.separator is None:
        say(f"{checkpoint.name} writes no spaces, so one wrong letter makes a whole utterance wrong: compare the CER.")
    journal = Journal(path, fingerprint(asr)) if path else None
    bar = ProgressBar(checkpoint.name)
    try:
        evaluation = evaluate(asr, utterances, normalisation=rules, seed=seed, journal=journal, progress=bar)
    finally:
        bar.close()
    for _, reason in evaluation.failures:
        say(reason)
    return evaluation


def tell(evaluations: list[Evaluation], by: list[str], output: Path | None, shown: tuple[int, int] | None) -> None:
    """Keep what was found in the folder, if any, and print it: with so many worst and frequent errors, or as JSON."""
    from sonant.train.scores import compare

    comparison = compare(*evaluations) if len(evaluations) == 2 else None
    result = as_json(evaluations, comparison, by)
    if output:
        from sonant.files import write_text

        write_text(output / "evaluation.json", json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    if shown is None:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        from sonant.cli.scores import Report

        Report(*shown).print(evaluations, comparison, by)


def as_json(evaluations: list[Evaluation], comparison: Any, by: list[str]) -> dict[str, Any]:
    """All that was found, the second model's under `against`."""
    from sonant.train.evaluate import comparison_summary, summary

    result = summary(evaluations[0], by)
    if comparison is not None:
        result |= {"against": summary(evaluations[1], by), "comparison": comparison_summary(comparison)}
    return result


def read_checked(manifest: Path, by: list[str]) -> list[Utterance]:
    """The utterances of a manifest; raises where one has no text, or none a field to tell them apart by."""
    from sonant.data.manifest import read_manifest
    from sonant.train.evaluate import check_texts

    utterances = list(read_manifest(manifest))
    check_texts(utterances)
    check_fields(utterances, by)
    return utterances


def check_fields(utterances: list[Utterance], by: list[str]) -> None:
    """Raises `OptionError` for a field that no utterance has, before any work."""
    from sonant.train.evaluate import fields_of

    known = sorted({name for utterance in utterances for name in fields_of(utterance)})
    for name in by:
        if name not in known:
            raise OptionError(
                f"--by must name a field of the manifest, but {name} is none of those it has: "
                f"{', '.join(known) or 'no field at all'}; correct the option or the manifest."
            )


def name_journals(folder: Path | None, manifest: Path) -> list[Path | None]:
    """Where what each model heard is kept: nowhere, or two files of a folder that is made."""
    if folder is None:
        return [None, None]
    make_folder(folder)
    names = [folder / "heard.jsonl", folder / "against.jsonl"]
    if manifest.resolve() in [name.resolve() for name in names]:
        raise OptionError(f"--output would write over the manifest {manifest}; name another folder.")
    return [*names]
