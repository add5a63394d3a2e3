"""Beam search against the sum over all paths, in pieces against the whole, and on what should never come in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby, pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonant.decode.beam import BeamDecoder
from sonant.decode.greedy import GreedyDecoder
from sonant.decode.lm import LanguageModel, convert_lm
from sonant.decode.priors import token_priors
from sonant.errors import OptionError, VocabularyError
from sonant.subtitles import from_json, to_json
from sonant.types import Emissions, FloatArray, Hypothesis, Segment, Transcript, Vocabulary

VOCABULARY = Vocabulary(("<pad>", "|", "A", "B"), blank=0, separator=1)
SCRIPT = Vocabulary(("<pad>", "你", "好", "吗"), blank=0)
ARPA = """\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-1.5 <unk> 0
-99 <s> -0.3
-0.9 </s> 0
-0.6 {0} -0.2
-0.8 {1} -0.4
-1.1 {2} -0.1

\\2-grams:
-0.3 <s> {0}
-0.2 {0} {1}
-0.7 {1} {0}
-0.4 {1} </s>
-1.9 {2} {0}

\\end\\
"""
WIDE = {"beam_size": 10**6, "score_threshold": math.inf, "token_threshold": math.inf, "blank_skip": 1.0}


def model(folder: Path, *words: str) -> LanguageModel:
    path = folder / "small.arpa"
    path.write_text(ARPA.format(*words), encoding="utf-8")
    return convert_lm(path, folder / "small.lm")


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return model(tmp_path_factory.mktemp("lm"), "A", "BA", "AB")


def noise(seed: int, num_frames: int, vocabulary: Vocabulary = VOCABULARY, sharpness: float = 1.5) -> Emissions:
    logits = sharpness * np.random.default_rng(seed).standard_normal((num_frames, len(vocabulary)))
    return Emissions(log_softmax(logits), 0.02, vocabulary)


def log_softmax(logits: np.ndarray) -> FloatArray:
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def spell(text: str, vocabulary: Vocabulary = VOCABULARY, sure: float = 0.97) -> Emissions:
    """A frame a character: `-` is the blank, a space the separator."""
    ids = [vocabulary.blank if c == "-" else vocabulary.index["|" if c == " " else c] for c in text]
    probs = np.full((len(ids), len(vocabulary)), (1 - sure) / (len(vocabulary) - 1))
    probs[np.arange(len(ids)), ids] = sure
    return Emissions(np.log(probs).astype(np.float32), 0.02, vocabulary)


def acoustics(emissions: Emissions) -> dict[tuple[tuple[int, ...], ...], float]:
    """ln p of every sequence of words, each a sequence of tokens: the sum over all paths."""
    vocabulary = emissions.vocabulary
    found: dict[tuple[tuple[int, ...], ...], float] = {}
    for path in product(range(len(vocabulary)), repeat=len(emissions)):
        tokens = [token for token, _ in groupby(path) if token != vocabulary.blank]
        words = tuple(tuple(g) for is_word, g in groupby(tokens, lambda t: t != vocabulary.separator) if is_word)
        if vocabulary.separator is None:
            words = tuple((token,) for token in tokens)
        score = float(sum(emissions.log_probs[t, token] for t, token in enumerate(path)))
        found[words] = float(np.logaddexp(found.get(words, -math.inf), score))
    return found


def judged(
    emissions: Emissions, spellings: Mapping[tuple[int, ...], str] | None, lm: LanguageModel | None, **weights: float
) -> dict[str, tuple[float, float, float]]:
    """Score, acoustic and lm of every text; words that are in no lexicon pay, where they may be."""
    texts: dict[str, tuple[float, float, float]] = {}
    letters = emissions.vocabulary.tokens
    for words, acoustic in acoustics(emissions).items():
        written = [(spellings or {}).get(word, "".join(letters[i] for i in word)) for word in words]
        outside = [word for word in words if spellings is not None and word not in spellings]
        if outside and "unknown" not in weights:
            continue
        known = ["<unk>" if word in outside else text for word, text in zip(words, written, strict=True)]
        cost = sum(weights["unknown"] + weights["letter"] * len(word) for word in outside) if outside else 0.0
        scored = sum(lm.score(known).scores) if lm else 0.0
        extra = weights["alpha"] * scored + weights["bonus"] * len(words) - cost
        text = emissions.vocabulary.space.join(written)
        before = texts.get(text, (0.0, -math.inf, 0.0))[1]
        total = float(np.logaddexp(before, acoustic))
        texts[text] = (total + extra, total, scored)
    return texts


def assert_exact(found: list[Hypothesis], expected: dict[str, tuple[float, float, float]], count: int) -> None:
    best = sorted(expected.items(), key=lambda item: -item[1][0])[:count]
    assert [h.score for h in found] == pytest.approx([scores[0] for _, scores in best], abs=1e-4)
    for hypothesis in found:
        assert (hypothesis.score, hypothesis.acoustic, hypothesis.lm) == pytest.approx(
            expected[hypothesis.text], abs=1e-4
        )


@pytest.mark.parametrize("seed", range(2))
def test_no_model_is_exact(seed: int) -> None:
    emissions = noise(seed, 6)
    found = BeamDecoder(VOCABULARY, recombine=False, nbest=5, word_bonus=0.5, **WIDE).decode(emissions)
    assert_exact(found, judged(emissions, None, None, alpha=0.0, bonus=0.5), 5)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("open_vocabulary", [True, False])
def test_lexicon_and_model_are_exact(seed: int, open_vocabulary: bool, lm: LanguageModel) -> None:
    """Words that begin alike, one that the model does not know, and words outside the lexicon where they may be."""
    lexicon = ["A", "BA", "AB", "AAB"]
    spellings = {(2,): "A", (2, 3): "AB", (3, 2): "BA", (2, 2, 3): "AAB"}
    emissions = noise(seed, 6)
    penalties = {"unknown": 1.5, "letter": 0.5} if open_vocabulary else {}
    decoder = BeamDecoder(
        VOCABULARY, lm, lexicon, recombine=False, nbest=4, lm_weight=0.8, word_bonus=0.7,
        unknown_penalty=penalties.get("unknown"), letter_penalty=penalties.get("letter", 0.0), **WIDE,
    )  # fmt: skip
    assert_exact(decoder.decode(emissions), judged(emissions, spellings, lm, alpha=0.8, bonus=0.7, **penalties), 4)


@pytest.mark.parametrize("seed", range(2))
def test_a_model_of_characters_is_exact(seed: int, tmp_path: Path) -> None:
    lm = model(tmp_path, "你", "好", "吗")
    emissions = noise(seed, 6, SCRIPT)
    found = BeamDecoder(SCRIPT, lm, recombine=False, nbest=4, lm_weight=0.8, word_bonus=0.1, **WIDE).decode(emissions)
    assert_exact(found, judged(emissions, None, lm, alpha=0.8, bonus=0.1), 4)


@pytest.mark.parametrize("skip", [1.0, 0.999])
def test_priors_are_divided_out(skip: float, lm: LanguageModel) -> None:
    """The same as emissions that were divided by them before; frames of blanks that are skipped count alike."""
    emissions = noise(4, 8)
    emissions.log_probs[3] = np.log([1 - 3e-6, 1e-6, 1e-6, 1e-6])
    priors = {"<pad>": 0.6, "|": 0.1, "A": 0.2, "B": 0.1}
    less = emissions.log_probs - np.float32(0.7) * np.log(np.float32([*priors.values()]))
    sums = np.logaddexp.reduce(less, axis=1, keepdims=True)
    options = {**WIDE, "recombine": False, "nbest": 5, "blank_skip": skip}
    expected = BeamDecoder(VOCABULARY, lm, **options).decode(replace(emissions, log_probs=less - sums))
    found = BeamDecoder(VOCABULARY, lm, priors=priors, prior_weight=0.7, **options).decode(emissions)
    assert [h.text for h in found] == [h.text for h in expected]
    assert [h.acoustic - sums.sum() for h in found] == pytest.approx([h.acoustic for h in expected], abs=1e-4)
    assert found != BeamDecoder(VOCABULARY, lm, **options).decode(emissions)


def test_priors_are_the_mean_of_what_is_heard() -> None:
    rows = np.log(np.float32([[0.65, 1e-9, 0.35, 1e-9], [0.9, 1e-9, 0.08, 1e-9], [0.9, 1e-9, 0.12, 1e-9]]))
    one, two = Emissions(rows[:1], 0.02, VOCABULARY), Emissions(rows[1:], 0.02, VOCABULARY)
    priors = token_priors([one, two])
    assert priors == pytest.approx({"<pad>": 0.816667, "A": 0.183333}, abs=1e-6)
    heard = [
        BeamDecoder(VOCABULARY, word_bonus=0, priors=priors, prior_weight=weight).decode(one)[0].text
        for weight in (0.0, 0.41, 0.42)  # ln(0.65 / 0.35) is 0.414 times ln(0.8167 / 0.1833)
    ]
    assert heard == ["", "", "A"]


def test_spellings_of_one_word_add_up() -> None:
    emissions = noise(5, 6)
    sums = acoustics(emissions)
    [best] = BeamDecoder(
        VOCABULARY, lexicon=["W A B", "W(2) B A"], unknown_penalty=None, word_bonus=50, **WIDE
    ).decode(emissions)  # fmt: skip
    words = len(best.words)
    assert best.text == " ".join(["W"] * words)
    expected = [p for text, p in sums.items() if len(text) == words and set(text) <= {(2, 3), (3, 2)}]
    assert best.acoustic == pytest.approx(float(np.logaddexp.reduce(expected)), abs=1e-4)


def test_a_pronouncing_dictionary_and_a_model_of_its_words(tmp_path: Path) -> None:
    """Phones in, words out: two words that sound alike are told apart by the word before."""
    phones = Vocabulary(("<pad>", "|", "DH", "AH", "N", "AY", "T"), blank=0, separator=1)
    lexicon = tmp_path / "cmudict.txt"
    lexicon.write_text(";;; comment\nNIGHT  N AY1 T\nKNIGHT  N AY1 T\nTHE  DH AH0\nTHE(2)  DH AY0\n")
    lm = model(tmp_path, "THE", "NIGHT", "KNIGHT")
    frames = [2, 3, 1, 4, 0, 5, 6, 1]
    probs = np.full((len(frames), len(phones)), 0.01)
    probs[np.arange(len(frames)), frames] = 0.94
    emissions = Emissions(np.log(probs).astype(np.float32), 0.02, phones)
    best, *others = BeamDecoder(phones, lm, lexicon, nbest=3, unknown_penalty=None).decode(emissions)
    assert best.text == "THE NIGHT"
    assert "THE KNIGHT" in [hypothesis.text for hypothesis in others]
    assert [[letter.text for letter in word.letters] for word in best.words] == [["DH", "AH"], ["N", "AY", "T"]]
    assert best.lm == pytest.approx(sum(lm.score("THE NIGHT").scores), abs=1e-4)
    turned = BeamDecoder(phones, lm, lexicon, {"knight": 8.0}, unknown_penalty=None).decode(emissions)
    assert turned[0].text == "THE NIGHT"  # a hotword is heard by its phones, which both words have


def test_recombination_keeps_the_best_text(lm: LanguageModel) -> None:
    for seed in range(20):
        emissions = noise(seed, 12, sharpness=2.5)
        exact, fast = (
            BeamDecoder(VOCABULARY, lm, word_bonus=0.5, recombine=recombine, **WIDE).decode(emissions)[0]
            for recombine in (False, True)
        )
        assert fast.text == exact.text
        assert fast.score == pytest.approx(exact.score, abs=0.3)


def test_n_best_lists_have_distinct_texts_and_hold_what_was_merged(lm: LanguageModel) -> None:
    """The first word's rival shares the second word's state: only the list of rivals knows it."""
    emissions = noise(1, 40, sharpness=2.0)
    found = BeamDecoder(VOCABULARY, lm, nbest=20, word_bonus=0.5).decode(emissions)
    texts = [h.text for h in found]
    assert len(set(texts)) == len(texts) == 20
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    merged = BeamDecoder(VOCABULARY, lm, word_bonus=0.5).decode(emissions)
    assert found[0] == merged[0]
    for hypothesis in found:
        words = hypothesis.text.split()
        known = ["<unk>" if word not in lm else word for word in words]
        assert hypothesis.lm == pytest.approx(sum(lm.score(known).scores), abs=1e-3)
        assert all(a.end <= b.start for a, b in pairwise(hypothesis.words))


def test_a_beam_of_one_without_a_model_reads_as_the_greedy_decoder() -> None:
    emissions = spell("--AA-B  B-A -- AB-B|A--".replace("|", " "), sure=0.995)
    [expected] = GreedyDecoder().decode(emissions)
    [found] = BeamDecoder(VOCABULARY, beam_size=1, word_bonus=0.0).decode(emissions)
    assert found.words == tuple(expected.words)


def test_a_long_pause_ends_a_word() -> None:
    for frames in ("AB" + "-" * 29 + "A", "AB" + "-" * 30 + "A", "A " + "-" * 31 + "B"):
        emissions = spell(frames, sure=0.9995)
        assert BeamDecoder(VOCABULARY).decode(emissions)[0].text == GreedyDecoder().decode(emissions)[0].text


@given(
    seed=st.integers(0, 10**6),
    num_frames=st.integers(0, 80),
    cuts=st.lists(st.integers(0, 80), max_size=6),
    mode=st.sampled_from(["free", "lm", "closed"]),
)
@settings(deadline=None, max_examples=60)
def test_pieces_equal_the_whole(seed: int, num_frames: int, cuts: list[int], mode: str, lm: LanguageModel) -> None:
    whole = noise(seed, num_frames, sharpness=3.0)
    options = {"free": {}, "lm": {"lm": lm}, "closed": {"lm": lm, "unknown_penalty": None}}[mode]
    decoder = BeamDecoder(VOCABULARY, nbest=3, beam_size=20, **options)
    expected = decoder.decode(whole)
    state = decoder.start(VOCABULARY)
    edges = sorted({0, num_frames, *(c % (num_frames + 1) for c in cuts)})
    for begin, end in pairwise(edges):
        state.feed(Emissions(whole.log_probs[begin:end], 0.02, VOCABULARY, begin))
        texts = [word.text for word in state.stable]
        assert texts == [word.text for word in state.finish()[0].words][: len(texts)]
    found = state.finish()
    assert found == expected
    stable = [word.text for word in state.stable]
    assert [word.text for word in expected[0].words][: len(stable)] == stable


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 80), max_size=6), lead=st.floats(0.0, 8.0))
@settings(deadline=None, max_examples=60)
def test_what_is_decided_stays_whatever_comes(seed: int, cuts: list[int], lead: float, lm: LanguageModel) -> None:
    whole = noise(seed, 80, sharpness=3.0)
    decoder = BeamDecoder(VOCABULARY, lm, nbest=3, beam_size=20)
    state, plain = decoder.start(VOCABULARY), decoder.start(VOCABULARY)
    decided: list[str] = []
    for begin, end in pairwise(sorted({0, 80, *cuts})):
        piece = Emissions(whole.log_probs[begin:end], 0.02, VOCABULARY, begin)
        state.feed(piece)
        plain.feed(piece)
        state.decide(lead)
        texts = [word.text for word in state.stable]
        assert texts[: len(decided)] == decided
        decided = texts
    assert [word.text for word in state.finish()[0].words][: len(decided)] == decided
    plain.decide(math.inf)
    assert plain.finish() == decoder.decode(whole)


def test_a_decision_makes_stable_what_little_speaks_against(lm: LanguageModel) -> None:
    """Two words alike but for a letter, the one at least e^3 times as likely."""
    log_probs = spell("AB-B-A ").log_probs.copy()
    log_probs[1, VOCABULARY.index["A"]] = log_probs[1, VOCABULARY.index["B"]] - 3.0
    decoder = BeamDecoder(VOCABULARY, unknown_penalty=0.0, letter_penalty=0.0)
    for lead, words in ((2.5, ["ABBA"]), (5.0, [])):
        state = decoder.start(VOCABULARY)
        state.feed(Emissions(log_probs, 0.02, VOCABULARY))
        assert state.stable == ()
        state.decide(lead)
        assert [word.text for word in state.stable] == words


def test_a_copy_goes_on_by_itself(lm: LanguageModel) -> None:
    first, then, other = (noise(seed, 40, sharpness=3.0).log_probs for seed in (1, 2, 3))
    decoder = BeamDecoder(VOCABULARY, lm, nbest=3)
    state = decoder.start(VOCABULARY)
    state.feed(Emissions(first, 0.02, VOCABULARY, 7))
    copy = state.copy()
    copy.feed(Emissions(other, 0.02, VOCABULARY, 47))
    state.feed(Emissions(then, 0.02, VOCABULARY, 47))
    for part, found in ((then, state), (other, copy)):
        whole = Emissions(np.concatenate([first, part]), 0.02, VOCABULARY, 7)
        assert found.finish() == decoder.decode(whole)


def test_what_is_stable_grows_long_before_the_end(lm: LanguageModel) -> None:
    state = BeamDecoder(VOCABULARY, lm).start(VOCABULARY)
    for i in range(20):
        state.feed(Emissions(spell("AB-B-A ").log_probs, 0.02, VOCABULARY, 7 * i))
    assert len(state.stable) >= 15


def test_long_recordings_forget_what_no_hypothesis_needs(lm: LanguageModel) -> None:
    decoder = BeamDecoder(VOCABULARY, lm, nbest=2)
    piece = noise(3, 500, sharpness=3.0).log_probs
    whole = Emissions(np.tile(piece, (40, 1)), 0.02, VOCABULARY)
    state = decoder.start(VOCABULARY)
    for begin in range(0, len(whole), 333):
        state.feed(Emissions(whole.log_probs[begin : begin + 333], 0.02, VOCABULARY, begin))
    assert state.finish() == decoder.decode(whole)
    assert abs(state.finish()[0].score) > 1000  # far from where single precision began


def test_threads_give_what_one_gives(lm: LanguageModel) -> None:
    decoder = BeamDecoder(VOCABULARY, lm)
    many = [noise(seed, 60, sharpness=3.0) for seed in range(16)]
    assert decoder.decode_many(many, threads=4) == decoder.decode_many(many)


def test_word_times_and_confidence() -> None:
    emissions = Emissions(spell("--AA--B ---BA-").log_probs, 0.02, VOCABULARY, first=100)
    [found] = BeamDecoder(VOCABULARY, word_bonus=0.0).decode(emissions)
    [expected] = GreedyDecoder().decode(emissions)
    assert found.text == expected.text == "AB BA"
    for a, b in zip(found.words, expected.words, strict=True):
        assert (a.start, a.end, a.confidence) == pytest.approx((b.start, b.end, b.confidence), abs=1e-6)
        assert [x.text for x in a.letters] == [x.text for x in b.letters]


WIDER = Vocabulary(("<pad>", "|", *(chr(0x4E00 + i) for i in range(200))), blank=0, separator=1)


def test_wide_vocabularies_take_the_other_way_to_a_child() -> None:
    """Over 64 tokens a trie's mask has classes only."""
    words = ["".join(chr(0x4E00 + i) for i in (n, n + 64, n + 128)) for n in range(5)]
    spoken = f"{words[3]} {words[1]} "
    emissions = spell("-".join(spoken), WIDER)
    [found] = BeamDecoder(WIDER, lexicon=words, unknown_penalty=None).decode(emissions)
    assert found.text == f"{words[3]} {words[1]}"
    assert BeamDecoder(WIDER, lexicon=[words[0]]).decode(emissions)[0].text == f"{words[3]} {words[1]}"


