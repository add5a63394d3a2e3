"""Each way of varying a row: what it changes, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from sonant.data.augment import (
    Spoiling,
    add_noise,
    add_room,
    change_gain,
    change_speed,
    coloured_noise,
    limit_band,
    spoil,
    transform_size,
)

RATE = 16000
ALL = Spoiling(gain_db=6.0, noise=1.0, noise_db=(10.0, 20.0), room=1.0, band=1.0)


def tone(hertz: float = 440.0, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def peak(samples: np.ndarray) -> float:
    """Hertz of the strongest frequency."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_speed_changes_length_and_pitch_alike() -> None:
    fast = change_speed(tone(440.0), RATE, 1.25)
    assert len(fast) == pytest.approx(RATE / 1.25, abs=2)
    assert peak(fast) == pytest.approx(550.0, abs=2)
    same = tone()
    assert change_speed(same, RATE, 1.0) is same


def test_noise_has_the_ratio_asked_for() -> None:
    speech, noise = tone(), coloured_noise(1000, random())
    heard = add_noise(speech, noise, 12.0)
    assert 10 * np.log10(power(speech) / power(heard - speech)) == pytest.approx(12.0, abs=1e-3)
    silence = np.zeros(100, np.float32)
    assert np.array_equal(add_noise(silence, noise, 12.0), silence)
    assert np.array_equal(add_noise(speech, silence, 12.0), speech)


def test_noise_has_many_colours() -> None:
    low_shares = []
    for seed in range(20):
        spectrum = np.square(np.abs(np.fft.rfft(coloured_noise(4096, random(seed)))))
        low_shares.append(spectrum[: len(spectrum) // 4].sum() / spectrum.sum())
    assert min(low_shares) < 0.25 < 0.9 < max(low_shares)


def test_a_room_adds_a_tail_and_keeps_beginning_and_power() -> None:
    click = np.zeros(RATE, np.float32)
    click[1000] = 1.0
    heard = add_room(click, RATE, random())
    assert np.abs(heard[:1000]).max() < 1e-6
    assert np.abs(heard).argmax() == 1000
    assert np.abs(heard[1001:9000]).max() > 1e-3
    assert power(heard) == pytest.approx(power(click), rel=1e-4)
    assert np.isfinite(add_room(np.zeros(10, np.float32), RATE, random())).all()


def test_a_band_takes_the_highs_away() -> None:
    for seed in range(5):
        high, middle = (power(limit_band(tone(hertz), RATE, random(seed))) for hertz in (7950.0, 1000.0))
        assert high < 0.5 * middle


def test_gain_stays_within_its_limit() -> None:
    gains = [power(change_gain(tone(), 6.0, random(seed))) / power(tone()) for seed in range(50)]
    assert 10**-0.6 <= min(gains) < 0.5
    assert 2 < max(gains) <= 10**0.6


def test_all_together_hang_on_the_generator_alone() -> None:
    once, again = (spoil(tone(), RATE, ALL, random(3)) for _ in range(2))
    assert np.array_equal(once, again)
    assert once.dtype == np.float32
    assert once.shape == (RATE,)
    assert not np.array_equal(once, spoil(tone(), RATE, ALL, random(4)))
    original = tone()
    spoil(original, RATE, ALL, random())
    assert np.array_equal(original, tone())


def test_hardship_scales_the_probabilities_and_no_gain() -> None:
    assert np.array_equal(spoil(tone(), RATE, Spoiling(noise=1.0, room=1.0, band=1.0), random(), 0.0), tone())
    half = [spoil(tone(), RATE, Spoiling(noise=1.0), random(seed), 0.5) for seed in range(60)]
    assert 15 < sum(np.array_equal(row, tone()) for row in half) < 45


def test_any_length_is_kept_and_transformed_at_a_quick_size() -> None:
    for num_samples in (1, 2, 17, 1000, 99_991):  # 99,991 is a prime number
        size = transform_size(num_samples)
        assert num_samples <= size <= max(1.25 * num_samples, 16)
        assert (1 << 20) * 45 % size == 0  # no prime factor above five
        for heard in (
            coloured_noise(num_samples, random()),
            add_room(np.ones(num_samples, np.float32), RATE, random()),
            limit_band(np.ones(num_samples, np.float32), RATE, random()),
        ):
            assert heard.shape == (num_samples,)
            assert heard.dtype == np.float32


def test_recorded_noise_takes_the_place_of_the_synthetic() -> None:
    heard = spoil(
        tone(440.0), RATE, Spoiling(noise=1.0, noise_db=(0.0, 0.0)), random(), recorded=lambda _: tone(2000.0)
    )
    assert peak(heard - tone(440.0)) == pytest.approx(2000.0, abs=2)
