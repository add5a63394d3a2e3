from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonant import subtitles
from sonant.errors import OptionError
from sonant.types import Letter, Segment, Transcript, Word

times = st.integers(0, 10**7).map(lambda n: n / 1000)
shares = st.integers(0, 10**4).map(lambda n: n / 10**4)
texts = st.text(max_size=5)
letters = st.builds(Letter, texts, times, times, shares)
words = st.builds(Word, texts, times, times, shares, st.lists(letters, max_size=2).map(tuple))


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    space = draw(st.sampled_from([" ", ""]))
    segments = draw(st.lists(st.lists(words, min_size=1, max_size=3), max_size=3))
    return Transcript(
        segments=tuple(Segment(tuple(some), space) for some in segments),
        duration=draw(times),
        language=draw(st.none() | texts),
        source=draw(st.none() | texts),
        model=draw(texts),
        settings=draw(st.dictionaries(texts, st.none() | st.booleans() | st.integers() | times | texts, max_size=3)),
        warnings=tuple(draw(st.lists(texts, max_size=2))),
    )


TALK = Transcript(
    segments=(
        Segment((Word("größe", 0.1, 0.5, 0.98765, (Letter("g", 0.1, 0.12, 0.5),)), Word("zwei", 0.6, 0.9, 1.0))),
        Segment((Word("drei", np.float64(2.00049), 2.4, np.float32(0.5)),)),
    ),
    duration=3.0,
    settings={"engine": "openvino", "folder": Path("x")},
)


@given(transcripts(), st.sampled_from([None, 1]))
def test_json_gives_the_transcript_back(transcript: Transcript, indent: int | None) -> None:
    text = subtitles.to_json(transcript, indent=indent)
    assert subtitles.from_json(text) == transcript
    assert subtitles.to_json(subtitles.from_json(text), indent=indent) == text
    if indent is None:
        assert text.count("\n") == 1


def test_json_layout_is_kept() -> None:
    tree = json.loads(subtitles.to_json(TALK))
    word = {"text": "größe", "start": 0.1, "end": 0.5, "confidence": 0.9876}  # Python rounds halves as floats hold them
    letter = {"text": "g", "start": 0.1, "end": 0.12, "confidence": 0.5}
    other = {"text": "zwei", "start": 0.6, "end": 0.9, "confidence": 1.0, "letters": []}
    last = {"text": "drei", "start": 2.0, "end": 2.4, "confidence": 0.5, "letters": []}
    expected = {
        "text": "größe zwei drei",
        "duration": 3.0,
        "language": None,
        "source": None,
        "model": "",
        "settings": {"engine": "openvino", "folder": "x"},
        "warnings": [],
        "space": " ",
        "segments": [
            {"start": 0.1, "end": 0.9, "text": "größe zwei", "words": [{**word, "letters": [letter]}, other]},
            {"start": 2.0, "end": 2.4, "text": "drei", "words": [last]},
        ],
    }
    assert tree["segments"][0]["words"][0]["confidence"] in (0.9876, 0.9877)
    tree["segments"][0]["words"][0]["confidence"] = 0.9876
    assert tree == expected
    assert list(tree) == list(expected)
    assert "größe" in subtitles.to_json(TALK)


def test_text_is_a_line_a_segment() -> None:
    assert subtitles.to_text(TALK) == "größe zwei\ndrei\n"
    assert subtitles.to_text(replace(TALK, segments=())) == ""


def test_the_suffix_names_the_format(tmp_path: Path) -> None:
    for name, text in (("a.json", subtitles.to_json(TALK)), ("b.TXT", subtitles.to_text(TALK))):
        (tmp_path / name).write_text("something longer that was there before" * 99)
        TALK.save(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    with pytest.raises(OptionError, match=r"ends in \.json, \.txt, .* or \.textgrid, but .*c\.doc was given"):
        TALK.save(tmp_path / "c.doc")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_source_with_an_undecodable_name_can_be_saved(tmp_path: Path) -> None:
    transcript = replace(TALK, source="talk\udcff.wav", settings={})
    transcript.save(tmp_path / "a.json")
    assert subtitles.from_json((tmp_path / "a.json").read_text(encoding="utf-8")).source == transcript.source


def broken(**changes: object) -> str:
    tree = json.loads(subtitles.to_json(TALK))
    return json.dumps({key: value for key, value in {**tree, **changes}.items() if value != "gone"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is none"),
        ("[" * 100_000, "this is none"),
        ("9" * 5000, "this is none"),
        ("[]", "must have 'space' in the transcript"),
        (broken(duration=float("nan")), "NaN is no number"),
        (broken(duration="gone"), "must have 'duration' in the transcript"),
        (broken(duration=True), "'duration' of the transcript must be a number"),
        (broken(duration=10**400), "'duration' of the transcript must be a number"),
        (broken(duration=7).replace("7", "1e999", 1), "'duration' of the transcript must be a number"),
        (broken(duration="3"), "as int | float, but it is str"),
        (broken(language=5), "'language' of the transcript as str | None"),
        (broken(warnings=[1]), "a warning as str"),
        (broken(segments={}), "'segments' of the transcript as list"),
        (broken(segments=[{"words": []}]), "must have words"),
        (broken(segments=[{"words": [{"text": "a"}]}]), "must have 'letters' in a word"),
        (broken(segments=[{"words": [{"letters": [3]}]}]), "must have 'start' in a letter"),
    ],
)
def test_other_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(OptionError) as caught:
        subtitles.from_json(text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250