@pytest.mark.parametrize(
    ("hotwords", "text"),
    [({}, "AB A"), ({"bab": 9.0}, "BAB A"), ({"AAB BAB": 12.0}, "AB A"), ({"bab": -5.0}, "AB A")],
)
def test_hotwords_win_where_they_are_likely_enough(hotwords: dict[str, float], text: str) -> None:
    log_probs = spell("-AB A ").log_probs.copy()
    log_probs[0] = np.log([0.9, 0.02, 0.02, 0.06])  # a B that is hardly heard
    [found] = BeamDecoder(
        VOCABULARY, lexicon=["A", "AB"], unknown_penalty=3.0, hotwords=hotwords
    ).decode(Emissions(log_probs, 0.02, VOCABULARY))  # fmt: skip
    assert found.text == text


def test_a_decoder_that_expects_more_is_one_with_more_hotwords() -> None:
    emissions = spell("AB A-A BA B")
    for words in ({}, {"lexicon": ["A", "AB", "BA"], "unknown_penalty": 3.0}):
        few = BeamDecoder(VOCABULARY, hotwords={"AB": 2.0}, **words, **WIDE)
        more = few.expecting({"aab": 3.0, "A?!": 9.0, "BA B": 1.5})
        at_once = BeamDecoder(VOCABULARY, hotwords={"AB": 2.0, "aab": 3.0, "BA B": 1.5}, **words, **WIDE)
        assert more.decode(emissions) == at_once.decode(emissions)
        assert more.described == at_once.described
        assert few.described["hotwords"] == 1


