"""Speech as a page: waveform, spectrogram, features, emissions with the letters and words heard, over seconds.

A long recording is several lines, as in a book, so that a minute stays readable.

Shapes: N samples, T frames, V tokens, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonant.errors import OptionError
from sonant.plots.figures import library
from sonant.plots.themes import Theme, find_theme, styled
from sonant.types import Emissions, FloatArray, Word

LONGEST = 300.0
"""Seconds in one picture: twenty lines."""
LINE = 15.0
"""Seconds of a line at most."""
WIDTH, MARGIN = 16.0, 0.75
"""Inches: a page with its left margin."""
ROW = 0.1
"""Inches of a token's row."""
LETTER_SIZE, WORD_SIZE = 6.5, 8.5
"""Points."""
LIKELY = 0.05
"""A token has a row if it is ever so probable."""
MOST_ROWS = 48
DECIBELS = 70
"""From the loudest point of the spectrogram to what is drawn as silence."""


@dataclass(frozen=True)
class Panel:
    """A stripe of every line."""

    name: str
    height: float
    """Inches."""
    draw: Callable[[Any, float, float], None]
    """Draws on an axis what is between two times, in seconds."""


def speech_figure(
    samples: FloatArray,
    sample_rate: int,
    emissions: Emissions | None = None,
    words: Sequence[Word] = (),
    features: Mapping[str, FloatArray] | None = None,
    *,
    start: float = 0.0,
    title: str = "",
    theme: str = "light",
) -> Any:
    """A matplotlib figure of samples (N,) and what a model makes of them; `words` may have letters with times.

    `features` are states (T, D) by the name to show, of as many frames as `emissions`. Emissions and words count
    seconds from the first sample; `start` is where that stands in its file, and where the axis begins. `theme` is
    `light` or `dark`. Raises `OptionError` for more than 300 s, and `MissingExtraError` without matplotlib.
    """
    colours, duration = find_theme(theme), len(samples) / sample_rate
    check_length(duration)
    panels = [_waveform(samples, sample_rate, start, colours), _spectrogram(samples, sample_rate, start, colours)]
    for name, states in (features or {}).items():
        frame_seconds = emissions.frame_seconds if emissions is not None else duration / len(states)
        panels.append(_features(name, states, frame_seconds, start, colours))
    if emissions is not None:
        panels += [*_heard(words, start, duration, colours), _emissions(emissions, start, colours)]
    return _page(panels, start, start + duration, title, colours)


def emissions_figure(emissions: Emissions, words: Sequence[Word] = (), *, title: str = "", theme: str = "light") -> Any:
    """A matplotlib figure of emissions alone, with the letters and words heard; errors as in `speech_figure`."""
    colours = find_theme(theme)
    panels = [*_heard(words, 0.0, emissions.duration, colours), _emissions(emissions, 0.0, colours)]
    return _page(panels, emissions.start, emissions.start + emissions.duration, title, colours)


def check_length(duration: float) -> None:
    """Raise `OptionError` for what is too long for one picture."""
    if not 0 < duration <= LONGEST:
        came = "more" if duration > 0 else "nothing"
        raise OptionError(f"A picture shows up to {LONGEST:g} s, but {came} came; choose a part of the recording.")


def line_seconds(duration: float) -> float:
    """Seconds of each line of a page."""
    return duration / max(math.ceil(duration / LINE - 1e-6), 1)


def _page(panels: Sequence[Panel], start: float, end: float, title: str, theme: Theme) -> Any:
    """Every line of a page, with its panels from top to bottom, placed in inches."""
    duration = end - start
    check_length(duration)
    seconds = line_seconds(duration)
    lines = round(duration / seconds)
    width, gap, head, foot = page_width(seconds), 0.06, 0.35 if title else 0.1, 0.42
    line_height = sum(panel.height + gap for panel in panels) + foot
    height = head + lines * line_height
    with styled(theme):
        figure = library("matplotlib.figure").Figure(figsize=(width, height), dpi=150)
        for line in range(lines):
            top = height - head - line * line_height
            for panel in panels:
                top -= panel.height
                place = (MARGIN / width, top / height, (width - MARGIN - 0.15) / width, panel.height / height)
                axis = figure.add_axes(place, label=panel.name)
                begin = start + line * seconds
                panel.draw(axis, begin, begin + seconds)
                axis.set_xlim(begin, begin + seconds)
                axis.tick_params(length=2, labelbottom=panel is panels[-1], bottom=panel is panels[-1])
                top -= gap
            axis.xaxis.set_major_locator(library("matplotlib.ticker").MaxNLocator(16, steps=[1, 2, 5, 10]))
            axis.set_xlabel("seconds", labelpad=1)
        if title:
            figure.text(MARGIN / width, 1 - 0.12 / height, shorten(title, 150, placeholder=" ..."), va="top", size=10)
    return figure


