"""`sonant evaluate` of classifiers and of models that tell voices apart."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonant.cli.terminal import DONE, FAILED, ProgressBar, load_model, say
from sonant.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sonant.data.manifest import Utterance
    from sonant.recognizer import Recognizer
    from sonant.train.labelling import Change, Labelling
    from sonant.train.verification import Verification

    Found = Labelling | Verification

SHOWN = 12
"""Confusions that a text names."""


class Task(StrEnum):
    """What is judged."""

    auto = "auto"
    text = "text"
    label = "label"
    speaker = "speaker"


def task_of(asked: Task, model: str | None, manifest: Path) -> Task:
    """What is judged where nothing else is asked for: trials are of speakers, else the model's head says it."""
    from sonant.checkpoints import BUILT_IN, open_checkpoint
    from sonant.identify import has_voice_head
    from sonant.train.recognition import is_trial_list

    if asked is not Task.auto:
        return asked
    if is_trial_list(manifest):
        return Task.speaker
    if model in (None, BUILT_IN):
        return Task.text
    checkpoint = open_checkpoint(model)
    if checkpoint.vocabulary is not None:
        return Task.text
    if has_voice_head(checkpoint):
        return Task.speaker
    return Task.label if "classifier.weight" in checkpoint.tensors else Task.text


