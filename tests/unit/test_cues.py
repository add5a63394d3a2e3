"""Words to cues: what fits, what is parted, how long it stays."""

from __future__ import annotations

import random
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonant import CueSpec, subtitles
from sonant.errors import OptionError
from sonant.subtitles.cues import Cue, cues_of
from sonant.subtitles.widths import columns
from sonant.types import Segment, Word
from unit.talks import SPEECH, segment, talk

SECONDS = st.floats(0, 30).map(lambda x: round(x, 2)) | st.sampled_from([0.0, -1.0, nan, inf, 5.0])
WORDS = st.lists(st.tuples(st.text("abcde,.漢字（）กะ١ש 🙂\n", max_size=9), SECONDS, SECONDS), max_size=40)


def cues(*segments: Segment, language: str | None = "en", **spec: float) -> list[Cue]:
    return list(cues_of(segments, CueSpec(**spec), language))


def texts(found: list[Cue]) -> list[tuple[str, ...]]:
    return [cue.texts for cue in found]


def test_lines_and_cues_end_where_phrases_do() -> None:
    assert texts(cues(segment(SPEECH.lower()))) == [
        ("four score and seven years ago", "our fathers brought forth"),
        ("on this continent a new", "nation conceived in liberty"),
        ("and dedicated to the proposition", "that all men are created equal"),
    ]


def test_a_text_that_fits_stays_on_one_line() -> None:
    assert texts(cues(segment("we are met on a great battle-field"))) == [("we are met on a great battle-field",)]


def test_marks_come_before_conjunctions() -> None:
    said = "after we had seen the house, the garden and the pond"
    assert texts(cues(segment(said)))[0] == ("after we had seen the house,", "the garden and the pond")


def test_a_pause_comes_before_marks() -> None:
    first, second = segment("we saw the house, the"), segment("garden and the pond behind it", 2.0)
    assert first.end + 0.4 < second.start < first.end + 0.7
    words = Segment(first.words + second.words)
    assert texts(cues(words)) == [("we saw the house, the", "garden and the pond behind it")]


def test_a_full_stop_ends_a_cue_rather_than_the_next_word() -> None:
    said = "the house that we had seen was not for sale any more. But another one at the other end of the village was."
    assert texts(cues(segment(said)))[0][-1].endswith("more.")


@given(WORDS, st.integers(1, 30), st.integers(1, 3), st.sampled_from(["", " "]))
def test_all_words_are_shown_in_order_within_the_limits(
    given_: list[tuple[str, float, float]], width: int, lines: int, space: str
) -> None:
    words = tuple(Word(text, start, end, 0.5) for text, start, end in given_)
    spec = CueSpec(width=width, lines=lines)
    found = list(cues_of([Segment(words, space)] if words else [], spec))
    shown = "".join(text for cue in found for text in cue.texts)
    assert shown.replace(" ", "") == "".join("".join(word.text.split()) for word in words)
    clock = 0.0
    for cue in found:
        assert clock <= cue.start < cue.end <= round(cue.start + spec.max_duration, 3)
        assert len(cue.lines) <= lines
        assert all(columns(text) <= width or len(line) == 1 for line, text in zip(cue.lines, cue.texts, strict=True))
        clock = cue.end


def test_words_that_do_not_stop_are_cut_as_they_come() -> None:
    """A stream gives the same cues as the whole, but for the last ones, which are not settled yet."""
    words = segment(" ".join(random.Random(1).choices(SPEECH.lower().split(), k=300))).words
    whole = cues(Segment(words))
    for known in (40, 111, 200):
        part = cues(Segment(words[:known]))
        settled = [cue for cue in part if sum(len(line) for c in part[part.index(cue) :] for line in c.lines) > 40]
        assert whole[: len(settled)] == settled
        assert len(settled) >= known // 20 - 3


def test_a_cue_stays_to_be_read_and_leaves_a_gap() -> None:
    quick = segment("incomprehensibilities", 1.0, pace=0.02)
    [cue] = cues(quick)
    assert cue.end - cue.start == pytest.approx(21 / 17, abs=1e-3)
    first, second = cues(quick, segment("yes", 1.9))
    assert (first.start, first.end, second.start) == (1.0, 1.817, 1.9)
    assert second.end - second.start == pytest.approx(5 / 6, abs=1e-3)
    first, second = cues(quick, segment("yes", 2.5))  # closed: less than half a second would flicker
    assert first.end == pytest.approx(2.5 - 1 / 12, abs=1e-3)
    first, second = cues(quick, segment("yes", 2.9))
    assert first.end == pytest.approx(1.0 + 21 / 17, abs=1e-3)


def test_a_long_word_is_never_broken_and_a_long_sound_is_cut_short() -> None:
    long = "a" * 10_000
    shown = cues(segment(f"so {long} b", pace=0.0001))
    assert [line for cue in shown for line in cue.texts] == ["so", long, "b"]
    [cue] = cues(Segment((Word("oh", 1.0, 60.0, 1.0),)))
    assert (cue.start, cue.end) == (1.0, 8.0)


def test_wide_characters_take_two_columns_and_break_anywhere_but_at_marks() -> None:
    said = "「今日は、とてもいい天気ですね。」と彼は言った。"
    for space, words in (("", segment(said, space="").words), (" ", (Word(said, 0.0, 5.0, 1.0),))):
        found = cues(Segment(words, space), width=16, language="ja")
        lines = [line for cue in found for line in cue.texts]
        assert "".join(lines) == said
        assert all(columns(line) <= 16 for line in lines)
        assert not any(line[0] in "、。」ぁっー" or line[-1] in "「（" for line in lines)
    assert columns("漢字かなﾊﾝ한국어 é e\u0301") == 8 + 2 + 6 + 4


def test_parts_of_a_word_have_the_times_of_its_letters() -> None:
    word = segment("今日").words
    letters = word[0].letters
    [cue] = cues(Segment(word))
    assert [(piece.text, piece.start, piece.end) for piece in cue.lines[0]] == [
        (x.text, x.start, x.end) for x in letters
    ]


def test_korean_breaks_between_words_only() -> None:
    said = "오늘은 날씨가 정말 좋습니다 그래서 산책을 갑니다"
    lines = [line for cue in cues(segment(said), width=14) for line in cue.texts]
    assert " ".join(lines) == said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 0}, "width of cues must be 1 or more"),
        ({"lines": 0}, "lines of cues must be 1 or more"),
        ({"reading_speed": 0}, "reading speed"),
        ({"gap": nan}, "gap 0 or more"),
        ({"max_duration": inf}, "longest"),
        ({"min_duration": 8.0}, "8 s and 7 s came"),
    ],
)
def test_what_no_cue_can_be_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        CueSpec(**wrong)


def test_no_words_give_no_cues() -> None:
    assert cues() == []
    assert list(cues_of([Segment(())])) == []
    assert subtitles.to_srt(talk()) == ""
