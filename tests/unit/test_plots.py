from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sonant.errors import MissingExtraError, OptionError
from sonant.plots import manifest_figure, save_figure
from sonant.plots.figures import font_family


@dataclass
class Numbers:
    lengths: list[float] = field(default_factory=lambda: [1.0, 2.0, 4.5])
    paces: list[float] = field(default_factory=lambda: [9.0, 12.0])
    letters: Counter[str] = field(default_factory=lambda: Counter("a$b_c字ن"))
    speakers: Counter[str] = field(default_factory=lambda: Counter({"x": 5, "y": 2}))


def test_a_picture_of_any_script_and_of_speech_without_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = manifest_figure(Numbers())
    assert [axis.get_title() for axis in figure.axes] == ["0.00 hours", "2 with text", "2 speakers", "7 letters"]
    save_figure(figure, tmp_path / "a.png")
    save_figure(manifest_figure(Numbers([1.0], [], Counter(), Counter())), tmp_path / "b.SVG")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.png", "b.SVG"]
    with pytest.raises(OptionError, match=r"\.png, \.svg, \.pdf, but c\.bmp"):
        save_figure(figure, tmp_path / "c.bmp")


def test_other_scripts_take_the_fonts_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    installed = ["Yu Gothic", "Comic Sans MS", "Noto Sans CJK SC"]
    monkeypatch.setattr("matplotlib.font_manager.get_font_names", lambda: installed)
    assert font_family() == ["DejaVu Sans", "Noto Sans CJK SC", "Yu Gothic"]


def test_without_matplotlib_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sonant\[plots\]'"):
        manifest_figure(Numbers())