def test_a_phrase_earns_its_boost_once_and_gives_back_what_it_did_not_end() -> None:
    emissions = spell("AB A-A BA B")
    base = BeamDecoder(VOCABULARY, **WIDE).decode(emissions)[0]
    for hotwords, gain in [
        ({"AB AA": 2.0}, 2.0), ({"AB": 2.0, "AB AA": 1.0}, 3.0), ({"AB AB": 4.0}, 0.0), ({"B": 1.5}, 1.5),
        ({"AA BA B": 1.0, "BA": 0.5}, 1.5), ({"AB AA BA BB": 1.0, "AA": 0.25}, 0.25),
    ]:  # fmt: skip
        found = BeamDecoder(VOCABULARY, hotwords=hotwords, **WIDE).decode(emissions)[0]
        assert found.text == base.text
        assert found.score - base.score == pytest.approx(gain, abs=1e-4), hotwords


def test_hotwords_of_scripts_without_spaces() -> None:
    log_probs = np.log(np.array([[0.1, 0.8, 0.05, 0.05], [0.9, 0.05, 0.03, 0.02], [0.1, 0.05, 0.4, 0.45]]))
    emissions = Emissions(log_probs.astype(np.float32), 0.02, SCRIPT)
    assert BeamDecoder(SCRIPT).decode(emissions)[0].text == "你吗"
    assert BeamDecoder(SCRIPT, hotwords={"你好": 3.0}).decode(emissions)[0].text == "你好"


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_and_layouts_are_converted(dtype: type, lm: LanguageModel) -> None:
    emissions = noise(2, 50)
    decoder = BeamDecoder(VOCABULARY, lm)
    expected = decoder.decode(emissions)[0].text
    for other in (emissions.log_probs.astype(dtype), np.asfortranarray(emissions.log_probs)):
        assert decoder.decode(Emissions(other, 0.02, VOCABULARY))[0].text == expected


