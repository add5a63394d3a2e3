"""The compiled core: loops over frames that Python is too slow for. The GIL is released inside.

Its sources lie beside this file, one header a part; `module.cpp` and `bind_*.cpp` bind them. Arrays that come in are
C-contiguous float32, checked and never converted: a `TypeError` names what came. Shapes: T frames, V tokens, R runs.
Words and paths are bytes. `LanguageModel` (lm.h), `ArpaReader` (arpa.h) and `convert_kenlm` (kenlm.h) are what
`sonant.decode.lm` stands on; what a file gets wrong they call a `RuntimeError`. `KneserNey` (kneser_ney.h) does the
work of `sonant.decode.estimate`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonant.native import _native
from sonant.native._native import (
    ArpaReader,
    KneserNey,
    LanguageModel,
    TemporaryFileError,
    TextError,
    convert_kenlm,
)

__all__ = ["ArpaReader", "KneserNey", "LanguageModel", "TemporaryFileError", "TextError", "convert_kenlm", "runs"]


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
