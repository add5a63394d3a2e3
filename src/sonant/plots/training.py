"""What there is to learn from, and how a training goes: the numbers of manifests and the curves of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from textwrap import shorten
from typing import Any, Protocol

import numpy as np

from sonant.plots.figures import COLOURS, library

MOST_LETTERS = 60
"""Bars that still can be read."""


class Counts(Protocol):
    """What is drawn of a manifest (`sonant.data.stats.ManifestStats`)."""

    @property
    def lengths(self) -> Sequence[float]: ...
    @property
    def paces(self) -> Sequence[float]: ...
    @property
    def letters(self) -> Mapping[str, int]: ...
    @property
    def speakers(self) -> Mapping[str, int]: ...


def manifest_figure(stats: Counts) -> Any:
    """A matplotlib figure: lengths, letters a second, seconds of each speaker, and letters by how often they stand."""
    figure = library("matplotlib.figure").Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    minutes = sorted((seconds / 60 for seconds in stats.speakers.values()), reverse=True)
    letters = sorted(stats.letters.items(), key=lambda item: -item[1])[:MOST_LETTERS]
    axes[0].hist(stats.lengths, bins=40)
    axes[0].set(xlabel="seconds", ylabel="utterances", title=f"{sum(stats.lengths) / 3600:.2f} hours")
    axes[1].hist(stats.paces, bins=40)
    axes[1].set(xlabel="letters a second", ylabel="utterances", title=f"{len(stats.paces)} with text")
    axes[2].bar(range(len(minutes)), minutes, width=1.0)
    axes[2].set(xlabel="speakers, the longest first", ylabel="minutes", title=f"{len(minutes)} speakers")
    axes[3].bar([letter for letter, _ in letters], [count for _, count in letters])
    axes[3].set(ylabel="times", yscale="log" if letters else "linear", title=f"{len(stats.letters)} letters")
    return figure


# The curves of trainings.

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("loss", "ctc", "contrastive", "masked", "unmasked")),
    ("side losses", ("mel", "diversity", "feature_penalty")),
    ("errors on the development set", ("wer", "cer")),
    ("accuracy", ("accuracy", "masked_accuracy", "unmasked_accuracy")),
    ("perplexity of the codes", ("perplexity",)),
    ("codes used and clashes", ("codes_used", "clashes")),
    ("cosines", ("positive_cosine", "negative_cosine")),
    ("temperature", ("temperature",)),
    ("learning rate", ("lr",)),
    ("gradient norm", ("gradient",)),
    ("seconds of audio a second", ("speed",)),
    ("share of padding", ("padding",)),
    ("steps left out", ("skipped",)),
    ("share of rows left out", ("infinite",)),
)
"""Panels with what they show; `dev_x` stands beside `x`, and what is named nowhere gets a panel of its own."""
HIDDEN = ("step", "epoch", "hours", "minutes", "minutes_left")
QUIET = ("steps left out", "share of rows left out")
"""Panels that are drawn only where there is something other than 0."""
LOGARITHMIC = ("loss", "side losses", "gradient norm")
LOG_RATIO = 20
"""These panels have a logarithmic scale once their greatest value is so many times the least, which is over 0."""
AXES = {"step": "step", "hours": "hours of audio heard", "minutes": "minutes of training"}
STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
MARKS = "x^osDv*P"
FEW = 40
"""Scores up to which each is marked."""
MANY = 120
"""Lines of metrics over which a curve is drawn as running means of a hundredth, with its points faint behind."""


@dataclass(frozen=True)
class Curves:
    """What a training told of itself, by name: where on the axis, and how much."""

    series: Mapping[str, tuple[list[float], list[float]]]
    scores: frozenset[str]
    """Those that were measured on the development set."""
    events: Mapping[str, list[float]]
    """Where each kind of event happened."""


def read_curves(lines: Iterable[Mapping[str, Any]], by: str = "step") -> Curves:
    """Sort a training's metrics into curves over `step`, `hours` or `minutes`.

    Scores and events tell their step only; their hours and minutes lie between those of the lines around them.
    """
    lines = [line for line in lines if "step" in line]
    told = [(float(line["step"]), float(line[by])) for line in lines if by in line]
    steps, marks = [step for step, _ in told], [mark for _, mark in told]
    series: dict[str, tuple[list[float], list[float]]] = {}
    events: dict[str, list[float]] = {}
    for line in lines if told else ():
        place = float(np.interp(float(line["step"]), steps, marks)) if by not in line else float(line[by])
        if "event" in line:
            events.setdefault(str(line["event"]), []).append(place)
            continue
        for name, value in line.items():
            if name not in HIDDEN and isinstance(value, int | float):
                places, values = series.setdefault(name, ([], []))
                places.append(place)
                values.append(float(value))
    scores = {name for line in lines if "loss" not in line and "event" not in line for name in line}
    for part in ("ctc", "contrastive", "masked"):
        if part in series and series.get("loss") == series[part]:
            del series[part]  # it is all of the loss
        elif part in series and "dev_loss" in series:
            series[f"dev_{part}"] = series.pop("dev_loss")  # which is told of that part alone
            scores.add(f"dev_{part}")
    return Curves(series, frozenset(scores), events)


def training_figure(runs: Mapping[str, Sequence[Mapping[str, Any]]], by: str = "step") -> Any:
    """A matplotlib figure of trainings' metrics by the runs' names, over `step`, `hours` heard or `minutes` trained.

    One run's curves differ in colour; of several, the run gives the colour and the quantity the style.
    """
    curves = {run: read_curves(lines, by) for run, lines in runs.items()}
    panels = _panels(curves)
    columns = 2 if len(panels) <= 4 else 3
    rows = max(-(-len(panels) // columns), 1)
    figure = library("matplotlib.figure").Figure(figsize=(4.6 * columns, 2.9 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    most = max((x for c in curves.values() for xs, _ in c.series.values() for x in xs), default=1.0)
    kinds = list(dict.fromkeys(kind for c in curves.values() for kind in c.events))
    for i, (axis, (title, names)) in enumerate(zip(axes, panels, strict=False)):
        _draw_panel(axis, title, names, curves)
        _draw_events(axis, kinds, curves)
        axis.set_xlim(0, most * 1.02)
        if i + columns >= len(panels):  # the lowest of its column
            axis.set_xlabel(AXES[by])
    for axis in axes[len(panels) :]:
        axis.remove()
    _draw_legend(figure, kinds, curves)
    return figure


def _panels(curves: Mapping[str, Curves]) -> list[tuple[str, list[str]]]:
    """The panels that have something to show, each with its quantities."""
    present = list(dict.fromkeys(name for c in curves.values() for name in c.series))
    left, panels = dict.fromkeys(present), list[tuple[str, list[str]]]()
    for title, names in PANELS:
        wanted = [name for plain in names for name in (plain, f"dev_{plain}") if name in left]
        values = (v for c in curves.values() for name in wanted for v in c.series.get(name, ([], []))[1])
        if wanted and (title not in QUIET or any(values)):
            panels.append((title, wanted))
        for name in wanted:
            del left[name]
    return panels + [(name.replace("_", " "), [name]) for name in left]


def _draw_panel(axis: Any, title: str, names: Sequence[str], curves: Mapping[str, Curves]) -> None:
    """The curves of one panel."""
    alone, drawn = len(curves) == 1, list[float]()
    plain = list(dict.fromkeys(name.removeprefix("dev_") for name in names))
    looks: dict[tuple[int, int], dict[str, Any]] = {}
    for r, (n, name) in product(range(len(curves)), enumerate(names)):
        colour = plain.index(name.removeprefix("dev_")) if alone else r
        style = int(name not in plain) if alone else n
        looks[r, n] = {"color": COLOURS[colour % len(COLOURS)], "linestyle": STYLES[style % len(STYLES)]}
    for (r, run), (n, name) in product(enumerate(curves.values()), enumerate(names)):
        if name not in run.series:
            continue
        places, values = run.series[name]
        drawn += [value for value in values if math.isfinite(value)]
        if len(values) > MANY:
            axis.plot(places, values, color=looks[r, n]["color"], alpha=0.25, linewidth=0.6)
            values = running_mean(values, max(len(values) // 100, 2))
        axis.plot(
            places,
            values,
            marker="." if len(values) <= FEW and (name in run.scores or len(values) == 1) else "",
            linewidth=1.4,
            **looks[r, n],
        )
    axis.set_title(title, fontsize="medium")
    axis.grid(visible=True, alpha=0.25, linewidth=0.6)
    if title in LOGARITHMIC and drawn and max(drawn) > LOG_RATIO * min(drawn) > 0:
        axis.set_yscale("log")
    if len(names) > 1 or len(dict(PANELS).get(title, ())) > 1:
        grey: dict[str, str] = {} if alone else {"color": "0.3"}
        lines = [library("matplotlib.lines").Line2D([], [], **looks[0, n] | grey) for n in range(len(names))]
        axis.legend(lines, [name.replace("_", " ") for name in names], fontsize="small")


def _draw_events(axis: Any, kinds: Sequence[str], curves: Mapping[str, Curves]) -> None:
    """A mark at the lower edge wherever something happened."""
    for r, run in enumerate(curves.values()):
        for kind, places in run.events.items():
            axis.plot(
                places,
                [0.03 + 0.04 * (kinds.index(kind) % 3)] * len(places),
                MARKS[kinds.index(kind) % len(MARKS)],
                transform=axis.get_xaxis_transform(),
                color="0.3" if len(curves) == 1 else COLOURS[r % len(COLOURS)],
                markersize=5,
                clip_on=False,
            )


def _draw_legend(figure: Any, kinds: Sequence[str], curves: Mapping[str, Curves]) -> None:
    """The runs' names above the panels, what the marks mean below them."""
    line, names = library("matplotlib.lines").Line2D, list(curves)
    if len(names) == 1:
        figure.suptitle(names[0])
    else:
        lines = [line([], [], color=COLOURS[r % len(COLOURS)], linewidth=2.5) for r in range(len(names))]
        figure.legend(lines, names, loc="outside upper center", ncols=min(len(names), 4))
    if kinds:
        counts = [sum(len(c.events.get(kind, ())) for c in curves.values()) for kind in kinds]
        marks = [line([], [], color="0.3", linestyle="", marker=MARKS[k % len(MARKS)]) for k in range(len(kinds))]
        told = [f"{shorten(kind, 110, placeholder=' ...')} ({n})" for kind, n in zip(kinds, counts, strict=True)]
        figure.legend(marks, told, loc="outside lower left", fontsize="small", frameon=False)


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Means over `width` values to either side, fewer at the ends; those that are not finite count for nothing."""
    known = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    sums = np.append(0.0, np.cumsum(known))
    counts = np.append(0, np.cumsum(np.isfinite(values)))
    last = np.arange(len(known)) + width + 1
    low, high = np.maximum(last - 2 * width - 1, 0), np.minimum(last, len(known))
    means = (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1)
    return np.where(counts[high] > counts[low], means, np.nan).tolist()
