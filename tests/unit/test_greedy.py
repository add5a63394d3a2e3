"""Greedy decoding against the definition, and in pieces against the whole."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonant.decode.greedy import GreedyDecoder
from sonant.decode.words import segments_of
from sonant.errors import VocabularyError
from sonant.types import Emissions, FloatArray, Vocabulary, Word

VOCABULARY = Vocabulary(("<pad>", "<unk>", "|", "H", "E", "L", "O"), blank=0, separator=2, unknown=1)
SCRIPT = Vocabulary(("<pad>", "你", "好"), blank=0)


def spell(text: str, vocabulary: Vocabulary = VOCABULARY) -> Emissions:
    """A frame a character: `-` is the blank."""
    ids = [vocabulary.blank if c == "-" else vocabulary.index[c] for c in text]
    log_probs = np.full((len(ids), len(vocabulary)), np.log(0.1 / (len(vocabulary) - 1)), np.float32)
    log_probs[np.arange(len(ids)), ids] = np.log(0.9)
    return Emissions(log_probs, 0.02, vocabulary)


def read(emissions: Emissions) -> str:
    return GreedyDecoder().decode(emissions)[0].text


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ("HEL-LO", "HELLO"),
        ("HHEELL--LLOO", "HELLO"),
        ("HELLO", "HELO"),
        ("--|H-E||L-L-|--", "HE LL"),
        ("|||", ""),
        ("---", ""),
        ("", ""),
    ],
)
def test_repeats_collapse_before_blanks_drop(frames: str, text: str) -> None:
    assert read(spell(frames)) == text


def test_a_script_without_spaces_has_a_word_a_token() -> None:
    [best] = GreedyDecoder().decode(spell("-你你-好-好", SCRIPT))
    assert best.text == "你好好"
    assert [word.text for word in best.words] == ["你", "好", "好"]


def test_phonemes_are_written_apart() -> None:
    phonemes = Vocabulary(("<pad>", "n", "aɪ", "t"), blank=0)
    log_probs = np.log(np.eye(4, dtype=np.float32)[[1, 2, 2, 0, 3]] * 0.9 + 0.025)
    assert read(Emissions(log_probs, 0.02, phonemes)) == "n aɪ t"


def test_times_and_confidence() -> None:
    [best] = GreedyDecoder().decode(spell("--HHE-|O"))
    first, second = best.words
    assert (first.start, first.end) == (pytest.approx(0.04), pytest.approx(0.1))
    letters = [(x.text, round(x.start, 3), round(x.end, 3)) for x in first.letters]
    assert letters == [("H", 0.04, 0.08), ("E", 0.08, 0.1)]
    assert (second.start, second.end) == (pytest.approx(0.14), pytest.approx(0.16))
    assert first.confidence == pytest.approx(0.9, abs=1e-6)
    assert best.score == pytest.approx(8 * np.log(0.9), abs=1e-5)


def definition(log_probs: FloatArray) -> str:
    best = [token for token, _ in groupby(log_probs.argmax(1).tolist())]
    text = "".join(VOCABULARY.tokens[i] for i in best if i > 1)
    return " ".join(text.replace("|", " ").split())


@given(seed=st.integers(0, 10**6), num_frames=st.integers(0, 60), cuts=st.lists(st.integers(0, 60), max_size=6))
@settings(deadline=None)
def test_pieces_equal_the_whole_and_the_definition(seed: int, num_frames: int, cuts: list[int]) -> None:
    logits = np.random.default_rng(seed).standard_normal((num_frames, 7)).astype(np.float32)
    logits[:, 0] += 1
    whole = Emissions(logits, 0.02, VOCABULARY)
    [expected] = GreedyDecoder().decode(whole)
    assert expected.text == definition(logits)
    state, edges = GreedyDecoder().start(VOCABULARY), sorted({0, num_frames, *(c % (num_frames + 1) for c in cuts)})
    for begin, end in pairwise(edges):
        state.feed(Emissions(logits[begin:end], 0.02, VOCABULARY, begin))
    [joined] = state.finish()
    assert joined.words == expected.words
    assert joined.score == pytest.approx(expected.score, abs=1e-9)


def test_stable_words_stay_and_a_copy_goes_its_own_way() -> None:
    whole = spell("-HE|LL" + "-" * 40 + "O-|E")
    state, seen = GreedyDecoder().start(VOCABULARY), list[list[str]]()
    for i in range(len(whole)):
        state.feed(Emissions(whole.log_probs[i : i + 1], 0.02, VOCABULARY, i))
        seen.append([word.text for word in state.stable])
        [ahead] = state.copy().finish()
        assert ahead.words[: len(state.stable)] == state.stable
    assert state.finish()[0].words == GreedyDecoder().decode(whole)[0].words
    firsts = [next(i for i, texts in enumerate(seen) if len(texts) == count) for count in (1, 2, 3)]
    assert firsts == [3, 35, 48]  # a separator, 0.6 seconds without a letter, a separator
    assert seen[-1] == ["HE", "L", "O"]


def test_emissions_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(VocabularyError, match="one column a token"):
        GreedyDecoder().start(VOCABULARY).feed(spell("你", SCRIPT))


def test_a_long_pause_ends_a_word() -> None:
    """Models forget the separator between two utterances; no word has a silence this long inside."""
    assert read(spell("HE" + "-" * 29 + "LL")) == "HEL"
    assert read(spell("HE" + "-" * 30 + "LL")) == "HE L"


def test_segments_end_at_long_pauses() -> None:
    words = [Word(str(i), start, end, 1.0) for i, (start, end) in enumerate([(0, 1), (1.2, 2), (2.9, 3), (3.5, 4)])]
    assert [segment.text for segment in segments_of(words)] == ["0 1", "2 3"]
    assert [(s.start, s.end) for s in segments_of(words)] == [(0, 2), (2.9, 4)]
    assert list(segments_of([])) == []