def test_no_frames_give_no_words(lm: LanguageModel) -> None:
    for decoder in (BeamDecoder(VOCABULARY), BeamDecoder(VOCABULARY, lm, nbest=3)):
        assert [h.words for h in decoder.decode(noise(0, 0))] == [()]
        assert [h.words for h in decoder.start(VOCABULARY).finish()] == [()]


def spoilt(how: str) -> FloatArray:
    array = noise(0, 9).log_probs.copy()
    if how == "nan":
        array[4, 2] = np.nan
    elif how == "infinite":
        array[4, 2] = np.inf
    elif how == "impossible":
        array[4] = -np.inf
    elif how == "probabilities":
        array = np.exp(array)
    elif how == "logits":
        array = array + 3
    return array


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "frame 14 has a value that is no log-probability"),
        ("infinite", "frame 14 has a value"),
        ("impossible", "frame 14 has no token that is possible"),
        ("probabilities", "take their logarithm"),
        ("logits", "log-softmax"),
    ],
)
def test_what_are_no_log_probabilities_is_refused_and_leaves_the_state(how: str, message: str) -> None:
    state = BeamDecoder(VOCABULARY).start(VOCABULARY)
    state.feed(Emissions(noise(1, 10).log_probs, 0.02, VOCABULARY))
    before = state.finish()
    with pytest.raises(OptionError, match=message):
        state.feed(Emissions(spoilt(how), 0.02, VOCABULARY, 10))
    assert state.finish() == before


