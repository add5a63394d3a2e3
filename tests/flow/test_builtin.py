"""The model that comes along, on the recording that the README begins with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.test_command import run
from sonant import audio
from sonant.identify import voice_threshold
from sonant.text import count_errors

EXAMPLE = Path(__file__).parents[2] / "examples" / "forest.ogg"
SAID = "THE CHILDREN RAN ACROSS THE FIELD UNTIL THEY CAME TO THE EDGE OF THE GREAT FOREST"


@pytest.fixture(scope="module")
def english() -> sonant.Recognizer:
    return sonant.load("built-in", precision="fp32")


def test_the_language_model_makes_words_of_what_is_heard(english: sonant.Recognizer) -> None:
    talk = english.transcribe(EXAMPLE)
    assert talk.text == SAID
    assert (talk.model, talk.language, talk.settings["decoder"]) == ("built-in", "en", "beam")
    greedy = sonant.Recognizer(english.checkpoint, english.engine)
    assert greedy.transcribe(EXAMPLE).text != SAID


def test_a_stream_of_it_says_as_much(english: sonant.Recognizer) -> None:
    stream, said = english.stream(), list[str]()
    pieces = [*np.array_split(audio.read(EXAMPLE), 40), None]
    for piece in pieces:
        events = stream.finish() if piece is None else stream.feed(piece)
        said += [word.text for event in events if event.kind == "final" for word in event.words]
    assert count_errors(SAID.split(), said).rate < 0.2


def test_it_is_what_a_command_hears_with_where_no_model_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path))
    monkeypatch.delenv("SONANT_MODEL")
    assert run(monkeypatch, "transcribe", EXAMPLE, "--format", "json") == 0
    out, err = capsys.readouterr()
    talk = json.loads(out)
    assert (talk["text"], talk["model"], talk["settings"]["words"]) == (SAID, "built-in", 90_000)
    assert "pass --model for other speech" in err


def test_it_knows_a_voice_again(english: sonant.Recognizer) -> None:
    samples = audio.read(EXAMPLE)
    first, second = (english.embed(half, 16000) for half in np.array_split(samples, 2))
    threshold = voice_threshold(english.checkpoint)
    assert threshold is not None
    assert first @ second > threshold
    higher = english.embed(samples[: len(samples) // 2], 22000)  # played faster
    assert higher @ second < first @ second - 0.2
    np.testing.assert_allclose(english.embed(0.1 * samples[: len(samples) // 2], 16000) @ first, 1, atol=1e-3)
    talk = sonant.label_speakers(english.transcribe(EXAMPLE), EXAMPLE, english)
    assert {word.speaker for word in talk.words} == {"speaker 1"}
