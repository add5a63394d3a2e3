"""Cutting and joining: whatever the block sizes, the joined frames are the file's frames, each once, in order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonant import windows
from sonant.errors import OptionError
from sonant.model.config import EncoderConfig
from sonant.types import Emissions, FloatArray, Vocabulary
from sonant.windows import Level, Window, WindowSpec

CONFIG = EncoderConfig()
RATE = 16000
VOCABULARY = Vocabulary(("<pad>", "a", "b"), blank=0)
SPEC = WindowSpec(seconds=1.0, margin=0.2)


def blocks_of(samples: FloatArray, cuts: list[int]) -> list[FloatArray]:
    return np.split(samples, sorted(cut % (len(samples) + 1) for cut in cuts))


def hear(window: Window) -> FloatArray:
    """A model of one frame's sight: each frame's scores are a function of the samples it sees, and of nothing else."""
    frames = np.lib.stride_tricks.sliding_window_view(window.samples, CONFIG.receptive_field)[:: CONFIG.hop]
    return np.stack([frames[:, 0], frames[:, 200], frames[:, -1]], 1)


def joined(blocks: list[FloatArray], spec: WindowSpec, normalize: bool = False) -> list[windows.Emissions]:
    cut = windows.split(blocks, CONFIG, RATE, normalize, spec)
    return list(windows.join(((w, hear(w)) for w in cut), VOCABULARY, 0.02))


@given(
    num_samples=st.integers(CONFIG.receptive_field, 5 * RATE),
    cuts=st.lists(st.integers(0, 10**6), max_size=12),
    frames=st.integers(10, 80),
    margin=st.integers(0, 4),
)
@settings(max_examples=150, deadline=None)
def test_joined_equals_whole(num_samples: int, cuts: list[int], frames: int, margin: int) -> None:
    samples = np.random.default_rng(num_samples).standard_normal(num_samples).astype(np.float32)
    pieces = joined(blocks_of(samples, cuts), WindowSpec(frames * 0.02, margin * 0.02))
    whole = hear(Window(samples, 0, slice(0, None)))
    assert len(whole) == CONFIG.num_frames(num_samples)
    assert [p.first for p in pieces] == list(np.cumsum([0, *map(len, pieces)])[:-1])
    np.testing.assert_array_equal(np.concatenate([p.log_probs for p in pieces]), whole)
    np.testing.assert_array_equal(windows.concatenate(pieces).log_probs, whole)


@given(num_samples=st.integers(0, CONFIG.receptive_field - 1))
@settings(deadline=None)
def test_less_than_a_frame_gives_no_window(num_samples: int) -> None:
    assert list(windows.split([np.zeros(num_samples, np.float32)], CONFIG, RATE, True, SPEC)) == []


@given(num_samples=st.integers(RATE, 6 * RATE))
@settings(deadline=None)
def test_every_inner_edge_has_its_margin_and_the_last_window_full_context(num_samples: int) -> None:
    cut = list(windows.split([np.ones(num_samples, np.float32)], CONFIG, RATE, False, SPEC))
    for window in cut:
        num_frames = CONFIG.num_frames(len(window.samples))
        assert num_frames <= 50
        assert window.first == 0 or window.keep.start >= 10
        assert window is cut[-1] or num_frames - window.keep.stop == 10
    assert len(cut) == 1 or CONFIG.num_frames(len(cut[-1].samples)) == 50


def test_a_clip_of_one_window_is_normalised_as_transformers_does() -> None:
    samples = np.random.default_rng(0).uniform(0.1, 0.3, RATE // 2).astype(np.float32)
    [window] = windows.split([samples[:100], samples[100:]], CONFIG, RATE, True, SPEC)
    expected = (samples - samples.mean(dtype=float)) / np.sqrt(samples.var(dtype=float) + 1e-7)
    np.testing.assert_allclose(window.samples, expected, atol=1e-6)
    assert window.samples.dtype == np.float32


def test_silence_is_not_blown_up_and_quiet_speech_is() -> None:
    random = np.random.default_rng(0)
    loud, hiss, quiet = (random.standard_normal(RATE).astype(np.float32) * scale for scale in (0.3, 1e-4, 0.05))
    level = Level()
    for samples in (loud, hiss):
        level.add(samples)
    assert level.normalise(hiss).std() < 0.02
    assert level.normalise(quiet).std() == pytest.approx(1, abs=0.02)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.floats(-3, 3))
@settings(deadline=None)
def test_the_level_does_not_depend_on_the_blocks(sizes: list[int], offset: float) -> None:
    samples = np.random.default_rng(1).standard_normal(sum(sizes)).astype(np.float32) + np.float32(offset)
    level = Level()
    for block in np.split(samples, np.cumsum(sizes)[:-1]):
        level.add(block)
    assert level.mean == pytest.approx(samples.mean(dtype=float), abs=1e-6)
    assert level.squares / level.count == pytest.approx(samples.var(dtype=float), abs=1e-6)


def test_margins_longer_than_the_window_are_refused() -> None:
    with pytest.raises(OptionError, match="longer than its two margins"):
        WindowSpec(seconds=4, margin=2)
    with pytest.raises(OptionError, match="must end"):
        WindowSpec(seconds=float("inf"))


def test_margins_that_round_up_to_the_whole_window_still_let_it_move_on() -> None:
    cut = windows.split([np.zeros(RATE, np.float32)], CONFIG, RATE, False, WindowSpec(seconds=0.04, margin=0.019))
    kept = [window.first + i for window in cut for i in range(window.keep.start, window.keep.stop)]
    assert kept == list(range(CONFIG.num_frames(RATE)))


def test_joined_pieces_are_the_whole() -> None:
    whole = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    for cuts in ([0, 50], [0, 1, 2, 30, 31, 50], [0, 49, 50]):
        pieces = [Emissions(whole[a:b], 0.02, VOCABULARY, 7 + a) for a, b in pairwise(cuts)]
        joined = windows.concatenate(iter(pieces))
        np.testing.assert_array_equal(joined.log_probs, whole)
        assert joined.first == 7
