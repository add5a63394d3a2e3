"""What can be heard to be wrong with one recording: silence, clipping, noise in the place of speech, damage."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

import numpy as np
from numpy.typing import NDArray

from sonant.data.manifest import Utterance, concatenate, open_utterance
from sonant.errors import SonantError
from sonant.types import FloatArray

# N samples, F frequencies

FULL_SCALE = 0.998
SPAN = 512
"""Samples of a spectrum."""
QUIETEST = 1e-3
"""Peak below which a recording is silent: 60 dB under full scale."""
CLIPPED = 0.005
"""Share of clipped samples above which it can be heard."""
FLATTEST = 0.65
"""Between clean speech (0.55 at most, in six corpora) and byte-swapped speech (0.87 in the middle)."""
TELEPHONE = 4000.0
"""Hertz that a recording at 8 kHz ends at."""
_WINDOW = np.hanning(SPAN).astype(np.float32)
_QUIETEST_DB, _LOUDEST_DB = -120, 200
_DENSE = 8
"""Seconds whose spectra are all taken; a sparse meter takes those of one second in as many from there on."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What an utterance's samples are like."""

    seconds: float = 0.0
    rate: int | None = None
    """Hertz that its file declares; None where it does not, or always declares the same (Opus)."""
    peak: float = 0.0
    """Largest distance from the mean; 1 is full scale."""
    clipped: float = 0.0
    """Share of samples at full scale."""
    flatness: float = 0.0
    """0 to 1: how even the spectrum is. Speech stays below 0.6, noise comes near 1."""
    digest: bytes = b""
    """Equal for equal samples, whatever container they came in."""
    warnings: tuple[str, ...] = ()
    """What its reader found odd."""
    error: str | None = None
    """Why it could not be read."""


def examine(utterance: Utterance, sample_rate: int = 16_000) -> Sound:
    """Decode an utterance and measure it; what cannot be read is told in `error`."""
    try:
        with open_utterance(utterance, sample_rate) as stream:
            samples = concatenate(stream)
    except SonantError as error:
        return Sound(error=str(error))
    if not len(samples):
        return Sound(error=f"{utterance.name} holds no samples.")
    meter = SoundMeter(sample_rate)
    meter.add(samples)
    levels = meter.levels()
    coarse = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")  # as losslessly encoded twins agree
    rate = stream.source_rate
    return Sound(
        seconds=levels.seconds,
        rate=None if rate == 48_000 and utterance.audio.lower().endswith((".opus", ".ogg", ".webm")) else rate,
        peak=levels.peak,
        clipped=levels.clipped,
        flatness=levels.flatness,
        digest=blake2b(coarse.tobytes(), digest_size=16).digest(),
        warnings=tuple(stream.warnings),
    )


@dataclass(frozen=True, slots=True)
class Levels:
    """What a recording is like, whatever is said in it."""

    seconds: float = 0.0
    peak: float = 0.0
    """Largest distance from the mean; 1 is full scale."""
    mean: float = 0.0
    """Direct current; 1 is full scale."""
    rms: float = 0.0
    """Root of the mean square about the mean."""
    clipped: float = 0.0
    """Share of samples at full scale."""
    flatness: float = 0.0
    """As in `spectral_flatness`."""
    above: float = 0.0
    """Share of the power above `TELEPHONE`."""
    swing: float = 0.0
    """Decibels between quiet and loud moments (the 10th and 95th percentile of frames): pauses make it large."""
    active: float = 0.0
    """Share of the frames that are within 25 dB of the loud ones, where there is any sound."""


