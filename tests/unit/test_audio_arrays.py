from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from sonant import audio
from sonant.errors import AudioError


@pytest.mark.parametrize(
    "dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">u2", ">f4", "f2", "f4", "f8"]
)
def test_every_type_has_the_same_scale(dtype: str) -> None:
    kind = np.dtype(dtype)
    wave_form = 0.5 * np.sin(np.linspace(0, 30, 1000))
    half = 2.0 ** (8 * kind.itemsize - 1)
    scaled = wave_form if kind.kind == "f" else np.floor(wave_form * half) + (half if kind.kind == "u" else 0)
    result = audio.from_array(scaled.astype(kind), 16_000)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, wave_form, atol=1 / half if kind.itemsize == 1 else 1e-3)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 5000),
    channels=st.integers(1, 8),
    rate=st.sampled_from([1000, 7999, 8000, 11_025, 22_050, 44_100, 48_000, 192_000]),
    target=st.sampled_from([8000, 16_000, 24_000]),
    seed=st.integers(0, 99),
)
def test_any_shape_and_rate_equals_soxr_on_the_mean(
    length: int, channels: int, rate: int, target: int, seed: int
) -> None:
    length += channels  # the shorter axis is the channels
    samples = np.random.default_rng(seed).normal(size=(length, channels)).astype(np.float32)
    expected = soxr.resample(samples.mean(axis=1, dtype=np.float32), rate, target)
    result = audio.from_array(samples, rate, target)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    assert abs(len(result) - length * target / rate) < 1
    for form in (samples.T, np.asfortranarray(samples), np.repeat(samples, 2, axis=0)[::2]):
        np.testing.assert_array_equal(audio.from_array(form, rate, target), result)


def test_streamed_equals_whole_at_any_block_size() -> None:
    samples = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    expected = soxr.resample(samples, 44_100, 16_000)
    for piece in (37, 1000, 44_100, 100_000):
        pieces = ((44_100, samples[i : i + piece]) for i in range(0, len(samples), piece))
        stream = audio.AudioStream("pieces", pieces, 16_000, None, [])
        np.testing.assert_array_equal(np.concatenate(list(stream)), expected)


def test_arrays_are_copied_and_floats_keep_their_scale() -> None:
    samples = np.array([0, 5000, -20_000], np.float32)
    result = audio.from_array(samples, 16_000)
    np.testing.assert_array_equal(result, samples)
    result += 1
    assert samples[0] == 0
    assert audio.from_array([0.5, -0.25], 16_000).tolist() == [0.5, -0.25]
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(audio.from_array(torch.from_numpy(samples), 16_000), samples)
    with pytest.raises(AudioError, match="numpy can take"):
        audio.from_array(torch.zeros(9, requires_grad=True), 16_000)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.zeros(9, bool), 16_000, "ndarray of bool"),
        (np.zeros(9, complex), 16_000, "complex128"),
        ([None, "a"], 16_000, "list of object"),
        (None, 16_000, "NoneType of object"),
        ([[1.0, 2.0], [3.0]], 16_000, "numpy can take"),
        (3, 16_000, "(N, channels)"),
        (np.zeros((1, 2, 100)), 16_000, "(1, 2, 100)"),
        (np.zeros(0), 16_000, "is empty"),
        (np.zeros((2, 0)), 16_000, "is empty"),
        (np.zeros((100, 24)), 16_000, "24 channels"),
        (np.zeros(9), None, "None came"),
        (np.zeros(9), 16_000.5, "16000.5 came"),
        (np.zeros(9), float("nan"), "nan came"),
        (np.zeros(9), float("inf"), "inf came"),
        (np.zeros(9), 384_000, "384000 Hz"),
        (np.zeros(9), -16_000, "-16000 Hz"),
        ([0, 12_000, -3000], 16_000, "astype('int16')"),
        (np.array([0, np.nan]), 16_000, "nan at 0.000 s"),
        (np.array([0, 1e300]), 16_000, "inf at 0.000 s"),
    ],
)
def test_arrays_that_are_no_sound(samples: object, rate: float | None, words: str) -> None:
    with pytest.raises(AudioError) as caught:
        audio.read(samples, array_rate=rate)
    assert words in str(caught.value)
