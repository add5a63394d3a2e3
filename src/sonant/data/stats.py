"""What a manifest holds, in numbers: hours, speakers, letters, lengths, rates; only files' headers are read."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sonant.data.manifest import Utterance, open_utterance
from sonant.data.pool import ordered_map
from sonant.errors import DataError, SonantError
from sonant.types import Progress

BAR = 40
"""Characters of the longest bar of a histogram."""
BINS = 12


@dataclass(frozen=True)
class ManifestStats:
    """Numbers of a manifest, or of several taken together."""

    utterances: int
    seconds: float
    lengths: Sequence[float]
    """Seconds of each utterance."""
    paces: Sequence[float]
    """Letters a second of each utterance that has a text."""
    speakers: Counter[str]
    """Seconds of each speaker, rounded."""
    languages: Counter[str]
    """Utterances of each language."""
    labels: Counter[str]
    letters: Counter[str]
    """How often each letter stands in the texts, spaces left out."""
    words: int
    rates: Counter[str]
    """Utterances of each sample rate; empty where the headers were not read."""

    def to_text(self) -> str:
        """For people: a line a number, then the histogram of lengths."""
        lines = [f"utterances  {self.utterances}", f"hours       {self.seconds / 3600:.3f}"]
        lines.append(f"seconds     {_spread(self.lengths)}")
        if self.speakers:
            seconds = list(self.speakers.values())
            lines.append(f"speakers    {len(seconds)}, seconds each: {_spread(seconds)}")
        for name, counts in (("languages", self.languages), ("labels", self.labels), ("rates", self.rates)):
            if counts:
                lines.append(f"{name:<11} " + ", ".join(f"{key} ({count})" for key, count in counts.most_common(20)))
        if self.paces:
            lines.append(f"with text   {len(self.paces)}, {self.words} words, {len(set(self.letters))} letters")
            lines.append(f"letters/s   {_spread(self.paces)}")
            lines.append("letters     " + " ".join(f"{key} {count}" for key, count in self.letters.most_common()))
        return "\n".join([*lines, "", *_histogram(self.lengths)]) + "\n"

    def to_json(self) -> str:
        """For programs: all but the utterances' own lengths, in one object."""
        values = dict(vars(self)) | {"seconds": round(self.seconds, 3), "hours": round(self.seconds / 3600, 4)}
        for key, numbers in (("lengths", self.lengths), ("paces", self.paces)):
            values[key] = dict(zip(("least", "median", "most"), _three(numbers), strict=True)) if numbers else None
        return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def measure_manifest(
    utterances: Iterable[Utterance],
    *,
    headers: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ManifestStats:
    """The numbers of some utterances; sample rates come from the files' headers, which `headers` False leaves closed.

    Raises `DataError` where an utterance declares no duration, or there is none.
    """
    lengths: list[float] = []
    paces: list[float] = []
    speakers: dict[str, float] = defaultdict(float)
    languages, labels, letters, rates = (Counter[str]() for _ in range(4))
    words = 0
    for utterance, rate in ordered_map(_rate if headers else _no_rate, utterances, threads):
        if utterance.duration is None:
            raise DataError(f"Every utterance must declare its duration, but {utterance.name} does not; prepare again.")
        lengths.append(utterance.duration)
        if utterance.speaker:
            speakers[utterance.speaker] += utterance.duration
        languages.update([utterance.language] if utterance.language else [])
        labels.update([utterance.label] if utterance.label else [])
        rates.update([rate] if rate else [])
        if spoken := (utterance.text or "").split():
            words += len(spoken)
            letters.update("".join(spoken))
            paces.append(sum(map(len, spoken)) / utterance.duration)
        if progress:
            progress(len(lengths), None)
    if not lengths:
        raise DataError("At least one utterance must be counted, but there is none; pass a manifest.")
    whole = Counter({name: round(seconds) for name, seconds in speakers.items()})
    return ManifestStats(
        len(lengths), sum(lengths), lengths, paces, whole, languages, labels, letters, words, rates
    )  # fmt: skip


def _rate(utterance: Utterance) -> str:
    """The sample rate in a file's header."""
    try:
        with open_utterance(utterance) as stream:
            return f"{stream.source_rate} Hz" if stream.source_rate else "unknown"
    except SonantError:
        return "unreadable"


def _no_rate(_: Utterance) -> str:
    return ""


def _three(numbers: Sequence[float]) -> tuple[float, float, float]:
    return round(min(numbers), 2), round(float(np.median(numbers)), 2), round(max(numbers), 2)


def _spread(numbers: Sequence[float]) -> str:
    least, middle, most = _three(numbers)
    return f"{least:g} to {most:g}, median {middle:g}"


def _histogram(lengths: Sequence[float]) -> list[str]:
    counts, edges = np.histogram(lengths, BINS if max(lengths) > min(lengths) else 1)
    width, digits = BAR / counts.max(), 1 if edges[-1] - edges[0] >= 0.1 * BINS else 2
    return [
        f"{edges[i]:7.{digits}f} to {edges[i + 1]:6.{digits}f} s {'#' * round(width * count):<{BAR}} {count}"
        for i, count in enumerate(counts.tolist())
    ]
