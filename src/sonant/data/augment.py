"""Ways in which recordings differ though the same is said: each a pure function of samples and a generator.

Samples are (N,) float32 at a rate in hertz. All but `change_speed` keep their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from sonant import audio
from sonant.types import FloatArray

NoiseReader = Callable[[Generator], FloatArray]
"""A stretch of recorded noise, chosen by the generator."""


@dataclass(frozen=True)
class Spoiling:
    """With which probability a row is changed in which way."""

    gain_db: float = 0.0
    """Decibels louder or softer at most."""
    noise: float = 0.0
    noise_db: tuple[float, float] = (8.0, 40.0)
    """Least and greatest ratio of speech to noise, decibels."""
    room: float = 0.0
    band: float = 0.0


def spoil(
    samples: FloatArray,
    sample_rate: int,
    spec: Spoiling,
    generator: Generator,
    hardship: float = 1.0,
    recorded: NoiseReader | None = None,
) -> FloatArray:
    """Another room, band, noise and level; `hardship`, 0 to 1, scales the probabilities.

    The generator is drawn from alike whatever `hardship` is, so that a row's changes do not hang on each other.
    """
    room, band, noise = (generator.random() for _ in range(3))
    seeds = generator.integers(2**63, size=4)
    if room < spec.room * hardship:
        samples = add_room(samples, sample_rate, np.random.default_rng(seeds[0]))
    if band < spec.band * hardship:
        samples = limit_band(samples, sample_rate, np.random.default_rng(seeds[1]))
    if noise < spec.noise * hardship:
        own = np.random.default_rng(seeds[2])
        what = recorded(own) if recorded else coloured_noise(len(samples), own)
        samples = add_noise(samples, what, own.uniform(*spec.noise_db))
    return change_gain(samples, spec.gain_db, np.random.default_rng(seeds[3])) if spec.gain_db else samples


def change_speed(samples: FloatArray, sample_rate: int, factor: float) -> FloatArray:
    """The samples played `factor` times as fast, pitch included: about N / factor of them."""
    if factor == 1.0:
        return samples
    # a recording at rate * factor, heard at rate; whole numbers of hertz change the factor by under 1e-4
    return audio.from_array(samples, round(sample_rate * factor), sample_rate)


def change_gain(samples: FloatArray, limit_db: float, generator: Generator) -> FloatArray:
    """Up to so many decibels louder or softer."""
    return (samples * np.float32(10 ** (generator.uniform(-limit_db, limit_db) / 20))).astype(np.float32)


def coloured_noise(num_samples: int, generator: Generator) -> FloatArray:
    """Noise whose power falls (or rises) with frequency by an exponent between blue (-1) and brown (2)."""
    size = transform_size(num_samples)
    spectrum = np.fft.rfft(generator.standard_normal(size, np.float32))
    tilt = np.arange(len(spectrum), dtype=np.float32)
    tilt[0] = 1.0
    tilt = (tilt / tilt[-1]) ** np.float32(-generator.uniform(-1.0, 2.0) / 2)
    tilt[0] = 0.0
    return np.fft.irfft(spectrum * tilt, size)[:num_samples].astype(np.float32, copy=False)


def add_noise(samples: FloatArray, noise: FloatArray, ratio_db: float) -> FloatArray:
    """Noise under the samples, repeated or cut to their length, so that their powers have this ratio."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    noise = np.resize(noise, len(samples)) if len(noise) else np.zeros_like(samples)
    own = float(np.mean(np.square(noise, dtype=np.float64)))
    if power == 0 or own == 0:
        return samples
    return (samples + noise * np.float32(np.sqrt(power / own) * 10 ** (-ratio_db / 20))).astype(np.float32)


def add_room(samples: FloatArray, sample_rate: int, generator: Generator) -> FloatArray:
    """A synthetic room: the sound itself and a decaying tail of noise; power and beginning stay where they are."""
    seconds = generator.uniform(0.05, 0.5)  # until the tail has sunk by 60 dB
    time = np.arange(1, max(int(seconds * sample_rate), 2)) / sample_rate
    tail = generator.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail *= generator.uniform(0.1, 0.7) / np.sqrt(np.square(tail).sum())
    size = transform_size(len(samples) + len(time))
    impulse = np.concatenate([[1.0], tail], dtype=np.float32)
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(impulse, size), size)[: len(samples)]
    power, now = np.mean(np.square(samples, dtype=np.float64)), np.mean(np.square(heard))
    return (heard * (np.sqrt(power / now) if now else 1.0)).astype(np.float32)


def limit_band(samples: FloatArray, sample_rate: int, generator: Generator) -> FloatArray:
    """Highs and lows taken away softly, and the rest tilted, as by telephones and cheap microphones."""
    size = transform_size(len(samples))
    spectrum = np.fft.rfft(samples, size)
    hertz = np.linspace(0, sample_rate / 2, len(spectrum), dtype=np.float32)
    high, low = generator.uniform(0.35, 0.98) * sample_rate / 2, generator.uniform(0, 300)
    tilt = (np.maximum(hertz, 50) / 1000) ** generator.uniform(-0.4, 0.4)
    gain = tilt / (1 + (hertz / high) ** 16) / (1 + (low / np.maximum(hertz, 1)) ** 8)
    return np.fft.irfft(spectrum * gain, size)[: len(samples)].astype(np.float32, copy=False)


def transform_size(num_samples: int) -> int:
    """The next size whose Fourier transform is quick: of a prime number of samples it takes ten times as long."""
    unit = 1 << max(num_samples.bit_length() - 4, 1)
    return next(unit * parts for parts in (8, 9, 10, 12, 15, 16) if unit * parts >= num_samples)
