"""The compiled core: loops over frames that Python is too slow for. The GIL is released inside.

Its sources lie beside this file, one header a part; `module.cpp` and `bind_*.cpp` bind them. Arrays that come in are
C-contiguous float32, checked and never converted: a `TypeError` names what came. Shapes: T frames, V tokens, R runs.
Words and paths are bytes. `LanguageModel` (lm.h), `ArpaReader` (arpa.h) and `convert_kenlm` (kenlm.h) are what
`sonant.decode.lm` stands on; what a file gets wrong they call a `RuntimeError`. `KneserNey` (kneser_ney.h) does the
work of `sonant.decode.estimate`, `BeamSearch` and `BeamState` (beam.h) that of `sonant.decode.beam`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonant.native import _native
from sonant.native._native import (
    ArpaReader,
    BeamSearch,
    BeamState,
    KneserNey,
    LanguageModel,
    TemporaryFileError,
    TextError,
    convert_kenlm,
)

__all__ = [
    "ArpaReader",
    "BeamSearch",
    "BeamState",
    "KneserNey",
    "LanguageModel",
    "Parts",
    "TemporaryFileError",
    "TextError",
    "convert_kenlm",
    "first_fault",
    "runs",
]

Parts = tuple[list[int], list[int], list[int], list[int], list[int], list[float]]
"""A reading from the beam: of its words the lexicon's number (-1 outside it) and one past the last letter, then of its
letters the token, the first frame, one past the last frame, and the highest log-probability."""


def runs(
    log_probs: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], float]:
    """Runs of frames whose best token is the same, blanks like any other: the best path before CTC collapses it.

    `log_probs` (T, V) to `tokens` (R,), `first_frames` (R,), `peaks` (R,), the token's highest log-probability within
    its run, and `total`, the sum over frames of the best log-probability (of several pieces it adds up). Of tokens
    that tie, the lowest index wins. A run lasts to the next one's first frame. Where a recording comes in pieces,
    a piece's first run continues the last one's final run if their tokens are equal. NaN is the caller's to refuse.
    """
    return _native.runs(log_probs)


def first_fault(log_probs: NDArray[np.float32]) -> tuple[int, int]:
    """What no search can use in (T, V), and its frame: 1 is NaN or infinity, 2 no token that is possible, 0 nothing."""
    return _native.first_fault(log_probs)
