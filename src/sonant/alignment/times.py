"""Where within its frames a token begins and ends: finer than a frame, from the posteriors on both sides of each edge.

Shapes: T frames, V tokens, L tokens of a text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonant.types import FloatArray

Times = NDArray[np.float64]


def frame_edges(
    log_probs: FloatArray, tokens: NDArray[np.int32], starts: NDArray[np.int32], ends: NDArray[np.int32], blank: int
) -> tuple[Times, Times, Times]:
    """Beginning and end of each token (L,), in frames with fractions, and the highest probability within.

    A frame's posterior stands in its middle, and runs straight to the next one's. A token begins where its own crosses
    half of its highest, if that is between the middles of the frames beside its first edge; else at that edge. Token V
    is the wildcard: its probability is that of whatever is heard, the blank left out. Tokens have one frame at least
    and follow one another.
    """
    num_frames, num_tokens = log_probs.shape
    columns = np.minimum(tokens, num_tokens - 1)
    wild = tokens == num_tokens
    lengths = ends - starts
    bounds = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    frames = np.arange(int(lengths.sum())) - np.repeat(bounds - starts, lengths)

    def probability(at: NDArray[np.intp], of: NDArray[np.int32], any_sound: NDArray[np.bool_]) -> Times:
        found = log_probs[at, of].astype(np.float64)
        if any_sound.any():
            rows = log_probs[at[any_sound]].copy()
            rows[:, blank] = -np.inf
            found[any_sound] = rows.max(1)
        return np.exp(found)

    if not len(tokens):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    inside = probability(frames, np.repeat(columns, lengths), np.repeat(wild, lengths))
    peaks = np.maximum.reduceat(inside, bounds)
    first, last = starts.astype(np.float64), ends.astype(np.float64)
    half = peaks / 2

    before = probability(np.maximum(starts - 1, 0), columns, wild)
    at_start = inside[bounds]
    crosses = (starts > 0) & (before < half) & (half <= at_start) & ~wild
    first[crosses] += (half - before)[crosses] / (at_start - before)[crosses] - 0.5

    after = probability(np.minimum(ends, num_frames - 1), columns, wild)
    at_end = inside[bounds + lengths - 1]
    crosses = (ends < num_frames) & (after < half) & (half <= at_end) & ~wild
    last[crosses] += (at_end - half)[crosses] / (at_end - after)[crosses] - 0.5

    overlap = np.flatnonzero(first[1:] < last[:-1])
    first[overlap + 1] = last[overlap] = (first[overlap + 1] + last[overlap]) / 2
    return first, last, peaks
