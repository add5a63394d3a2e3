"""Colours of pictures on a light or a dark ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sonant.errors import OptionError
from sonant.plots.figures import font_family, library


@dataclass(frozen=True)
class Theme:
    """Colours of a page; maps go from the ground to them, in hues that every kind of eye tells apart."""

    ground: str
    ink: str
    faint: str
    accent: str
    likely: tuple[str, ...]
    """Of probabilities, from 0 to 1."""
    loud: tuple[str, ...]
    low: tuple[str, ...]
    """Of features below their mean, the lowest first."""
    high: tuple[str, ...]
    """Of features over their mean, the highest last."""


THEMES = {
    "light": Theme(
        "#ffffff", "#1c1f24", "#9aa0a8", "#0072B2", ("#ffffff", "#56B4E9", "#0072B2", "#00294a"),
        ("#ffffff", "#8a8f98", "#101216"), ("#00497a", "#56B4E9"), ("#E69F00", "#8a3b00"),
    ),
    "dark": Theme(
        "#14161a", "#e4e6ea", "#6d737c", "#56B4E9", ("#14161a", "#0072B2", "#56B4E9", "#f2faff"),
        ("#14161a", "#7d838d", "#ffffff"), ("#b9e2fb", "#0072B2"), ("#D55E00", "#ffd58a"),
    ),
}  # fmt: skip


def find_theme(name: str) -> Theme:
    """The theme of a name; `OptionError` for another than light and dark."""
    if name not in THEMES:
        raise OptionError(f"A theme is light or dark, but {name!r} came.")
    return THEMES[name]


def styled(theme: Theme) -> Any:
    """A context in which figures are made in a theme's colours, small letters and thin lines."""
    settings = {
        "figure.facecolor": theme.ground, "axes.facecolor": theme.ground, "axes.edgecolor": theme.faint,
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "xtick.color": theme.ink, "ytick.color": theme.ink,
        "font.family": font_family(), "font.size": 8.0, "text.parse_math": False, "axes.linewidth": 0.6,
    }  # fmt: skip
    return library("matplotlib").rc_context(settings)
