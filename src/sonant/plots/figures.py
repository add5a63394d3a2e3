"""What all pictures share: the library that draws them, colours, and files."""

from __future__ import annotations

import warnings
from importlib import import_module
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, cast

from sonant.errors import MissingExtraError, OptionError
from sonant.files import open_output

FORMATS = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by every kind of eye (Okabe and Ito)."""
FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Noto Sans CJK JP", "Noto Sans JP", "Noto Sans CJK KR", "Noto Sans KR",
    "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil",
    "Noto Sans Telugu", "Noto Sans Thai", "Noto Sans Ethiopic", "Nirmala UI", "Leelawadee UI", "Ebrima", "FreeSans",
    "Arial Unicode MS",
)  # fmt: skip
"""Where the letters are that matplotlib's own font lacks; of these, those that a machine has."""


def library(name: str) -> Any:
    """A module of matplotlib, which draws without a screen; `MissingExtraError` where it is not installed."""
    try:
        return cast("Any", import_module(name))
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Pictures need matplotlib, which is not installed: pip install 'sonant[plots]'"
        ) from error


def font_family() -> list[str]:
    """The font of matplotlib itself, and after it those of other scripts that are installed here."""
    installed = set(library("matplotlib.font_manager").get_font_names())
    return ["DejaVu Sans", *(font for font in FONTS if font in installed)]


def check_format(path: str | PathLike[str]) -> str:
    """The suffix of a picture's file; `OptionError` for one that cannot be written."""
    suffix = PurePath(path).suffix.lower()
    if suffix not in FORMATS:
        raise OptionError(
            f"A picture is written as {', '.join(FORMATS)}, but {Path(path).name} was asked for; rename it."
        )
    return suffix


def save_figure(figure: Any, path: str | PathLike[str]) -> None:
    """Write a figure as `.png`, `.svg` or `.pdf`, whole or not at all; `OptionError` for another suffix."""
    suffix = check_format(path)
    with open_output(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # no font has the letters of all scripts
        figure.savefig(file, format=suffix[1:])
