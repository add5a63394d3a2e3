"""What decoders make sure of before they hear emissions: numbers, a column a token, and log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonant import native
from sonant.errors import OptionError, VocabularyError
from sonant.types import FloatArray

ROWS_CHECKED = 16
"""Frames of a piece whose probabilities are summed, to tell log-probabilities from other scores."""

LOG_SUM_TOLERANCE = 0.05
"""How far from 0 the logarithm of a frame's summed probabilities may be: rounding to half precision stays below."""


def checked(log_probs: NDArray[Any], num_tokens: int, first: int) -> FloatArray:
    """Log-probabilities (T, V) as the compiled search wants them, or an `OptionError` with what is wrong."""
    array = as_floats(log_probs, num_tokens)
    refuse_faults(array, first)
    rows = array[:: max(len(array) // ROWS_CHECKED, 1)]
    sums = np.log(np.exp(np.minimum(rows, 50.0), dtype=np.float64).sum(1))
    if len(rows) and np.abs(sums).max() > LOG_SUM_TOLERANCE:
        are = "are probabilities" if _are_probabilities(rows) else "do not add up to 1 in each frame"
        do = "take their logarithm" if _are_probabilities(rows) else "apply log-softmax to the model's logits"
        raise OptionError(f"Emissions must be log-probabilities, but these {are}; {do} first.")
    return array


def as_floats(scores: NDArray[Any], num_tokens: int) -> FloatArray:
    """Float32, contiguous; `VocabularyError` for another number of columns, `OptionError` for what are no floats."""
    array = np.asarray(scores)
    if array.ndim != 2 or array.shape[1] != num_tokens:
        raise VocabularyError(
            f"Emissions must have one column a token, ({num_tokens} here), but have the shape {array.shape}; "
            "pass the vocabulary of the model that emitted them."
        )
    if array.dtype.kind != "f":
        raise OptionError(f"Emissions must be floating-point numbers, but are {array.dtype}; pass log-probabilities.")
    if array.dtype == np.float32:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def refuse_faults(log_probs: FloatArray, first: int) -> None:
    """Raise an `OptionError` that names the first frame with NaN, infinity, or no possible token, if there is one."""
    fault, frame = native.first_fault(log_probs)
    if fault:
        what = "a value that is no log-probability (NaN or infinity)" if fault == 1 else "no token that is possible"
        raise OptionError(
            f"Emissions must be log-probabilities, but frame {first + frame} has {what}; "
            "look at the audio there and at the model's precision."
        )


def _are_probabilities(rows: FloatArray) -> bool:
    return bool((rows >= 0).all() and np.allclose(rows.sum(1), 1.0, atol=LOG_SUM_TOLERANCE))
