"""Transcribe utterances and score them. What was heard can be kept as it comes, so that a long evaluation goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonant import __version__
from sonant.data.manifest import Utterance, from_fields, read_utterance, relative_to, split_archive, to_fields
from sonant.errors import AudioError, DataError, OutputError
from sonant.files import open_output
from sonant.train.scores import Comparison, Difference, Evaluation, Normalisation, Rate, Scored

if TYPE_CHECKING:
    from sonant.recognizer import Recognizer
    from sonant.types import Progress

Heard = tuple[str, float]
"""The text a model wrote, and the seconds it heard."""
Place = tuple[str, float | None, float | None]
"""Where an utterance is: file, offset, duration."""


class Journal:
    """What a model has heard, a line an utterance: an evaluation that was interrupted goes on where it stopped.

    Lines stand in a file `NAME.partial` while it runs; `finish` writes them whole, with their errors, in the order of
    the manifest. What another model or other settings heard (`fingerprint`) is passed over. Both files are manifests.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.run = run
        self.heard: dict[Place, Heard] = {}
        for file in (self.path, self.partial):
            self.heard.update(self._read(file))

    def add(self, utterance: Utterance, heard: Heard) -> None:
        """Keep what was heard in an utterance; `OutputError` where there is no room."""
        self.heard[_place(utterance)] = heard
        try:
            with self.partial.open("ab") as file:
                file.write(b"\n" + _line(self._fields(utterance)))  # in front: what broke off ends here
        except OSError as error:
            raise OutputError(f"{self.partial} could not be written ({error.strerror}); make room for it.") from error

    def finish(self, utterances: Sequence[Utterance], evaluation: Evaluation) -> None:
        """Write the lines whole, each with its errors."""
        with open_output(self.path) as file:
            for scored in evaluation.utterances:
                rates = {"wer": _number(scored.words.rate), "cer": _number(scored.letters.rate)}
                errors = {"word_errors": asdict(scored.words), "character_errors": asdict(scored.letters)}
                file.write(_line(self._fields(utterances[scored.number]) | rates | errors) + b"\n")
        self.partial.unlink(missing_ok=True)

    def _fields(self, utterance: Utterance) -> dict[str, Any]:
        text, seconds = self.heard[_place(utterance)]
        fields = to_fields(utterance, relative_to(utterance.audio, self.path.parent.resolve()))
        return fields | {"pred_text": text, "seconds": seconds, "run": self.run}

    def _read(self, path: Path) -> Iterable[tuple[Place, Heard]]:
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{path} cannot be read ({error.strerror}); choose another folder.") from error
        for line in lines:
            try:
                values = json.loads(line)
                if values["run"] == self.run:
                    heard = str(values["pred_text"]), float(values["seconds"])
                    yield _place(from_fields(values, path.parent, str(path))), heard
            except (ValueError, KeyError, TypeError, DataError):
                continue  # broken off, or written by someone else: it is heard again


