"""The small layout of language models against the exact one, and what becomes of damaged files."""

from __future__ import annotations

import math
import random
from math import exp, isfinite
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonant.decode.beam import BeamDecoder
from sonant.decode.estimate import estimate_lm
from sonant.decode.lm import LanguageModel, convert_lm
from sonant.errors import LanguageModelError, OptionError
from sonant.types import Emissions, Vocabulary
from unit.ngrams import MARKS, Model, oracle, random_model, random_sentences, write_arpa
from unit.test_estimate import random_text
from unit.test_kenlm import FOLDER
from unit.test_lm import SMALL

WORDS = st.sampled_from(["a", "b", "c", *MARKS])
NUMBERS = st.floats(-5, 0)
MODELS = st.dictionaries(
    st.lists(WORDS, min_size=2, max_size=4).map(tuple), st.tuples(NUMBERS, st.none() | NUMBERS), max_size=12
)


def both(folder: Path, model: Model) -> tuple[LanguageModel, LanguageModel]:
    arpa = write_arpa(folder / "m.arpa", model)
    return convert_lm(arpa, folder / "exact.lm"), convert_lm(arpa, folder / "small.lm", small=True)


def assert_same_walk(exact: LanguageModel, small: LanguageModel, tolerance: float) -> None:
    """Their states are the same but for their numbers, and all steps between them, scores within a tolerance."""
    states, waiting = {0: 0, exact.native.begin: small.native.begin}, [0, exact.native.begin]
    for state in waiting:
        for word in range(exact.native.num_words + 1):
            wanted, found = exact.native.step(state, word), small.native.step(states[state], word)
            assert abs(found[0] - wanted[0]) <= tolerance
            if wanted[1] not in states:
                waiting.append(wanted[1])
            assert states.setdefault(wanted[1], found[1]) == found[1]
    assert sorted(states.values()) == sorted(states) == list(range(exact.native.num_contexts))


def state_of(model: LanguageModel, *words: str) -> int:
    state = 0
    for word in words:
        state = model.native.step(state, model.native.find(word.encode()))[1]
    return state


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_few_scores_are_kept_as_they_are(seed: int, order: int, tmp_path: Path) -> None:
    model = random_model(seed, order, num_words=[2, 5, 9, 30][seed], size=[30, 30, 12, 4][min(order, 4) - 1])
    exact, small = both(tmp_path, model)
    assert (exact.native.is_small, small.native.is_small) == (False, True)
    assert (small.order, small.counts, small.words()) == (exact.order, exact.counts, exact.words())
    assert_same_walk(exact, small, 0.0)
    assert small.native.step(2**32 - 1, 2**32 - 1) == small.native.step(0, 0)
    for word in [*range(exact.native.num_words + 1), 2**32 - 1]:
        assert small.native.unigram(word) == exact.native.unigram(word)
    for sentence in random_sentences(seed, model):
        assert small.score(sentence) == exact.score(sentence)


def test_many_scores_go_to_the_nearest_of_64(tmp_path: Path) -> None:
    model = random_model(11, 3, num_words=60, size=1500, contexts=True)
    exact, small = both(tmp_path, model)
    wanted, found = (
        np.array([lm.native.step(state_of(lm, *ngram[:-1]), lm.native.find(ngram[-1].encode()))[0] for ngram in model])
        for lm in (exact, small)
    )
    longer = np.array([len(ngram) > 1 for ngram in model])
    assert found[~longer] == pytest.approx(wanted[~longer], abs=1e-5)
    values = np.unique(found[longer])
    assert 50 < len(values) <= 64
    nearest = np.abs(wanted[longer, None] - values[None]).min(axis=1)
    assert np.abs(found - wanted)[longer] == pytest.approx(nearest, abs=1e-5)
    assert (
        np.sqrt(np.mean((found - wanted)[longer] ** 2)) < 9.3 / len(values) / math.sqrt(12) * 1.05
    )  # as of equal steps
    assert_same_walk(exact, small, 0.3)


def test_what_lies_far_out_is_not_averaged_away(tmp_path: Path) -> None:
    exact, small = both(tmp_path, {**random_model(1, 1, num_words=2000), ("<s>",): (-99.0, None)})
    assert small.native.unigram(1) == exact.native.unigram(1) == pytest.approx(-227.956, abs=1e-3)
    (tmp_path / "m.arpa").write_text((tmp_path / "m.arpa").read_text().replace("-99.0\t<s>", "-inf\t<s>"))
    assert convert_lm(tmp_path / "m.arpa", tmp_path / "inf.lm", small=True).native.unigram(1) == -1e4


