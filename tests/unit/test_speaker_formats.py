"""Who speaks, in every format that can say it, and back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sonant import Transcript, subtitles
from sonant.plots.notebook import transcript_html
from sonant.subtitles import FORMATS, render
from sonant.subtitles.tidy import clean
from sonant.types import Segment
from unit.talks import talk

SAID = ("WELL I NEVER SAW IT", "BUT I DID", "YOU DID WHERE AND WHEN I WONDER", "AT HOME", "ה SO")
WHO = ("Anna <B>, & co", "ben", "ben", None, "{speaker} 3")
CARRIERS = [".json", ".vtt", ".ass", ".tsv", ".textgrid"]


def conversation() -> Transcript:
    heard = talk(*SAID)
    return replace(heard, segments=tuple(map(spoken, heard.segments, WHO)))


def spoken(segment: Segment, speaker: str | None) -> Segment:
    return Segment(tuple(replace(word, speaker=speaker) for word in segment.words), segment.space)


@pytest.mark.parametrize("karaoke", [False, True])
@pytest.mark.parametrize("suffix", CARRIERS)
def test_speakers_come_back(suffix: str, karaoke: bool) -> None:
    written = render(conversation(), suffix, case="asis", karaoke=karaoke)
    back = FORMATS[suffix].read(written)
    assert [(s.speaker, s.text) for s in back.segments] == list(zip(WHO, SAID, strict=True))
    assert {word.speaker for segment in back.segments for word in segment.words} == set(WHO)
    assert render(back, suffix, case="asis", karaoke=karaoke) == written


@pytest.mark.parametrize("suffix", CARRIERS)
@settings(max_examples=40)
@example(["", "\u00a0"])
@given(st.lists(st.text('aB:{}<>&;\\",\t\n ש漢1\u00a0/v', max_size=7), min_size=2, max_size=4))
def test_any_name_comes_back_but_for_what_no_line_can_hold(suffix: str, names: list[str]) -> None:
    heard = talk(*SAID[: len(names)])
    written = replace(heard, segments=tuple(map(spoken, heard.segments, names)))
    for karaoke in (False, True):
        back = FORMATS[suffix].read(render(written, suffix, case="asis", karaoke=karaoke))
        read = [segment.speaker or "" for segment in back.segments]
        assert [clean(name).strip() for name in read] == [clean(name).strip() for name in names]
        assert [segment.text for segment in back.segments] == list(SAID[: len(names)])


def test_a_name_is_shown_where_another_one_spoke_before() -> None:
    lines = render(conversation(), ".srt", case="asis").splitlines()
    shown = [line for line in lines if line and "-->" not in line and not line.isdigit()]
    assert shown[:3] == [
        "Anna <\u2060B>, & co: WELL I NEVER SAW IT",
        "ben: BUT I DID",
        "YOU DID WHERE AND WHEN I WONDER",
    ]
    assert render(conversation(), ".txt").splitlines()[:3] == [
        "Anna <B>, & co: WELL I NEVER SAW IT",
        "ben: BUT I DID",
        "ben: YOU DID WHERE AND WHEN I WONDER",
    ]
    assert "\n<v Anna &lt;B&gt;, &amp; co>WELL I NEVER SAW IT\n" in render(conversation(), ".vtt", case="asis")
    assert "<b>Anna &lt;B&gt;, &amp; co</b>" in transcript_html(conversation())


def test_a_name_counts_in_the_width_of_a_line() -> None:
    heard = talk("AAAA BBBB CCCC DDDD EEEE FFFF GGGG HHHH")
    named = replace(heard, segments=(spoken(heard.segments[0], "speaker 12"),))
    spec = subtitles.CueSpec(width=20)
    [first] = re.findall("(?m)^speaker.*$", render(named, ".srt", cues=spec))
    assert len(first) <= 20


def test_nothing_is_written_of_speakers_that_are_not_known() -> None:
    for suffix in FORMATS:
        assert not re.search(
            r"(?m)speaker|<v|^[A-Z ]+: |Default,[A-Za-z]+,0", render(talk("ONE TWO", "THREE"), suffix, case="asis")
        )


def test_a_cue_of_another_program_with_two_voices_is_two_segments() -> None:
    cue = "WEBVTT\n\n00:01.000 --> 00:05.000\n<v.loud Ann &amp; Bo>hello you<br></v> \n<v Cy>oh"
    back = FORMATS[".vtt"].read(cue)
    assert [(s.speaker, s.text) for s in back.segments] == [("Ann & Bo", "hello you"), ("Cy", "oh")]
    assert back.segments[0].start == 1.0
    assert 3.0 < back.segments[0].end <= back.segments[1].start < back.segments[1].end == 5.0
    timed = "WEBVTT\n\n00:01.000 --> 00:05.000\n<v Ann>hello <00:02.000>you</v> <v Cy><00:04.000>oh"
    back = FORMATS[".vtt"].read(timed)
    assert [(s.speaker, s.text, s.start) for s in back.segments] == [("Ann", "hello you", 1.0), ("Cy", "oh", 4.0)]


def test_a_segment_of_several_speakers_is_cut_when_it_is_read(tmp_path: Path) -> None:
    first, second = conversation().segments[:2]
    mixed = Transcript((Segment(first.words + second.words),), 9.0)
    for suffix in (".json", ".tsv"):
        mixed.save(tmp_path / f"a{suffix}")
        assert [s.speaker for s in Transcript.read(tmp_path / f"a{suffix}").segments] == [WHO[0], WHO[1]]
