"""The compiled core: loops over frames that Python is too slow for. The GIL is released inside.

Its sources lie beside this file, one header a part; `module.cpp` and `bind_*.cpp` bind them. Arrays that come in are
C-contiguous float32, checked and never converted: a `TypeError` names what came. Shapes: T frames, V tokens, L tokens
of a text, U units of it.
Words and paths are bytes. `LanguageModel` (lm.h), `ArpaReader` (arpa.h) and `convert_kenlm` (kenlm.h) are what
`sonant.decode.lm` stands on; what a file gets wrong they call a `RuntimeError`. `KneserNey` (kneser_ney.h) does the
work of `sonant.decode.estimate`, `BeamSearch` and `BeamState` (beam.h) that of `sonant.decode.beam`, `GreedyState`
(greedy.h) that of `sonant.decode.greedy`, `align` (align.h) that of `sonant.alignment`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sonant.native import _native
from sonant.native._native import (
    ArpaReader,
    BeamSearch,
    BeamState,
    GreedyState,
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
    "GreedyState",
    "KneserNey",
    "LanguageModel",
    "Parts",
    "TemporaryFileError",
    "TextError",
    "align",
    "convert_kenlm",
    "first_fault",
    "records",
]

NO_INDICES = np.zeros(0, np.int32)
NO_COSTS = np.zeros(0, np.float32)
Parts = tuple[list[int], list[int], list[int], list[int], list[int], list[float]]
"""A reading from the beam: of its words the lexicon's number (-1 outside it) and one past the last letter, then of its
letters the token, the first frame, one past the last frame, and the highest log-probability."""

Made = TypeVar("Made")


def records(kind: type[Made], names: tuple[str, ...], columns: tuple[list[Any], ...]) -> list[Made]:
    """Objects of a class written in Python with slots, one a place of the columns, which hold the fields `names`.

    Several times as fast as the constructor of a frozen dataclass, which is not called: all fields must be named.
    """
    return _native.records(kind, names, columns)


def first_fault(log_probs: NDArray[np.float32]) -> tuple[int, int]:
    """What no search can use in (T, V), and its frame: 1 is NaN or infinity, 2 no token that is possible, 0 nothing."""
    return _native.first_fault(log_probs)


def align(
    log_probs: NDArray[np.float32],
    tokens: NDArray[np.int32],
    blank: int,
    *,
    wildcard_cost: float = 0.0,
    unit_begins: NDArray[np.int32] = NO_INDICES,
    unit_ends: NDArray[np.int32] = NO_INDICES,
    unit_costs: NDArray[np.float32] = NO_COSTS,
    threshold: float = 100.0,
    exact: bool = True,
    memory: int = 1 << 30,
    most_cells: int = 1 << 36,
) -> tuple[int, NDArray[np.int32], NDArray[np.int32], float, int]:
    """The likeliest way through (T, V) that spells `tokens` (L,): `proof`, `starts` (L,), `ends` (L,), score, cells.

    `proof` is 2 where no way is better, 1 where the search was narrow, 0 where no way is possible. A token has the
    frames from its start to its end, none where it was left out. Token V is the wildcard: in each frame as likely as
    the best one, less `wildcard_cost`, a tenth of that where the best is the blank. Units [begin, end) of tokens,
    apart and in order, may be left out at a cost.
    A first search gives up cells `threshold` below the best one, fewer and fewer where that leaves no way; `exact` goes
    on until no other way can be as good. Either ends where it has looked at `most_cells`, about a nanosecond each.
    `memory` bytes suffice for any proof, if it may take longer.
    The score is the sum of log-probabilities along the way, costs left out; cells are those that were looked at.
    """
    memory = max(memory, 4)  # a quarter is for the ways of a frame, and none at all means that they are not noted
    return _native.align(
        log_probs, tokens, blank, wildcard_cost, unit_begins, unit_ends, unit_costs, threshold, exact, memory,
        most_cells,
    )  # fmt: skip
