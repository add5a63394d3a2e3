"""Where a long recording is cut: pieces between quiet moments, by dynamic programming over what each is worth.

A piece is worth its seconds, less what its two cuts cost; long pauses cost little. What no piece holds is left out.
Shapes: W words, W + 1 places to cut (before each word, and after the last), T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log

import numpy as np
from numpy.typing import NDArray

from sonant.errors import OptionError
from sonant.types import FloatArray, Word

PAD = 0.3
"""Seconds of a pause that a piece keeps at most."""
REACH = 0.25
"""Seconds from a word's edge within which it must grow quiet where what lies beyond is not known."""
EDGE = 0.3
"""Share of the least confidence that a word needs beside what is not known."""
SOUND = 1.2
"""Seconds of sound between two words that may be speech without a text."""
CUT, TORN, LONG = 0.5, 3.0, 0.3
"""Seconds that a cut costs, and that one without a pause would cost beside; the pause that takes two thirds off."""
BELOW = 25.0
"""Decibels under speech that are quiet, in a recording whose noise lies far lower."""


@dataclass(frozen=True)
class SegmentSpec:
    """What pieces may be."""

    min_seconds: float = 5.0
    max_seconds: float = 20.0
    min_confidence: float = 0.1
    """The geometric mean of the letters' confidences that a piece needs, 0 to 1."""
    min_pause: float = 0.15
    """Seconds that it must be quiet for where a piece ends."""

    def __post_init__(self) -> None:
        seconds = (self.min_seconds, self.max_seconds, self.min_pause)
        if not (all(map(isfinite, seconds)) and 0 < self.min_seconds < self.max_seconds and self.min_pause > 0):
            raise OptionError(
                "Pieces must last some seconds, the longest more than the shortest, and end at pauses above 0 s, but "
                f"{self.min_seconds:g} to {self.max_seconds:g} s and pauses of {self.min_pause:g} s came; correct them."
            )
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(f"A confidence is between 0 and 1, but {self.min_confidence:g} came; correct it.")


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that are cut out together."""

    words: slice
    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds from the beginning of the recording."""
    confidence: float


class Loudness:
    """The level of each frame of a recording, noted as it is read: four bytes a frame."""

    def __init__(self, hop: int) -> None:
        self.hop = hop
        self._levels: list[FloatArray] = []
        self._rest = np.zeros(0, np.float32)

    def add(self, block: FloatArray) -> None:
        """Take note of the next samples (N,)."""
        held = np.concatenate([self._rest, block])
        count = len(held) // self.hop
        frames = held[: count * self.hop].reshape(count, self.hop)
        self._rest = held[count * self.hop :]
        self._levels.append((10 * np.log10(np.square(frames).mean(1) + 1e-10)).astype(np.float32))

    def levels(self) -> FloatArray:
        """(T,), in decibels; -100 for digital silence."""
        return np.concatenate([np.zeros(0, np.float32), *self._levels])


@dataclass(frozen=True, slots=True)
class _Cut:
    """A quiet moment between two words."""

    end: float
    """Where a piece before it ends."""
    start: float
    """Where a piece after it starts."""
    cost: float


def choose_pieces(
    words: Sequence[Word],
    trusted: Sequence[bool],
    untold: Sequence[tuple[float, float]],
    levels: FloatArray,
    frame_seconds: float,
    spec: SegmentSpec,
) -> list[Piece]:
    """The pieces worth most, in order, without a common word; each holds trusted words alone, and no untold speech.

    `levels` (T,) are those of frames of `frame_seconds`. Time grows with the number of words.
    """
    quiet = _quiet_frames(words, trusted, levels, frame_seconds)
    opens, closes, begins = _cuts(words, trusted, untold, quiet, frame_seconds, spec)
    sums, counts = [0.0], [0]
    for word in words:
        count = max(len(word.text), 1)
        sums.append(sums[-1] + count * log(max(word.confidence, 1e-9)))
        counts.append(counts[-1] + count)
    best, back = [0.0] * (len(words) + 1), [-1] * (len(words) + 1)
    for j in range(1, len(words) + 1):
        best[j] = best[j - 1]
        close = closes[j]
        if close is None:
            continue
        for i in range(j - 1, begins[j - 1] - 1, -1):
            opened = opens[i]
            seconds = close.end - (opened.start if opened else words[i].start)
            if seconds > spec.max_seconds:
                break
            if opened is None or seconds < spec.min_seconds:
                continue
            value = best[i] + seconds - opened.cost - close.cost
            sure = sums[j] - sums[i] >= (counts[j] - counts[i]) * log(max(spec.min_confidence, 1e-9))
            if sure and value > best[j]:
                best[j], back[j] = value, i
    found: list[Piece] = []
    at = len(words)
    while at > 0:
        if (i := back[at]) < 0:
            at -= 1
            continue
        opened, close = opens[i], closes[at]
        assert opened
        assert close
        confidence = exp((sums[at] - sums[i]) / (counts[at] - counts[i]))
        found.append(Piece(slice(i, at), opened.start, close.end, confidence))
        at = i
    return found[::-1]


