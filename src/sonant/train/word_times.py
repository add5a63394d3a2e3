"""How far aligned words lie from the times that they are known to have, and what of it a model does always.

The known times lie in a folder, a file an utterance, named as its audio is. Shapes: W words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonant.alignment import align
from sonant.data.manifest import Utterance
from sonant.decode.words import AS_HEARD, word_edges
from sonant.errors import AlignmentError, DataError, OptionError
from sonant.subtitles import read
from sonant.text import align_sequences, normalise
from sonant.train.evaluate import fields_of
from sonant.types import Emissions, Word, WordTimes

if TYPE_CHECKING:
    from sonant.recognizer import Recognizer

SUFFIXES = (".TextGrid", ".textgrid", ".ctm", ".json", ".tsv")
"""What a file of words with times may end in."""
WITHIN = (0.02, 0.05, 0.1)
"""Seconds of an error whose shares are told."""
APART = 100.0
"""Seconds between two utterances on their common axis: words of two have nothing to do with each other."""
OFFSETS = np.arange(-60, 61, 5) / 1000
REACHES = np.arange(0, 201, 5) / 1000

Edges = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KnownWords:
    """The words of some utterances, one after another, beside the times that they are known to have."""

    heard: Edges
    """(W, 2) where their letters are heard to begin and to end; on an axis on which utterances follow one another."""
    known: Edges
    """(W, 2) where they are said, on the same axis; NaN where that is not known."""
    origins: Edges
    """(W,) where each word's utterance begins on that axis."""
    numbers: NDArray[np.int64]
    """(W,) of the utterance in the manifest."""
    fields: Mapping[int, Mapping[str, Any]]
    """What the manifest says of each utterance."""
    failures: tuple[str, ...] = ()
    """Why utterances are left out, a sentence each."""

    @property
    def num_utterances(self) -> int:
        return len(self.fields)

    def errors(self, times: WordTimes, chosen: NDArray[np.bool_] | None = None) -> Edges:
        """Seconds (W, 2) that words begin and end too late, where that is known, of the `chosen` words (W,)."""
        starts, ends = word_edges(self.heard[:, 0], self.heard[:, 1], times, -np.inf, np.inf)
        found = np.maximum(np.stack([starts, ends], 1), self.origins[:, None]) - self.known
        return found[np.isfinite(found[:, 0]) & (True if chosen is None else chosen)]

    def of(self, field: str) -> dict[str, NDArray[np.bool_]]:
        """Which words (W,) have each value of a field of the manifest."""
        values = {number: str(fields.get(field, "")) for number, fields in self.fields.items()}
        own = np.array([values[number] for number in self.numbers.tolist()])
        return {value: own == value for value in sorted(set(values.values()))}


def align_known(
    recognizer: Recognizer, utterances: Sequence[Utterance], heard: Sequence[Emissions | None], folder: Path
) -> KnownWords:
    """Utterances aligned with their texts, beside the files of `folder` that say when their words are said.

    `heard` are their emissions, None for those to leave out; what has no file, or no place in its audio, is left out
    too. Raises `DataError` where no word's times are known, and `OptionError` for a file that is damaged.
    """
    rows: list[Edges] = []
    numbers: list[int] = []
    origins: list[float] = []
    failures: list[str] = []
    fields: dict[int, Mapping[str, Any]] = {}
    origin = 0.0
    for number, (utterance, emissions) in enumerate(zip(utterances, heard, strict=True)):
        known = known_words(folder, utterance) if emissions is not None else None
        if emissions is None or known is None:
            continue
        try:
            found = align(
                emissions, [utterance.text or ""], language=recognizer.checkpoint.language, star="none", leave_out=False
            )
        except AlignmentError as error:
            failures.append(f"{utterance.name}: {error}")
            continue
        rows.append(origin + paired(found.words, known))
        numbers += [number] * len(found)
        origins += [origin] * len(found)
        fields[number] = fields_of(utterance)
        origin += emissions.duration + APART
    table = np.concatenate([np.zeros((0, 4)), *rows])
    if not np.isfinite(table).all(1).any():
        raise DataError(
            f"{folder} must hold a file a recording with the times of its words ({', '.join(SUFFIXES)}), named as its "
            "audio, but has none for this manifest; look at both."
        )
    return KnownWords(table[:, :2], table[:, 2:], np.array(origins), np.array(numbers), fields, tuple(failures))


