"""Which model answers, and what a prompt makes it expect."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sonant import text
from sonant.decode.beam import BeamDecoder
from sonant.decode.greedy import GreedyDecoder
from sonant.server.models import Models, ServedModel, UnknownModelError
from sonant.server.prompts import expecting, phrases_of


def served(name: str, language: str | None) -> ServedModel:
    asr = SimpleNamespace(checkpoint=SimpleNamespace(language=language))
    return ServedModel(name, cast(Any, asr), cast(Any, None))


MODELS = Models([served("digits", "en"), served("mms@fra", "fra"), served("mms@azj-script_latin", "azj-script_latin")])


@pytest.mark.parametrize(
    ("name", "language", "answers"),
    [
        (None, None, "digits"),
        ("", "", "digits"),
        ("whisper-1", "fr", "mms@fra"),
        ("nova-2", "fr-CA", "mms@fra"),
        (None, "eng", "digits"),
        (None, "az", "digits"),  # the macrolanguage is another code than its northern member
        (None, "azj", "mms@azj-script_latin"),
        (None, "tlh", "digits"),
        ("digits", "fr", "digits"),
        ("mms", "az", "mms@fra"),
        ("mms", "azj-script_latin", "mms@azj-script_latin"),
    ],
)
def test_the_model_of_a_name_or_of_a_language_answers(name: str | None, language: str | None, answers: str) -> None:
    assert MODELS.find(name, language).name == answers


def test_a_name_that_nobody_has_is_told() -> None:
    with pytest.raises(UnknownModelError, match=r"digits, mms@fra, .* but 'mm' came"):
        MODELS.find("mm", "fr")


def test_short_parts_of_a_prompt_are_expected() -> None:
    prompt = "Sonant, O'Neill; wav2vec 2.0\nThe following is a long sentence about nothing. Zürich, Sonant"
    assert phrases_of(prompt) == ["Sonant", "O'Neill", "wav2vec 2", "0", "Zürich"]
    assert phrases_of(" ,,. \n") == []
    assert len(phrases_of(",".join(map(str, range(1000))))) == 100


def test_a_beam_expects_a_prompt_and_greedy_decoding_does_not() -> None:
    beam = BeamDecoder(text.build_vocabulary(["abc"]))
    greedy = GreedyDecoder()
    assert expecting(beam, "cab, zz?, 12").described["hotwords"] == 1
    assert expecting(beam, "") is beam
    assert expecting(greedy, "cab") is greedy