def _quiet_frames(
    words: Sequence[Word], trusted: Sequence[bool], levels: FloatArray, frame_seconds: float
) -> NDArray[np.bool_]:
    """Which frames (T,) are quiet: nearer to the recording's noise than to its speech, or far below speech."""
    spoken = np.zeros(len(levels), bool)
    for word, good in zip(words, trusted, strict=True):
        if good:
            spoken[int(word.start / frame_seconds) : int(word.end / frame_seconds) + 1] = True
    if not spoken.any():
        return np.zeros(len(levels), bool)
    speech, noise = float(np.median(levels[spoken])), float(np.percentile(levels, 2))
    return levels < max((speech + noise) / 2, speech - BELOW)


def _cuts(
    words: Sequence[Word],
    trusted: Sequence[bool],
    untold: Sequence[tuple[float, float]],
    quiet: NDArray[np.bool_],
    frame_seconds: float,
    spec: SegmentSpec,
) -> tuple[list[_Cut | None], list[_Cut | None], list[int]]:
    """Where pieces may open before each place, where they may close there, and how early they may begin.

    The first two are (W + 1,). The last is (W,): the word that a piece with this word may begin with at the earliest,
    for words that are not trusted the next one. At the edge of what is not known a word must be
    sure enough, and quiet follow it at once.
    """
    count, total = len(words), len(quiet) * frame_seconds
    opens: list[_Cut | None] = [None] * (count + 1)
    closes: list[_Cut | None] = [None] * (count + 1)
    begins: list[int] = []
    passed = 0
    for k in range(count + 1):
        left = words[k - 1] if k and trusted[k - 1] else None
        right = words[k] if k < count and trusted[k] else None
        begin, end = left.end if left else 0.0, right.start if right else total
        if left:
            while passed < len(untold) and untold[passed][1] <= begin:
                passed += 1
        strange = left is None or right is None or (passed < len(untold) and untold[passed][0] < end)
        strange = strange or _loud_seconds(quiet, begin, end, frame_seconds) > SOUND
        if k < count:
            begins.append(k + 1 if right is None else k if strange else begins[-1])
        if not strange:
            runs = _runs_of(quiet, begin, end, frame_seconds)
            opens[k] = closes[k] = _cut(max(runs, key=_length, default=None), spec)
            continue
        near = [run for run in _runs_of(quiet, begin, min(end, begin + 1), frame_seconds) if run[0] <= begin + REACH]
        if left and left.confidence >= EDGE * spec.min_confidence:
            at_end = k == count and not near and total - begin <= REACH
            closes[k] = _Cut(total, total, CUT) if at_end else _cut(max(near, key=_length, default=None), spec)
        near = [run for run in _runs_of(quiet, max(begin, end - 1), end, frame_seconds) if run[1] >= end - REACH]
        if right and right.confidence >= EDGE * spec.min_confidence:
            at_start = k == 0 and not near and end <= REACH
            opens[k] = _Cut(0.0, 0.0, CUT) if at_start else _cut(max(near, key=_length, default=None), spec)
    return opens, closes, begins


def _loud_seconds(quiet: NDArray[np.bool_], begin: float, end: float, frame_seconds: float) -> float:
    first, last = round(begin / frame_seconds), round(end / frame_seconds)
    return float(np.count_nonzero(~quiet[first:last])) * frame_seconds


def _length(run: tuple[float, float]) -> float:
    return run[1] - run[0]


def _runs_of(quiet: NDArray[np.bool_], begin: float, end: float, frame_seconds: float) -> list[tuple[float, float]]:
    """Beginning and end of each quiet stretch between two times, in seconds."""
    first, last = max(round(begin / frame_seconds), 0), round(end / frame_seconds)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet[first:last], [False]])))
    pairs = (first + edges.reshape(-1, 2)) * frame_seconds
    return [(float(start), float(stop)) for start, stop in pairs]


def _cut(run: tuple[float, float] | None, spec: SegmentSpec) -> _Cut | None:
    """The cut in a quiet stretch; None where it is too short."""
    if run is None or (length := _length(run)) < spec.min_pause:
        return None
    pad = min(length / 2, PAD)
    return _Cut(run[0] + pad, run[1] - pad, CUT + TORN * exp(-length / LONG))
