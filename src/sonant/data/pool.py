"""The same work on many items, by a few threads; FFmpeg and numpy let go of the interpreter's lock meanwhile."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 4
"""Items a thread is given before their turn, so that one that takes long holds up no other."""


def ordered_map(function: Callable[[S], T], items: Iterable[S], threads: int | None = None) -> Iterator[tuple[S, T]]:
    """Each item with its result, in order; only a few items are taken from `items` ahead of time."""
    threads = threads or os.cpu_count() or 1
    source = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[S, Future[T]]] = deque()
        try:
            waiting.extend((item, pool.submit(function, item)) for item in islice(source, AHEAD * threads))
            while waiting:
                item, result = waiting.popleft()
                yield item, result.result()
                waiting.extend((item, pool.submit(function, item)) for item in islice(source, 1))
        finally:
            for _, result in waiting:
                result.cancel()
