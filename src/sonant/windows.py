"""Audio of any length as overlapping windows of bounded length, and their emissions as one sequence again.

Every window starts on the frame grid of the whole file, so its frames are the file's frames. Each window is trusted in
its middle: the margins hear only one side of themselves and serve as context. Joining therefore happens on emissions,
before decoding, and no word is cut, lost or doubled. A clip that fits one window is one window, untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp2, inf

import numpy as np

from sonant.errors import OptionError
from sonant.model.config import EncoderConfig
from sonant.types import Emissions, FloatArray, Vocabulary

MAX_GAIN = 10.0
"""How much louder than the file so far a window may be made: quiet speech comes up, silence stays silence."""


@dataclass(frozen=True)
class WindowSpec:
    """How long audio is cut."""

    seconds: float = 20.0
    """Seconds of a window; longer ones cost more a second (attention), shorter ones repeat more margin."""
    margin: float = 2.0
    """Seconds at each inner edge that serve as context only."""

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.margin < self.seconds < inf:
            raise OptionError(
                f"A window must end and be longer than its two margins, but {self.seconds} s has {self.margin} s each; "
                "take longer windows or shorter margins."
            )


@dataclass(frozen=True)
class Window:
    """A stretch of a file, ready for an engine."""

    samples: FloatArray
    """(N,), at the model's rate, normalised if the model wants that."""
    first: int
    """The file's frame that is this window's frame 0."""
    keep: slice
    """The frames of this window that are trusted."""


class Level:
    """Mean and variance of a file as far as it has been read, in float64, for models that want normalised input.

    A window is brought to mean 0 and variance 1 by its own samples, as in training, but never by more than `MAX_GAIN`
    times the gain that the file so far would get: a window of silence is not blown up into noise.
    """

    def __init__(self, half_life: float = inf) -> None:
        self.count: float = 0.0
        self.mean: float = 0.0
        self.squares: float = 0.0
        self.half_life = half_life
        """Samples after which those before count half as much."""

    def add(self, samples: FloatArray) -> None:
        """Take note of samples never seen before."""
        count, mean = len(samples), float(np.mean(samples, dtype=np.float64))
        squares = float(np.sum(np.square(samples - np.float32(mean), dtype=np.float64)))
        kept = exp2(-count / self.half_life)
        self.count, self.squares = self.count * kept, self.squares * kept
        total, shift = self.count + count, mean - self.mean
        self.squares += squares + shift * shift * self.count * count / total
        self.mean += shift * count / total
        self.count = total

    def normalise(self, samples: FloatArray) -> FloatArray:
        """(N,) to (N,): as transformers' feature extractor does where the window is the whole clip."""
        mean = np.mean(samples, dtype=np.float64)
        variance = np.var(samples, dtype=np.float64)
        floor = self.squares / max(self.count, 1) / MAX_GAIN**2
        return ((samples - mean) / np.sqrt(max(variance, floor) + 1e-7)).astype(np.float32)


def split(
    blocks: Iterable[FloatArray], config: EncoderConfig, sample_rate: int, normalize: bool, spec: WindowSpec
) -> Iterator[Window]:
    """Cut a stream of sample blocks into windows, holding two windows of samples at most.

    Yields nothing for audio shorter than one frame (`config.receptive_field` samples).
    """
    hop = config.hop
    per_window = max(round(spec.seconds * sample_rate / hop), 1)
    margin = min(round(spec.margin * sample_rate / hop), (per_window - 1) // 2)  # rounded, two might fill the window
    size = (per_window - 1) * hop + config.receptive_field  # samples that give exactly `per_window` frames
    level = Level()
    buffer = np.zeros(0, np.float32)
    origin = 0  # the file's frame at the buffer's beginning
    start = 0  # the file's frame at the next window's beginning
    trusted = 0  # the file's first frame that no window has given yet

    def cut(begin: int, end: int, samples: FloatArray) -> Window:
        kept = slice(trusted - begin, end - begin)
        return Window(level.normalise(samples) if normalize else samples, begin, kept)

    for block in blocks:
        if not len(block):
            continue
        level.add(block)
        buffer = np.concatenate([buffer, block])
        # one sample more than a window must be there: else this window may be the last, and trusted to its end
        while len(buffer) - (start - origin) * hop > size:
            offset = (start - origin) * hop
            end = start + per_window - margin
            yield cut(start, end, buffer[offset : offset + size])
            trusted = end
            buffer, origin = buffer[offset:], start  # kept whole: the last window reaches back for context
            start += per_window - 2 * margin
    num_frames = origin + config.num_frames(len(buffer))
    if num_frames > trusted:
        begin = max(num_frames - per_window, origin)
        yield cut(begin, num_frames, buffer[(begin - origin) * hop :])


def join(
    emitted: Iterable[tuple[Window, FloatArray]], vocabulary: Vocabulary, frame_seconds: float
) -> Iterator[Emissions]:
    """Windows with their log-probabilities (T, V) to pieces that follow one another without gap or overlap."""
    for window, log_probs in emitted:
        kept = log_probs[window.keep]
        yield Emissions(kept, frame_seconds, vocabulary, window.first + window.keep.start)


def concatenate(pieces: Iterable[Emissions]) -> Emissions:
    """Pieces that follow one another as one; the parts of a long file are not held beside the whole."""
    rest = iter(pieces)
    first = next(rest)
    joined, end = np.array(first.log_probs, order="C"), len(first)
    for piece in rest:
        start, end = end, end + len(piece)
        if end > len(joined):
            joined.resize((end + end // 4, joined.shape[1]), refcheck=False)  # in place, where the system can
        joined[start:end] = piece.log_probs
    joined.resize((end, joined.shape[1]), refcheck=False)
    return Emissions(joined, first.frame_seconds, first.vocabulary, first.first)
