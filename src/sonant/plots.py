"""Pictures, drawn by matplotlib without a screen: the only module that imports it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, Protocol, cast

from sonant.errors import MissingExtraError, OptionError
from sonant.files import open_output

FORMATS = (".png", ".svg", ".pdf")
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
    figure = _module("matplotlib.figure").Figure(figsize=(10, 7), layout="constrained")
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


def save_figure(figure: Any, path: str | PathLike[str]) -> None:
    """Write a figure as `.png`, `.svg` or `.pdf`, whole or not at all; `OptionError` for another suffix."""
    suffix = PurePath(path).suffix.lower()
    if suffix not in FORMATS:
        raise OptionError(
            f"A picture is written as {', '.join(FORMATS)}, but {Path(path).name} was asked for; rename it."
        )
    with open_output(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # no font has the letters of all scripts
        figure.savefig(file, format=suffix[1:])


def _module(name: str) -> Any:
    try:
        return cast("Any", import_module(name))
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Pictures need matplotlib, which is not installed: pip install 'sonant[plots]'"
        ) from error
