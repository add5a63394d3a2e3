"""How well transcripts fit what was said: error rates with intervals, groups, confusions, and two models compared.

Nothing here hears or imports PyTorch. Intervals and tests resample speakers where every utterance names one (what one
speaker says is not independent), otherwise utterances: Bisani and Ney, "Bootstrap estimates for confidence intervals
in ASR performance evaluation" (2004).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import erfc, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonant.errors import OptionError
from sonant.text import Case, Errors, Pair, align_sequences, align_words, char_errors, count_errors, normalise

REPLICATES = 2000
"""Resamplings behind an interval or a test."""
_DRAWN = 1 << 18
"""Rows drawn at once, which bounds memory."""
LEVEL = 0.95
"""Probability that an interval holds the rate of all such speech."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is done to both sides, alike, before they are compared; the fields are those of `text.normalise`."""

    case: Case = "lower"
    """Upper-case models are thereby compared with lower-case references as equals."""
    keep: str = "'"
    digits: bool = True
    raw: bool = False
    """Compare the texts as they stand, white space aside."""

    def __call__(self, text: str) -> str:
        return (
            " ".join(text.split())
            if self.raw
            else normalise(text, case=self.case, keep=self.keep, digits=self.digits)[0]
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """An utterance: what was said, what was heard, and how they differ."""

    number: int
    """Its place in the manifest, from 0."""
    name: str
    said: str
    """The reference, normalised."""
    heard: str
    """The model's text, normalised."""
    duration: float
    """Seconds."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the manifest says of it: `speaker`, and whatever else."""
    words: Errors = field(init=False)
    letters: Errors = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", count_errors(self.said.split(), self.heard.split()))
        object.__setattr__(self, "letters", char_errors(self.said, self.heard))

    @property
    def pairs(self) -> list[Pair[str]]:
        """The words that were said beside those that were heard."""
        return align_words(self.said, self.heard)


@dataclass(frozen=True, slots=True)
class Rate:
    """An error rate, and where that of all such speech lies with a probability of 95 %."""

    errors: Errors
    low: float | None
    """None where resampling tells nothing: of one speaker or utterance, and where nothing is wrong."""
    high: float | None

    @property
    def value(self) -> float:
        return self.errors.rate


@dataclass(frozen=True)
class Evaluation:
    """What a model made of some utterances."""

    model: str
    utterances: tuple[Scored, ...]
    failures: tuple[tuple[str, str], ...] = ()
    """Utterances that could not be heard, which no rate counts: name and reason."""
    normalisation: Normalisation = Normalisation()
    seed: int = 0

    @property
    def duration(self) -> float:
        """Seconds of audio heard."""
        return sum(scored.duration for scored in self.utterances)

    @cached_property
    def words(self) -> Rate:
        """The word error rate."""
        return self._rate(lambda scored: scored.words)

    @cached_property
    def letters(self) -> Rate:
        """The character error rate."""
        return self._rate(lambda scored: scored.letters)

    @property
    def unit(self) -> str:
        """What intervals resample: `speaker` where every utterance names one and they are several, or `utterance`."""
        return _units(self.utterances)[0]

    @property
    def num_units(self) -> int:
        return int(_units(self.utterances)[1].max(initial=-1)) + 1

    @property
    def fields(self) -> list[str]:
        """What `by` takes."""
        return sorted({name for scored in self.utterances for name in scored.fields})

    def by(self, name: str) -> dict[str, Evaluation]:
        """The utterances apart by a field of the manifest, the highest word error rate first; "" has no value.

        Raises `OptionError` where no utterance has the field.
        """
        if name not in self.fields:
            raise OptionError(
                f"The manifest must have the field {name!r}, but has {', '.join(self.fields) or 'none'}; name another."
            )
        groups: dict[str, list[Scored]] = {}
        for scored in self.utterances:
            value = scored.fields.get(name)
            groups.setdefault("" if value is None else str(value), []).append(scored)
        found = {value: replace(self, utterances=tuple(group), failures=()) for value, group in groups.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].words.value, item[0])))

    def worst(self, most: int = 10) -> list[Scored]:
        """The utterances with the most wrong words; of equals the shorter, then the earlier."""
        wrong = [scored for scored in self.utterances if scored.words.total]
        return sorted(wrong, key=lambda scored: (-scored.words.total, scored.words.length, scored.number))[:most]

    @cached_property
    def word_confusions(self) -> list[tuple[Pair[str], int]]:
        """Said, heard and how often, the most frequent first."""
        return _confusions(pair for scored in self.utterances for pair in scored.pairs)

    @cached_property
    def letter_confusions(self) -> list[tuple[Pair[str], int]]:
        """Said, heard and how often, the most frequent first."""
        return _confusions(pair for scored in self.utterances for pair in align_sequences(scored.said, scored.heard))

    def _rate(self, errors: Callable[[Scored], Errors]) -> Rate:
        total = sum(map(errors, self.utterances), Errors())
        sums = _sums_by_unit(self.utterances, _units(self.utterances)[1], errors)
        wrong, length = resample(sums, self.seed).T
        rates = wrong[length > 0] / length[length > 0]
        if len(sums) < 2 or not len(rates) or not total.total:
            return Rate(total, None, None)
        return Rate(total, *interval(rates))


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much the second model's error rate is higher than the first's, on the same utterances."""

    value: float
    """Negative where the second is better."""
    low: float
    high: float
    bootstrap: float
    """Probability of a difference this clear, either way, between models that are alike: paired bootstrap."""
    matched_pairs: float
    """The same by the normal distribution over utterances: Gillick and Cox, "Some statistical issues in the comparison
    of speech recognition algorithms" (1989), an utterance being a segment."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the utterances that both heard."""

    words: Difference
    letters: Difference
    num_utterances: int
    better: int
    """Utterances in which the second has fewer wrong words."""
    worse: int


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """The second model against the first. Raises `OptionError` where they heard other utterances, or fewer than two."""
    others = {scored.number: scored for scored in second.utterances}
    pairs = [(scored, others[scored.number]) for scored in first.utterances if scored.number in others]
    if len(pairs) < 2 or any(a.said != b.said for a, b in pairs):
        raise OptionError(
            "Two models are compared on two or more utterances that both have heard, but these have "
            f"{len(pairs) if len(pairs) < 2 else 'other texts'}; evaluate both on one manifest."
        )
    changes = [b.words.total - a.words.total for a, b in pairs]
    return Comparison(
        words=_difference(pairs, lambda scored: scored.words, first.seed),
        letters=_difference(pairs, lambda scored: scored.letters, first.seed),
        num_utterances=len(pairs),
        better=sum(change < 0 for change in changes),
        worse=sum(change > 0 for change in changes),
    )


def resample(values: NDArray[np.float64], seed: int, replicates: int = REPLICATES) -> NDArray[np.float64]:
    """Sums over as many rows of (N, K) as there are, drawn with replacement, again and again: (replicates, K)."""
    generator = np.random.default_rng(seed)
    size = len(values)
    sums = np.zeros((replicates if size else 0, values.shape[1]))
    step = max(1, _DRAWN // max(1, size))
    for start in range(0, len(sums), step):
        part = sums[start : start + step]
        part[:] = values[generator.integers(0, size, (len(part), size))].sum(1)
    return sums


def interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """The middle `LEVEL` of resampled values."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def by_chance(drawn: NDArray[np.float64]) -> float:
    """Probability of a change this clear, either way, between what is alike, from its resamplings: paired bootstrap."""
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return min(1.0, float(2 * (tail + 1) / (len(drawn) + 1)))


