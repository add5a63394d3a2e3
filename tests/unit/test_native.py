from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sonant import native
from sonant.decode.greedy import GreedyDecoder
from sonant.errors import OptionError
from sonant.types import Emissions, FloatArray, Hypothesis, Letter, Vocabulary

Read = tuple[list[Letter], float]

# Few distinct values, so that ties and long runs abound; widths on both sides of a vector.
LEVELS = st.sampled_from([-200.0, -7.5, -1.0, -0.25, 0.0])
MATRICES = st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 3, 15, 16, 17, 33, 64])).flatmap(
    lambda shape: arrays(np.float32, shape, elements=LEVELS)
)


def emissions(log_probs: FloatArray) -> Emissions:
    """Of letters alone, the first one blank, a second a frame."""
    return Emissions(log_probs, 1.0, Vocabulary(tuple(map(chr, range(256, 256 + log_probs.shape[1]))), blank=0))


def read(log_probs: FloatArray) -> Read:
    [best] = GreedyDecoder().decode(emissions(log_probs))
    return letters(best), best.score


def letters(best: Hypothesis) -> list[Letter]:
    return [letter for word in best.words for letter in word.letters]


def oracle(log_probs: FloatArray) -> Read:
    """Frame by frame, as one would by hand: of tokens that tie, the lowest wins."""
    runs: list[tuple[int, int, int, float]] = []
    for frame, row in enumerate(log_probs):
        token, peak = int(row.argmax()), float(row.max())
        if runs and runs[-1][0] == token:
            _, first, _, before = runs.pop()
            runs.append((token, first, frame + 1, max(before, peak)))
        else:
            runs.append((token, frame, frame + 1, peak))
    written = [Letter(chr(256 + token), first, end, exp(peak)) for token, first, end, peak in runs if token]
    return written, log_probs.max(1).sum(dtype=np.float64)


@settings(deadline=None)
@given(MATRICES)
def test_letters_equal_the_oracle(log_probs: FloatArray) -> None:
    assert read(log_probs) == oracle(log_probs)  # sums of LEVELS are exact


@pytest.mark.parametrize("num_tokens", [29, 32, 154, 1000])
def test_letters_of_distributions(num_tokens: int) -> None:
    logits = np.random.default_rng(num_tokens).normal(size=(300, num_tokens)).astype(np.float32)
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    (written, score), (expected, total) = read(log_probs), oracle(log_probs)
    assert written == expected
    assert score == pytest.approx(total, abs=1e-9)


@settings(deadline=None)
@given(MATRICES, st.data())
def test_pieces_joined_equal_the_whole(log_probs: FloatArray, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log_probs)), max_size=4)))
    whole = emissions(log_probs)
    state = GreedyDecoder().start(whole.vocabulary)
    for start, end in zip([0, *cuts], [*cuts, len(log_probs)], strict=True):
        state.feed(Emissions(log_probs[start:end], 1.0, whole.vocabulary, start))
    [best] = state.finish()
    assert (letters(best), best.score) == read(log_probs)


def test_read_only_input_is_taken() -> None:
    log_probs = np.eye(3, dtype=np.float32)
    log_probs.flags.writeable = False
    assert "".join(letter.text for letter in read(log_probs)[0]) == "\u0101\u0102"


@pytest.mark.parametrize("convert", [np.float64, np.float16, np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2]])
def test_other_floats_and_layouts_are_converted(convert: Any) -> None:
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(8), 50)).astype(np.float16).astype(np.float32)
    assert read(convert(log_probs)) == read(log_probs)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros((2, 2, 2), np.float32), np.zeros((4, 4), np.float32)[:, :2]],
    ids=["float64", "one axis", "three axes", "strided"],
)
def test_the_core_takes_no_other_arrays(wrong: FloatArray) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        native.GreedyState(2, 0, -1, [0], 1.0).feed(wrong, 0, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused_and_the_core_stays_within_bounds(value: float) -> None:
    log_probs = np.zeros((3, 17), np.float32)
    log_probs[1] = value
    with pytest.raises(OptionError, match="but frame 1 has a value that is no log-probability"):
        read(log_probs)
    native.GreedyState(17, 0, -1, [0], 1.0).feed(np.full((3, 17), value, np.float32), 0, 1.0)


def test_integers_are_refused() -> None:
    with pytest.raises(OptionError, match="must be floating-point numbers, but are int64"):
        read(np.zeros((3, 2), np.int64))  # pyright: ignore[reportArgumentType]


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