def judge(
    task: Task,
    sources: Sequence[str | None],
    manifest: Path,
    by: list[str],
    output: Path | None,
    picture: Path | None,
    theme: str,
    as_json: bool,
    seed: int,
    runner: dict[str, Any],
) -> int:
    """Judge one or two models by labels or voices, print it, keep it and draw it; the exit code."""
    from sonant.files import make_folder, write_text

    if picture:
        from sonant.plots import check_format

        check_format(picture)
    if output:
        make_folder(output)
    names: list[str] = []
    found: list[Found] = []
    told: list[dict[str, Any]] = []
    shares: dict[str, list[float]] = {}
    for source in sources:
        asr = load_model(source, **{**runner, "lm": False})
        names.append(asr.checkpoint.name)
        one, failures, more = hear(task, asr, manifest, by, seed)
        found.append(one)
        told.append({"model": names[-1], "task": task.value, "failures": dict(failures), **more})
        if len(more["layer_shares"]) > 1:
            shares[names[-1]] = more["layer_shares"]
        del asr
    change = compare(found)
    result = told[0] | ({"against": told[1], "comparison": change} if len(told) > 1 else {})
    if output:
        write_text(output / "evaluation.json", json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    if picture:
        draw(dict(zip(names, found, strict=True)), shares, picture, theme)
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        print("\n".join(line for each in told for line in lines_of(each)))
        for name, values in change.items():
            print(f"{names[1]} against the first, {name}: {points(values)}")
    return FAILED if any(each["failures"] for each in told) else DONE


def hear(
    task: Task, asr: Recognizer, manifest: Path, by: list[str], seed: int
) -> tuple[Found, list[tuple[str, str]], dict[str, Any]]:
    """What one model makes of a manifest or a list of trials, what it could not hear, and all of it as JSON has it."""
    from sonant.data.manifest import read_manifest
    from sonant.identify import Head, read_classifier, read_voice_head
    from sonant.train import recognition

    head = read_classifier(asr.checkpoint) if task is Task.label else read_voice_head(asr.checkpoint)
    bar = ProgressBar(asr.checkpoint.name)
    groups: dict[str, dict[str, Any]] = {}
    try:
        if task is Task.label:
            utterances = list(read_manifest(manifest))
            check_fields(utterances, by)
            found, heard, failures = recognition.label_clips(asr, utterances, seed, bar)
            groups = {field: grouped(found, [utterances[i] for i in heard], field, seed) for field in by}
        else:
            if by:
                raise OptionError("--by tells clips with labels apart, but voices are judged in pairs; leave it out.")
            if recognition.is_trial_list(manifest):
                utterances, pairs, same, sides = recognition.read_trials(manifest)
            else:
                utterances = list(read_manifest(manifest))
                pairs, same, sides = recognition.speaker_trials(utterances, seed)
            vectors, failures = recognition.embed_clips(asr, utterances, bar)
            found = recognition.verify(vectors, pairs, same, sides, seed)
    finally:
        bar.close()
    for _, reason in failures:
        say(reason)
    shares = [round(float(share), 5) for share in head.shares] if isinstance(head, Head) else []
    return found, failures, {**recognition.summary(found), "by": groups, "layer_shares": shares}


def check_fields(utterances: Sequence[Utterance], by: list[str]) -> None:
    """Raise `OptionError` for a field that no utterance has, before any work."""
    from sonant.train.evaluate import fields_of

    for name in by:
        if not any(name in fields_of(utterance) for utterance in utterances):
            raise OptionError(
                f"--by must name a field of the manifest, but no utterance has {name}; correct the option."
            )


def grouped(found: Labelling, utterances: Sequence[Utterance], field: str, seed: int) -> dict[str, Any]:
    """The rates of each value of a manifest's field."""
    from sonant.train.evaluate import fields_of
    from sonant.train.labelling import Labelling
    from sonant.train.recognition import summary

    places: dict[str, list[int]] = {}
    for i, utterance in enumerate(utterances):
        places.setdefault(str(fields_of(utterance).get(field, "")), []).append(i)
    result: dict[str, Any] = {}
    for value, chosen in sorted(places.items()):
        said = [found.labels[int(k)] for k in found.said[chosen]]
        heard = [found.labels[int(k)] for k in found.heard[chosen]]
        rates = summary(Labelling(said, heard, [utterances[i].speaker for i in chosen], seed))
        result[value] = {name: rates[name] for name in ("clips", "accuracy", "recall")}
    return result


def compare(found: Sequence[Found]) -> dict[str, Any]:
    """By how much the second is better or worse than the first, where both heard the same."""
    from dataclasses import asdict

    from sonant.train.labelling import Labelling
    from sonant.train.verification import Verification

    if len(found) < 2:
        return {}
    first, second = found
    changes: dict[str, Change] = {}
    if isinstance(first, Labelling) and isinstance(second, Labelling) and len(first.said) == len(second.said):
        changes = dict(zip(("accuracy", "recall"), first.against(second), strict=True))
    if isinstance(first, Verification) and isinstance(second, Verification) and len(first.same) == len(second.same):
        changes = {"eer": first.against(second)}
    if not changes:
        raise OptionError("Two models are compared on what both have heard, but one missed some; leave those out.")
    return {name: asdict(change) for name, change in changes.items()}


def draw(found: dict[str, Found], shares: dict[str, list[float]], picture: Path, theme: str) -> None:
    """Confusions of the first classifier, or the DET curves of all, and what their layers count."""
    from sonant.plots import recognition_figure, save_figure
    from sonant.train.labelling import Labelling
    from sonant.train.verification import Verification

    title, one = " · ".join(found), next(iter(found.values()))
    if isinstance(one, Labelling):
        figure = recognition_figure(one.confusion, one.labels, None, shares, title=title, theme=theme)
    else:
        curves = {name: each.curve for name, each in found.items() if isinstance(each, Verification)}
        figure = recognition_figure(curves=curves, shares=shares, title=title, theme=theme)
    save_figure(figure, picture)


def lines_of(told: dict[str, Any]) -> Iterator[str]:
    """One model's results for people."""
    resampled = told["resampled"]
    over = f"intervals over {resampled['number']} {resampled['unit']}s"
    if told["task"] == Task.speaker:
        yield f"{told['model']}: {told['trials']} trials, {told['same']} of one speaker; {over}"
        yield f"  equal error rate {rate(told['eer'])}, at a score of {told['threshold']['eer']:.3f}"
        yield f"  false accepts of at most 1 % from a score of {told['threshold']['0.01']:.3f}"
        for prior, cost in told["min_dcf"].items():
            low, high = ("-" if cost[side] is None else f"{cost[side]:.3f}" for side in ("low", "high"))
            yield f"  minimum detection cost {cost['value']:.3f} ({low} to {high}), one speaker in {prior} of trials"
        return
    yield f"{told['model']}: {told['clips']} clips; {over}"
    yield f"  accuracy {rate(told['accuracy'])}, mean recall of the labels {rate(told['recall'])}"
    for label, recall in told["recalls"].items():
        yield f"  {label}: recall {rate(recall)}"
    for field, values in told["by"].items():
        for value, rates in values.items():
            yield f"  {field} {value or '(none)'}: {rates['clips']} clips, accuracy {rate(rates['accuracy'])}"
    table, labels = told["confusion"], told["labels"]
    wrong = [(table[i][j], said, heard) for i, said in enumerate(labels) for j, heard in enumerate(labels) if i != j]
    for count, said, heard in sorted(wrong, key=lambda row: (-row[0], row[1:]))[:SHOWN]:
        if count:
            yield f"  {said} heard as {heard}: {count}"


def rate(measure: dict[str, Any]) -> str:
    """A rate with its interval."""
    value, low, high = (measure[name] for name in ("value", "low", "high"))
    return f"{100 * value:.1f} %" + ("" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})")


def points(change: dict[str, float]) -> str:
    """A change in points with its interval and its test."""
    value, low, high = (f"{100 * change[name]:+.1f}" for name in ("value", "low", "high"))
    return f"{value} points ({low} to {high}), by chance with p = {change['bootstrap']:.3f}"
