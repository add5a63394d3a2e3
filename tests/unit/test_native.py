from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from sonant import native
from sonant.types import Letter

LogProbs = NDArray[np.float32]
Runs = tuple[list[int], list[int], list[float], float]

# Few distinct values, so that ties and long runs abound; widths on both sides of a vector.
LEVELS = st.sampled_from([-np.inf, -7.5, -1.0, -0.25, 0.0])
MATRICES = st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 3, 15, 16, 17, 33, 64])).flatmap(
    lambda shape: arrays(np.float32, shape, elements=LEVELS)
)


def oracle(log_probs: LogProbs) -> Runs:
    """Frame by frame, as one would by hand."""
    tokens: list[int] = []
    first_frames: list[int] = []
    peaks: list[float] = []
    total = 0.0
    for frame, row in enumerate(log_probs):
        token = int(row.argmax())  # the lowest index of equals
        total += float(row[token])
        if tokens and tokens[-1] == token:
            peaks[-1] = max(peaks[-1], float(row[token]))
        else:
            tokens.append(token)
            first_frames.append(frame)
            peaks.append(float(row[token]))
    return tokens, first_frames, peaks, total


def listed(log_probs: LogProbs) -> Runs:
    tokens, first_frames, peaks, total = native.runs(log_probs)
    return tokens.tolist(), first_frames.tolist(), peaks.tolist(), total


@settings(deadline=None)
@given(MATRICES)
def test_runs_equal_the_oracle(log_probs: LogProbs) -> None:
    assert listed(log_probs) == oracle(log_probs)


@pytest.mark.parametrize("num_tokens", [29, 32, 154, 1000])
def test_runs_of_distributions(num_tokens: int) -> None:
    logits = np.random.default_rng(num_tokens).normal(size=(300, num_tokens)).astype(np.float32)
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    tokens, first_frames, peaks, total = native.runs(log_probs)
    best = log_probs.argmax(1)
    assert (np.repeat(tokens, np.diff(first_frames, append=300)) == best).all()
    assert (tokens[1:] != tokens[:-1]).all()
    assert (peaks == np.maximum.reduceat(log_probs.max(1), first_frames)).all()
    assert total == pytest.approx(log_probs.max(1).sum(dtype=np.float64), abs=1e-9)


@settings(deadline=None)
@given(MATRICES, st.data())
def test_pieces_joined_equal_the_whole(log_probs: LogProbs, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log_probs)), max_size=4)))
    tokens: list[int] = []
    first_frames: list[int] = []
    peaks: list[float] = []
    total = 0.0
    for start, end in zip([0, *cuts], [*cuts, len(log_probs)], strict=True):
        piece = listed(log_probs[start:end])
        for token, first, peak in zip(*piece[:3], strict=True):
            if tokens and tokens[-1] == token:
                peaks[-1] = max(peaks[-1], peak)
            else:
                tokens.append(token)
                first_frames.append(start + first)
                peaks.append(peak)
        total += piece[3]
    assert (tokens, first_frames, peaks, total) == listed(log_probs)  # sums of LEVELS are exact


def test_results_outlive_their_input_and_each_other() -> None:
    tokens, first_frames, peaks, _ = native.runs(np.eye(50, dtype=np.float32))
    kept = tokens[::2]
    del tokens
    assert kept.tolist() == first_frames.tolist()[::2] == list(range(0, 50, 2))
    assert (peaks == 1).all()
    assert kept.dtype == first_frames.dtype == np.int32
    assert peaks.dtype == np.float32


def test_read_only_input_is_taken() -> None:
    log_probs = np.zeros((2, 3), np.float32)
    log_probs.flags.writeable = False
    assert listed(log_probs) == ([0], [0], [0.0], 0.0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5)])
def test_no_frames_have_no_runs(shape: tuple[int, int]) -> None:
    assert listed(np.zeros(shape, np.float32)) == ([], [], [], 0.0)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros((2, 2, 2), np.float32), np.zeros((4, 4), np.float32)[:, :2]],
    ids=["float64", "one axis", "three axes", "strided"],
)
def test_other_arrays_are_refused(wrong: LogProbs) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        native.runs(wrong)


def test_frames_without_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one column"):
        native.runs(np.zeros((3, 0), np.float32))


def test_frames_that_are_no_number_stay_within_bounds() -> None:
    tokens, *_ = native.runs(np.full((3, 17), np.nan, np.float32))
    assert tokens.tolist() == [0]


def test_records_are_what_the_constructor_makes() -> None:
    names = tuple(Letter.__dataclass_fields__)
    made = native.records(Letter, names, (["A", "B"], [0.0, 0.5], [0.25, 0.75], [1.0, 0.5]))
    assert made == [Letter("A", 0.0, 0.25, 1.0), Letter("B", 0.5, 0.75, 0.5)]
    assert native.records(Letter, names, ([], [], [], [])) == []
    with pytest.raises(ValueError, match="as many columns"):
        native.records(Letter, names, ([],))
    with pytest.raises(IndexError):
        native.records(Letter, names, (["A"], [0.0], [0.25], []))
    with pytest.raises(AttributeError):
        native.records(Letter, ("other",), (["A"],))
