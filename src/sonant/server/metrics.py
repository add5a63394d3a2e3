"""Counters, gauges and histograms in Prometheus' text format; only numbers, never what was said."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of a histogram's buckets, in seconds."""
Labels = tuple[tuple[str, str], ...]

FAMILIES = {
    "sonant_requests_total": ("counter", "Requests answered, by path and status."),
    "sonant_request_seconds": ("histogram", "Seconds from a request's last byte to its answer, by protocol."),
    "sonant_streams_total": ("counter", "Live streams that were opened, by protocol."),
    "sonant_refused_total": ("counter", "Requests, streams and connections refused, by reason."),
    "sonant_audio_seconds_total": ("counter", "Seconds of sound that came, by kind."),
    "sonant_stream_lag_seconds": ("histogram", "Seconds of sound that a live stream was behind, each time it was fed."),
    "sonant_engine_busy_seconds_total": ("counter", "Seconds that engines have computed, by model."),
    "sonant_engine_heard_seconds_total": ("counter", "Seconds of sound that engines have heard, by model."),
    "sonant_queue_seconds": ("gauge", "Seconds of sound that wait for an engine, by model."),
    "sonant_requests_running": ("gauge", "Files that are heard or wait."),
    "sonant_streams_open": ("gauge", "Live streams that are open."),
    "sonant_uptime_seconds": ("gauge", "Seconds since the start."),
}
"""Every family with its type and its line of help."""


class Metrics:
    """Numbers of one server; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._buckets: dict[str, dict[Labels, list[int]]] = defaultdict(dict)
        self._watched: list[tuple[str, Labels, Callable[[], float]]] = []

    def count(self, family: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[family][tuple(labels.items())] += amount

    def observe(self, family: str, value: float, **labels: str) -> None:
        """Sort a value into a histogram."""
        key = tuple(labels.items())
        with self._lock:
            buckets = self._buckets[family].setdefault(key, [0] * (len(BOUNDS) + 1))
            buckets[bisect_left(BOUNDS, value)] += 1
            self._counts[f"{family}_sum"][key] += value

    def watch(self, family: str, read: Callable[[], float], **labels: str) -> None:
        """Ask `read` for a number each time the metrics are written."""
        self._watched.append((family, tuple(labels.items()), read))

    def text(self) -> str:
        """All of them, as Prometheus reads them."""
        with self._lock:
            return "".join(f"{line}\n" for family in FAMILIES for line in self._lines(family))

    def _lines(self, family: str) -> Iterator[str]:
        kind, meaning = FAMILIES[family]
        yield f"# HELP {family} {meaning}"
        yield f"# TYPE {family} {kind}"
        for labels, value in self._counts[family].items():
            yield f"{family}{_written(labels)} {value:g}" if value < 1e6 else f"{family}{_written(labels)} {value:.3f}"
        for watched, labels, read in self._watched:
            if watched == family:
                yield f"{family}{_written(labels)} {read():.6g}"
        for labels, buckets in self._buckets[family].items():
            total = 0
            for bound, number in zip((*BOUNDS, "+Inf"), buckets, strict=True):
                total += number
                yield f"{family}_bucket{_written((*labels, ('le', str(bound))))} {total}"
            yield f"{family}_sum{_written(labels)} {self._counts[f'{family}_sum'][labels]:.6g}"
            yield f"{family}_count{_written(labels)} {total}"


def _written(labels: Labels) -> str:
    if not labels:
        return ""
    quoted = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in quoted) + "}"
