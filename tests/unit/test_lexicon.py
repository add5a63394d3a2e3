"""Word lists in the forms they come in, and what is wrong with others."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonant.decode.lexicon import letters_lexicon, read_lexicon, spell
from sonant.errors import OptionError, VocabularyError
from sonant.types import Vocabulary

LETTERS = Vocabulary(("<pad>", "<unk>", "|", "A", "B", "C", "'"), blank=0, separator=2, unknown=1)
PHONES = Vocabulary(("<pad>", "HH", "AH", "L", "OW", "W", "ER", "D"), blank=0)


def test_words_are_spelled_by_letters_or_by_what_stands_behind_them() -> None:
    lexicon = read_lexicon(["cab", "", "A'B\tA B", "ba B A |", "cab"], LETTERS)
    assert lexicon.words == ["cab", "A'B", "ba"]
    assert lexicon.spellings == [([5, 3, 4], 0), ([3, 4], 1), ([4, 3], 2)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_pronouncing_dictionary(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    lines = ";;; a comment\nHELLO  HH AH0 L OW1\nHELLO(2)  HH OW1 # rare\n\nWORLD  W ER1 L D\n"
    path = tmp_path / "cmudict"  # known by what it holds
    path.write_bytes(pack(lines.encode()))
    lexicon = read_lexicon(path, PHONES)
    assert lexicon.words == ["HELLO", "WORLD"]
    assert lexicon.spellings == [([1, 2, 3, 4], 0), ([1, 4], 0), ([5, 6, 3, 7], 1)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["CAB", "CAXB"], r"'CAXB' \(the lexicon, line 2\) needs 'X'"),
        (["CAB C A X"], r"line 1\) has 'X'"),
        (["AB A |B"], r"has '\|B'"),
        (["A|B"], r"needs '\|'"),
    ],
)
def test_letters_outside_the_vocabulary_are_named_with_their_line(lines: list[str], message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        read_lexicon(lines, LETTERS)


def test_files_that_are_no_lexicon(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_lexicon(tmp_path / "none.txt", LETTERS)
    (tmp_path / "latin.txt").write_bytes(b"CAB\nAB\xe9\n")
    with pytest.raises(OptionError, match="line 2, is not"):
        read_lexicon(tmp_path / "latin.txt", LETTERS)
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"CAB\n" * 100)[:-9])
    with pytest.raises(OptionError, match="cannot be read"):
        read_lexicon(tmp_path / "broken.gz", LETTERS)
    with pytest.raises(OptionError, match="has none"):
        read_lexicon([";;; nothing"], LETTERS)


def test_words_of_a_model_keep_what_the_letters_can_spell() -> None:
    lexicon, kept = letters_lexicon(["<unk>", "<s>", "cab", "ç", "CAB", "ab"], LETTERS)
    assert (lexicon.words, kept) == (["CAB", "AB"], ["cab", "ab"])


@pytest.mark.parametrize("vocabulary", [LETTERS, PHONES, Vocabulary(("<pad>", "b", "c", "ı", "ss", "s", "é"), blank=0)])
@settings(max_examples=200)
@given(word=st.text(st.sampled_from("abcABC'ßıſs\u212a\u0301eé |<>") | st.characters(), max_size=5))
def test_plain_words_are_spelled_like_any_other(vocabulary: Vocabulary, word: str) -> None:
    """The quick way for words of ASCII letters, beside letters of other scripts that become ASCII when capitals."""
    expected = spell(word, vocabulary)
    lexicon, _ = letters_lexicon([word], vocabulary)
    assert lexicon.spellings == ([(expected, 0)] if expected else [])
    assert lexicon.words == (["".join(vocabulary.tokens[i] for i in expected)] if expected else [])
