"""Language models that come with a model: in sonant's folder, or as pyctcdecode lays them out."""

from __future__ import annotations

import json
import shutil
from math import log
from pathlib import Path
from typing import Any

import pytest

from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.decoding import write_decoding
from sonant.decode.beam import BeamDecoder
from sonant.errors import CheckpointError, OutputError, VocabularyError
from sonant.recognizer import choose_decoder
from unit.folders import PLAIN, write
from unit.test_beam import ARPA, spell

KENLM = Path(__file__).parent / "kenlm"
ATTRS = {"alpha": 0.5, "beta": 1.5, "unk_score_offset": -10.0, "score_boundary": True}
LABELS = {"labels": ["", " ", "a", "b"], "is_bpe": False}
TOKENIZER = {"pad_token": "<pad>", "unk_token": None, "bos_token": None, "eos_token": None}


def plain(folder: Path, **files: object) -> Path:
    return write(folder, vocab=PLAIN, tokenizer_config=TOKENIZER, **files)


def peer(folder: Path, attrs: object = ATTRS, labels: object = LABELS, unigrams: str = "a\nba\nab\n") -> Path:
    """A folder as Wav2Vec2ProcessorWithLM saves it."""
    plain(folder, alphabet=labels)
    lm = folder / "language_model"
    lm.mkdir()
    (lm / "attrs.json").write_text(attrs if isinstance(attrs, str) else json.dumps(attrs))
    (lm / "3gram.arpa").write_text(ARPA.format("a", "ba", "ab"))
    (lm / "unigrams.txt").write_text(unigrams)
    return folder


def decoder_of(folder: Path, **options: Any) -> BeamDecoder:
    decoder = choose_decoder(open_checkpoint(folder), **options)
    assert isinstance(decoder, BeamDecoder)
    return decoder


def test_weights_are_natural_logarithms(tmp_path: Path) -> None:
    decoder = decoder_of(peer(tmp_path / "model", {**ATTRS, "alpha": 0.8, "beta": -1, "unk_score_offset": -12}))
    assert (decoder.settings.lm_weight, decoder.settings.word_bonus) == (0.8, -1.0)
    assert decoder.settings.letter_penalty == pytest.approx(2.0)
    assert decoder.settings.unknown_penalty == pytest.approx(0.8 * 12 * log(10) - 12)
    assert decoder.lm is not None
    assert decoder.words == ["a", "ba", "ab"]
    [found] = decoder.decode(spell("ba a-b", decoder.vocabulary))
    assert found.lm == pytest.approx(sum(decoder.lm.score(found.text).scores), abs=1e-4)
    assert found.score - found.acoustic == pytest.approx(0.8 * found.lm - 1.0 * len(found.words), abs=1e-4)


def test_only_the_unigrams_are_known_words(tmp_path: Path) -> None:
    assert decoder_of(peer(tmp_path / "some", unigrams="ba\nzebra\n")).words == ["ba"]
    assert decoder_of(peer(tmp_path / "all", unigrams="")).words == ["a", "ba", "ab"]
    folder = peer(tmp_path / "none")
    (folder / "language_model" / "unigrams.txt").unlink()
    assert decoder_of(folder).words == ["a", "ba", "ab"]


def test_what_a_user_says_goes_before(tmp_path: Path) -> None:
    folder = peer(tmp_path / "model")
    checkpoint = open_checkpoint(folder)
    assert choose_decoder(checkpoint, lm=False).name == "greedy"
    without = choose_decoder(checkpoint, lm=False, hotwords={"ba": 3.0})
    assert isinstance(without, BeamDecoder)
    assert without.lm is None
    (tmp_path / "other.arpa").write_text(ARPA.format("a", "b", "bb"))
    other = decoder_of(folder, lm=tmp_path / "other.arpa")
    assert (other.words, other.settings.lm_weight) == (["a", "b", "bb"], 1.0)
    mixed = decoder_of(folder, lexicon=["ab"], beam={"beam_size": 7, "word_bonus": 2.0})
    assert (mixed.words, mixed.settings.lm_weight) == (["ab"], 0.5)
    assert (mixed.settings.beam_size, mixed.settings.word_bonus) == (7, 2.0)


def test_a_binary_of_kenlm_goes_before_its_text(tmp_path: Path) -> None:
    folder = peer(tmp_path / "model", unigrams="")
    shutil.copy(KENLM / "trie.bin", folder / "language_model" / "3gram.bin")
    found = open_checkpoint(folder).decoding()
    assert found is not None
    assert found.lm.name == "3gram.bin"
    (folder / "language_model" / "3gram.arpa").unlink()
    (folder / "language_model" / ".hidden.arpa").write_text("")
    assert open_checkpoint(folder).decoding() == found


