"""The stand-in for torchaudio's beam search reads what flashlight's reads, where that is installed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sonant.compat.torchaudio.models.decoder import ctc_decoder, download_pretrained_files
from sonant.decode.lm import LanguageModel, open_lm
from sonant.errors import AudioError, OptionError
from unit.ngrams import write_arpa
from unit.test_kenlm import MODEL

LABELS = ["-", "|", "A", "B", "C", "D", "E"]
SPELLED = {f"wörd{i}": word for i, word in enumerate(["A", "AB", "BAD", "CAB", "ACE", "BED", "DEED", "EBB"])}
"""The words of `unit.test_kenlm.MODEL`, whose binaries KenLM made."""
TEXT = ["wörd3", "wörd1", "wörd4", "wörd5"]
BINARIES = Path(__file__).parents[1] / "unit" / "kenlm"


@pytest.fixture
def lexicon(tmp_path: Path) -> str:
    path = tmp_path / "lexicon.txt"
    path.write_text("".join(f"{word}\t{' '.join(letters)} |\n" for word, letters in SPELLED.items()), encoding="utf-8")
    return str(path)


@pytest.fixture
def arpa(tmp_path: Path) -> str:
    return str(write_arpa(tmp_path / "lm.arpa", MODEL))


def emission(words: Iterable[str], noise: float = 1.0, peak: float = 5.0, seed: int = 0) -> Tensor:
    """Logits (1, T, V) that say these words, the last silence too."""
    choice = random.Random(seed)
    frames: list[int] = []
    for word in words:
        for letter in SPELLED.get(word, word):
            frames += [LABELS.index(letter)] * choice.randint(1, 2) + [0] * choice.randint(1, 2)
        frames += [1] * choice.randint(1, 2)
    scores = noise * torch.randn(len(frames), len(LABELS), generator=torch.Generator().manual_seed(seed))
    scores[range(len(frames)), frames] += peak
    return scores[None]


def custom_lm(decoder: Any, words: Iterable[str], model: LanguageModel) -> Any:
    """KenLM's scores, of base 10, for flashlight without KenLM."""

    class Scorer(decoder.CTCDecoderLM):
        def __init__(self) -> None:
            super().__init__()
            self.histories: dict[Any, tuple[str, ...]] = {}
            self.words = list(words)

        def start(self, start_with_nothing: bool) -> Any:
            del start_with_nothing
            state = decoder.CTCDecoderLMState()
            self.histories[state] = ()
            return state

        def score(self, state: Any, index: int) -> tuple[Any, float]:
            history = (*self.histories[state], self.words[index])
            return self._next(state, index, history, model.score(history, end=False).scores[-1])

        def finish(self, state: Any) -> tuple[Any, float]:
            history = self.histories[state]
            return self._next(state, -1, history, model.score(history).scores[-1])

        def _next(self, state: Any, index: int, history: tuple[str, ...], score: float) -> tuple[Any, float]:
            following = state.child(index)
            self.histories[following] = history
            return following, score / math.log(10)

    return Scorer()


@pytest.mark.parametrize(
    "settings",
    [{}, {"sil_score": -1.0}, {"sil_score": 1.5}, {"beam_size_token": 3}, {"word_score": 1.5}, {"word_score": -1.0}],
    ids=str,
)
@pytest.mark.parametrize("lm_weight", [None, 2.0])
def test_readings_are_those_of_flashlight(
    settings: dict[str, Any], lm_weight: float | None, lexicon: str, arpa: str
) -> None:
    decoder = pytest.importorskip("torchaudio.models.decoder._ctc_decoder", exc_type=ImportError)
    dictionary = pytest.importorskip("flashlight.lib.text.dictionary")
    known = dictionary.create_word_dict(dictionary.load_words(lexicon))
    words = [known.get_entry(i) for i in range(known.index_size())]
    common: dict[str, Any] = {"beam_size": 200, "log_add": True, **settings}
    if lm_weight is not None:
        common["lm_weight"] = lm_weight
    theirs = None if lm_weight is None else custom_lm(decoder, words, open_lm(arpa))
    mine = ctc_decoder(lexicon, LABELS, None if lm_weight is None else arpa, **common)
    real = decoder.ctc_decoder(lexicon, LABELS, theirs, **common)
    # there the end needs a silence, and a token that goes on is not counted among those tried
    tolerance = 0.1 if "beam_size_token" in settings else 0.03
    for seed in range(5):
        scores = emission(random.Random(seed).choices(list(SPELLED), k=4), seed=seed)
        expected, got = real(scores)[0][0], mine(scores)[0][0]
        assert got.words == expected.words
        assert got.score == pytest.approx(expected.score, abs=tolerance)
        ours, others = (
            [(i, t) for i, t in zip(h.tokens.tolist(), h.timesteps.tolist(), strict=True) if i > 1]
            for h in (got, expected)
        )
        assert ours == others


def test_the_weight_of_the_model_is_that_of_logarithms_to_base_10(lexicon: str, arpa: str) -> None:
    without = ctc_decoder(lexicon, LABELS, arpa, lm_weight=0, beam_size=200)(emission(TEXT))[0][0]
    weighted = ctc_decoder(lexicon, LABELS, arpa, lm_weight=0.1, beam_size=200)(emission(TEXT))[0][0]
    assert without.words == weighted.words == TEXT
    base_ten = sum(open_lm(arpa).score(TEXT).scores) / math.log(10)
    assert weighted.score - without.score == pytest.approx(0.1 * base_ten, abs=0.02)