def _difference(pairs: list[tuple[Scored, Scored]], errors: Callable[[Scored], Errors], seed: int) -> Difference:
    units = _units(tuple(a for a, _ in pairs))[1]
    ours = _sums_by_unit(tuple(a for a, _ in pairs), units, errors)
    theirs = _sums_by_unit(tuple(b for _, b in pairs), units, errors)
    change, length = np.stack([theirs[:, 0] - ours[:, 0], ours[:, 1]])
    drawn = resample(np.stack([change, length], 1), seed)
    drawn = drawn[drawn[:, 1] > 0]
    differences = drawn[:, 0] / drawn[:, 1] if len(drawn) else np.zeros(1)
    low, high = interval(differences)
    each = np.array([errors(b).total - errors(a).total for a, b in pairs], float)
    return Difference(
        value=float(change.sum() / length.sum()) if length.sum() else 0.0,
        low=low,
        high=high,
        bootstrap=by_chance(differences),
        matched_pairs=_matched_pairs(each),
    )


def _matched_pairs(changes: NDArray[np.float64]) -> float:
    """Two-sided probability of changes whose mean is this far from zero, if they are independent and it is zero."""
    if not changes.any():
        return 1.0
    spread = changes.std(ddof=1) * sqrt(len(changes))
    return erfc(abs(changes.sum()) / spread / sqrt(2)) if spread else 0.0


def _units(utterances: tuple[Scored, ...]) -> tuple[str, NDArray[np.int64]]:
    """What is independent of each other, and which of it each utterance belongs to."""
    speakers = [scored.fields.get("speaker") for scored in utterances]
    index = {speaker: i for i, speaker in enumerate(dict.fromkeys(map(str, speakers)))}
    if len(index) > 1 and None not in speakers:
        return "speaker", np.array([index[str(speaker)] for speaker in speakers])
    return "utterance", np.arange(len(utterances))


def _sums_by_unit(
    utterances: tuple[Scored, ...], units: NDArray[np.int64], errors: Callable[[Scored], Errors]
) -> NDArray[np.float64]:
    """Errors and length of each unit, (N, 2)."""
    sums = np.zeros((int(units.max(initial=-1)) + 1, 2))
    np.add.at(sums, units, np.array([(errors(s).total, errors(s).length) for s in utterances], float).reshape(-1, 2))
    return sums


def _confusions(pairs: Any) -> list[tuple[Pair[str], int]]:
    counts = Counter((said, heard) for said, heard in pairs if said != heard)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