def test_the_words_after_a_context_add_up_to_one(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(random_text(20_000))
    estimate_lm([tmp_path / "text"], output=tmp_path / "m.lm", order=3, small=True, temporary=tmp_path)
    small = LanguageModel(tmp_path / "m.lm")
    words = [id for id, word in enumerate(small.words()) if word != "<s>"]
    sums = [sum(exp(small.native.step(state, id)[0]) for id in words) for state in range(0, 1000, 10)]
    assert sums == pytest.approx([1.0] * len(sums), abs=0.1)
    assert np.mean(sums) == pytest.approx(1.0, abs=0.005)


def test_all_ways_to_a_small_file_lead_to_the_same(tmp_path: Path) -> None:
    exact, small = both(tmp_path, random_model(8, 4, num_words=50, size=500))
    again = convert_lm(exact.path, tmp_path / "again.lm", small=True)
    assert again.path.read_bytes() == small.path.read_bytes()
    with pytest.raises(LanguageModelError, match="already"):
        convert_lm(small.path, tmp_path / "other.lm", small=True)
    with pytest.raises(LanguageModelError, match="already"):
        convert_lm(small.path, tmp_path / "other.lm")
    (tmp_path / "text").write_text(random_text(3000))
    for name, option in (("exact", False), ("small", True)):
        estimate_lm([tmp_path / "text"], output=tmp_path / name, small=option, temporary=tmp_path)
    assert (
        convert_lm(tmp_path / "exact", tmp_path / "x", small=True).path.read_bytes()
        == (tmp_path / "small").read_bytes()
    )
    kenlm, own = FOLDER / "trie.bin", tmp_path / "k.lm"
    convert_lm(convert_lm(kenlm, own).path, tmp_path / "k2.lm", small=True)
    assert convert_lm(kenlm, own, small=True).path.read_bytes() == (tmp_path / "k2.lm").read_bytes()


def test_it_is_small(tmp_path: Path) -> None:
    exact, small = both(tmp_path, random_model(2, 3, num_words=2000, size=20_000))
    assert small.path.stat().st_size < 0.3 * exact.path.stat().st_size


def test_an_arpa_file_cannot_be_small(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a b\n")
    arpa = tmp_path / "m.arpa"
    for output, beside in ((arpa, None), (None, arpa)):
        with pytest.raises(OptionError, match=r"m\.arpa is one; name an output in \.lm"):
            estimate_lm([tmp_path / "text"], small=True, output=output, arpa=beside)
    assert not (tmp_path / "m.arpa").exists()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(longer=MODELS, sentence=st.lists(WORDS, max_size=8))
def test_tiny_models_equal_the_definition(longer: Model, sentence: list[str], tmp_path: Path) -> None:
    unigrams: Model = {(word,): (-1.0 - i / 7, -i / 9) for i, word in enumerate([*MARKS, "a", "b", "c"])}
    highest = max((len(ngram) for ngram in longer), default=1)
    model = {**unigrams, **longer, ("a",) * highest: (-0.5, None)}
    model = {ngram: (p, None if len(ngram) == highest else b) for ngram, (p, b) in model.items()}
    found = convert_lm(write_arpa(tmp_path / "m.arpa", model), tmp_path / "m.lm", small=True)
    assert found.score(sentence).scores == pytest.approx(oracle(model, sentence), abs=1e-3)


def test_a_search_finds_the_same_with_either(tmp_path: Path) -> None:
    model = {
        tuple(word.replace("wörd", "A" * 2).replace("0", "B").replace("1", "A") for word in ngram): weights
        for ngram, weights in random_model(4, 3, num_words=2).items()
    }
    vocabulary = Vocabulary(("<pad>", "|", "A", "B"), blank=0, separator=1)
    logits = np.random.default_rng(3).standard_normal((60, 4)) * 2
    emissions = Emissions((logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32), 0.02, vocabulary)
    exact, small = (BeamDecoder(vocabulary, lm=lm, nbest=5).decode(emissions) for lm in both(tmp_path, model))
    assert [(one.text, one.score) for one in small] == [(one.text, one.score) for one in exact]


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    data = both(tmp_path, SMALL)[1].path.read_bytes()
    path = tmp_path / "other.lm"
    path.write_bytes(data[:8] + b"\x04" + data[9:])
    with pytest.raises(LanguageModelError, match="has version 4 at byte 8, but version 2 or 3 is what"):
        LanguageModel(path)
    path.write_bytes(data[:8] + b"\x02" + data[9:])
    with pytest.raises(LanguageModelError, match="1024 bytes were expected"):
        LanguageModel(path)


def test_damaged_exact_files_are_made_small_or_refused(tmp_path: Path) -> None:
    rng = random.Random(6)
    data = both(tmp_path, random_model(3, 4))[0].path.read_bytes()
    path = tmp_path / "bad.lm"
    for _ in range(60):
        bad = bytearray(data)
        for _ in range(rng.randrange(1, 60)):
            bad[rng.randrange(256, len(bad))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        path.write_bytes(bad)
        small = convert_lm(path, tmp_path / "small.lm", small=True)
        assert all(map(isfinite, small.score("wörd1 wörd2 wörd3 x").scores))
