from __future__ import annotations

import itertools
import time

import pytest

from sonant.data.pool import AHEAD, ordered_map


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_whoever_is_first(threads: int) -> None:
    def slow(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number * number

    assert list(ordered_map(slow, range(50), threads)) == [(i, i * i) for i in range(50)]
    assert list(ordered_map(slow, [], threads)) == []


def test_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def source():
        for i in itertools.count():
            taken.append(i)
            yield i

    results = ordered_map(str, source(), 2)
    assert next(results) == (0, "0")
    assert len(taken) == 2 * AHEAD
    results.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_an_error_comes_in_its_turn() -> None:
    results = ordered_map(lambda i: 1 // (3 - i), range(9), 2)
    assert [next(results)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
