"""What can be heard to be wrong with one recording: silence, clipping, noise in the place of speech, damage."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

import numpy as np

from sonant.data.manifest import Utterance, open_utterance
from sonant.errors import SonantError
from sonant.types import FloatArray

# N samples, F frequencies

FULL_SCALE = 0.998
SPAN = 512
"""Samples of a spectrum."""


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
            samples = np.concatenate([np.zeros(0, np.float32), *stream])
    except SonantError as error:
        return Sound(error=str(error))
    if not len(samples):
        return Sound(error=f"{utterance.name} holds no samples.")
    centred = samples - samples.mean()
    coarse = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")  # as losslessly encoded twins agree
    rate = stream.source_rate
    return Sound(
        seconds=len(samples) / sample_rate,
        rate=None if rate == 48_000 and utterance.audio.lower().endswith((".opus", ".ogg", ".webm")) else rate,
        peak=float(np.abs(centred).max()),
        clipped=float(np.mean(np.abs(samples) >= FULL_SCALE)),
        flatness=spectral_flatness(centred),
        digest=blake2b(coarse.tobytes(), digest_size=16).digest(),
        warnings=tuple(stream.warnings),
    )


def spectral_flatness(samples: FloatArray) -> float:
    """The geometric over the arithmetic mean of the power spectrum of samples (N,), 0 for silence.

    Of the long-term spectrum, in the band that holds 99 % of the power, but at least the lowest quarter: what was
    recorded at 8 kHz and resampled has nothing above.
    """
    count = ceil(len(samples) / SPAN)
    frames = np.pad(samples, (0, count * SPAN - len(samples))).reshape(count, SPAN) * np.hanning(SPAN)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(0)[2:-2]  # (F,), without the mean
    total = float(power.sum())
    if total <= 0:
        return 0.0
    reach = int(np.searchsorted(np.cumsum(power), 0.99 * total)) + 1
    band = power[: max(reach, len(power) // 4)] + 1e-12 * total
    return float(np.exp(np.log(band).mean()) / band.mean())