def page_width(seconds: float) -> float:
    """Inches of a page with so many seconds in a line."""
    return min(max(1.6 * seconds + MARGIN, 7.0), WIDTH)


def _waveform(samples: FloatArray, sample_rate: int, start: float, theme: Theme) -> Panel:
    most = max(float(np.abs(samples).max(initial=0.0)), 1e-4)

    def draw(axis: Any, begin: float, end: float) -> None:
        part = samples[max(round((begin - start) * sample_rate), 0) : round((end - start) * sample_rate)]
        edges = np.linspace(0, len(part), min(2000, len(part)), endpoint=False).astype(int)
        times = begin + edges / sample_rate
        low, high = np.minimum.reduceat(part, edges), np.maximum.reduceat(part, edges)
        axis.fill_between(times, low, high, color=theme.accent, linewidth=0.4)
        axis.set_ylim(-most, most)
        axis.set_yticks([])
        axis.set_ylabel("wave", size=7)
        axis.spines[:].set_visible(False)

    return Panel("waveform", 0.5, draw)


def spectrogram(samples: FloatArray, sample_rate: int) -> NDArray[np.float32]:
    """Power in decibels, (F, K): of windows of 25 ms every 10 ms, at most `DECIBELS` below the loudest."""
    size, hop = round(0.025 * sample_rate), round(0.01 * sample_rate)
    padded = np.pad(samples, (size // 2, size))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][: max(len(samples) // hop, 1)]
    power = np.concatenate(  # in blocks: views of windows become copies
        [np.abs(np.fft.rfft(windows[i : i + 1000] * np.hanning(size))) ** 2 for i in range(0, len(windows), 1000)]
    ).T.astype(np.float32)
    loudest = max(float(power.max(initial=0.0)), 1e-12)
    return 10 * np.log10(np.maximum(power / loudest, 10 ** (-DECIBELS / 10)))


def _spectrogram(samples: FloatArray, sample_rate: int, start: float, theme: Theme) -> Panel:
    power = spectrogram(samples, sample_rate)

    def draw(axis: Any, begin: float, end: float) -> None:
        _image(
            axis, power, 0.01, begin - start, end - start, start, (0, sample_rate / 2000), theme.loud, (-DECIBELS, 0)
        )
        axis.set_ylabel("kHz", size=7)
        axis.tick_params(labelsize=6)

    return Panel("spectrogram", 0.95, draw)


def arranged(states: FloatArray) -> FloatArray:
    """States (T, D) as (D, T), each row of mean 0 and variance 1, rows that rise and fall together side by side.

    They are ordered by their angle in the plane of the two main directions, since their own order means nothing.
    """
    rows = (states - states.mean(0)) / (states.std(0) + 1e-6)
    directions = np.linalg.eigh(rows.T @ rows)[1]
    return rows.T[np.argsort(np.arctan2(directions[:, -1], directions[:, -2]))]


def _features(name: str, states: FloatArray, frame_seconds: float, start: float, theme: Theme) -> Panel:
    rows = arranged(states)

    def draw(axis: Any, begin: float, end: float) -> None:
        colours = (*theme.low, theme.ground, *theme.high)
        _image(axis, rows, frame_seconds, begin - start, end - start, start, (0, len(rows)), colours, (-3, 3))
        axis.set_yticks([])
        axis.set_ylabel(name, size=7)

    return Panel(name, 0.6, draw)


def _image(
    axis: Any, values: NDArray[Any], step: float, begin: float, end: float, start: float, span: tuple[float, float],
    colours: Sequence[str], limits: tuple[float, float], interpolation: str = "auto",
) -> None:  # fmt: skip
    """Columns of `values`, one every `step` seconds, that lie between two times, from `span[0]` to `span[1]`."""
    first, last = max(int(begin / step), 0), min(math.ceil(end / step), values.shape[1])
    colour_map = library("matplotlib.colors").LinearSegmentedColormap.from_list("", list(colours))
    axis.imshow(
        values[:, first:last],
        aspect="auto",
        origin="lower",
        extent=(start + first * step, start + last * step, *span),
        cmap=colour_map,
        vmin=limits[0],
        vmax=limits[1],
        interpolation=interpolation,
    )


def shown_tokens(emissions: Emissions) -> list[int]:
    """Tokens with a row, from the lowest: the blank, the separator, then those that are ever likely, by their texts."""
    vocabulary, peaks = emissions.vocabulary, emissions.log_probs.max(0, initial=-np.inf)
    ends = [vocabulary.blank] + ([] if vocabulary.separator is None else [vocabulary.separator])
    likely = [i for i in np.argsort(-peaks).tolist() if peaks[i] > math.log(LIKELY) and i not in ends]
    return ends + sorted(likely[: MOST_ROWS - len(ends)], key=lambda i: vocabulary.tokens[i], reverse=True)


def _emissions(emissions: Emissions, start: float, theme: Theme) -> Panel:
    tokens, vocabulary = shown_tokens(emissions), emissions.vocabulary
    named = {vocabulary.blank: "blank", vocabulary.separator: "space"}
    labels = [named.get(i, shorten(vocabulary.tokens[i], 9, placeholder="…")) for i in tokens]
    shares = np.sqrt(np.exp(emissions.log_probs[:, tokens].T))  # what is unlikely shows, too

    def draw(axis: Any, begin: float, end: float) -> None:
        offset = start + emissions.start
        rows, step = (-0.5, len(tokens) - 0.5), emissions.frame_seconds
        _image(axis, shares, step, begin - offset, end - offset, offset, rows, theme.likely, (0, 1), "nearest")
        axis.set_yticks(range(len(tokens)), labels, size=6)
        axis.tick_params(axis="y", length=0, pad=2)

    return Panel("emissions", max(ROW * len(tokens), 0.4), draw)


def lanes(words: Sequence[Word], inches_a_second: float) -> list[int]:
    """The lane of each word, 0 for the lowest, so that texts do not overlap where three lanes suffice."""
    free, chosen = [-math.inf] * 3, list[int]()
    for word in words:
        middle, half = (word.start + word.end) / 2, (len(word.text) + 1) * 0.62 * WORD_SIZE / 72 / inches_a_second / 2
        lane = next((i for i, end in enumerate(free) if end <= middle - half), int(np.argmin(free)))
        free[lane] = middle + half
        chosen.append(lane)
    return chosen


def apart(word: Word, inches_a_second: float) -> NDArray[np.float64]:
    """Seconds at which a word's letters are written: where they were heard, but not on top of each other."""
    middles = np.array([(letter.start + letter.end) / 2 for letter in word.letters])
    slots = np.arange(len(middles)) * 0.75 * LETTER_SIZE / 72 / inches_a_second
    pushed = np.maximum.accumulate(middles - slots) + slots
    return pushed - (pushed - middles).mean() if len(middles) else middles


def _heard(words: Sequence[Word], start: float, duration: float, theme: Theme) -> list[Panel]:
    """Words over their letters, where there are any."""
    if not words:
        return []
    seconds = line_seconds(duration)
    inches_a_second = (page_width(seconds) - MARGIN) / seconds
    chosen = lanes(words, inches_a_second)
    count = max(chosen) + 1

    def draw_words(axis: Any, begin: float, end: float) -> None:
        for word, lane in zip(words, chosen, strict=True):
            first, last = start + word.start, start + word.end
            if not begin <= (first + last) / 2 < end:
                continue
            axis.plot([first, last], [lane + 0.1] * 2, color=theme.accent, linewidth=1.5, solid_capstyle="butt")
            axis.text(
                (first + last) / 2, lane + 0.2, word.text, size=WORD_SIZE, ha="center", va="bottom", clip_on=False
            )
        axis.set_ylim(0, count)
        axis.set_axis_off()

    def draw_letters(axis: Any, begin: float, end: float) -> None:
        for word in words:
            for letter, place in zip(word.letters, apart(word, inches_a_second), strict=True):
                if begin <= start + place < end:
                    axis.text(start + place, 0.5, letter.text, size=LETTER_SIZE, ha="center", va="center")
        axis.set_ylim(0, 1)
        axis.set_axis_off()

    panels = [Panel("words", 0.18 * count + 0.02, draw_words)]
    return [*panels, Panel("letters", 0.1, draw_letters)] if any(word.letters for word in words) else panels