class SoundMeter:
    """Measures samples as they come, in memory that does not grow; `sparse` takes few of a long recording's spectra."""

    def __init__(self, sample_rate: int = 16_000, *, sparse: bool = False) -> None:
        self.sample_rate = sample_rate
        self.sparse = sparse
        self.count = self.full = 0
        self.sum = self.squares = 0.0
        self.low = self.high = 0.0
        self.power = np.zeros(SPAN // 2 + 1)  # (F,)
        self.frames = np.zeros(_LOUDEST_DB - _QUIETEST_DB + 1, np.int64)  # how many frames have each level in dB
        self.rest = np.zeros(0, np.float32)

    def add(self, samples: FloatArray) -> None:
        """Take note of the next samples (N,)."""
        if not len(samples):
            return
        low, high = float(samples.min()), float(samples.max())
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self.count else (low, high)
        if max(-low, high) >= FULL_SCALE:
            self.full += int(np.count_nonzero(np.abs(samples) >= FULL_SCALE))
        second = self.count / self.sample_rate
        self.count += len(samples)
        self.sum += float(np.sum(samples, dtype=np.float64))
        self.squares += float(np.dot(samples, samples))
        held = np.concatenate([self.rest, samples])
        count = len(held) // SPAN
        self.rest = held[count * SPAN :]
        if count and not (self.sparse and second >= _DENSE and int(second) % _DENSE):
            self._look(held[: count * SPAN].reshape(count, SPAN))

    def levels(self) -> Levels:
        """What all samples so far are like."""
        if not self.count:
            return Levels()
        mean = self.sum / self.count
        if len(self.rest) and not (self.sparse and self.count > SPAN):
            self._look(np.pad(self.rest, (0, SPAN - len(self.rest)))[None])
            self.rest = self.rest[:0]
        power = self.power[2:-2]  # without the mean
        total = float(power.sum())
        first = 2 + int(TELEPHONE / self.sample_rate * SPAN)
        counted = np.cumsum(self.frames)
        total_frames = int(counted[-1])
        quiet = int(np.searchsorted(counted, 0.1 * total_frames))
        loud = int(np.searchsorted(counted, 0.95 * total_frames))
        active = int(self.frames[max(loud - 25, 0) :].sum()) / max(total_frames, 1) if loud else 0.0
        return Levels(
            seconds=self.count / self.sample_rate,
            peak=max(self.high - mean, mean - self.low),
            mean=mean,
            rms=max(self.squares / self.count - mean * mean, 0.0) ** 0.5,
            clipped=self.full / self.count,
            flatness=_flatness(power),
            above=float(self.power[first:].sum()) / total if total > 0 else 0.0,
            swing=float(loud - quiet),
            active=active,
        )

    def _look(self, frames: FloatArray) -> None:
        """Add the spectra and levels of frames (M, SPAN)."""
        self.power += _power(frames) * len(frames)
        squares: NDArray[np.float64] = np.square(frames, dtype=np.float64).mean(1)
        levels = np.round(10 * np.log10(squares + 1e-30)).clip(_QUIETEST_DB, _LOUDEST_DB)
        bins = levels.astype(np.int64) - _QUIETEST_DB
        self.frames += np.bincount(bins, minlength=len(self.frames))


def spectral_flatness(samples: FloatArray) -> float:
    """The geometric over the arithmetic mean of the power spectrum of samples (N,), 0 for silence.

    Of the long-term spectrum, in the band that holds 99 % of the power, but at least the lowest quarter: what was
    recorded at 8 kHz and resampled has nothing above.
    """
    count = ceil(len(samples) / SPAN)
    frames = np.pad(samples, (0, count * SPAN - len(samples))).reshape(count, SPAN)
    return _flatness(_power(frames)[2:-2])  # without the mean


def _power(frames: FloatArray) -> NDArray[np.float64]:
    """The mean power spectrum (F,) of frames (M, SPAN)."""
    return (np.abs(np.fft.rfft(frames * _WINDOW)) ** 2).mean(0, dtype=np.float64)


def _flatness(power: NDArray[np.float64]) -> float:
    total = float(power.sum())
    if total <= 0:
        return 0.0
    reach = int(np.searchsorted(np.cumsum(power), 0.99 * total)) + 1
    band = power[: max(reach, len(power) // 4)] + 1e-12 * total
    return float(np.exp(np.log(band).mean()) / band.mean())
