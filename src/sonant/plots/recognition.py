"""How well labels and voices are told apart, as a picture: confusions, the DET curve, and what each layer counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonant.plots.figures import library
from sonant.plots.themes import Theme, find_theme, styled

NUMBERED = 20
"""Labels up to which a table of confusions has its numbers written in."""
NAMED = 50
"""Labels up to which they are named."""
RATES = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Ticks of a DET curve."""
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Shares of false accepts and of misses (P,), from the highest threshold to the lowest."""


def recognition_figure(
    confusion: NDArray[np.int64] | None = None,
    labels: Sequence[str] = (),
    curves: Mapping[str, Curve] | None = None,
    shares: Mapping[str, Sequence[float]] | None = None,
    *,
    title: str = "",
    theme: str = "light",
) -> Any:
    """A matplotlib figure of what is given: confusions (K, K) of labels, DET curves, and what each layer counts.

    Rows of `confusion` are what was said; `curves` and `shares` go by the names of models. `theme` is `light` or
    `dark`. Raises `MissingExtraError` without matplotlib.
    """
    colours = find_theme(theme)
    panels: list[tuple[float, Any]] = []
    if confusion is not None:
        panels.append((4.4, lambda axis: _draw_confusion(axis, confusion, labels, colours)))
    if curves:
        panels.append((4.4, lambda axis: _draw_curves(axis, curves, colours)))
    if shares:
        panels.append((4.0, lambda axis: _draw_shares(axis, shares, colours)))
    widths = [width for width, _ in panels]
    with styled(colours):
        size = (sum(widths), 4.4 if title else 4.1)
        figure = library("matplotlib.figure").Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
        for axis, (_, draw) in zip(axes, panels, strict=True):
            draw(axis)
            axis.tick_params(length=2)
        if title:
            figure.suptitle(shorten(title, 110, placeholder=" ..."), size=10)
    return figure


def _draw_confusion(axis: Any, table: NDArray[np.int64], labels: Sequence[str], theme: Theme) -> None:
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    colours = library("matplotlib.colors").LinearSegmentedColormap.from_list("", list(theme.likely))
    axis.imshow(np.sqrt(shares), cmap=colours, vmin=0, vmax=1, interpolation="nearest")  # what is rare shows, too
    places, count = range(len(labels)), len(labels)
    if count <= NUMBERED:
        for i, j in np.ndindex(*table.shape):
            shown = theme.ground if shares[i, j] > 0.25 else theme.ink
            axis.text(j, i, str(table[i, j]), ha="center", va="center", color=shown, size=8 if count <= 10 else 5)
    if count <= NAMED:
        names = [shorten(label, 16, placeholder="…") for label in labels]
        small = 8 if count <= 12 else 5
        axis.set_xticks(places, names, rotation=45 if max(map(len, names)) > 3 else 0, size=small)
        axis.set_yticks(places, names, size=small)
    axis.set(xlabel="heard", ylabel="said", title="clips" if count <= NUMBERED else "share of what was said")


def _draw_curves(axis: Any, curves: Mapping[str, Curve], theme: Theme) -> None:
    """On axes on which normal distributions of scores make straight lines (Martin et al., 1997)."""
    normal = NormalDist()
    palette = _palette(theme)
    seen: list[float] = []
    for k, (name, (accepts, misses)) in enumerate(curves.items()):
        inside = [(a, m) for a, m in zip(accepts, misses, strict=True) if 0 < a < 1 and 0 < m < 1]
        points = inside[:: max(len(inside) // 400, 1)]
        seen += [rate for point in points for rate in point]
        places = np.array([[normal.inv_cdf(rate) for rate in point] for point in points]).reshape(-1, 2)
        axis.plot(*places.T, color=palette[k % 6], label=shorten(name, 40, placeholder="…"), linewidth=1.5)
    low = max((rate for rate in RATES if rate <= min(seen, default=0)), default=RATES[0])
    high = min((rate for rate in RATES if rate >= max(seen, default=1)), default=RATES[-1])
    ticks = [rate for rate in RATES if low <= rate <= high]
    places = [normal.inv_cdf(rate) for rate in ticks]
    axis.plot(places, places, color=theme.faint, linewidth=0.7, linestyle=":")
    for side in ("x", "y"):
        getattr(axis, f"set_{side}ticks")(places, [f"{100 * rate:g}" for rate in ticks])
        getattr(axis, f"set_{side}lim")(places[0], places[-1])
    axis.grid(visible=True, color=theme.faint, alpha=0.3, linewidth=0.5)
    axis.set(xlabel="false accepts, %", ylabel="misses, %", title="DET")
    axis.set_aspect("equal")
    axis.legend(frameon=False, labelcolor=theme.ink)


def _draw_shares(axis: Any, shares: Mapping[str, Sequence[float]], theme: Theme) -> None:
    palette, depth = _palette(theme), max(map(len, shares.values()))
    width = 0.8 / len(shares)
    for k, (name, values) in enumerate(shares.items()):
        places = np.arange(len(values)) + (k - (len(shares) - 1) / 2) * width
        axis.bar(places, [100 * value for value in values], width, color=palette[k % 6], label=name)
    axis.set_xticks(range(depth), [str(i) if depth <= 16 or i % 2 == 0 else "" for i in range(depth)])
    axis.set(xlabel="layer (0: what enters the first)", ylabel="share, %", title="what each layer counts")
    axis.spines[["top", "right"]].set_visible(False)
    if len(shares) > 1:
        axis.legend(frameon=False, labelcolor=theme.ink)


def _palette(theme: Theme) -> tuple[str, ...]:
    """Colours that stand out from the ground and are told apart by every kind of eye (Okabe and Ito)."""
    return (theme.accent, "#D55E00", "#009E73", "#CC79A7", "#E69F00", theme.faint)
