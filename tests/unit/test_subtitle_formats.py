"""Every format read back, and by programs of others; what is no such file is refused with its line."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from math import inf, nan
from pathlib import Path

import pysubs2
import pytest
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from praatio import textgrid

from sonant import CueSpec, OptionError, Transcript, subtitles
from sonant.subtitles import FORMATS, in_case, render
from sonant.types import Segment, Word
from unit.talks import SPEECH, talk

NASTY = ["<b>", "-->", r"{\an8}", "&amp;", r"\N", "a<00:00:01.000>", "</i>", '"', "1", "NOTE", "a|b", "ה12", ";;", "}"]
TALK = talk(SPEECH, "I THINK", "YES")
CUED = [".srt", ".vtt", ".ass"]
TIMED = [".vtt", ".ass"]

words = st.sampled_from(NASTY) | st.text("abÉς ש١漢。<>{}\\&;#-'\"\t\0", min_size=1, max_size=6)
said = st.lists(st.lists(words.filter(lambda w: w.strip("\0\t ")), min_size=1, max_size=9), max_size=4)


def texts(transcript: Transcript) -> list[str]:
    return [word.text for word in transcript.words]


def shape(transcript: Transcript) -> list[list[tuple[str, float, float]]]:
    return [[(word.text, word.start, word.end) for word in part.words] for part in transcript.segments]


@pytest.mark.parametrize("suffix", [".tsv", ".textgrid", ".ctm"])
def test_words_and_their_times_come_back(suffix: str) -> None:
    back = FORMATS[suffix].read(render(TALK, suffix))
    assert shape(back) == shape(TALK)
    assert back.text == TALK.text
    letters = [word.letters for word in back.words]
    assert (
        [[(x.text, x.start, x.end) for x in word] for word in letters]
        == [[(x.text, x.start, x.end) for x in word.letters] for word in TALK.words]
    ) == (suffix == ".textgrid")
    assert [word.confidence for word in back.words] == [1.0 if suffix == ".textgrid" else 0.5] * len(back.words)


@pytest.mark.parametrize(("suffix", "unit"), [(".vtt", 0.001), (".ass", 0.01)])
def test_karaoke_brings_back_the_times_of_words(suffix: str, unit: float) -> None:
    back = FORMATS[suffix].read(render(TALK, suffix, case="asis", karaoke=True))
    assert texts(back) == texts(TALK)
    for found, word in zip(back.words, TALK.words, strict=True):
        assert found.start == pytest.approx(word.start, abs=unit / 2 + 1e-6)
        assert found.end == pytest.approx(
            word.end, abs=unit / 2 + 0.09
        )  # the last word of a cue makes room for the gap


@pytest.mark.parametrize("suffix", CUED)
@settings(max_examples=50)
@given(said)
@example([NASTY, ["--", ">", "--->"]])
def test_any_words_come_back_and_writing_again_changes_nothing(suffix: str, texts_: list[list[str]]) -> None:
    given_ = Transcript(tuple(segment_of(part, 7.0 * i) for i, part in enumerate(texts_)), 99.0)
    for karaoke in (False, suffix != ".srt"):
        written = render(given_, suffix, case="asis", karaoke=karaoke)
        back = FORMATS[suffix].read(written)
        assert "".join(texts(back)) == "".join("".join(clean(w)) for part in texts_ for w in part)
        again = render(back, suffix, case="asis")
        assert "".join(texts(FORMATS[suffix].read(again))) == "".join(texts(back))
        # a Chinese word may part at the end of a line, and a brace that stands for another is wider
        if suffix == ".srt" and not set("漢｛") & set(written):
            assert again == written


def test_nasty_words_are_written_again_as_they_were() -> None:
    written = render(
        Transcript((segment_of(NASTY, 0.0), segment_of(["--", ">", "--->"], 7.0)), 99.0), ".srt", case="asis"
    )
    assert render(FORMATS[".srt"].read(written), ".srt", case="asis") == written


def segment_of(texts_: list[str], start: float) -> Segment:
    return Segment(tuple(Word(text, start + i / 2, start + i / 2 + 0.4, 1.0) for i, text in enumerate(texts_)))


def clean(text: str) -> str:
    return text.replace("\0", "").replace("\t", "").replace(" ", "")


@pytest.mark.parametrize("suffix", CUED)
def test_cues_are_in_sentence_case_unless_told_otherwise(suffix: str) -> None:
    assert "Four score" in render(TALK, suffix)
    assert "I think" in render(TALK, suffix)
    assert "FOUR SCORE" in render(TALK, suffix, case="asis")
    assert "FOUR" in render(TALK, ".tsv")
    assert "four" in render(TALK, ".tsv", case="lower")


def test_what_a_subtitle_file_is() -> None:
    brief = talk("SEVEN THREE", "NINE")
    assert render(brief, ".srt") == (
        "1\n00:00:00,250 --> 00:00:01,083\nSeven three\n\n2\n00:00:01,930 --> 00:00:02,763\nNine\n\n"
    )
    assert render(brief, ".vtt") == (
        "WEBVTT\n\n00:00:00.250 --> 00:00:01.083\nSeven three\n\n00:00:01.930 --> 00:00:02.763\nNine\n\n"
    )
    timed = "Seven<00:00:00.550> <00:00:00.630>three<00:00:00.930>"
    assert f"00:00:00.250 --> 00:00:01.083\n{timed}\n\n" in render(brief, ".vtt", karaoke=True)
    assert render(brief, ".ass").endswith(
        "Dialogue: 0,0:00:00.25,0:00:01.08,Default,,0,0,0,,Seven three\n"
        "Dialogue: 0,0:00:01.93,0:00:02.76,Default,,0,0,0,,Nine\n"
    )
    assert r",,{\k30}Seven{\k8} {\k30}three" in render(brief, ".ass", karaoke=True)
    assert render(brief, ".ctm").splitlines()[0] == "my_talk 1 0.250 0.300 SEVEN 0.5000"
    assert render(brief, ".tsv").splitlines()[:2] == [
        "start\tend\ttext\tconfidence\tsegment", "0.250\t0.550\tSEVEN\t0.5000\t1",
    ]  # fmt: skip


@pytest.mark.parametrize("karaoke", [False, True])
@pytest.mark.parametrize("suffix", CUED)
def test_pysubs2_reads_the_same_cues(suffix: str, karaoke: bool) -> None:
    transcript = talk(SPEECH, "SO <b>IT</b> --> IS", language="en")
    shown = list(subtitles.cues_of(in_case(transcript, "sentence").segments, None, "en"))
    read = pysubs2.SSAFile.from_string(render(transcript, suffix, karaoke=karaoke), format_=suffix[1:])
    assert len(read) == len(shown)
    for event, cue in zip(read, shown, strict=True):
        unit = 10 if suffix == ".ass" else 1
        assert (event.start, event.end) == pytest.approx((cue.start * 1000, cue.end * 1000), abs=unit / 2 + 1e-6)
        plain = re.sub(r"<\d\d:[\d:.]+>", "", event.plaintext).replace("\u2060", "")  # it keeps times inside
        plain = plain.replace("&lt;", "<").replace("&gt;", ">")
        assert plain == "\n".join(cue.texts)


@pytest.mark.parametrize("karaoke", [False, True])
def test_webvtt_py_reads_the_same_cues(karaoke: bool) -> None:
    shown = list(subtitles.cues_of(in_case(TALK, "sentence").segments))
    read = list(webvtt.from_buffer(StringIO(render(TALK, ".vtt", karaoke=karaoke))))
    assert [caption.text for caption in read] == ["\n".join(cue.texts) for cue in shown]
    assert [caption.start_in_seconds for caption in read] == pytest.approx([cue.start for cue in shown], abs=1)


def test_praatio_reads_the_same_tiers(tmp_path: Path) -> None:
    messy = Segment((Word('say "a"', 1.0, 1.0, 1.0), Word("b", 1.0, 2.0, 1.0), Word("c", 1.5, 1.2, 1.0)))
    for number, transcript in enumerate((TALK, Transcript((messy,), 0.5), talk())):
        path = tmp_path / f"{number}.TextGrid"
        transcript.save(path)
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
        assert grid.tierNames[:2] == ("segments", "words")
        for tier in grid.tiers:
            ends = [0.0, *(entry.end for entry in tier.entries)]
            assert [entry.start for entry in tier.entries] == ends[:-1]
            assert all(entry.start < entry.end for entry in tier.entries)
        assert [entry.label for entry in grid.getTier("words").entries if entry.label] == texts(transcript)
        for form in ("short_textgrid", "long_textgrid"):
            grid.save(str(path), form, includeBlankSpaces=True)
            assert shape(Transcript.read(path)) == shape(subtitles.from_textgrid(render(transcript, ".textgrid")))


def test_scripts_without_spaces_come_back_as_characters() -> None:
    spoken = talk("今日はいい天気", "はい", space="")
    for suffix in (".srt", ".vtt", ".ass", ".tsv", ".ctm", ".textgrid"):
        back = FORMATS[suffix].read(render(spoken, suffix))
        assert (back.text, texts(back)) == (spoken.text, texts(spoken)), suffix


def test_lines_of_right_to_left_scripts_keep_their_direction() -> None:
    spoken = talk("python היא שפת תכנות 12", "שלום 12")
    written = render(spoken, ".srt")
    assert "\u200fPython" in written
    assert "\nשלום 12\n" in written
    assert "&rlm;Python" in render(spoken, ".vtt")
    assert "60,-1\n" in render(spoken, ".ass")
    for suffix in CUED:
        assert FORMATS[suffix].read(render(spoken, suffix, karaoke=True)).text == in_case(spoken, "sentence").text


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".txt", ".json"}))
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_newlines_and_marks_of_other_systems_change_nothing(suffix: str, end: str, tmp_path: Path) -> None:
    written = render(TALK, suffix)
    expected = FORMATS[suffix].read(written)
    for encoding in ("utf-8-sig", "utf-16"):
        path = tmp_path / f"talk{suffix}"
        path.write_bytes(written.replace("\n", end).encode(encoding))
        assert Transcript.read(path) == expected


ODD = Transcript(
    (Segment((Word("a", nan, inf, nan), Word("b\r\n\x1bc", -3.0, -5.0, 1.0), Word(" ", 1.0, 2.0, 1.0))),
     Segment((Word("d" * 10_000, 2.0, 1.0, 0.5), Word("e\u2028f", 2.0, 2.0, 0.5)))),
    3.0,
)  # fmt: skip


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".txt", ".json"}))
def test_odd_times_and_characters_are_mended(suffix: str) -> None:
    back = FORMATS[suffix].read(render(ODD, suffix, case="asis"))
    assert "".join(texts(back)).replace(" ", "") == "abc" + "d" * 10_000 + "ef"
    times = [time for word in back.words for time in (word.start, word.end)]
    assert all(0 <= time < 10 for time in times)


FOREIGN_SRT = """1
00:00:01,5 --> 00:00:02.25  X1:1 Y1:2
<i>Hello</i>, <font color="#fff">you</font>
{\\an8}there

