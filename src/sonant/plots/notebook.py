"""What notebooks show of transcripts and emissions; every text of a file or a model is escaped."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from sonant.errors import MissingExtraError
from sonant.plots.speech import emissions_figure
from sonant.types import Emissions, Letter, Segment, Transcript, Word

AUDIO_BYTES = 10 << 20
"""Larger files are not put into the page."""
AUDIO_TYPES = {
    ".wav": "wav", ".mp3": "mpeg", ".m4a": "mp4", ".ogg": "ogg", ".opus": "ogg", ".flac": "flac", ".weba": "webm",
}  # fmt: skip
"""What browsers play, by suffix."""
MOST_WORDS = 3000
SHOWN_SECONDS = 60.0


def transcript_html(transcript: Transcript) -> str:
    """A player where the source is a file of modest size, then a paragraph a segment, doubtful words marked.

    The less confident a word, the more its ground is coloured; its times are its tooltip.
    """
    parts = [transcript.source or "", f"{transcript.duration:.1f} s", transcript.model, transcript.language or ""]
    heading = escape(" · ".join(part for part in parts if part))
    html = [f'<div><p style="opacity:.7">{heading}</p>{_player(transcript.source)}']
    left = MOST_WORDS
    for segment in transcript.segments:
        html.append(_paragraph(segment, left))
        left -= len(segment.words)
        if left <= 0:
            break
    if left < 0:
        html.append(f"<p>… {len(transcript.words):,} words in all</p>")
    html += [f"<p>⚠ {escape(warning)}</p>" for warning in transcript.warnings]
    return "\n".join(html) + "</div>"


def _paragraph(segment: Segment, most: int) -> str:
    minutes, seconds = divmod(int(segment.start), 60)
    words = escape(segment.space).join(map(_word, segment.words[:most]))
    name = f"<b>{escape(segment.speaker)}</b> " if segment.speaker else ""
    return f'<p dir="auto"><small style="opacity:.6">{minutes}:{seconds:02}</small> {name}{words}</p>'


def _word(word: Word) -> str:
    tooltip = f"{word.start:.2f} to {word.end:.2f} s, confidence {word.confidence:.2f}"
    doubt = min(max(1 - word.confidence, 0.0), 1.0)
    ground = f"background:rgba(230,159,0,{0.8 * doubt:.2f});border-radius:3px"
    return f'<span title="{tooltip}" style="{ground}">{escape(word.text)}</span>'


def _player(source: str | None) -> str:
    """An audio element that holds the file itself; nothing where there is none that a browser would play."""
    kind = AUDIO_TYPES.get(Path(source).suffix.lower()) if source else None
    if source is None or kind is None:
        return ""
    try:
        path = Path(source)
        if not path.is_file() or path.stat().st_size > AUDIO_BYTES:
            return ""
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, ValueError):
        return ""
    return f'<audio controls preload="metadata" src="data:audio/{kind};base64,{data}"></audio>'


def emissions_html(emissions: Emissions) -> str:
    """A picture of the first minute with the likeliest letters, light or dark as the page; else those letters alone."""
    shape = f"Emissions of {len(emissions):,} frames, {len(emissions.vocabulary):,} tokens, {emissions.duration:.1f} s"
    part = replace(emissions, log_probs=emissions.log_probs[: round(SHOWN_SECONDS / emissions.frame_seconds)])
    if not len(part):
        return f"<p>{shape}</p>"
    words = list(best_words(part))
    try:
        light, dark = (_picture(emissions_figure(part, words, theme=theme)) for theme in ("light", "dark"))
    except MissingExtraError:
        text = part.vocabulary.space.join(word.text for word in words)
        return f"<p>{shape}</p><p>{escape(text)}</p>"
    image = f'<img alt="{shape}" style="max-width:100%" src="{light}">'
    return f'<p>{shape}</p><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">{image}</picture>'


def _picture(figure: Any) -> str:
    """A figure as the address of a picture, which is in it."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # no font has the letters of all scripts
        figure.savefig(data, format="png", dpi=100)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def best_words(emissions: Emissions) -> Iterator[Word]:
    """The likeliest token of each frame as words: enough to look at, not a decoder's times and pauses."""
    vocabulary, best = emissions.vocabulary, emissions.log_probs.argmax(1)
    firsts = np.flatnonzero(np.diff(best, prepend=-1))
    letters = list[Letter]()
    for first, last in zip(firsts.tolist(), [*firsts[1:].tolist(), len(best)], strict=True):
        token = int(best[first])
        if token == vocabulary.separator or (vocabulary.separator is None and token not in vocabulary.silent):
            yield from _joined(letters)
            letters = []
        if token != vocabulary.separator and token not in vocabulary.silent:
            start, end = ((emissions.first + frame) * emissions.frame_seconds for frame in (first, last))
            confidence = float(np.exp(emissions.log_probs[first:last, token].max()))
            letters.append(Letter(vocabulary.tokens[token], start, end, confidence))
    yield from _joined(letters)


def _joined(letters: list[Letter]) -> Iterator[Word]:
    if letters:
        text, confidence = "".join(letter.text for letter in letters), min(letter.confidence for letter in letters)
        yield Word(text, letters[0].start, letters[-1].end, confidence, tuple(letters))