def test_integers_and_other_vocabularies_are_refused() -> None:
    decoder = BeamDecoder(VOCABULARY)
    with pytest.raises(OptionError, match="int64"):
        decoder.decode(Emissions(np.zeros((3, 4), np.int64), 0.02, VOCABULARY))
    with pytest.raises(VocabularyError, match="other tokens"):
        decoder.decode(noise(0, 3, SCRIPT))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size must be at least 1"),
        ({"lm_weight": math.nan}, "lm_weight must be a finite number"),
        ({"prior_weight": math.nan}, "prior_weight must be a finite number"),
        ({"prior_weight": 0.5}, "nobody says how often; pass priors"),
        ({"score_threshold": -1.0}, "score_threshold must be above 0"),
        ({"beam_size": 1.5}, "beam_size must be a whole number, but is 1.5"),
        ({"lm_weight": "1"}, "lm_weight must be a number, but is '1'"),
        ({"word_bonus": None}, "word_bonus must be a number, but is None"),
        ({"hotwords": ["zero"]}, "Hotwords must be words with boosts"),
        ({"hotwords": {"zero": "3"}}, "hotword 'zero' must be a number, but is '3'"),
        ({"blank_skip": 2.0}, "blank_skip must be a probability"),
        ({"unknown_penalty": math.nan}, "unknown_penalty"),
        ({"hotwords": {"A": math.inf}}, "boost of the hotword 'A'"),
        ({"hotwords": {" ": 1.0}}, "a hotword must have letters"),
        ({"hotwords": {"AXB": 1.0}}, "'AXB' cannot be"),
        ({"beam": 3}, "beam_size"),
    ],
)
def test_settings_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises((OptionError, VocabularyError), match=f"(?i){message}"):
        BeamDecoder(VOCABULARY, **options)


