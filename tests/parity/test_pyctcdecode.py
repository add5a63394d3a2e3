"""What pyctcdecode saves decodes here as it does there, where that library and KenLM's are installed."""

from __future__ import annotations

import logging
from math import log
from pathlib import Path
from typing import Any

import pytest

from sonant.checkpoints import open_checkpoint
from sonant.decode.beam import BeamDecoder
from sonant.recognizer import choose_decoder
from sonant.types import Vocabulary
from unit.folders import PLAIN, write
from unit.ngrams import Model, write_arpa
from unit.test_beam import noise, spell
from unit.test_decoding import TOKENIZER

pyctcdecode = pytest.importorskip("pyctcdecode")
pytest.importorskip("kenlm")

MODEL: Model = {
    ("<unk>",): (-1.5, 0.0), ("<s>",): (-99.0, -0.3), ("</s>",): (-0.9, 0.0),
    ("a",): (-0.6, -0.2), ("ba",): (-0.8, -0.4), ("ab",): (-1.1, -0.1),
    ("<s>", "a"): (-0.3, None), ("a", "ba"): (-0.2, None), ("ba", "a"): (-0.7, None), ("ba", "</s>"): (-0.4, None),
}  # fmt: skip


@pytest.fixture
def both(tmp_path: Path) -> tuple[Any, BeamDecoder]:
    """Their decoder, and ours of what theirs has saved."""
    logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
    write_arpa(tmp_path / "2gram.arpa", MODEL)
    theirs = pyctcdecode.build_ctcdecoder(
        ["<pad>", "|", "a", "b"], str(tmp_path / "2gram.arpa"), ["a", "ba"], 0.7, 1.2, -4.0
    )
    folder = write(tmp_path / "model", vocab=PLAIN, tokenizer_config=TOKENIZER)
    theirs.save_to_dir(str(folder))
    ours = choose_decoder(open_checkpoint(folder), beam={"beam_size": 1000, "score_threshold": 100.0, "nbest": 5})
    assert isinstance(ours, BeamDecoder)
    return theirs, ours


def test_known_words_score_the_same(both: tuple[Any, BeamDecoder]) -> None:
    theirs, ours = both
    model = theirs.model_container[theirs._model_key]
    found = [h for seed in range(5) for h in ours.decode(noise(seed, 12, ours.vocabulary))]
    known = [h for h in found if h.words and all(word.text in ("a", "ba") for word in h.words)]
    assert len(known) > 5
    for hypothesis in known:
        state, total = model.get_start_state(), 0.0
        for i, word in enumerate(hypothesis.words, 1):
            score, state = model.score(state, word.text, is_last_word=i == len(hypothesis.words))
            total += score
        assert hypothesis.score - hypothesis.acoustic == pytest.approx(total, abs=1e-3)


def test_an_unknown_word_of_six_letters_costs_the_same(both: tuple[Any, BeamDecoder]) -> None:
    theirs, ours = both
    model, settings = theirs.model_container[theirs._model_key], ours.settings
    assert ours.lm is not None
    assert settings.unknown_penalty is not None
    theirs_costs, _ = model.score(model.get_start_state(), "bababb")
    ours_costs = settings.lm_weight * ours.lm.score("bababb", end=False).scores[0] + settings.word_bonus
    ours_costs -= settings.unknown_penalty + 6 * settings.letter_penalty
    assert ours_costs == pytest.approx(theirs_costs, abs=1e-3)
    assert settings.unknown_penalty == pytest.approx(0.7 * 4 * log(10) - 4)


@pytest.mark.parametrize("frames", ["a-ba|a--", "-ba-b|-a-|ba", "ab-|a|b-a|-"])
def test_clear_speech_reads_the_same(both: tuple[Any, BeamDecoder], frames: str) -> None:
    theirs, ours = both
    vocabulary: Vocabulary = ours.vocabulary
    emissions = spell(frames.replace("|", " "), vocabulary, sure=0.9)
    assert ours.decode(emissions)[0].text == theirs.decode(emissions.log_probs, beam_prune_logp=-50)
