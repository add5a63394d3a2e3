"""What notebooks show, whatever a file or a model says."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from sonant.plots.notebook import best_words
from sonant.types import Emissions, Segment, Transcript, Vocabulary, Word

HOSTILE = '"><script>alert(1)</script>&'


class Tags(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def transcript(*texts: str, source: str | None = None) -> Transcript:
    words = tuple(Word(text, i + 61.0, i + 61.5, 1 / (i + 1)) for i, text in enumerate(texts))
    return Transcript((Segment(words),), 70.0, "en", source, "a model", warnings=(HOSTILE,))


def test_words_have_times_and_doubt() -> None:
    page = Tags(transcript("sure", "half")._repr_html_())
    spans = [attributes for tag, attributes in page.found if tag == "span"]
    assert [span["title"] for span in spans] == [
        "61.00 to 61.50 s, confidence 1.00",
        "62.00 to 62.50 s, confidence 0.50",
    ]
    grounds = [re.findall(r"rgba\(230,159,0,([\d.]+)\)", span["style"] or "") for span in spans]
    assert grounds == [["0.00"], ["0.40"]]
    assert "1:01 sure half" in page.text
    assert "70.0 s · a model · en" in page.text


def test_nothing_hostile_becomes_an_element() -> None:
    page = Tags(replace(transcript(HOSTILE, source=HOSTILE), model=HOSTILE, language=HOSTILE)._repr_html_())
    assert {tag for tag, _ in page.found} == {"div", "p", "small", "span"}
    assert page.text.count(HOSTILE) == 5


def test_small_audio_files_can_be_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    page = Tags(transcript("word", source=str(path))._repr_html_())
    [audio] = [attributes for tag, attributes in page.found if tag == "audio"]
    assert audio["src"] == "data:audio/wav;base64," + base64.b64encode(b"RIFF").decode()
    (tmp_path / "a.txt").write_text("secret")
    for other in (tmp_path / "a.txt", tmp_path / "none.wav", tmp_path, "-", "https://example.org/a.wav", "a\0.wav"):
        assert "<audio" not in transcript("word", source=str(other))._repr_html_()
    monkeypatch.setattr("sonant.plots.notebook.AUDIO_BYTES", 3)
    assert "<audio" not in transcript("word", source=str(path))._repr_html_()


def test_long_transcripts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonant.plots.notebook.MOST_WORDS", 3)
    page = Tags(transcript("a", "b", "c", "d")._repr_html_())
    assert [tag for tag, _ in page.found].count("span") == 3
    assert "4 words in all" in page.text
    assert "in all" not in Tags(transcript("a", "b", "c")._repr_html_()).text
    assert Tags(Transcript((), 1.0)._repr_html_()).text.strip() == "1.0 s"


def emissions(tokens: list[int], vocabulary: Vocabulary) -> Emissions:
    shares = np.full((len(tokens), len(vocabulary)), 0.1 / (len(vocabulary) - 1), np.float32)
    shares[np.arange(len(tokens)), tokens] = 0.9
    return Emissions(np.log(shares), 0.02, vocabulary, first=100)


LETTERS = Vocabulary(("<pad>", "|", "<", "b"), blank=0, separator=1)


def test_emissions_are_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    heard = emissions([0, 2, 2, 0, 3, 1, 3, 0], LETTERS)
    page = Tags(heard._repr_html_())
    [image] = [attributes for tag, attributes in page.found if tag == "img"]
    assert image["alt"] == "Emissions of 8 frames, 4 tokens, 0.2 s"
    [source] = [attributes for tag, attributes in page.found if tag == "source"]
    assert source["media"] == "(prefers-color-scheme: dark)"
    for address in (image["src"], source["srcset"]):
        assert base64.b64decode((address or "").removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert image["src"] != source["srcset"]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Tags(heard._repr_html_())
    assert [tag for tag, _ in page.found] == ["p", "p"]
    assert page.text.endswith("<b b")
    assert Tags(replace(heard, log_probs=heard.log_probs[:0])._repr_html_()).text.startswith("Emissions of 0 frames")


def test_the_likeliest_letters_are_words() -> None:
    words = list(best_words(emissions([0, 2, 2, 0, 3, 1, 3, 0], LETTERS)))
    assert [(word.text, round(word.start, 2), round(word.end, 2)) for word in words] == [
        ("<b", 2.02, 2.1),
        ("b", 2.12, 2.14),
    ]
    assert words[0].confidence == pytest.approx(0.9)
    signs = Vocabulary(("<pad>", "字", "典"), blank=0)
    assert [word.text for word in best_words(emissions([1, 1, 0, 1, 2], signs))] == ["字", "字", "典"]
