"""What batches are made of: remembered audio, rows for what is found out before the first step."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from sonant.data.batches import Loader
from sonant.errors import AudioError, DataError
from sonant.train.feeds import clean_rows, remembering
from sonant.types import FloatArray


def test_audio_is_read_once_as_long_as_there_is_room() -> None:
    calls: list[int] = []

    def read(i: int) -> FloatArray:
        calls.append(i)
        return np.full(100, i, np.float32)

    recall = remembering(read, 900)
    for _ in range(3):
        assert [recall(i)[0] for i in range(4)] == [0, 1, 2, 3]
    assert calls == [0, 1, 2, 3, 2, 3, 2, 3]  # 400 bytes each: two fit
    assert remembering(read, 0.0)(7)[0] == 7


def loader(broken: frozenset[int]) -> Loader:
    def read(i: int) -> FloatArray:
        if i in broken:
            raise AudioError("It is broken.")
        return np.arange(160 * (i + 1), dtype=np.float32)

    return Loader(read, [str(i) for i in range(5)], [""] * 5, 16000, normalize=True, fewest=100, seed=0)


def test_rows_before_the_first_step_come_in_a_random_order_without_end() -> None:
    durations = {i: 0.01 * (i + 1) for i in range(5)}
    rows = list(islice(clean_rows(loader(frozenset({1})), durations, 0), 12))
    lengths = [len(row) // 160 for row in rows]
    assert all(sorted(lengths[i : i + 4]) == [1, 3, 4, 5] for i in (0, 4, 8))
    assert lengths[:4] != lengths[4:8] or lengths[:4] != lengths[8:]
    assert all(abs(row.mean()) < 1e-5 for row in rows)
    assert [len(row) // 160 for row in islice(clean_rows(loader(frozenset({1})), durations, 0), 12)] == lengths
    with pytest.raises(DataError, match="no file of the manifests can be read"):
        next(clean_rows(loader(frozenset(range(5))), durations, 0))
