"""Where long recordings are cut: against an exhaustive search, at pauses, and never through what is not known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from sonant import OptionError
from sonant.audio import read
from sonant.audio.flac import to_flac
from sonant.segment import choose
from sonant.segment.choose import Loudness, Piece, SegmentSpec, choose_pieces
from sonant.types import Word

FRAME = 0.02
SPEC = SegmentSpec(2.0, 6.0, 0.1, 0.1)


def speech(pauses: list[float], spoken: float = 0.5) -> tuple[list[Word], np.ndarray]:
    """Words of half a second, each after its pause, the last pause at the end; and the levels of their frames."""
    words, at = [], 0.0
    for pause in pauses[:-1]:
        at += pause
        words.append(Word("abc", round(at, 2), round(at + spoken, 2), 0.9))
        at += spoken
    levels = np.full(round((at + pauses[-1]) / FRAME), -70, np.float32)
    for word in words:
        levels[round(word.start / FRAME) : round(word.end / FRAME)] = -20
    return words, levels


def pieces_of(
    words: list[Word],
    levels: np.ndarray,
    trusted: list[bool] | None = None,
    untold: list[tuple[float, float]] | None = None,
    spec: SegmentSpec = SPEC,
) -> list[Piece]:
    return choose_pieces(words, trusted or [True] * len(words), untold or [], levels, FRAME, spec)


def test_pieces_end_at_the_longest_pauses() -> None:
    words, levels = speech([0.5, 0.1, 0.1, 0.1, 0.1, 0.8, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.5])
    found = pieces_of(words, levels, spec=SegmentSpec(2.0, 5.0, 0.1, 0.1))
    assert [(p.words.start, p.words.stop) for p in found] == [(0, 5), (5, 12), (12, 17)]
    for piece in found:
        first, last = words[piece.words][0], words[piece.words][-1]
        assert first.start - 0.301 <= piece.start < first.start
        assert last.end < piece.end <= last.end + 0.301
        assert piece.confidence == pytest.approx(0.9)


def test_no_other_choice_is_worth_more() -> None:
    generator = np.random.default_rng(0)
    empty = 0
    for _ in range(200):
        words, levels = speech(list(generator.choice([0.04, 0.12, 0.3, 0.7], 12)))
        words = [
            Word(w.text, w.start, w.end, float(generator.choice([0.02, 0.3, 0.9], p=[0.3, 0.3, 0.4]))) for w in words
        ]
        trusted = [bool(x) for x in generator.random(11) > 0.1]
        untold = [(words[4].end, words[5].start)] if generator.random() < 0.5 else []
        quiet = choose._quiet_frames(words, trusted, levels, FRAME)
        opens, closes, _ = choose._cuts(words, trusted, untold, quiet, FRAME, SPEC)

        values: dict[tuple[int, int], float] = {}
        for first, last in combinations(range(12), 2):
            start, end = opens[first], closes[last]
            sure = np.mean(np.log([w.confidence for w in words[first:last]])) >= np.log(SPEC.min_confidence) - 1e-9
            across = bool(untold) and first <= 4 < last - 1
            if start and end and all(trusted[first:last]) and sure and not across and 2 <= end.end - start.start <= 6:
                values[first, last] = end.end - start.start - start.cost - end.cost
        most = [0.0] * 12
        for first in range(10, -1, -1):
            ways = [value + most[last] for (begin, last), value in values.items() if begin == first]
            most[first] = max([most[first + 1], *ways])
        found = pieces_of(words, levels, trusted, untold)
        empty += not found
        assert sum(values[p.words.start, p.words.stop] for p in found) == pytest.approx(most[0])
    assert empty < 100


def test_words_that_are_not_trusted_and_speech_without_a_text_are_in_no_piece() -> None:
    words, levels = speech([0.4] * 21)
    trusted = [i != 7 for i in range(20)]
    untold = [(words[13].end + 0.05, words[13].end + 0.35)]
    found = pieces_of(words, levels, trusted, untold)
    assert len(found) >= 3
    held = [set(range(p.words.start, p.words.stop)) for p in found]
    assert not any(7 in some or {13, 14} <= some for some in held)
    loud = levels.copy()
    loud[round(words[9].end / FRAME) + 2 : round(words[10].start / FRAME) - 2] = -20  # too short to be speech
    assert any({9, 10} <= set(range(p.words.start, p.words.stop)) for p in pieces_of(words, loud))


def test_sound_that_no_word_explains_parts_pieces() -> None:
    words, levels = speech([0.4] * 6 + [2.2] + [0.4] * 6)
    assert any(p.words.start < 6 < p.words.stop for p in pieces_of(words, levels, spec=SegmentSpec(2, 20, 0.1, 0.1)))
    levels[round(words[5].end / FRAME) + 10 : round(words[6].start / FRAME) - 10] = -20
    found = pieces_of(words, levels, spec=SegmentSpec(2, 20, 0.1, 0.1))
    assert [(p.words.start, p.words.stop) for p in found] == [(0, 6), (6, 12)]


def test_where_what_follows_is_not_known_it_must_be_quiet_at_once() -> None:
    words, levels = speech([0.4] * 7)
    levels[round(words[4].end / FRAME) : round(words[5].end / FRAME)] = -20  # on into the word that is not trusted
    found = pieces_of(words, levels, [True] * 5 + [False])
    assert [(p.words.start, p.words.stop) for p in found] == [(0, 4)]


def test_unsure_words_and_speech_without_pauses_are_left_out() -> None:
    words, levels = speech([0.4] * 9)
    unsure = [Word(w.text, w.start, w.end, 0.01) for w in words]
    assert pieces_of(unsure, levels) == []
    words, levels = speech([0.02] * 30)
    assert pieces_of(words, levels) == []
    assert pieces_of([], np.zeros(0, np.float32)) == []


def test_what_pieces_cannot_be_is_one_sentence() -> None:
    for settings in [(20, 5), (0, 5), (5, float("inf")), (5, 20, 0.1, 0)]:
        with pytest.raises(OptionError, match="Pieces must last some seconds"):
            SegmentSpec(*settings)
    with pytest.raises(OptionError, match="between 0 and 1"):
        SegmentSpec(min_confidence=2)


def test_levels_do_not_depend_on_how_the_sound_comes() -> None:
    samples = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    whole, parts = Loudness(64), Loudness(64)
    whole.add(samples)
    for part in np.split(samples, [1, 70, 71, 600]):
        parts.add(part)
    np.testing.assert_array_equal(whole.levels(), parts.levels())
    assert len(whole.levels()) == 15


def test_flac_holds_every_sample() -> None:
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, 10_001).astype(np.float32)
    back = read(to_flac(samples, 16_000), 16_000)
    np.testing.assert_array_equal(back * 32768, np.round(np.clip(samples * 32768, -32768, 32767)))
