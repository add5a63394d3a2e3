"""Rates of labels and of voices against slow counting, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from sonant.train.labelling import Labelling
from sonant.train.verification import Verification, all_pairs


def test_accuracy_and_recalls_are_those_of_counting() -> None:
    said = ["a"] * 6 + ["b"] * 2
    found = Labelling(said, ["a", "a", "a", "b", "b", "c", "b", "a"], list("uuvvuuvv"))
    assert found.labels == ("a", "b", "c")
    assert found.confusion.tolist() == [[3, 2, 1], [1, 1, 0], [0, 0, 0]]
    assert found.accuracy.value == pytest.approx(0.5)
    assert found.recall.value == pytest.approx((3 / 6 + 1 / 2) / 2)
    assert {label: measure.value for label, measure in found.recalls.items()} == {"a": 0.5, "b": 0.5}
    assert found.unit == "speaker"
    assert found.accuracy.low is not None
    assert found.accuracy.low <= 0.5 <= (found.accuracy.high or 0)


def test_intervals_widen_with_what_speakers_share() -> None:
    """Of speakers who are all right or all wrong, clips tell less than of clips that are right by chance."""
    said, heard = ["a", "b"] * 100, ["a", "b"] * 50 + ["b", "a"] * 50
    apart = Labelling(said, heard)
    together = Labelling(said, heard, [str(i // 20) for i in range(200)])
    assert apart.unit == "clip"
    widths = [(m.high or 0) - (m.low or 0) for m in (apart.accuracy, together.accuracy)]
    assert widths[1] > 2 * widths[0]
    assert widths[0] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 200), rel=0.15)
    assert Labelling(["a", "a"], ["a", "b"], ["u", "u"]).unit == "clip"


def test_a_better_classifier_is_told_from_one_that_is_alike() -> None:
    random = np.random.default_rng(0)
    said = random.choice(list("ab"), 400)
    flip = {"a": "b", "b": "a"}
    worse, better = (
        [s if random.random() > share else flip[s] for s in said] for share in (0.4, 0.2)
    )  # errors independent of each other
    first, second = Labelling(list(said), worse), Labelling(list(said), better)
    accuracy, recall = first.against(second)
    assert accuracy.value == pytest.approx(second.accuracy.value - first.accuracy.value)
    assert accuracy.low > 0
    assert accuracy.bootstrap < 0.01
    assert recall.bootstrap < 0.01
    assert first.against(first)[0].bootstrap == 1.0


def slow_rates(same: np.ndarray, scores: np.ndarray) -> list[tuple[float, float]]:
    places = [np.inf, *np.unique(scores)[::-1]]
    return [((scores[~same] >= t).mean(), (scores[same] < t).mean()) for t in places]


def test_error_rates_and_costs_are_those_of_counting() -> None:
    random = np.random.default_rng(1)
    same = random.random(300) < 0.3
    scores = np.round(random.standard_normal(300) + 1.5 * same, 1)  # many are equal
    sides = [(f"{i % 7}", f"{i % 5}") for i in range(300)]
    found, slow = Verification(same, scores, sides), np.array(slow_rates(same, scores))
    np.testing.assert_allclose(np.stack(found.curve, 1), slow, atol=1e-12)
    for prior in (0.5, 0.05):
        cost = (prior * slow[:, 1] + (1 - prior) * slow[:, 0]).min() / prior
        assert found.min_dcf(prior).value == pytest.approx(cost)
    gap = np.abs(slow[:, 0] - slow[:, 1])
    assert found.eer.value == pytest.approx(slow[gap.argmin()].mean(), abs=gap.min() + 0.02)
    low, high = found.eer.low, found.eer.high
    assert low is not None
    assert high is not None
    assert low < found.eer.value < high
    for rate in (0.0, 0.01, 0.1):
        assert (scores[~same] >= found.threshold(rate)).mean() <= rate
        assert (scores[~same] >= found.threshold(rate) - 0.1001).mean() > rate
    at = found.threshold()
    assert (scores[~same] >= at).mean() == pytest.approx(found.eer.value, abs=0.05)


def test_perfect_and_useless_scores() -> None:
    same, sides = [True, True, False, False], [("a", "a"), ("b", "b"), ("a", "b"), ("b", "c")]
    assert Verification(same, [3, 2, 1, 0], sides).eer.value == 0
    assert Verification(same, [0, 0, 0, 0], sides).eer.value == pytest.approx(0.5)
    assert Verification(same, [0, 1, 2, 3], sides).eer.value == 1
    assert Verification(same, [0, 1, 2, 3], sides).min_dcf(0.01).value == pytest.approx(1.0)
    assert Verification(same, [0, 1, 2, 3], sides).threshold(0.0) == np.inf


def test_pairs_are_all_of_one_speaker_and_as_many_of_two_as_asked_for() -> None:
    speakers = ["a"] * 3 + ["b"] * 4 + ["c"]
    pairs = all_pairs(speakers)
    assert len(pairs) == 8 * 7 // 2
    few = all_pairs(speakers, most=10)
    same = [speakers[i] == speakers[j] for i, j in few.tolist()]
    assert (sum(same), len(same)) == (3 + 6, 19)
    assert len({tuple(pair) for pair in few.tolist()}) == 19
