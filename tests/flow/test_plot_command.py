"""`sonant plot` of recordings as a user runs it; of trainings see tests/unit/test_training_figure.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import sonant
from flow.conftest import MODELS, SAID
from flow.test_command import run

pytest.importorskip("matplotlib")


def test_a_part_of_a_recording_with_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("sonant.plots.save_figure", lambda figure, path: drawn.append((figure, path)))
    monkeypatch.chdir(tmp_path)
    shutil.copy(example, tmp_path / "talk.ogg")
    assert run(monkeypatch, "plot", "talk.ogg", "--features", "2,4", "--start", 1, "--theme", "dark") == 0
    assert capsys.readouterr().out == "talk.png\n"
    [(figure, path)] = drawn
    assert path == Path("talk.png")
    assert [axis.get_label() for axis in figure.axes] == [
        "waveform", "spectrogram", "layer 2", "layer 4", "words", "letters", "emissions",
    ]  # fmt: skip
    begin, end = figure.axes[0].get_xlim()
    assert begin == 1.0
    assert end == pytest.approx(sonant.load().transcribe(example).duration, abs=0.01)
    words = [text.get_text() for text in figure.axes[4].texts]
    assert len(words) >= 3
    assert words[-2:] == SAID.split()[-2:]
    assert figure.texts[0].get_text() == f"talk.ogg · {MODELS / 'digits'}"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["digits", "--start", 3, "--end", 2], "--end must be later than --start"),
        (["digits", "--output", "x.bmp"], ".png, .svg, .pdf, but x.bmp"),
        (["digits", "digits"], "one recording, but 2 inputs came"),
        (["none.wav"], "none.wav does not exist"),
        (["none"], "must be the folder of a training"),
        (["digits", "--features", "7"], "must be from 0 to 6, but is 7"),
        (["digits", "--start", 60], "no sound at 60 s"),
    ],
)
def test_wrong_usage_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: Path,
    tmp_path: Path,
    words: list[Any],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "plot", *(example if word == "digits" else word for word in words)) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.glob("*.png")) == []
