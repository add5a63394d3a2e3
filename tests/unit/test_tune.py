"""The search for weights on emissions whose best weights are known, and what is kept between two searches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sonant.data.manifest import Utterance
from sonant.decode.beam import BeamDecoder, BeamSettings
from sonant.decode.lm import LanguageModel
from sonant.errors import DataError, OptionError
from sonant.train.tune import Trial, Tuner, Tuning, _choose, _even
from sonant.types import Emissions
from unit.test_beam import SCRIPT, VOCABULARY, log_softmax, model, spell

TEXTS = ["A BA", "BA A BA", "A BA A", "AB", "A", "BA A"] * 3


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return model(tmp_path_factory.mktemp("lm"), "A", "BA", "AB")


def noisy(text: str, seed: int) -> Emissions:
    """What was said, with so much noise that the greedy reading is often wrong."""
    clear = spell("-".join(text) + "-", sure=0.6).log_probs
    noise = 1.2 * np.random.default_rng(seed).standard_normal(clear.shape)
    return Emissions(log_softmax(clear + noise), 0.02, VOCABULARY)


@pytest.fixture
def tuner(lm: LanguageModel) -> Tuner:
    utterances = [Utterance(f"{i}.wav", text=text) for i, text in enumerate(TEXTS)]
    emissions = [noisy(text, i) for i, text in enumerate(TEXTS)]
    return Tuner(BeamDecoder(VOCABULARY, lm, beam_size=20, blank_skip=1.0, nbest=3), utterances, emissions)


@pytest.fixture
def found(tuner: Tuner) -> Tuning:
    return tuner.tune(24)


def test_the_errors_that_are_told_are_those_of_the_settings(tuner: Tuner, found: Tuning, lm: LanguageModel) -> None:
    assert found.after.words.errors.total <= found.before.words.errors.total < found.greedy.words.errors.total
    anew = BeamDecoder(VOCABULARY, lm, priors=found.priors, **found.settings)
    texts = [anew.decode(emissions)[0].text for emissions in tuner.emissions]
    assert [scored.heard.upper() for scored in found.after.utterances] == texts
    assert found.settings["blank_skip"] == 1.0  # as the decoder was made
    assert "nbest" not in found.settings
    assert len(found.trials) == 24
    assert 0 <= found.held_out <= 1
    chosen = next(rung for rung in found.ladder if rung.beam_size == found.settings["beam_size"]
                  and rung.score_threshold == found.settings["score_threshold"])  # fmt: skip
    assert chosen.rate == pytest.approx(found.after.words.value)


def test_the_same_search_finds_the_same(tuner: Tuner, found: Tuning) -> None:
    told: list[tuple[float, float | None]] = []
    tuner.threads = 2
    again = tuner.tune(24, ladder=False, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 24) for i in range(1, 25)]
    for first, second in zip(found.trials, again.trials, strict=True):
        assert first.weights == second.weights
        np.testing.assert_array_equal(first.errors, second.errors)
    assert again.settings["beam_size"] == 20  # as it was given
    assert again.ladder == ()


def test_a_closed_vocabulary_stays_closed(tuner: Tuner) -> None:
    found = tuner.tune(10, closed=True, ladder=False)
    assert found.settings["unknown_penalty"] is None
    assert all(trial.weights["unknown_penalty"] is None for trial in found.trials)
    assert {word for scored in found.after.utterances for word in scored.heard.split()} <= {"a", "ba", "ab"}


def test_letters_count_where_no_spaces_are_written(tmp_path: Path) -> None:
    lm = model(tmp_path, "你", "好", "吗")
    utterances = [Utterance("a.wav", text="你好吗"), Utterance("b.wav", text="你好")]
    emissions = [spell("你-好-吗", SCRIPT), spell("你-吗", SCRIPT)]
    found = Tuner(BeamDecoder(SCRIPT, lm), utterances, emissions).tune(10)
    assert found.unit == "letter"
    assert found.greedy.letters.errors.total == 1
    assert found.trials[0].errors.shape == (2,)
    assert max(rung.rate for rung in found.ladder) <= 3 / 5


def test_a_lucky_trial_does_not_win() -> None:
    def trial(weight: float, errors: float) -> Trial:
        return Trial({"lm_weight": weight, "word_bonus": 1.0}, np.array([errors]))

    done = [trial(0.5, 10), trial(0.52, 11), trial(0.54, 10), trial(2.0, 20), trial(2.02, 9), trial(2.04, 21)]
    assert done[_choose(done, ["lm_weight", "word_bonus"])].weights["lm_weight"] < 1
    flat = [trial(weight, 5) for weight in (0.0, 0.3, 1.1, 2.4)]
    assert flat[_choose(flat, ["lm_weight", "word_bonus"])].weights["lm_weight"] == 1.1


def test_points_fill_the_space_evenly() -> None:
    points = _even(64, 3)
    assert points.shape == (64, 3)
    assert ((points >= 0) & (points < 1)).all()
    cells = {tuple(cell) for cell in (points * 3).astype(int)}
    assert len(cells) == 27
    np.testing.assert_allclose(points.mean(0), 0.5, atol=0.05)


def test_other_weights_are_those_of_a_new_decoder(lm: LanguageModel) -> None:
    weights = {"lm_weight": 0.3, "word_bonus": 2.0, "unknown_penalty": 1.0}
    given = BeamDecoder(VOCABULARY, lm, ["A", "AB"], {"BAA": 2.0})
    before = given.settings
    other, anew = given.reweighed(**weights), BeamDecoder(VOCABULARY, lm, ["A", "AB"], {"BAA": 2.0}, **weights)
    for seed in range(4):
        emissions = noisy("A BAA AB", seed)
        assert other.decode(emissions) == anew.decode(emissions)
    assert (given.settings, other.settings) == (before, anew.settings)
    assert BeamSettings.of(weights) == other.settings
    with pytest.raises(OptionError, match="lm_weigth was given"):
        given.reweighed(lm_weigth=1.0)


def test_too_little_to_search_with(lm: LanguageModel) -> None:
    decoder, silence = BeamDecoder(VOCABULARY, lm), [spell("---")]
    with pytest.raises(DataError, match="the manifest's texts have none"):
        Tuner(decoder, [Utterance("a.wav", text="...")], silence)
    with pytest.raises(OptionError, match="at least 10 trials, but 3"):
        Tuner(decoder, [Utterance("a.wav", text="a")], silence).tune(3)
