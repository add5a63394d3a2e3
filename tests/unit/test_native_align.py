"""The compiled aligner against a slow one: random small cases with ties, repeats, wildcards and units to leave out."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from sonant import native

EXACT, PRUNED, IMPOSSIBLE = 2, 1, 0
WILDCARD_COST = 1.25
Unit = tuple[int, int, float]


class Way(NamedTuple):
    total: float
    """Less each frame's best log-probability and the costs of what is left out."""
    starts: list[int]
    ends: list[int]


def wildcard_scores(log_probs: np.ndarray, cost: float) -> np.ndarray:
    return np.where(log_probs[:, 0] == log_probs.max(1), -np.float32(0.1) * np.float32(cost), -cost)


def slow_align(log_probs: np.ndarray, tokens: list[int], wildcard_cost: float, units: list[Unit]) -> Way | None:
    """Viterbi's algorithm in double precision over all 2L + 1 states; blank is 0. Ties fall as torchaudio's do."""
    scores = np.float64(log_probs) - log_probs.max(1, keepdims=True)
    scores = np.hstack([scores, wildcard_scores(log_probs, wildcard_cost)[:, None]])
    num_states = 2 * len(tokens) + 1
    columns = [tokens[s // 2] if s % 2 else 0 for s in range(num_states)]

    def leave_out(values: np.ndarray) -> dict[int, int]:
        found: dict[int, int] = {}
        for begin, end, cost in units:
            if values[2 * begin] - cost > values[2 * end]:
                values[2 * end] = values[2 * begin] - cost
                found[2 * end] = 2 * begin
        return found

    before = np.full(num_states, -np.inf)
    before[0] = 0.0
    jumps, moves = [leave_out(before)], []
    for row in scores:
        now, moved = np.full(num_states, -np.inf), np.zeros(num_states, int)
        for s in range(num_states):
            stay, near = before[s], before[s - 1] if s else -np.inf
            may_skip = s % 2 and s > 1 and columns[s] != columns[s - 2]
            far = before[s - 2] if may_skip else -np.inf
            moved[s] = 2 if far > near and far > stay else 1 if near > stay else 0
            now[s] = (stay, near, far)[moved[s]] + row[columns[s]]
        jumps.append(leave_out(now))
        moves.append(moved)
        before = now
    s = num_states - 1 if not tokens or before[-1] > before[-2] else num_states - 2
    if before[s] == -np.inf:
        return None
    way = Way(float(before[s]), [0] * len(tokens), [0] * len(tokens))
    for t in reversed(range(len(scores))):
        while s in jumps[t + 1]:
            for i in range(jumps[t + 1][s] // 2, s // 2):
                way.starts[i] = way.ends[i] = t
            s = jumps[t + 1][s]
        if s % 2:
            way.ends[s // 2] = way.ends[s // 2] or t + 1
            way.starts[s // 2] = t
        s -= moves[t][s]
    return way


class Case(NamedTuple):
    log_probs: np.ndarray
    tokens: list[int]
    units: list[Unit]


def random_case(generator: np.random.Generator, num_frames: int, most_tokens: int, ties: bool) -> Case:
    num_columns = int(generator.integers(2, 6))
    shape = (num_frames, num_columns)
    if ties:
        values = -generator.integers(0, 4, shape).astype(np.float32)
        values -= values.max(1, keepdims=True)
    else:
        values = np.log(generator.dirichlet(np.full(num_columns, 0.3), num_frames) + 1e-9).astype(np.float32)
    if generator.random() < 0.2:  # what cannot be
        values[generator.random(shape) < 0.15] = -np.inf
        values[:, 0] = np.maximum(values[:, 0], -5)
    highest = num_columns + int(generator.random() < 0.3)  # a wildcard or none
    tokens = generator.integers(1, highest, generator.integers(0, most_tokens)).tolist()
    cuts = np.unique(generator.integers(0, len(tokens) + 1, 4)).tolist() if generator.random() < 0.5 else []
    units = [(a, b, float(generator.integers(0, 5))) for a, b in pairwise(cuts)]
    return Case(values, tokens, [unit for unit in units if generator.random() < 0.7])


def fast_align(case: Case, **options: float) -> tuple[int, list[int], list[int], float]:
    begins, ends, costs = ([unit[i] for unit in case.units] for i in range(3))
    proof, starts, stops, score, cells = native.align(
        case.log_probs,
        np.array(case.tokens, np.int32),
        0,
        wildcard_cost=WILDCARD_COST,
        unit_begins=np.array(begins, np.int32),
        unit_ends=np.array(ends, np.int32),
        unit_costs=np.array(costs, np.float32),
        **options,
    )
    assert cells > 0 or proof == IMPOSSIBLE
    return proof, starts.tolist(), stops.tolist(), score


def total(case: Case, starts: list[int], ends: list[int]) -> float:
    """What a way is worth, by the slow aligner's count."""
    path = [0] * len(case.log_probs)
    for token, start, end in zip(case.tokens, starts, ends, strict=True):
        path[start:end] = [token] * (end - start)
    values = np.float64(case.log_probs) - case.log_probs.max(1, keepdims=True)
    values = np.hstack([values, wildcard_scores(case.log_probs, WILDCARD_COST)[:, None]])
    heard = sum(values[t, token] for t, token in enumerate(path))
    return heard - sum(cost for begin, end, cost in case.units if starts[begin:end] == ends[begin:end])


@pytest.mark.parametrize("ties", [True, False])
def test_random_cases_are_aligned_as_the_slow_way_does(ties: bool) -> None:
    generator = np.random.default_rng(3)
    impossible = 0
    for _ in range(1500):
        case = random_case(generator, int(generator.integers(1, 14)), 7, ties)
        slow = slow_align(case.log_probs, case.tokens, WILDCARD_COST, case.units)
        for options in ({}, {"threshold": 1.0}, {"memory": 64}):
            proof, starts, ends, _ = fast_align(case, **options)
            if slow is None:
                assert proof == IMPOSSIBLE, case
                continue
            assert proof == EXACT, case
            assert total(case, starts, ends) == pytest.approx(slow.total, abs=1e-4), case
            if ties:  # sums of small integers are exact, so that the way is the same, too
                assert (starts, ends) == (slow.starts, slow.ends), case
        impossible += slow is None
    assert 100 < impossible < 1400


def test_many_intervals_and_little_memory_give_the_same_way() -> None:
    generator = np.random.default_rng(5)
    for _ in range(3):
        case = random_case(generator, int(generator.integers(1100, 1700)), 30, ties=True)
        slow = slow_align(case.log_probs, case.tokens, WILDCARD_COST, case.units)
        assert slow is not None
        for memory in (1 << 30, 3000, 64):
            assert fast_align(case, threshold=4.0, memory=memory)[:3] == (EXACT, slow.starts, slow.ends)


def test_as_many_frames_as_tokens_and_repeats_leave_one_way() -> None:
    values = np.log(np.full((5, 3), 1 / 3, np.float32))
    case = Case(values, [1, 1, 2, 2], [])
    assert fast_align(case) == (IMPOSSIBLE, [0] * 4, [0] * 4, 0.0)
    longer = Case(np.log(np.full((6, 3), 1 / 3, np.float32)), [1, 1, 2, 2], [])
    proof, starts, ends, score = fast_align(longer)
    assert (proof, starts, ends) == (EXACT, [0, 2, 3, 5], [1, 3, 4, 6])
    assert score == pytest.approx(6 * np.log(1 / 3), abs=1e-5)


def test_a_narrow_search_that_misses_the_best_way_does_not_call_it_exact() -> None:
    # the text begins with what is said at the end, and what it goes on with is said first
    generator = np.random.default_rng(2)
    spoken = generator.integers(1, 6, 300)
    values = np.full((600, 6), np.log(1e-4), np.float32)
    values[np.arange(0, 600, 2), 0] = values[np.arange(1, 600, 2), spoken] = 0.0
    added = generator.integers(1, 6, 150).tolist()
    case = Case(values, [*spoken[:100].tolist(), *added, *spoken[100:].tolist()], [])
    narrow = fast_align(case, threshold=30.0, exact=False)
    assert fast_align(case, threshold=30.0, most_cells=1000) == narrow  # the proof is given up
    proof, starts, ends, _ = fast_align(case, threshold=30.0)
    slow = slow_align(case.log_probs, case.tokens, WILDCARD_COST, [])
    assert slow is not None
    assert proof == EXACT
    assert total(case, starts, ends) == pytest.approx(slow.total, abs=1e-2)
    assert narrow[0] == PRUNED
    assert total(case, narrow[1], narrow[2]) < slow.total - 1


@cache
def ten_minutes() -> tuple[list[list[int]], np.ndarray]:
    """Words of 26 letters, as often as in a language, and a separator (27), in 30,000 frames."""
    generator = np.random.default_rng(11)
    known = [generator.integers(1, 27, generator.integers(1, 9)).tolist() for _ in range(1500)]
    words, heard = [], []
    while len(heard) < 30_000:
        words.append([*known[min(generator.zipf(1.3), len(known)) - 1], 27])
        mumbled = generator.random() < 0.15
        for letter in words[-1]:
            letter = int(generator.integers(1, 28)) if generator.random() < (0.4 if mumbled else 0.01) else letter
            heard += [letter] * int(generator.integers(1, 3)) + [0] * int(generator.poisson(1.8))
    probs = generator.gamma(0.3, size=(len(heard), 28)) * 0.003 + 1e-8
    probs[np.arange(len(heard)), heard] += generator.beta(9, 1, len(heard))
    probs[:, 0] += generator.beta(1, 20, len(heard))
    return words, np.log(probs / probs.sum(1, keepdims=True)).astype(np.float32)


def told(words: list[list[int]], lenient: bool, values: np.ndarray) -> Case:
    """A text of words that may be left out, with wildcards around each twelve of them; or of nothing but its words."""
    tokens: list[int] = []
    units: list[Unit] = []
    for i, word in enumerate(words):
        if lenient and i % 12 == 0:
            units.append((len(tokens), len(tokens) + 1, 0.0))
            tokens.append(values.shape[1])
        if lenient:
            units.append((len(tokens), len(tokens) + len(word), 5.0 * len(word)))
        tokens += word
    return Case(values, tokens, units)


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(("extra", "missing"), [(5, 0), (60, 0), (0, 60)])
def test_ten_minutes_whose_text_does_not_fit_are_aligned_as_without_giving_anything_up(
    extra: int, missing: int, lenient: bool
) -> None:
    words, values = ten_minutes()
    middle = len(words) // 2
    spoilt = [*words[:middle], *words[:extra][::-1], *words[middle + missing :]]
    case = told(spoilt, lenient, values)
    whole = fast_align(case, threshold=2e6)
    proof, starts, ends, _ = fast_align(case)
    assert proof == whole[0] == EXACT
    best = total(case, *whole[1:3])
    assert total(case, starts, ends) == pytest.approx(best, abs=0.05)
    narrow = fast_align(case, exact=False)
    assert narrow[0] == PRUNED
    if not lenient:  # then the first search loses its way
        assert total(case, *narrow[1:3]) < best - 100


@pytest.mark.parametrize("bad", [{"tokens": [0]}, {"tokens": [4]}, {"blank": 3}, {"unit": (1, 1)}, {"unit": (0, 9)}])
def test_what_is_no_task_is_refused(bad: dict[str, object]) -> None:
    values = np.zeros((4, 3), np.float32)
    begin, end = bad.get("unit", (0, 1))  # type: ignore[misc]
    with pytest.raises(ValueError, match="must"):
        native.align(
            values,
            np.array(bad.get("tokens", [1, 2]), np.int32),
            bad.get("blank", 0),  # type: ignore[arg-type]
            unit_begins=np.array([begin], np.int32),
            unit_ends=np.array([end], np.int32),
            unit_costs=np.ones(1, np.float32),
        )


def test_a_search_that_finds_no_way_ends_before_it_has_looked_at_everything() -> None:
    log_probs = np.full((3000, 4), -9.0, np.float32)
    log_probs[:, 0] = -1e-3
    log_probs[1500:, 2:] = -np.inf  # the text must be over by then, which a narrow search finds too dear
    tokens = np.tile(np.array([2, 3], np.int32), 700)
    proof, _, _, _, cells = native.align(log_probs, tokens, 0, threshold=1e-3, exact=False, most_cells=100_000)
    assert proof == IMPOSSIBLE
    assert cells < 110_000
    assert native.align(log_probs, tokens, 0, threshold=1e-3, exact=False)[0] != IMPOSSIBLE
