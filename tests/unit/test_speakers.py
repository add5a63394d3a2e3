"""Voices told apart, on vectors of which it is known whose they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest

from sonant.speakers import (
    UNKNOWN,
    best_path,
    cluster,
    merged,
    merges,
    named,
    numbered,
    refined,
    unit,
    vectors_of,
    widened,
    windows_over,
    with_speakers,
)
from sonant.types import Transcript, Word
from sonant.voices import Voices
from unit.talks import talk

WIDTH = 16


def planted(turns: list[tuple[int, int]], spread: float = 0.15, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Whose each vector is, and the vectors, from (speaker, how many) turns."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.full(count, who) for who, count in turns])
    centres = unit(rng.standard_normal((truth.max() + 1, WIDTH)))
    return truth, unit(centres[truth] + spread * rng.standard_normal((len(truth), WIDTH)))


def same(groups: np.ndarray, truth: np.ndarray) -> bool:
    """Whether two groupings are one, whatever their numbers."""
    return bool(np.array_equal(groups[:, None] == groups, truth[:, None] == truth))


def slow_groups(vectors: np.ndarray, count: int | None, alike: float) -> np.ndarray:
    """Average linkage by its definition: the two groups with the highest mean product of all pairs become one."""
    groups = [[i] for i in range(len(vectors))]
    while len(groups) > (count or 1):
        pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
        means = [float(np.mean(vectors[groups[i]] @ vectors[groups[j]].T)) for i, j in pairs]
        best = int(np.argmax(means))
        if count is None and means[best] < alike:
            break
        i, j = pairs[best]
        groups[j] += groups.pop(i)
    found = np.zeros(len(vectors), int)
    for number, group in enumerate(groups):
        found[group] = number
    return found


def voices_of(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (vectors @ unit(centres).T).argmax(1)


@pytest.mark.parametrize("count", [1, 2, 4, None])
def test_groups_are_those_of_average_linkage(count: int | None) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        vectors = unit(rng.standard_normal((23, 5)))
        groups = slow_groups(vectors, count, 0.2)
        steps = merges(vectors, np.ones(23, np.float32))
        assert len(steps) == 22
        kept = steps[: 23 - count] if count else list(takewhile(lambda step: step[2] >= 0.2, steps))
        sums, sizes = merged(vectors, np.ones(23, np.float32), kept)
        expected = np.stack([vectors[groups == g].sum(0) for g in range(groups.max() + 1)])
        assert sorted(sizes) == sorted(np.bincount(groups))
        np.testing.assert_allclose(np.sort(sums, 0), np.sort(expected, 0), atol=1e-5)


def test_as_many_voices_are_found_as_there_are() -> None:
    for people in (1, 2, 5):
        truth, vectors = planted([(i % people, 4) for i in range(12)])
        for centres in (cluster(vectors, alike=0.4), cluster(vectors, people)):
            assert len(centres) == people
            assert same(voices_of(vectors, centres), truth)


def test_a_noise_is_no_voice() -> None:
    truth, vectors = planted([(0, 20), (2, 1), (1, 20), (3, 1), (0, 9)])
    for centres in (cluster(vectors, alike=0.4), cluster(vectors, 2)):
        assert len(centres) == 2
        speech = truth < 2
        assert same(voices_of(vectors[speech], centres), truth[speech])


def test_a_voice_that_is_heard_for_half_a_minute_in_hours_is_not_lost() -> None:
    truth, vectors = planted([(0, 300), (1, 250), (2, 40), (0, 400), (1, 77)])
    for centres in (cluster(vectors, alike=0.4, most=64), cluster(vectors, 3, most=64)):
        assert same(voices_of(vectors, centres), truth)
        totals = [vectors[truth == who].sum(0) for who in (0, 1, 2)]
        np.testing.assert_allclose(np.sort(centres, 0), np.sort(totals, 0), atol=1e-2)


def test_there_is_a_voice_where_there_are_few_windows_or_none() -> None:
    assert cluster(np.zeros((0, 4), np.float32), 3).shape == (1, 4)
    _, vectors = planted([(0, 1), (1, 1)])
    assert len(cluster(vectors, 2)) == len(cluster(vectors, 5)) == 2
    assert len(cluster(vectors, alike=0.99)) == 1
    assert len(cluster(vectors[:1])) == 1


def test_neighbours_over_a_pause_have_nothing_to_do_with_each_other() -> None:
    windows = np.array([[0, 1.5], [0.75, 2.25], [1.5, 3.0], [4.0, 5.5], [4.75, 6.25]])
    vectors = np.eye(5, dtype=np.float32)
    expected = unit(np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]))
    np.testing.assert_allclose(widened(vectors, windows), expected)


def test_centres_move_to_the_middle_of_what_is_nearest_to_them() -> None:
    truth, vectors = planted([(0, 30), (1, 30)])
    start = unit(np.stack([vectors[0] + 0.5 * vectors[31], vectors[30], -vectors.sum(0)]))
    found = refined(start, vectors)
    expected = unit(np.stack([vectors[truth == who].sum(0) for who in (0, 1)]))
    np.testing.assert_allclose(found[:2], expected, atol=1e-6)
    np.testing.assert_array_equal(found[2], start[2])  # nobody's
    assert refined(start, vectors[:0]).shape == start.shape


def test_windows_lie_over_words_and_not_over_pauses() -> None:
    heard = talk("AAAA BBBB CCCC DDDD EEEE FFFF GGGG HHHH IIII JJJJ", "A")
    windows = windows_over(heard.words, heard.duration)
    long, lone = heard.segments
    assert windows[0, 0] == long.start
    assert windows[-2, 1] == pytest.approx(long.end)
    assert np.diff(windows[:-1]) == pytest.approx(1.5)
    assert (np.diff(windows[:-1, 0]) <= 0.75).all()
    assert windows[-1].mean() == pytest.approx((lone.start + lone.end) / 2, abs=1e-6)
    assert np.diff(windows[-1]) == pytest.approx(0.6)
    assert windows_over(heard.words[:1], 0.4)[0] == pytest.approx([0.07, 0.4])


class Mean:
    """In place of a head: the mean of the states, of ten frames at least."""

    width = 3
    least_frames = 10

    def embed(self, pieces: list[np.ndarray]) -> np.ndarray:
        return pieces[0].mean(0)


def test_windows_are_heard_alike_however_the_states_come() -> None:
    states = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    frames = np.array([[0, 75], [30, 105], [60, 135], [200, 206], [300, 390], [430, 505], [496, 520]])
    expected = np.stack([states[a:b].mean(0) if min(b, 500) - a >= 10 else np.zeros(3) for a, b in frames])
    for size in (7, 100, 500):
        pieces = (states[i : i + size] for i in range(0, 500, size))
        np.testing.assert_allclose(vectors_of(Mean(), pieces, frames), expected, atol=1e-6)


def spoken(count: int, start: float = 0.0) -> list[Word]:
    return [Word("a", start + 0.3 * i, start + 0.3 * i + 0.2, 1.0) for i in range(count)]


def test_words_take_the_voice_of_their_place_and_one_odd_window_does_not_count() -> None:
    words = spoken(60)
    windows = windows_over(words, 18.0)
    scores = np.where(windows.mean(1)[:, None] < 9.0, [[0.8, 0.2]], [[0.2, 0.8]])
    scores[4] = 0.45, 0.55
    path = best_path(words, windows, scores)
    middles = np.array([(word.start + word.end) / 2 for word in words])
    wrong = path != (middles > 9.0)
    assert (np.abs(middles[wrong] - 9.0) < 0.4).all()


def test_the_path_is_the_best_of_all() -> None:
    from itertools import product

    words, rng = spoken(7), np.random.default_rng(1)
    words[4:] = [replace(word, start=word.start + 1, end=word.end + 1) for word in words[4:]]
    windows = np.array([(word.start, word.end) for word in words])
    for _ in range(20):
        scores = rng.uniform(-1, 1, (7, 3))

        def worth(path: tuple[int, ...], scores: np.ndarray = scores) -> float:
            changes = sum((0.25 if i == 4 else 0.5) * (path[i] != path[i - 1]) for i in range(1, 7))
            return sum(scores[i, who] for i, who in enumerate(path)) - changes

        assert tuple(best_path(words, windows, scores)) == max(product(range(3), repeat=7), key=worth)


def test_a_voice_that_is_like_nobody_is_unknown() -> None:
    voices = Voices("model")
    voices.add("anna", np.array([1, 0, 0], np.float32))
    voices.add("ben", np.array([0, 1, 0], np.float32))
    heard = unit(np.array([[0.1, 1, 0.2], [1, 0, 0.5], [0.3, 0.2, 1], [1, 0.1, 0]]))
    assert named(heard, voices, 0.6) == ["ben", "anna", UNKNOWN, "anna"]
    assert named(heard, voices, 0.99) == [UNKNOWN, UNKNOWN, UNKNOWN, "anna"]


def test_segments_are_cut_where_speakers_change() -> None:
    heard = talk("A B C D", "E F")
    names = numbered([2, 2, 0, 0, 0, 2])
    assert names == ["speaker 1"] * 2 + ["speaker 2"] * 3 + ["speaker 1"]
    found = with_speakers(heard, names)
    assert [(s.speaker, s.text) for s in found.segments] == [
        ("speaker 1", "A B"), ("speaker 2", "C D"), ("speaker 2", "E"), ("speaker 1", "F"),
    ]  # fmt: skip
    assert found.text == heard.text
    assert isinstance(found, Transcript)