@pytest.mark.parametrize("kind", ["probing", "trie"])
def test_binaries_of_kenlm_decode_as_the_arpa_file(kind: str, lexicon: str, arpa: str) -> None:
    scores = emission(TEXT, noise=2.0)
    (expected,) = ctc_decoder(lexicon, LABELS, arpa, nbest=3)(scores)
    (got,) = ctc_decoder(lexicon, LABELS, str(BINARIES / f"{kind}.bin"), nbest=3)(scores)
    assert [h.words for h in got] == [h.words for h in expected]
    assert [h.score for h in got] == pytest.approx([h.score for h in expected], abs=1e-3)


@pytest.mark.parametrize("size", [1, 7])
def test_pieces_decode_as_the_whole(size: int, lexicon: str, arpa: str) -> None:
    decoder = ctc_decoder(lexicon, LABELS, arpa, nbest=3, sil_score=-0.5, beam_size_token=4)
    scores = emission(TEXT, noise=2.0)
    (whole,) = decoder(scores)
    for _ in range(2):  # a decoder may begin again
        decoder.decode_begin()
        for piece in scores[0].split(size):
            decoder.decode_step(piece)
        decoder.decode_end()
        found = decoder.get_final_hypothesis()
        assert [h.words for h in found] == [h.words for h in whole]
        assert [h.score for h in found] == pytest.approx([h.score for h in whole], abs=1e-3)
        assert [h.timesteps.tolist() for h in found] == [h.timesteps.tolist() for h in whole]


def test_without_a_lexicon_any_text_goes() -> None:
    scores = emission(TEXT)
    decoder = ctc_decoder(None, LABELS)
    padded = torch.cat([scores, torch.zeros_like(scores)], dim=1)
    (hypothesis,), (alone,) = (decoder(padded, torch.tensor([scores.shape[1]]))[0], decoder(scores)[0])
    assert hypothesis.words == alone.words == [SPELLED[word] for word in TEXT]
    tokens = decoder.idxs_to_tokens(hypothesis.tokens)
    assert "".join(tokens) == "|" + "|".join(SPELLED[word] for word in TEXT) + "|"
    assert hypothesis.timesteps[:2].tolist() == [0, 1]  # frames are counted from 1


def test_words_outside_the_lexicon_are_named_as_asked(lexicon: str, arpa: str) -> None:
    scores = emission(["wörd3", "DADA", "wörd5"])
    (closed,) = ctc_decoder(lexicon, LABELS, arpa)(scores)[0]
    assert len(closed.words) > 2
    assert set(closed.words) <= set(SPELLED)
    (open_,) = ctc_decoder(lexicon, LABELS, arpa, unk_score=0.0, unk_word="<other>", lm_weight=0)(scores)[0]
    assert open_.words == ["wörd3", "<other>", "wörd5"]


def test_what_cannot_be_decoded_is_refused(lexicon: str, arpa: str, tmp_path: Path) -> None:
    for settings in ({"lm": arpa}, {"lexicon": lexicon, "lm": object()}, {"lexicon": lexicon, "lm_dict": "words.txt"}):
        with pytest.raises(OptionError, match="A language model is a KenLM or ARPA file of words beside a lexicon"):
            ctc_decoder(**{"lexicon": None, "tokens": LABELS, **settings})
    (tmp_path / "tokens.txt").write_text("-\n|\nA a\n")
    with pytest.raises(OptionError, match=r"tokens\.txt, line 3, has several"):
        ctc_decoder(None, str(tmp_path / "tokens.txt"))
    with pytest.raises(OptionError, match="Tokens must be a list, or a UTF-8 file"):
        ctc_decoder(None, str(tmp_path / "none.txt"))
    with pytest.raises(OptionError, match="beam_size_token must be at least 1"):
        ctc_decoder(None, LABELS, beam_size_token=0)
    decoder = ctc_decoder(None, LABELS)
    with pytest.raises(OptionError, match="none has; call decode_begin first"):
        decoder.decode_step(torch.zeros(3, len(LABELS)))
    decoder.decode_begin()
    with pytest.raises(OptionError, match=r"must be \(frames, 7\), but \(3, 4\) came"):
        decoder.decode_step(torch.zeros(3, 4))


def test_decoder_files_are_those_that_torchaudio_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "torchaudio" / "decoder-assets" / "librispeech-3-gram"
    folder.mkdir(parents=True)
    with pytest.raises(AudioError, match=r"decoder-assets/librispeech-3-gram/lexicon\.txt was expected at"):
        download_pretrained_files("librispeech-3-gram")
    for name in ("lexicon.txt", "tokens.txt", "lm.bin"):
        (folder / name).touch()
    files = download_pretrained_files("librispeech-3-gram")
    assert [Path(file or "").name for file in files] == ["lexicon.txt", "tokens.txt", "lm.bin"]
    with pytest.raises(OptionError, match="librispeech-3-gram or librispeech-4-gram, but 'gigaspeech'"):
        download_pretrained_files("gigaspeech")
