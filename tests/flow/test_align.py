"""A text and the example recording, by the public API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sonant
from flow.conftest import SAID

WRITTEN = "Seven, three — nine: ONE “five” (eight)!"


def test_the_words_of_a_text_stand_where_they_are_heard(asr: sonant.Recognizer, example: Path) -> None:
    told: list[float] = []
    found = asr.align(example, WRITTEN, progress=lambda done, _: told.append(done))
    heard = asr.transcribe(example).words
    assert [word.text for word in found] == ["Seven,", "three —", "nine:", "ONE", "“five”", "(eight)!"]
    assert found.status == "exact"
    for word, known in zip(found, heard, strict=True):
        assert word.start == pytest.approx(known.start, abs=0.03)
        assert word.end == pytest.approx(known.end, abs=0.03)
        assert word.confidence == pytest.approx(known.confidence, abs=0.05)
    assert told == [pytest.approx(len(asr.emissions(example)) * asr.frame_seconds)]


def test_words_that_nobody_says_and_speech_that_nobody_wrote_are_told(asr: sonant.Recognizer, example: Path) -> None:
    words = SAID.split()
    found = asr.align(example, " ".join([*words[:2], "ZERO", *words[2:]]))
    assert found.unheard == (2,)
    assert [word.start for word in asr.align(example, SAID)] == [
        pytest.approx(word.start) for word in found if word.text != "ZERO"
    ]
    [(start, end)] = asr.align(example, words[:2] + words[5:]).untold
    heard = asr.align(example, SAID)
    assert heard[1].end <= start <= heard[2].start + 0.1
    assert heard[4].end - 0.1 <= end <= heard[5].start


def test_the_word_times_of_a_model_count_wherever_words_have_times(asr: sonant.Recognizer, example: Path) -> None:
    own = {"word_times": {"offset": 0.05, "reach": 0.08}}
    late = sonant.Recognizer(
        replace(asr.checkpoint, settings={**asr.checkpoint.settings, "sonant": own}), asr.engine, asr.decoder
    )
    for get in (lambda asr: asr.align(example, SAID), lambda asr: asr.transcribe(example).words):
        plain, moved = get(asr)[3], get(late)[3]
        assert moved.start == pytest.approx(plain.start - 0.13)
        assert moved.end == pytest.approx(plain.end + 0.03)
        assert moved.letters[1].start == pytest.approx(plain.letters[1].start - 0.05)
        assert (moved.letters[0].start, moved.letters[-1].end) == (moved.start, moved.end)
    segments = [[segment.text for segment in each.transcribe(example).segments] for each in (asr, late)]
    assert segments[0] == segments[1]
