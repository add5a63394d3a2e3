"""The tokens of a model are found in every layout that is published, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sonant.checkpoints import open_checkpoint
from sonant.errors import CheckpointError, VocabularyError
from sonant.types import Vocabulary
from unit.folders import PLAIN, VOCABULARY, write


def vocabulary_of(folder: Path) -> Vocabulary:
    vocabulary = open_checkpoint(folder).vocabulary
    assert vocabulary is not None
    return vocabulary


def numbered(*tokens: str) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}


def special(*tokens: str, start: int = 0) -> dict[str, Any]:
    """`added_tokens_decoder` as transformers writes it for special tokens."""
    return {str(start + i): {"content": token, "special": True} for i, token in enumerate(tokens)}


FULL = numbered("<pad>", "<s>", "</s>", "<unk>", "|", "E", "T")
BRACKETS = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
LAYOUTS: dict[str, tuple[int, dict[str, object], Vocabulary]] = {
    "vocab.json alone": (
        7,
        {"vocab": FULL},
        Vocabulary(tuple(FULL), blank=0, separator=4, unknown=3, silent=frozenset({1, 2})),
    ),
    "letters before marks": (
        5,
        {"vocab": {"b": 2, "a": 1, "|": 0, "[UNK]": 3, "[PAD]": 4}, "tokenizer_config": BRACKETS},
        Vocabulary(("|", "a", "b", "[UNK]", "[PAD]"), blank=4, separator=0, unknown=3),
    ),
    "two tokens added, with outputs": (
        6,
        {
            "vocab": numbered("a", "|", "[UNK]", "[PAD]"),
            "added_tokens": {"<s>": 4, "</s>": 5},
            "special_tokens_map": {**BRACKETS, "bos_token": "<s>", "eos_token": "</s>"},
        },
        Vocabulary(
            ("a", "|", "[UNK]", "[PAD]", "<s>", "</s>"), blank=3, separator=1, unknown=2, silent=frozenset({4, 5})
        ),
    ),
    "two tokens added, without outputs": (
        4,
        {
            "vocab": numbered("a", "|", "[UNK]", "[PAD]"),
            "added_tokens": {"<s>": 4, "</s>": 5},
            "tokenizer_config": {**BRACKETS, "bos_token": "<s>", "eos_token": "</s>"},
        },
        Vocabulary(("a", "|", "[UNK]", "[PAD]"), blank=3, separator=1, unknown=2),
    ),
    "tokens added at run time": (
        6,
        {"vocab": numbered("a", "|", "[UNK]", "[PAD]"), "tokenizer_config": BRACKETS},
        Vocabulary(
            ("a", "|", "[UNK]", "[PAD]", "<s>", "</s>"), blank=3, separator=1, unknown=2, silent=frozenset({4, 5})
        ),
    ),
    "added tokens in the configuration": (
        4,
        {
            "vocab": numbered("a", "|", "[PAD]"),
            "tokenizer_config": {
                "pad_token": {"content": "[PAD]", "special": True},
                "unk_token": None,
                "bos_token": None,
                "eos_token": None,
                "added_tokens_decoder": special("<mark>", start=3),
            },
            "special_tokens_map": {"pad_token": "ignored beside added_tokens_decoder"},
        },
        Vocabulary(("a", "|", "[PAD]", "<mark>"), blank=2, separator=1, silent=frozenset({3})),
    ),
    "the word delimiter is a special token": (
        4,
        {"vocab": PLAIN, "tokenizer_config": {"added_tokens_decoder": special("<pad>", "|")}},
        VOCABULARY,
    ),
    "an added token in the place of another": (
        4,
        {"vocab": PLAIN, "tokenizer_config": {"added_tokens_decoder": special("<other>", start=2)}},
        VOCABULARY,
    ),
    "another word delimiter": (
        4,
        {"vocab": numbered("<pad>", " ", "a", "b"), "tokenizer_config": {"word_delimiter_token": " "}},
        Vocabulary(("<pad>", " ", "a", "b"), blank=0, separator=1),
    ),
    "a word delimiter that is no token": (
        3,
        {"vocab": numbered("<pad>", "あ", "い"), "tokenizer_config": {"word_delimiter_token": "|"}},
        Vocabulary(("<pad>", "あ", "い"), blank=0),
    ),
    "a word delimiter that is not written": (
        3,
        {"vocab": numbered("<pad>", "|", "あ"), "tokenizer_config": {"replace_word_delimiter_char": ""}},
        Vocabulary(("<pad>", "|", "あ"), blank=0, silent=frozenset({1})),
    ),
    "capitals that are written small": (
        4,
        {"vocab": numbered("<PAD>", "|", "A", "É"), "tokenizer_config": {"do_lower_case": True, "pad_token": "<PAD>"}},
        Vocabulary(("<PAD>", "|", "a", "é"), blank=0, separator=1),
    ),
    "phonemes": (
        4,
        {
            "vocab": numbered("<pad>", "tʃ", "aɪ", "|"),
            "tokenizer_config": {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "phone_delimiter_token": " "},
        },
        Vocabulary(("<pad>", "tʃ", "aɪ", "|"), blank=0),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tokens_are_found_in_every_layout(layout: str, tmp_path: Path) -> None:
    outputs, files, expected = LAYOUTS[layout]
    assert vocabulary_of(write(tmp_path, outputs, **files)) == expected


def test_a_nested_vocabulary_gives_the_language_it_names(tmp_path: Path) -> None:
    nested = {"eng": PLAIN, "fra": numbered("<pad>", "|", "à", "ç")}
    write(tmp_path, vocab=nested, tokenizer_config={"target_lang": "fra"})
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.vocabulary == Vocabulary(("<pad>", "|", "à", "ç"), blank=0, separator=1)
    assert checkpoint.language == "fra"
    for target in ("deu", None, 3):
        write(tmp_path, tokenizer_config={"target_lang": target})
        with pytest.raises(VocabularyError, match="set its target_lang to one of them, such as eng"):
            open_checkpoint(tmp_path)
    assert vocabulary_of(write(tmp_path, vocab={"eng": PLAIN}, tokenizer_config={})) == VOCABULARY


@pytest.mark.parametrize(
    ("outputs", "files", "sentence"),
    [
        (32, {"vocab": PLAIN}, r"The model has 32 outputs but .*vocab\.json lists 4 tokens; pass the vocabulary"),
        (3, {"vocab": PLAIN}, r"The model has 3 outputs but .*vocab\.json lists 4 tokens; pass the vocabulary"),
        (4, {}, "A model with 4 outputs must come with a vocab.json"),
        (4, {"vocab": {**PLAIN, "b": 2}}, "gives 2 to 'a' and to 'b'"),
        (4, {"vocab": {**PLAIN, "b": 7}}, "no token has the index 3"),
        (4, {"vocab": {**PLAIN, "b": "3"}}, "gives 'b' '3'"),
        (4, {"vocab": {**PLAIN, "b": 3.0}}, "gives 'b' 3.0"),
        (4, {"vocab": {**PLAIN, "b": True}}, "gives 'b' True"),
        (4, {"vocab": {**PLAIN, "b": -1}}, "gives 'b' -1"),
        (4, {"vocab": {**PLAIN, "b": None}}, "gives 'b' None"),
        (4, {"vocab": {**PLAIN, "b": {}}}, "gives 'b' {}"),
        (4, {"vocab": '{"<pad>": 0, "|": 1, "a": 2, "\\ud800": 3}'}, "half a character"),
        (4, {"vocab": numbered("|", "a", "b", "c")}, "the pad token, .* has no '<pad>'"),
        (4, {"vocab": PLAIN, "tokenizer_config": {"pad_token": None}}, "the pad token, .* has no 'pad token'"),
        (4, {"vocab": "{"}, r"vocab\.json must be JSON, but is not"),
        (4, {"vocab": "[" * 100_000}, r"vocab\.json must be JSON, but is not"),
        (4, {"vocab": "[]"}, r"vocab\.json must hold a JSON object, but holds list"),
        (4, {"vocab": PLAIN, "tokenizer_config": "3"}, r"tokenizer_config\.json must hold a JSON object"),
    ],
)  # fmt: skip
def test_tokens_that_do_not_fit_are_refused(
    outputs: int, files: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(write(tmp_path, outputs, **files))