@pytest.mark.parametrize("blank", ["", "[PAD]", "<pad>", "_"])
@pytest.mark.parametrize("rest", [[" ", "a", "b"], ["|", "A", "B"]])
def test_labels_in_any_dress_fit(tmp_path: Path, blank: str, rest: list[str]) -> None:
    assert decoder_of(peer(tmp_path / "model", labels={"labels": [blank, *rest], "is_bpe": False})).words


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"labels": ["", " ", "a"], "is_bpe": False}, "lists 3 labels for a model with 4 tokens"),
        ({"labels": ["", " ", "b", "a"], "is_bpe": False}, "label 2 is 'b' where the vocabulary has 'a'"),
        ({"labels": [" ", "", "a", "b"], "is_bpe": False}, "label 0 is ' ' where the vocabulary has '<pad>'"),
        ({"labels": ["", " ", "", "b"], "is_bpe": False}, "label 2 is '' where"),
        ({"labels": ["", " ", "a", "b"], "is_bpe": True}, r"word pieces \(is_bpe\)"),
        ({"labels": "abc", "is_bpe": False}, "holds 'abc' as labels"),
        ({"labels": [1, 2], "is_bpe": False}, r"holds '\[1, 2\]' as labels"),
    ],
)
def test_labels_of_another_model_are_refused(tmp_path: Path, labels: object, sentence: str) -> None:
    checkpoint = open_checkpoint(peer(tmp_path / "model", labels=labels))
    with pytest.raises(VocabularyError, match=sentence) as caught:
        checkpoint.decoding()
    assert "lm=False" in str(caught.value)
    assert choose_decoder(checkpoint, lm=False).name == "greedy"


@pytest.mark.parametrize(
    ("attrs", "sentence"),
    [
        ({**ATTRS, "alpha": "0.5"}, "must give alpha a number, but gives '0.5'"),
        ({**ATTRS, "beta": None}, "must give beta a number, but gives None"),
        ('{"alpha": NaN}', "must give alpha a number, but gives nan"),
        ({**ATTRS, "unk_score_offset": True}, "must give unk_score_offset a number, but gives True"),
        ("[]", "must hold a JSON object, but holds list"),
        ("{", "must be JSON"),
    ],
)
def test_odd_attributes_are_refused(tmp_path: Path, attrs: object, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(peer(tmp_path / "model", attrs)).decoding()


def test_a_folder_without_a_model_file_is_refused(tmp_path: Path) -> None:
    folder = peer(tmp_path / "model")
    (folder / "language_model" / "3gram.arpa").unlink()
    with pytest.raises(CheckpointError, match=r"must hold an \.arpa or a \.bin file, but has none"):
        open_checkpoint(folder).decoding()
    (folder / "language_model" / "attrs.json").unlink()
    assert open_checkpoint(folder).decoding() is None


def test_what_is_written_is_read_and_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = peer(tmp_path / "model")
    lm, lexicon = folder / "language_model" / "3gram.arpa", tmp_path / "words.txt"
    lexicon.write_text("ab\n")
    files = {"lm": lm, "lexicon": lexicon, "known_words": None}
    write_decoding(folder, files, {"lm_weight": 0.25, "unknown_penalty": None}, {"wer": 0.5})
    decoder = decoder_of(folder)  # goes before pyctcdecode's
    assert (decoder.words, decoder.settings.lm_weight, decoder.settings.unknown_penalty) == (["ab"], 0.25, None)
    files = {"lm": folder / "decoding" / "lm.lm", "lexicon": None, "known_words": None}  # out of what is replaced
    write_decoding(folder, files, {"lm_weight": 0.75}, {})
    assert decoder_of(folder).settings.lm_weight == 0.75
    assert sorted(path.name for path in (folder / "decoding").iterdir()) == ["lm.lm", "sonant.json"]
    with pytest.raises(OutputError, match=r"decoding could not be written \(No such file"):
        write_decoding(folder, {"lm": tmp_path / "gone"}, {}, {})
    assert decoder_of(folder).settings.lm_weight == 0.75
    assert not list(folder.glob(".decoding*"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "must be of format 1, but is of 2"),
        ({"lm": None}, "must name a language model as lm"),
        ({"lm": "../lm.lm"}, r"must name a file beside itself as lm, but names '\.\./lm\.lm'"),
        ({"lexicon": ".."}, "must name a file beside itself as lexicon"),
        ({"lexicon": 3}, "must name a file beside itself as lexicon, but names 3"),
        ({"lm": "gone.lm"}, r"names gone\.lm, but no such file lies beside it"),
        ({"beam": [1]}, "must hold an object as beam"),
        ({"beam": {"lm_weight": "1"}}, "must give lm_weight a number, but gives '1'"),
        ({"beam": {"lm_weigth": 1.0}}, "lm_weigth was given; name one of them"),
        ({"beam": {"beam_size": 0}}, "beam_size must be at least 1, but is 0"),
        ({"beam": {"beam_size": None}}, "must give beam_size a number, but gives None"),
        ({"beam": {"beam_size": 2.5}}, "must give beam_size a number, but gives 2.5"),
        ({"priors": [0.5]}, "must give each token a probability as priors"),
        ({"priors": {"a": 1.5}}, "must give each token a probability as priors"),
    ],
)
def test_a_damaged_description_is_one_sentence(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    folder = peer(tmp_path / "model")
    write_decoding(folder, {"lm": folder / "language_model" / "3gram.arpa"}, {"lm_weight": 0.25}, {})
    path = folder / "decoding" / "sonant.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=sentence) as caught:
        choose_decoder(open_checkpoint(folder))
    assert str(path) in str(caught.value)


def test_a_language_model_belongs_to_its_language(tmp_path: Path) -> None:
    folder = plain(tmp_path / "model")
    (tmp_path / "lm.arpa").write_text(ARPA.format("a", "ba", "ab"))
    write_decoding(folder, {"lm": tmp_path / "lm.arpa"}, {}, {"language": "fra"})
    assert choose_decoder(open_checkpoint(folder)).name == "greedy"
    (folder / "config.json").write_text('{"model_type": "wav2vec2", "sonant": {"language": "fra"}}')
    assert choose_decoder(open_checkpoint(folder)).name == "beam"