def test_a_model_without_a_word_in_common_is_refused(tmp_path: Path) -> None:
    lm = model(tmp_path, "x", "y", "z")
    for lexicon in (None, ["A", "B"]):
        with pytest.raises(VocabularyError, match="shares none"):
            BeamDecoder(VOCABULARY, lm, lexicon)


def test_impossible_letters_are_no_end() -> None:
    """Rows that allow one token only, among them letters that no word of the closed lexicon has there."""
    log_probs = np.full((6, 4), -np.inf, np.float32)
    log_probs[np.arange(6), [2, 3, 3, 2, 1, 3]] = 0.0
    [found] = BeamDecoder(VOCABULARY, lexicon=["A"], unknown_penalty=None).decode(
        Emissions(log_probs, 0.02, VOCABULARY)
    )
    assert math.isfinite(found.score)


def test_alternatives_are_kept_in_json() -> None:
    best, *others = BeamDecoder(VOCABULARY, nbest=3).decode(noise(4, 30))
    transcript = Transcript((Segment(best.words),), 0.6, alternatives=tuple(others))
    read = from_json(to_json(transcript))
    assert [h.text for h in read.alternatives] == [h.text for h in others]
    assert [h.score for h in read.alternatives] == pytest.approx([h.score for h in others], abs=1e-3)
