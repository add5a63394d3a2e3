"""Texts beside emissions that hold them, or not quite: words, times, confidences, and what is said of the rest."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import sonant
from sonant import AlignmentError, Emissions, OptionError, Vocabulary, VocabularyError, WordTimes
from sonant.alignment import Alignment, align, align_many
from sonant.alignment.spelling import WILDCARD, Speller, lines_of
from sonant.alignment.times import frame_edges

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
VOCABULARY = Vocabulary(("<pad>", "<unk>", "|", *LETTERS), blank=0, separator=2, unknown=1, silent=frozenset({0}))
SCRIPT = Vocabulary(("<pad>", "你", "好", "吗"), blank=0)
TOLD = """it was late when the last train left the station and nobody saw the old man who stood under the clock
with a small brown dog and a letter in his hand waiting for someone who had promised to come but never did"""
STORY = TOLD.split()


def spell(text: str, vocabulary: Vocabulary = VOCABULARY, sure: float = 0.97, seed: int | None = None) -> Emissions:
    """A frame a character: `-` is the blank, a space the separator."""
    ids = [vocabulary.blank if c == "-" else vocabulary.index["|" if c == " " else c] for c in text]
    probs = np.full((len(ids), len(vocabulary)), (1 - sure) / (len(vocabulary) - 1))
    if seed is not None:
        probs *= np.random.default_rng(seed).gamma(0.3, size=probs.shape) + 1e-3
    probs[np.arange(len(ids)), ids] = sure
    return Emissions(np.log(probs / probs.sum(1, keepdims=True)).astype(np.float32), 0.02, vocabulary)


def speak(words: list[str], seed: int = 1, pause: int = 3) -> tuple[Emissions, list[int]]:
    """Words with blanks between their letters, and the frame each begins at."""
    text, starts = "-----", []
    for word in words:
        starts.append(len(text))
        text += "".join(f"{c}--" for c in word.upper()) + " " + "-" * pause
    return spell(text + "-----", seed=seed), starts


def begins(alignment: Alignment) -> list[int]:
    return [round(word.start / 0.02) for word in alignment]


def test_words_keep_their_writing_and_stand_where_they_were_heard() -> None:
    found = align(spell("--HH-I-- --JO-E--"), "“Hi,” — Joe!")
    assert [word.text for word in found] == ["“Hi,” —", "Joe!"]
    assert [(word.start, word.end) for word in found] == [
        (pytest.approx(0.04, abs=1e-4), pytest.approx(0.12, abs=1e-4)),
        (pytest.approx(0.22, abs=1e-4), pytest.approx(0.30, abs=1e-4)),
    ]
    assert [letter.text for letter in found[1].letters] == ["J", "O", "E"]
    assert found[0].confidence == pytest.approx(0.97)
    assert (found.status, found.unheard, found.untold) == ("exact", (), ())
    assert len(found) == 2
    assert list(found) == list(found.words) == [*found[:]]


def test_a_plain_alignment_has_the_score_of_its_path() -> None:
    emissions = spell("-AB-A")
    found = align(emissions, "aba", star="none", leave_out=False)
    assert found.score == pytest.approx(5 * np.log(0.97), abs=1e-5)


def test_lines_are_segments_and_one_line_is_cut_into_sentences() -> None:
    emissions, _ = speak(["one", "two", "three"])
    assert [line.text for line in align(emissions, "One\n\ntwo three\n").lines] == ["One", "two three"]
    assert [line.text for line in align(emissions, "One two. Three?").lines] == ["One two.", "Three?"]
    assert [line.text for line in align(emissions, ["One. Two", "three"]).lines] == ["One. Two", "three"]
    assert lines_of("他好吗？我好。") == ["他好吗？", "我好。"]
    assert lines_of("He said “no.” Then 3.5 went.") == ["He said “no.”", "Then 3.5 went."]


def test_pieces_of_a_file_keep_its_times() -> None:
    whole = spell("--HI--")
    piece = Emissions(whole.log_probs, 0.02, VOCABULARY, first=50)
    assert align(piece, "hi")[0].start == pytest.approx(1.0 + align(whole, "hi")[0].start)


def test_words_that_were_not_said_are_left_out_and_the_rest_stays() -> None:
    emissions, starts = speak(STORY)
    added = ["yesterday", "evening", "however", "quite", "unexpectedly"]
    found = align(emissions, " ".join([*STORY[:20], *added, *STORY[20:]]))
    assert found.unheard == (20, 21, 22, 23, 24)
    assert begins(found)[:20] + begins(found)[25:] == starts
    assert all(word.confidence == 0 and word.start == word.end and not word.letters for word in found[20:25])
    assert found.status == "exact"
    for left, right in pairwise(found):
        assert left.end <= right.start


def test_speech_that_is_not_in_the_text_is_told_and_the_rest_stays() -> None:
    emissions, starts = speak(STORY)
    found = align(emissions, [" ".join(STORY[:8]), " ".join(STORY[16:])])
    assert begins(found) == starts[:8] + starts[16:]
    [(start, end)] = found.untold
    assert start == pytest.approx(starts[8] * 0.02, abs=0.11)
    assert end == pytest.approx(starts[16] * 0.02, abs=0.11)
    assert found.unheard == ()


def test_speech_before_and_after_the_text_is_told() -> None:
    emissions, starts = speak(STORY)
    found = align(emissions, " ".join(STORY[10:20]))
    assert begins(found) == starts[10:20]
    assert [round(start / 0.02) for start, _ in found.untold] == pytest.approx([starts[0], starts[20]], abs=6)


def test_stars_around_words_find_what_is_missing_within_a_line() -> None:
    emissions, starts = speak(STORY)
    found = align(emissions, " ".join([*STORY[:8], *STORY[16:]]), star="words")
    assert begins(found) == starts[:8] + starts[16:]
    assert len(found.untold) == 1


def test_another_text_is_a_mismatch() -> None:
    emissions, _ = speak(STORY)
    found = align(emissions, "completely different words that nobody in this recording ever thought of uttering aloud")
    assert found.status == "mismatch"
    assert len(found.unheard) > 5


@pytest.mark.parametrize("exact", [True, False])
def test_the_status_says_what_is_proven(exact: bool) -> None:
    emissions, starts = speak(STORY * 5)
    found = align(emissions, " ".join(STORY * 5), exact=exact)
    assert found.status == ("exact" if exact else "pruned")
    assert begins(found) == starts


def test_many_are_aligned_as_each_alone() -> None:
    pairs = [(speak(STORY[i : i + 5], seed=i)[0], " ".join(STORY[i : i + 5])) for i in range(12)]
    alone = [align(*pair) for pair in pairs]
    assert align_many(pairs) == align_many(pairs, threads=3) == alone
    with pytest.raises(OptionError, match="threads must be at least 1"):
        align_many(pairs, threads=0)


def test_numbers_and_symbols_match_any_sound_where_nothing_says_them() -> None:
    emissions, starts = speak(["in", "nineteen", "eighty", "four", "it", "rained"])
    found = align(emissions, "In 1984 it rained", language="tlh")  # which num2words does not know
    assert begins(found) == [starts[0], starts[1], starts[4], starts[5]]
    assert found.unheard == ()
    assert found[1].end > starts[3] * 0.02
    speller = Speller(VOCABULARY, None)
    assert [word.tokens for word in speller.spell("7 € x=y")] == [
        (WILDCARD,),
        (WILDCARD,),
        (VOCABULARY.index["X"], 2, WILDCARD, 2, VOCABULARY.index["Y"]),
    ]


@pytest.mark.parametrize(
    ("text", "language", "spoken"),
    [
        ("1984", "en", "NINETEEN EIGHTY FOUR"),
        ("1,250", "eng", "ONE THOUSAND TWO HUNDRED AND FIFTY"),
        ("3.5", "en", "THREE POINT FIVE"),
        ("2nd", "en", "SECOND"),
        ("007", "en", "ZERO ZERO SEVEN"),
        ("21", "deu", "EINUNDZWANZIG"),
        ("1.250", "de", "EINTAUSENDZWEIHUNDERTFUNFZIG"),
    ],
)
def test_numbers_are_said_in_their_language(text: str, language: str, spoken: str) -> None:
    pytest.importorskip("num2words")
    [word] = Speller(VOCABULARY, language).spell(text)
    said = "".join(" " if token == 2 else VOCABULARY.tokens[token] for token in word.tokens)
    assert said == spoken


def test_accents_are_left_off_where_the_vocabulary_lacks_them() -> None:
    [word] = Speller(VOCABULARY).spell("café")
    assert "".join(VOCABULARY.tokens[token] for token in word.tokens) == "CAFE"


def test_other_scripts_are_romanised_or_match_any_sound() -> None:
    [word] = Speller(VOCABULARY).spell("мир")
    try:
        import uroman  # noqa: F401
    except ImportError:
        assert word.tokens == (WILDCARD,)
    else:
        assert "".join(VOCABULARY.tokens[token] for token in word.tokens) == "MIR"


def test_scripts_without_spaces_have_a_word_a_letter() -> None:
    found = align(spell("-你-好-吗-", SCRIPT), "你好，吗？")
    assert [word.text for word in found] == ["你", "好，", "吗？"]
    assert found.lines[0].text == "你好，吗？"


def test_a_text_too_long_for_its_audio_says_how_much_is_missing() -> None:
    with pytest.raises(AlignmentError, match=r"needs 7 frames at least and the audio has 5, which is 2 too few \(0.04"):
        align(spell("-AB-A"), "aabba")


def test_texts_without_words_and_impossible_texts_are_refused() -> None:
    with pytest.raises(AlignmentError, match="must have words"):
        align(spell("-A-"), " … \n")
    emissions = spell("-A-A-")
    emissions.log_probs[:, VOCABULARY.index["B"]] = -np.inf
    with pytest.raises(AlignmentError, match="no probability at all"):
        align(emissions, "b", leave_out=False, star="none")


def test_what_is_no_emission_or_option_is_refused() -> None:
    emissions = spell("-A-")
    with pytest.raises(OptionError, match="take their logarithm"):
        align(Emissions(np.exp(emissions.log_probs), 0.02, VOCABULARY), "a")
    with pytest.raises(OptionError, match="'everywhere'"):
        align(emissions, "a", star="everywhere")  # type: ignore[arg-type]
    with pytest.raises(VocabularyError):
        Emissions(emissions.log_probs[:, :4], 0.02, VOCABULARY)


def test_an_offset_moves_all_times_but_not_out_of_the_file() -> None:
    emissions = spell("-HI--")
    late = align(emissions, "hi", times=WordTimes(offset=0.01))[0]
    assert late.start == pytest.approx(align(emissions, "hi")[0].start - 0.01)
    assert align(emissions, "hi", times=WordTimes(offset=1.0))[0].start == 0


def test_edges_lie_where_half_of_the_highest_posterior_is_crossed() -> None:
    # token 1 rises over three frames: 0.1, 0.3, 0.8; the crossing of 0.4 is a fifth of the way from the second middle
    probs = np.array([[0.8, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.9, 0.1]])
    log_probs = np.log(np.hstack([probs, 1 - probs.sum(1, keepdims=True) + 1e-9])).astype(np.float32)
    tokens, starts, ends = (np.array([value], np.int32) for value in (1, 2, 4))
    first, last, peaks = frame_edges(log_probs, tokens, starts, ends, blank=0)
    assert first == pytest.approx([2 - 0.5 + 0.2], abs=1e-5)
    assert last == pytest.approx([4 - 0.5 + (0.8 - 0.4) / (0.8 - 0.1)], abs=1e-5)
    assert peaks == pytest.approx([0.8], abs=1e-6)


def test_little_memory_suffices_for_a_proof() -> None:
    words = STORY * 12
    emissions, starts = speak(words, pause=1)
    for memory in (10_000, 3, 0):
        small = align(emissions, " ".join(words), max_memory=memory)
        assert small.status == "exact"
        assert begins(small) == starts


def test_the_names_are_public() -> None:
    assert sonant.align is align
    assert sonant.Alignment is Alignment