def known_words(folder: Path, utterance: Utterance) -> list[Word] | None:
    """The words of an utterance as a file of the folder has them, in its own seconds; None where there is no file."""
    stem = Path(utterance.audio).stem
    path = next((path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)
    if path is None:
        return None
    words = [word for segment in read(path).segments for word in segment.words]
    if utterance.offset is None:
        return words
    end = utterance.offset + (utterance.duration or np.inf)
    return [
        Word(word.text, word.start - utterance.offset, word.end - utterance.offset, word.confidence)
        for word in words
        if utterance.offset <= (word.start + word.end) / 2 < end
    ]


def paired(found: Sequence[Word], known: Sequence[Word]) -> Edges:
    """Start and end of each word that was found, and those that it is known to have, or NaN: (W, 4)."""
    rows = np.full((len(found), 4), np.nan)
    rows[:, :2] = [(word.start, word.end) for word in found]
    ours, theirs = ([normalise(word.text, case="lower")[0] for word in words] for words in (found, known))
    i = j = 0
    for left, right in align_sequences(ours, theirs):
        if left is not None and left == right:
            rows[i, 2:] = known[j].start, known[j].end
        i += left is not None
        j += right is not None
    return rows


def estimate(words: KnownWords, chosen: NDArray[np.bool_] | None = None) -> WordTimes:
    """The offset and the reach whose errors of starts and ends are the smallest in the mean, of the `chosen` words."""
    best = (np.inf, AS_HEARD)
    for reach in REACHES.tolist():
        at = words.errors(WordTimes(0.0, reach), chosen)
        costs = [float(np.abs(at - offset).mean()) for offset in OFFSETS.tolist()]
        least = int(np.argmin(costs))
        best = min(best, (costs[least], WordTimes(float(OFFSETS[least]), reach)), key=lambda each: each[0])
    return best[1]


def held_out(words: KnownWords, chosen: NDArray[np.bool_] | None = None) -> Edges:
    """`errors` where each utterance's times are estimated on the other half of them: every second one."""
    if words.num_utterances < 2:
        raise OptionError("Times are estimated on two utterances or more, but there is one; add some.")
    order = {number: i for i, number in enumerate(words.fields)}
    odd = np.array([order[number] % 2 == 1 for number in words.numbers.tolist()])
    wanted = np.ones(len(odd), bool) if chosen is None else chosen
    return np.concatenate([words.errors(estimate(words, ~half), wanted & half) for half in (odd, ~odd)])


def summary(errors: Edges) -> dict[str, Any]:
    """What JSON has of errors (W, 2): of starts and of ends, in milliseconds, and shares."""
    return {"words": len(errors), **{name: _summary(errors[:, i]) for i, name in enumerate(("start", "end"))}}


def _summary(errors: Edges) -> dict[str, float]:
    size = np.abs(errors)
    shares = {f"within_{1000 * limit:.0f}_ms": float((size <= limit + 1e-9).mean()) for limit in WITHIN}
    middle, far = (float(np.quantile(size, share)) for share in (0.5, 0.95))
    mean, shift = float(size.mean()), float(np.median(errors))
    numbers = {"median_ms": 1000 * middle, "mean_ms": 1000 * mean, "p95_ms": 1000 * far, "shift_ms": 1000 * shift}
    return {name: round(value, 1) for name, value in numbers.items()} | {
        name: round(share, 4) for name, share in shares.items()
    }


def report(words: KnownWords, stored: WordTimes, by: Iterable[str]) -> dict[str, Any]:
    """All that is found, as JSON has it: errors as heard, with the model's own times, and with those estimated.

    The latter are judged on utterances that they were not estimated on.
    """

    def rows(chosen: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        errors = {"as_heard": words.errors(AS_HEARD, chosen)}
        errors |= {"stored": words.errors(stored, chosen)} if stored != AS_HEARD else {}
        errors |= {"held_out": held_out(words, chosen)} if words.num_utterances > 1 else {}
        return {name: summary(each) for name, each in errors.items() if len(each)}

    return {
        "utterances": words.num_utterances,
        "failures": list(words.failures),
        "times": {"stored": asdict(stored), "estimated": asdict(estimate(words))},
        **rows(),
        "by": {field: {value: rows(chosen) for value, chosen in words.of(field).items()} for field in by},
    }
