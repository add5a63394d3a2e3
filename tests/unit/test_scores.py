from __future__ import annotations

from math import erfc, sqrt

import numpy as np
import pytest

import sonant
from sonant.text import Errors
from sonant.train.scores import Evaluation, Normalisation, Scored, compare, resample


def evaluation(*texts: tuple[str, str], speakers: str = "") -> Evaluation:
    """Said and heard, and a letter a speaker."""
    scored = [
        Scored(i, f"{i}.wav", said, heard, 2.0, {"speaker": speakers[i]} if speakers else {})
        for i, (said, heard) in enumerate(texts)
    ]
    return Evaluation("model", tuple(scored))


def binomial(generator: np.random.Generator, rate: float, num_utterances: int, num_words: int = 8) -> Evaluation:
    """Utterances whose words are wrong independently of each other."""
    said = " ".join("abcdefgh"[:num_words])
    texts = [
        (said, " ".join("x" if wrong else word for word, wrong in zip(said.split(), draw, strict=True)))
        for draw in generator.random((num_utterances, num_words)) < rate
    ]
    return evaluation(*texts)


def test_rates_are_of_all_words_and_not_means_of_utterances() -> None:
    result = evaluation(("a b c d", "a b c d"), ("e", "f"), ("", "g"), ("", ""))
    assert result.words.errors == Errors(substitutions=1, insertions=1, hits=4)
    assert result.words.value == 2 / 5
    assert result.letters.errors == Errors(substitutions=1, insertions=1, hits=7)
    assert result.duration == 8


def test_nothing_said_and_nothing_heard_have_rates() -> None:
    assert evaluation().words.value == 0
    assert evaluation(("", "")).words.value == 0
    noise = evaluation(("", "a"), ("", "b"))
    assert noise.words.value == np.inf
    assert noise.words.low is None


@pytest.mark.parametrize(
    ("normalisation", "said", "heard", "same"),
    [
        (Normalisation(), "It’s here.", "ITS HERE", False),
        (Normalisation(keep=""), "It’s here.", "ITS HERE", True),
        (Normalisation(), "It’s here.", "IT'S HERE", True),
        (Normalisation(case="as is"), "Here!", "here", False),
        (Normalisation(digits=False), "7 men", "men", True),
        (Normalisation(raw=True), "Here !", "Here  !", True),
        (Normalisation(raw=True), "Here!", "Here", False),
    ],
)
def test_both_sides_are_normalised_alike(normalisation: Normalisation, said: str, heard: str, same: bool) -> None:
    assert (normalisation(said) == normalisation(heard)) is same


def test_intervals_hold_the_rate_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(40):
        words = binomial(generator, 0.2, 40).words
        assert words.low is not None
        assert words.high is not None
        assert words.low <= words.value <= words.high
        held += words.low <= 0.2 <= words.high
    assert held >= 33  # 38 are expected, fewer than 33 have a probability of 0.1 %


def test_an_interval_is_that_of_resampling_by_hand() -> None:
    result = evaluation(("a b", "a x"), ("c", "c"), ("d e f", ""))
    generator = np.random.default_rng(0)
    rates = []
    for _ in range(2000):
        drawn = generator.integers(0, 3, 3)
        rates.append(np.array([1, 0, 3])[drawn].sum() / np.array([2, 1, 3])[drawn].sum())
    assert (result.words.low, result.words.high) == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])))
    assert resample(np.ones((3, 2)), seed=0, replicates=4).tolist() == [[3, 3]] * 4


def test_speakers_are_resampled_where_all_are_named() -> None:
    texts = [("a", "a")] * 10 + [("a", "x")] * 10
    free, held = evaluation(*texts), evaluation(*texts, speakers="A" * 10 + "B" * 10)
    assert (free.unit, free.num_units, held.unit, held.num_units) == ("utterance", 20, "speaker", 2)
    assert (held.words.low, held.words.high) == (0, 1)
    assert free.words.low is not None
    assert free.words.low > 0.2
    assert evaluation(*texts, speakers="A" * 20).unit == "utterance"


def test_groups_are_apart_and_the_worst_is_first() -> None:
    result = evaluation(("a", "a"), ("b", "x"), ("c", "c"), ("d e", "d"), speakers="ABAC")
    groups = result.by("speaker")
    assert [(name, group.words.value, len(group.utterances)) for name, group in groups.items()] == [
        ("B", 1, 1),
        ("C", 0.5, 1),
        ("A", 0, 2),
    ]
    assert (groups["B"].words.low, groups["B"].words.high) == (None, None)
    assert groups["A"].words.low is None  # no errors in two utterances do not mean that there never are any
    with pytest.raises(sonant.OptionError, match=r"'gender', but has speaker"):
        result.by("gender")


def test_the_worst_utterances_and_confusions() -> None:
    result = evaluation(("no no yes", "on on yes"), ("no", "on"), ("a b", "a b c d"), ("one", ""), ("fine", "fine"))
    assert [scored.number for scored in result.worst()] == [2, 0, 1, 3]
    assert [scored.number for scored in result.worst(1)] == [2]
    assert result.word_confusions == [(("no", "on"), 3), ((None, "c"), 1), ((None, "d"), 1), (("one", None), 1)]
    assert result.letter_confusions[:2] == [(("n", "o"), 3), (("o", "n"), 3)]


def test_a_planted_difference_is_found() -> None:
    generator = np.random.default_rng(2)
    good, bad = (binomial(generator, rate, 150) for rate in (0.1, 0.2))
    found = compare(good, bad)
    assert found.words.value == pytest.approx(bad.words.value - good.words.value)
    assert 0 < found.words.low < found.words.value < found.words.high
    assert found.words.bootstrap < 0.01
    assert found.words.matched_pairs < 0.01
    assert found.worse > found.better
    back = compare(bad, good).words
    assert back.value == -found.words.value
    assert back.matched_pairs == found.words.matched_pairs
    same = compare(good, good).words
    assert (same.value, same.bootstrap, same.matched_pairs) == (0, 1, 1)


def test_a_difference_is_found_where_there_is_none_as_rarely_as_promised() -> None:
    generator = np.random.default_rng(3)
    pairs = [compare(binomial(generator, 0.2, 30), binomial(generator, 0.2, 30)).words for _ in range(24)]
    assert sum(pair.bootstrap < 0.05 for pair in pairs) <= 5
    assert sum(pair.matched_pairs < 0.05 for pair in pairs) <= 5


def test_the_matched_pairs_test_by_hand() -> None:
    first = evaluation(("a", "a"), ("b", "b"), ("c", "c"), ("d", "d"))
    second = evaluation(("a", "x"), ("b", "x"), ("c", "x"), ("d", "d"))
    # changes 1, 1, 1, 0: mean 0.75, standard deviation 0.5, standard error 0.25
    assert compare(first, second).words.matched_pairs == pytest.approx(erfc(3 / sqrt(2)))
    assert (compare(first, second).better, compare(first, second).worse) == (0, 3)


def test_only_the_same_utterances_are_compared() -> None:
    first = evaluation(("a", "a"), ("b", "b"), ("c", "x"))
    heard = Evaluation("other", first.utterances[1:])
    assert compare(first, heard).num_utterances == 2
    with pytest.raises(sonant.OptionError, match=r"these have 1;"):
        compare(first, Evaluation("other", first.utterances[:1]))
    with pytest.raises(sonant.OptionError, match="other texts"):
        compare(first, evaluation(("a", "a"), ("z", "b")))