def evaluate(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    normalisation: Normalisation | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """What a recogniser makes of utterances whose texts are known.

    Audio that cannot be read or heard is among the `failures`, and no rate counts it. `progress` is called with the
    seconds heard, and the seconds there are if every utterance declares its own. Raises `DataError` where an utterance
    has no text ("" is one: nothing is said).
    """
    normalisation = normalisation or Normalisation()
    check_texts(utterances)
    known = journal.heard if journal else {}
    rest = [utterance.duration for utterance in utterances if _place(utterance) not in known]
    total = None if None in rest else sum(filter(None, rest))
    scored: list[Scored] = []
    failures: list[tuple[str, str]] = []
    done = 0.0
    for number, utterance in enumerate(utterances):
        heard = known.get(_place(utterance))
        if heard is None:
            began = done
            try:
                heard = hear(recognizer, utterance, lambda now, _: progress and progress(began + now, total))  # noqa: B023
            except AudioError as error:
                failures.append((utterance.name, str(error)))
                continue
            done += heard[1]
            if journal:
                journal.add(utterance, heard)
        scored.append(score(number, utterance, heard, normalisation))
    name = recognizer.checkpoint.name
    evaluation = Evaluation(name, tuple(scored), tuple(failures), normalisation, seed)
    if journal:
        journal.finish(utterances, evaluation)
    return evaluation


def check_texts(utterances: Sequence[Utterance]) -> None:
    """Raises `DataError` where an utterance has no text to be compared with."""
    missing = [utterance.name for utterance in utterances if utterance.text is None]
    if missing:
        raise DataError(
            f"Every utterance must have the text that is said in it, but {len(missing)} of {len(utterances)} have "
            f'none, such as {missing[0]}; add it, or "" where nothing is said, or leave them out.'
        )


def hear(recognizer: Recognizer, utterance: Utterance, progress: Progress | None = None) -> Heard:
    """The text of one utterance as the model writes it, and its seconds; `AudioError` where it cannot be heard."""
    if utterance.offset is None and utterance.encoded is None and split_archive(utterance.audio) is None:
        transcript = recognizer.transcribe(utterance.audio, progress=progress)  # of any length, as it is read
    else:
        rate = recognizer.checkpoint.sample_rate
        transcript = recognizer.transcribe(read_utterance(utterance, rate), rate, progress=progress)
    return transcript.text, transcript.duration


def score(number: int, utterance: Utterance, heard: Heard, normalisation: Normalisation) -> Scored:
    """An utterance beside what was heard in it."""
    return Scored(
        number=number,
        name=utterance.name,
        said=normalisation(utterance.text or ""),
        heard=normalisation(heard[0]),
        duration=heard[1],
        fields=fields_of(utterance),
    )


def fields_of(utterance: Utterance) -> dict[str, Any]:
    """What a manifest says of an utterance beside audio and text, by which it may be told apart."""
    fields = {"speaker": utterance.speaker, "language": utterance.language, "label": utterance.label, **utterance.extra}
    return {name: value for name, value in fields.items() if value is not None}


def fingerprint(recognizer: Recognizer) -> str:
    """A short name for a model's weights and the settings it hears with: what is equal in both hears the same."""
    checkpoint = recognizer.checkpoint
    settings = {"version": __version__, "normalize": checkpoint.normalize, "sample_rate": checkpoint.sample_rate}
    described = json.dumps([settings, recognizer.settings, recognizer.vocabulary.tokens], sort_keys=True, default=str)
    digest = hashlib.sha256(described.encode())
    for name in sorted(checkpoint.tensors):
        values = checkpoint.tensors[name]
        digest.update(f"{name} {values.shape}".encode())
        digest.update(values.reshape(-1)[:256].tobytes())  # training changes every tensor, and most of its values
    return digest.hexdigest()[:16]


def summary(evaluation: Evaluation, fields: Iterable[str] = ()) -> dict[str, Any]:
    """An evaluation as JSON has it, apart by each of the fields too; rates that are infinite are null."""
    return {
        "model": evaluation.model,
        "normalisation": asdict(evaluation.normalisation),
        "failures": dict(evaluation.failures),
        **_rates(evaluation),
        "by": {field: {value: _rates(group) for value, group in evaluation.by(field).items()} for field in fields},
        "confusions": {
            "words": [[*pair, count] for pair, count in evaluation.word_confusions[:100]],
            "characters": [[*pair, count] for pair, count in evaluation.letter_confusions[:100]],
        },
    }


def comparison_summary(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON has it."""
    return {
        "utterances": comparison.num_utterances,
        "better": comparison.better,
        "worse": comparison.worse,
        "wer": _difference(comparison.words),
        "cer": _difference(comparison.letters),
    }


def _rates(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "utterances": len(evaluation.utterances),
        "seconds": round(evaluation.duration, 3),
        "resampled": {"unit": evaluation.unit, "number": evaluation.num_units},
        "wer": _rate(evaluation.words),
        "cer": _rate(evaluation.letters),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    values = {"value": _number(rate.value), "low": _number(rate.low), "high": _number(rate.high)}
    return values | asdict(rate.errors) | {"length": rate.errors.length}


def _difference(difference: Difference) -> dict[str, float | None]:
    return {name: _number(value) for name, value in asdict(difference).items()}


def _number(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 6)


def _place(utterance: Utterance) -> Place:
    return os.path.abspath(utterance.audio), utterance.offset, utterance.duration  # noqa: PTH100  # keeps links


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode(errors="surrogateescape")
