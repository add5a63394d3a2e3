"""Pictures of speech, by what stands where."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonant.errors import OptionError
from sonant.plots import emissions_figure, save_figure, speech_figure
from sonant.plots.speech import apart, arranged, lanes, page_width, shown_tokens, spectrogram
from sonant.plots.themes import THEMES
from sonant.types import Emissions, FloatArray, Letter, Vocabulary, Word

pytest.importorskip("matplotlib")

RATE = 16000
VOCABULARY = Vocabulary(("<pad>", "|", "A", "$", "B", "Z"), blank=0, separator=1)


def word(text: str, start: float, step: float = 0.1) -> Word:
    letters = tuple(Letter(c, start + i * step, start + i * step + 0.02, 0.9) for i, c in enumerate(text))
    return Word(text, start, letters[-1].end, 0.9, letters)


def emissions_of(num_frames: int) -> Emissions:
    """Blanks, but for each other token now and then; Z never."""
    scores = np.zeros((num_frames, 6), np.float32)
    scores[np.arange(num_frames), np.arange(num_frames) // 3 % 5] = 9
    scores[:, 5] = -9
    return Emissions(scores - np.log(np.exp(scores).sum(1, keepdims=True)), 0.02, VOCABULARY)


def tone(seconds: float, hertz: float = 2000.0) -> FloatArray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def labels(figure: Any) -> list[str]:
    return [axis.get_label() for axis in figure.axes]


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_a_long_recording_is_lines_of_panels(tmp_path: Path) -> None:
    states = np.random.default_rng(0).standard_normal((1600, 8)).astype(np.float32)
    words = [word("AB", 1.0), word("$B", 12.0), word("A", 31.0)]
    figure = speech_figure(
        tone(32), RATE, emissions_of(1600), words, {"layer 4": states, "layer 8": states}, start=100.0, title="$a$.wav"
    )
    line = ["waveform", "spectrogram", "layer 4", "layer 8", "words", "letters", "emissions"]
    assert labels(figure) == line * 3
    limits = [axis.get_xlim() for axis in figure.axes[::7]]
    assert limits == [pytest.approx((100 + i * 32 / 3, 100 + (i + 1) * 32 / 3)) for i in range(3)]
    for i, axis in enumerate(figure.axes):
        last = axis.get_label() == "emissions"
        assert axis.get_xlabel() == ("seconds" if last else "")
        assert axis.get_xlim() == figure.axes[i // 7 * 7].get_xlim()
    assert [texts(axis) for axis in figure.axes if axis.get_label() == "words"] == [["AB"], ["$B"], ["A"]]
    assert [texts(axis) for axis in figure.axes if axis.get_label() == "letters"] == [["A", "B"], ["$", "B"], ["A"]]
    assert [t.get_text() for t in figure.texts] == ["$a$.wav"]
    [first] = figure.axes[4].texts
    assert first.get_position()[0] == pytest.approx(100 + 1.06)
    rows = [label.get_text() for label in figure.axes[6].get_yticklabels()]
    assert rows == ["blank", "space", "B", "A", "$"]  # from the lowest; Z is never likely
    for axis in figure.axes:
        for image in axis.images:
            left, right, _, _ = image.get_extent()
            assert left <= axis.get_xlim()[0] + 1e-6
            assert right >= axis.get_xlim()[1] - 0.02
    for suffix in (".png", ".svg", ".pdf"):
        save_figure(figure, tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").stat().st_size > 1000


@pytest.mark.parametrize("theme", THEMES)
def test_themes_colour_the_ground_and_the_ink(theme: str) -> None:
    from matplotlib.colors import to_hex

    figure = speech_figure(tone(1), RATE, emissions_of(50), [word("AB", 0.2)], theme=theme)
    assert to_hex(figure.get_facecolor()) == THEMES[theme].ground
    assert to_hex(figure.axes[2].texts[0].get_color()) == THEMES[theme].ink
    assert {to_hex(axis.get_facecolor()) for axis in figure.axes} == {THEMES[theme].ground}
    assert to_hex(figure.axes[-1].xaxis.label.get_color()) == THEMES[theme].ink


def test_parts_that_are_missing_are_left_out() -> None:
    assert labels(speech_figure(tone(1), RATE)) == ["waveform", "spectrogram"]
    states = np.ones((49, 4), np.float32)
    assert labels(speech_figure(tone(1), RATE, features={"layer 1": states})) == ["waveform", "spectrogram", "layer 1"]
    assert labels(emissions_figure(emissions_of(50))) == ["emissions"]
    later = Emissions(emissions_of(50).log_probs, 0.02, VOCABULARY, first=500)
    figure = emissions_figure(later, [Word("AB", 10.2, 10.4, 0.5)])
    assert labels(figure) == ["words", "emissions"]
    assert figure.axes[0].get_xlim() == pytest.approx((10, 11))
    assert texts(figure.axes[0]) == ["AB"]


def test_silence_and_a_single_frame_are_drawn() -> None:
    figure = speech_figure(
        np.zeros(400, np.float32), RATE, emissions_of(1), (), {"layer 0": np.ones((1, 4), np.float32)}
    )
    assert labels(figure) == ["waveform", "spectrogram", "layer 0", "emissions"]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(OptionError, match="up to 300 s, but more came"):
        speech_figure(np.zeros(301 * 100, np.float32), 100)
    with pytest.raises(OptionError, match="light or dark, but 'blue'"):
        speech_figure(tone(1), RATE, theme="blue")


def test_a_tone_stands_at_its_frequency() -> None:
    power = spectrogram(tone(1.0), RATE)
    assert power.shape == (201, 100)
    assert set(power[:, 5:95].argmax(0)) == {2000 // 40}  # bins of 40 Hz
    assert power.max() == 0
    assert power.min() >= -70.001


def test_words_take_another_lane_rather_than_overlap() -> None:
    crowded = [word("LONGWORD", i * 0.2, 0.01) for i in range(4)]
    assert lanes(crowded, 1.0)[:3] == [0, 1, 2]
    assert lanes(crowded, 10.0) == [0, 0, 0, 0]
    places = apart(word("ABCD", 1.0, 0.02), inches_a_second=1.0)
    assert (np.diff(places) >= 0.06).all()
    assert places.mean() == pytest.approx(1.04)
    np.testing.assert_allclose(apart(word("AB", 1.0, 0.5), 1.0), [1.01, 1.51])


def test_pages_grow_with_the_seconds_up_to_a_width() -> None:
    assert page_width(1) < page_width(5) < page_width(15) == 16.0


def test_rows_of_features_that_move_together_stand_together() -> None:
    times = np.linspace(0, 6, 200)
    states = np.stack([np.sin(times), np.cos(times), 2 * np.sin(times) + 5, 0.1 * np.cos(times)], 1).astype(np.float32)
    rows = arranged(states)
    np.testing.assert_allclose(rows.mean(1), 0, atol=1e-5)
    together = [abs(float(np.mean(a * b))) for a, b in pairwise(rows)]
    assert sum(value > 0.99 for value in together) == 2


def test_only_tokens_that_are_ever_likely_have_rows() -> None:
    assert [VOCABULARY.tokens[i] for i in shown_tokens(emissions_of(50))] == ["<pad>", "|", "B", "A", "$"]
