from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonant.subtitles.readable import Case, in_case
from unit.talks import talk


@pytest.mark.parametrize(
    ("language", "written", "read"),
    [
        ("en", ["I SAID I'M HERE", "SO I AM"], "I said I'm here So I am"),
        (None, ["I SAID I'M HERE"], "I said I'm here"),
        (None, ["JE SUIS À VI I"], "Je suis à vi i"),
        ("it", ["I GATTI E I CANI"], "I gatti e i cani"),
        ("en", ["the end"], "The end"),
        ("en", ['WELL. YES, I\'D SAY ("NO!") THEN.', "AND SO ON"], 'Well. Yes, I\'d say ("no!") Then. And so on'),
        ("en", ["Mr Smith's iPhone", "is IT"], "Mr Smith's iPhone is IT"),
        ("tr", ["IŞIK VE İZMİR", "İYİ"], "Işık ve izmir İyi"),
        ("tr-TR", ["İSTANBUL"], "İstanbul"),
        ("el", ["Ο ΔΡΟΜΟΣ"], "Ο δρομος"),
        ("de", ["GROßE STRASSE"], "Große strasse"),
        ("nl", ["IJS IS KOUD"], "IJs is koud"),
        ("ka", ["გამარჯობა"], "გამარჯობა"),
        ("es", ["¿QUÉ TAL?", "BIEN"], "¿Qué tal? Bien"),
        ("en", ["3RD PLACE"], "3rd place"),
        ("he", ["שלום 12 עולם"], "שלום 12 עולם"),
        ("ja", ["こんにちは"], "こんにちは"),
    ],
)
def test_sentence_case(language: str | None, written: list[str], read: str) -> None:
    assert in_case(talk(*written, language=language), "sentence").text == read


@pytest.mark.parametrize(
    ("case", "language", "read"),
    [
        ("lower", "en", "it is"),
        ("upper", "en", "IT IS"),
        ("lower", "az", "ıt is"),
        ("upper", "az", "IT İS"),
        ("asis", "en", "It is"),
    ],
)
def test_other_cases(case: Case, language: str, read: str) -> None:
    assert in_case(talk("It is", language=language), case).text == read


def test_letters_follow_their_word_where_they_can() -> None:
    [word] = in_case(talk("OUR"), "sentence").words
    assert [letter.text for letter in word.letters] == ["O", "u", "r"]
    [word] = in_case(talk("straße"), "upper").words
    assert (word.text, "".join(letter.text for letter in word.letters)) == ("STRASSE", "straße")


@given(st.lists(st.text(max_size=6), max_size=6), st.sampled_from(["sentence", "lower", "upper", "asis"]))
def test_times_stay_and_a_second_time_changes_nothing(texts: list[str], case: Case) -> None:
    given_ = talk(*[text for text in texts if text.split()])
    once = in_case(given_, case)
    assert [(w.start, w.end) for w in once.words] == [(w.start, w.end) for w in given_.words]
    if all(text.isascii() for text in texts):
        assert in_case(once, case) == once
    assert in_case(replace(given_, segments=()), case).text == ""
