"""What models make of labelled clips and of trials of voices: the hearing behind `labelling` and `verification`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sonant.data.manifest import Utterance, read_lines, read_utterance
from sonant.errors import AudioError, DataError
from sonant.train.labelling import Labelling
from sonant.train.verification import Verification, all_pairs
from sonant.types import FloatArray, Progress

if TYPE_CHECKING:
    from sonant.recognizer import Recognizer

T = TypeVar("T")
Failures = list[tuple[str, str]]
"""Names of what could not be heard, and why."""
_ANSWERS = {"1": True, "0": False, "target": True, "nontarget": False}


def label_clips(
    asr: Recognizer, utterances: Sequence[Utterance], seed: int = 0, progress: Progress | None = None
) -> tuple[Labelling, list[int], Failures]:
    """How a classifier labels utterances, which of them were heard, and which were not.

    Raises `DataError` where one has no label, or none can be heard.
    """
    if missing := sum(utterance.label is None for utterance in utterances):
        raise DataError(
            f"Every utterance must have the label that is right, but {missing} of {len(utterances)} have none; "
            "leave them out of the manifest."
        )
    rate = asr.checkpoint.sample_rate
    found, failures = _hear(utterances, lambda u: asr.classify(read_utterance(u, rate), rate).label, progress)
    heard = [(i, label) for i, label in enumerate(found) if label is not None]
    speakers = [utterances[i].speaker for i, _ in heard]
    said = [str(utterances[i].label) for i, _ in heard]
    return Labelling(said, [label for _, label in heard], speakers, seed), [i for i, _ in heard], failures


def embed_clips(
    asr: Recognizer, utterances: Sequence[Utterance], progress: Progress | None = None
) -> tuple[list[FloatArray | None], Failures]:
    """The vector of each utterance's voice, None where it cannot be heard."""
    rate = asr.checkpoint.sample_rate
    return _hear(utterances, lambda u: asr.embed(read_utterance(u, rate), rate), progress)


def verify(
    vectors: Sequence[FloatArray | None],
    pairs: NDArray[np.int64],
    same: Sequence[bool],
    sides: Sequence[str],
    seed: int = 0,
) -> Verification:
    """Trials, pairs (N, 2) of clips, by the scalar products of their vectors; those that were not heard count not.

    `sides` names the speaker, or the file, of each clip. Raises `DataError` where trials of one kind are missing.
    """
    heard = [k for k, (i, j) in enumerate(pairs.tolist()) if vectors[i] is not None and vectors[j] is not None]
    ones = sum(same[k] for k in heard)
    if not 0 < ones < len(heard):
        raise DataError(
            "Voices are judged by pairs of one speaker and pairs of two, but of those heard "
            f"{ones} are of one and {len(heard) - ones} of two; add the others."
        )
    width = next(len(vector) for vector in vectors if vector is not None)
    table = np.stack([np.zeros(width, np.float32) if vector is None else vector for vector in vectors])
    kept = pairs[heard]
    scores = np.einsum("nd,nd->n", table[kept[:, 0]], table[kept[:, 1]])
    named = [(sides[int(i)], sides[int(j)]) for i, j in kept]
    return Verification([same[k] for k in heard], scores.tolist(), named, seed)


def speaker_trials(utterances: Sequence[Utterance], seed: int = 0) -> tuple[NDArray[np.int64], list[bool], list[str]]:
    """Pairs of the utterances of a manifest, whether each is of one speaker, and the speakers."""
    named = [utterance.speaker for utterance in utterances if utterance.speaker is not None]
    if len(named) < len(utterances):
        raise DataError(
            f"Every utterance must name its speaker, but {len(utterances) - len(named)} of {len(utterances)} do not; "
            "leave them out, or pass a list of trials."
        )
    pairs = all_pairs(named, seed)
    return pairs, [named[i] == named[j] for i, j in pairs.tolist()], named


def is_trial_list(path: Path) -> bool:
    """Whether a file has trials rather than a manifest's objects, by its first line."""
    first = next((line for _, line in read_lines(path) if line.strip()), "{")
    return not first.lstrip().startswith("{")


def read_trials(path: Path) -> tuple[list[Utterance], NDArray[np.int64], list[bool], list[str]]:
    """The recordings of a list of trials, its pairs (N, 2), whether each is of one speaker, and the files' names.

    A line reads `1 a.wav b.wav` (VoxCeleb's way; 0 for two speakers) or `a.wav b.wav target` (Kaldi's; `nontarget`).
    Paths start from the list's folder. Raises `DataError` for another line.
    """
    files: dict[str, int] = {}
    pairs: list[list[int]] = []
    same: list[bool] = []
    for number, line in read_lines(path):
        parts = line.split()
        if not parts:
            continue
        answer, names = (parts[0], parts[1:]) if parts[0] in _ANSWERS else (parts[-1], parts[:-1])
        if answer not in _ANSWERS or len(names) != 2:
            raise DataError(
                f"{path}:{number} must read like `1 a.wav b.wav`, but is {line.strip()[:60]!r}; correct it."
            )
        pairs.append([files.setdefault(name, len(files)) for name in names])
        same.append(_ANSWERS[answer])
    folder = path.parent
    return [Utterance(str(folder / name)) for name in files], np.array(pairs).reshape(-1, 2), same, list(files)


def _hear(
    utterances: Sequence[Utterance], hear: Callable[[Utterance], T], progress: Progress | None
) -> tuple[list[T | None], Failures]:
    """What is heard in each; `DataError` where nothing can be."""
    found: list[T | None] = []
    failures: Failures = []
    lengths = [utterance.duration for utterance in utterances]
    total = sum(length or 0.0 for length in lengths) if all(lengths) else None
    done = 0.0
    for utterance, length in zip(utterances, lengths, strict=True):
        try:
            found.append(hear(utterance))
        except AudioError as error:
            found.append(None)
            failures.append((utterance.name, str(error)))
        done += length or 0.0
        if progress:
            progress(done, total)
    if len(failures) == len(found):
        raise DataError(f"Nothing could be heard, first because: {failures[0][1] if failures else 'nothing is named'}")
    return found, failures


def summary(found: Labelling | Verification) -> dict[str, Any]:
    """What was found as JSON has it."""
    from sonant.train.verification import PRIORS

    if isinstance(found, Labelling):
        return {
            "clips": len(found.said),
            "resampled": {"unit": found.unit, "number": int(found.units.max()) + 1},
            "accuracy": _measure(found.accuracy),
            "recall": _measure(found.recall),
            "recalls": {label: _measure(measure) for label, measure in found.recalls.items()},
            "labels": list(found.labels),
            "confusion": found.confusion.tolist(),
        }
    return {
        "trials": len(found.same),
        "same": int(found.same.sum()),
        "resampled": {"unit": "speaker", "number": found.num_units},
        "eer": _measure(found.eer),
        "min_dcf": {f"{prior:g}": _measure(found.min_dcf(prior)) for prior in PRIORS},
        "threshold": {"eer": found.threshold(), "0.01": found.threshold(0.01)},
    }


def _measure(measure: Any) -> dict[str, float | None]:
    parts = {"value": measure.value, "low": measure.low, "high": measure.high}
    return {name: None if value is None else round(value, 6) for name, value in parts.items()}
