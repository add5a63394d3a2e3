"""What happened in some steps, added up until it is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Sums = Mapping[str, tuple[float, float]]
"""Sums and counts by name, which add up over batches and ranks; their quotients are told."""


@dataclass
class Totals:
    """What happened since the last line of the metrics."""

    loss: float = 0.0
    count: float = 0.0
    norm: float = 0.0
    steps: int = 0
    skipped: int = 0
    heard: float = 0.0
    padded: float = 0.0
    began: float = field(default_factory=time.monotonic)
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def numbers(self) -> dict[str, float]:
        """What a line of metrics says of these steps whatever is learnt; speeds in seconds of audio a second."""
        return {
            "gradient": self.norm / max(self.steps, 1),
            "skipped": self.skipped,
            "padding": 1 - self.heard / max(self.padded, 1e-9),
            "speed": self.heard / max(time.monotonic() - self.began, 1e-9),
        }

    def seconds_a_step(self) -> float:
        """Time passed a step."""
        return (time.monotonic() - self.began) / max(self.steps + self.skipped, 1)


def add_sums(sums: dict[str, tuple[float, float]], more: Sums) -> None:
    """Take in sums and counts by name."""
    for name, (total, count) in more.items():
        old = sums.get(name, (0.0, 0.0))
        sums[name] = old[0] + total, old[1] + count


def means(sums: Sums) -> dict[str, float]:
    """Their quotients."""
    return {name: total / max(count, 1.0) for name, (total, count) in sums.items()}


def rounded(line: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers to the six digits that mean something."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in line.items()}