00:00:03,000 --> 00:00:04,000
no number

with an empty line
"""
FOREIGN_VTT = """WEBVTT - a title
Kind: captions

NOTE
no --> cue

STYLE
::cue { color: red }

intro
00:01.500 --> 01:00:02.000 align:start
<v Anna>Fish &amp; <c.loud>chips</c> <00:00:30.000>now

"""
FOREIGN_ASS = """[Script Info]
Title: x

[Events]
Format: Start, End, Text
Comment: 0:00:00.00,0:00:01.00,no
Dialogue: 0:00:05.00,0:00:06.00,second, with {\\b1}commas{\\b0}\\Nand\\hlines
Dialogue: 0:00:01.00,0:00:03.00,{\\k50}ka{\\kf50}ra{\\k100}o{\\k0} ke
Dialogue: 0:00:01.00,0:00:02.00,{\\p1}m 0 0 l 1 1{\\p0}
"""


def test_files_of_other_programs_are_read() -> None:
    srt = subtitles.from_srt(FOREIGN_SRT)
    assert [part.text for part in srt.segments] == ["Hello, you there", "no number with an empty line"]
    assert [(part.start, part.end) for part in srt.segments] == [(1.5, 2.25), (3.0, 4.0)]
    [cue] = subtitles.from_vtt(FOREIGN_VTT).segments
    assert cue.text == "Fish & chips now"
    assert (cue.words[-1].start, cue.end) == (30.0, 3602.0)
    first, second = subtitles.from_ass(FOREIGN_ASS).segments
    assert [(word.text, word.start) for word in first.words] == [("karao", 1.0), ("ke", 3.0)]
    assert second.text == "second, with commas and lines"
    ctm = subtitles.from_ctm(";; a remark\nf A 1.0 0.5 hi\nf A 2.5 0.5 ho 0.25\n")
    assert [(part.text, part.start) for part in ctm.segments] == [("hi", 1.0), ("ho", 2.5)]
    assert [word.confidence for word in ctm.words] == [1.0, 0.25]


GRID = render(talk("A B"), ".textgrid")


@pytest.mark.parametrize(
    ("suffix", "text", "said_"),
    [
        (".srt", "hello", "Line 1 must hold the number or the times of a cue, but holds 'hello'"),
        (".srt", "1\n00:00:01,000 --> 00:00:0x,000\na\n", "Line 2 must hold times like"),
        (".srt", "1\n00:00:02,000 --> 00:00:01,000\na\n", "Line 2 must hold times like"),
        (".srt", "\n\n" + "x" * 5000, "Line 3 .*xxx…'"),
        (".vtt", "hello", "Line 1 must hold WEBVTT"),
        (".vtt", "WEBVTT\n\nid\n00:00 --> 00:xx\n", "Line 4 must hold times like"),
        (".vtt", "WEBVTT\n\n00:02.000 --> 00:01.000\na", "Line 3 must hold times"),
        (".ass", "hello", r"Line 1 must hold a section like \[Script Info\]"),
        (".ass", "[Events]\nDialogue: 0,0:00:00.00", "Line 2 must hold a line that begins with Format:"),
        (".ass", "[Events]\nFormat: Start, Text, End", "Line 2 must hold the columns of events"),
        (".ass", "[Events]\nFormat: Start, End, Text\nDialogue: a,b,c", "Line 3 must hold a Start and an End"),
        (".ass", "[Events]\nFormat: Start, End, Text\nDialogue: a", "Line 3 must hold 3 values"),
        (".tsv", "a\tb\n", "Line 1 must hold the names"),
        (".tsv", "start\tend\ttext\n1\t2\n", "Line 2 must hold 3 values"),
        (".tsv", "start\tend\ttext\n2\t1\ta\n", "Line 2 must hold numbers"),
        (".tsv", "start\tend\ttext\nnan\t1\ta\n", "Line 2 must hold numbers"),
        (".ctm", "a b c\n", "Line 1 must hold file, channel"),
        (".ctm", "f 1 0 -1 a\n", "Line 1 must hold numbers"),
        (".ctm", "f 1 0 1 a\nf 2 0 1 a\n", "line 2 goes over to another"),
        (".textgrid", "", "at line 1"),
        (".textgrid", '"ooTextFile" "Pitch"', "the marks"),
        (".textgrid", GRID.replace('"words"', '"wrods"'), "its tiers are 'segments', 'wrods'"),
        (".textgrid", GRID.replace("IntervalTier", "Tier"), "IntervalTier or TextTier"),
        (".textgrid", GRID.replace("size = 3", "size = 999999999999"), "must have the (start|text)"),
        (".textgrid", GRID.replace("xmin = 0", "xmin = 9e999"), "the beginning of its time at line 4"),
        (".textgrid", GRID[:400], "must have"),
        (".textgrid", GRID.replace('text = "', 'text = "\n"', 1), "must have"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_line(suffix: str, text: str, said_: str) -> None:
    with pytest.raises(OptionError, match=said_) as caught:
        FORMATS[suffix].read(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".txt"}))
@settings(max_examples=30)
@given(st.text('1:0,.->\n\t"<>{}\\k [Events]DialogueFormat:WEBVTTooTextFile', max_size=60), st.integers(0, 400))
def test_no_text_makes_a_reader_fail_otherwise(suffix: str, junk: str, at: int) -> None:
    written = render(TALK, suffix)
    for text in (junk, written[:at] + junk + written[at:], written[:at]):
        with suppress(OptionError):
            assert isinstance(FORMATS[suffix].read(text), Transcript)


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.srt").write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\n\xff\n")
    (tmp_path / "b.srt").write_text("x")
    (tmp_path / "c.txt").write_text("x")
    for name, said_ in (
        ("a.srt", "a.srt must be UTF-8, but byte 32 is not"),
        ("b.srt", "b.srt: Line 1 must hold"),
        ("c.txt", "is plain text"),
        ("none.srt", "none.srt cannot be read"),
        ("a.doc", "but .*a.doc was given"),
    ):
        with pytest.raises(OptionError, match=said_):
            Transcript.read(tmp_path / name)
    monkeypatch.setattr(subtitles, "MOST_BYTES", 0)
    with pytest.raises(OptionError, match="which no transcript is"):
        Transcript.read(tmp_path / "b.srt")


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_save_writes_every_format_with_its_options(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"talk{suffix}"
    TALK.save(path, case="lower", cues=CueSpec(width=20), karaoke=True)
    written = path.read_text(encoding="utf-8")
    assert written == render(TALK, suffix, case="lower", cues=CueSpec(width=20), karaoke=True)
    assert "four" in written
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert replace(TALK, segments=()).save(path) is None
