from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sonant
from sonant import text
from sonant.text import Errors
from sonant.types import Vocabulary

LATIN = text.build_vocabulary(["abc'", "xyz é"])
FEW = st.lists(st.sampled_from("abc"), max_size=14)


def distances(reference: Sequence[str], hypothesis: Sequence[str]) -> list[list[int]]:
    """The table of a plain dynamic programme."""
    table = [[i + j for j in range(len(hypothesis) + 1)] for i in range(len(reference) + 1)]
    for i, said in enumerate(reference, 1):
        for j, heard in enumerate(hypothesis, 1):
            table[i][j] = min(table[i - 1][j - 1] + (said != heard), table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table


def oracle(reference: Sequence[str], hypothesis: Sequence[str]) -> list[text.Pair[str]]:
    """From the end of the table: a hit or substitution before a deletion before an insertion."""
    table = distances(reference, hypothesis)
    pairs: list[text.Pair[str]] = []
    i, j = len(reference), len(hypothesis)
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and table[i][j] == table[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return pairs[::-1]


@settings(max_examples=300, deadline=None)
@given(FEW, FEW)
def test_alignments_are_those_of_the_plain_programme_ties_included(reference: list[str], hypothesis: list[str]) -> None:
    pairs = text.align_sequences(reference, hypothesis)
    assert pairs == oracle(reference, hypothesis)
    errors = text.count_pairs(pairs)
    assert errors.total == distances(reference, hypothesis)[-1][-1]
    assert errors.length == len(reference)
    assert errors.hits + errors.substitutions + errors.insertions == len(hypothesis)


@settings(max_examples=20, deadline=None)
@given(st.text("ab", min_size=60, max_size=200), st.text("ab", min_size=60, max_size=200))
def test_texts_wider_than_a_machine_word_are_aligned_alike(reference: str, hypothesis: str) -> None:
    assert text.align_sequences(reference, hypothesis) == oracle(reference, hypothesis)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("a b c", "a b c", Errors(hits=3)),
        ("a b c", "a c", Errors(deletions=1, hits=2)),
        ("a c", "a b c", Errors(insertions=1, hits=2)),
        ("a b c", "a x c", Errors(substitutions=1, hits=2)),
        ("a b", "", Errors(deletions=2)),
        ("", "a", Errors(insertions=1)),
        ("", " ", Errors()),
        ("a b c d", "b c d e", Errors(deletions=1, insertions=1, hits=3)),
        ("the cat sat", "cat sat down", Errors(deletions=1, insertions=1, hits=2)),
    ],
)
def test_word_errors_by_hand(reference: str, hypothesis: str, errors: Errors) -> None:
    assert text.word_errors(reference, hypothesis) == errors


def test_character_errors_count_a_space_as_one() -> None:
    assert text.char_errors("now here", "nowhere") == Errors(deletions=1, hits=7)
    assert text.char_errors(" a   b ", "a b") == Errors(hits=3)


def test_rates_and_sums() -> None:
    errors = Errors(substitutions=1, deletions=2, insertions=3, hits=4)
    assert (errors.total, errors.length, errors.rate) == (6, 7, 6 / 7)
    assert errors + errors == Errors(2, 4, 6, 8)
    assert Errors().rate == 0
    assert Errors(insertions=1).rate == inf


def test_an_alignment_keeps_the_words_in_order() -> None:
    assert text.align_words("we saw the sea", "we saw a big sea") == [
        ("we", "we"),
        ("saw", "saw"),
        (None, "a"),
        ("the", "big"),
        ("sea", "sea"),
    ]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("Hello, World!", "hello world"),
        ("  two\t\nlines ", "two lines"),
        ("Don’t 'quote' dogs'", "don't quote dogs"),
        ("well-known U.S.A.", "well known u s a"),
        ("soft\u00adhyphen \ufeffmark", "softhyphen mark"),
        ("cafe\u0301 e\u200d\u0301", "caf\u00e9 \u00e9"),
        ("ÄRGER straße ΟΔΟΣ", "ärger straße οδος"),
        ("हिन्दी, 你好。", "हिन्दी 你好"),
        ("love ❤️ 1️⃣ !\u0301a", "love 1 a"),
        ("a\u200d'b a''b", "a'b ab"),
        ("3 men in 1889", "3 men in 1889"),
        ("...", ""),
    ],
)
def test_texts_are_normalised(raw: str, wanted: str) -> None:
    once, _ = text.normalise(raw)
    assert once == wanted
    assert text.normalise(once) == (wanted, {})


def test_what_normalising_drops_is_counted() -> None:
    assert text.normalise("Oh, no! It's 7, no?", digits=False) == ("oh no it's no", {",": 2, "!": 1, "7": 1, "?": 1})


def test_characters_are_kept_inside_words_only() -> None:
    assert text.normalise("Well-known - a-", case="upper", keep="-")[0] == "WELL-KNOWN A"
    assert text.normalise("don't", keep="")[0] == "dont"
    assert text.normalise("As Is", case="as is")[0] == "As Is"


@given(st.text() | st.text("aA'-7 .\u0301\u200d\ufe0fé"), st.sampled_from(["lower", "upper", "as is"]), st.booleans())
def test_normalising_twice_is_normalising_once(raw: str, case: text.Case, digits: bool) -> None:
    once, _ = text.normalise(raw, case=case, keep="'-", digits=digits)
    assert text.normalise(once, case=case, keep="'-", digits=digits) == (once, {})


def test_a_vocabulary_is_built_in_order() -> None:
    vocabulary = text.build_vocabulary(["b a", "ä'b"])
    assert vocabulary.tokens == ("<pad>", "<s>", "</s>", "<unk>", "|", "'", "a", "b", "ä")
    assert (vocabulary.blank, vocabulary.separator, vocabulary.unknown) == (0, 4, 3)
    assert vocabulary.silent == {0, 1, 2}
    without = text.build_vocabulary(["你好", "好"], spaces=False, minimum=2)
    assert (without.tokens[4:], without.separator) == (("好",), None)
    assert text.count_letters(["a b", "b"]) == {"a": 1, "b": 2}


@pytest.mark.parametrize(("texts", "part"), [([" "], "there is none"), (["a|b"], "stands for the space")])
def test_texts_that_give_no_vocabulary_are_refused(texts: list[str], part: str) -> None:
    with pytest.raises(sonant.VocabularyError, match=part):
        text.build_vocabulary(texts)


@given(st.lists(st.text("abcxyzé'", min_size=1), max_size=6).map(" ".join))
def test_encoded_texts_decode(written: str) -> None:
    assert text.decode(text.encode(written, LATIN), LATIN) == written


def test_tokens_are_separated_once() -> None:
    a, b, separator = (LATIN.index[token] for token in "ab|")
    assert text.encode("  a \n b  ", LATIN) == [a, separator, b]
    assert text.decode([separator, a, separator, separator, 0, b, 3, separator], LATIN) == "a b"


@pytest.mark.parametrize(
    ("letters", "written", "case"),
    [("ABC'", "Cab's", "upper"), ("abcs'", "CAB'S", "lower"), ("aBc", "aBc", "as is"), ("你好", "好", "as is")],
)
def test_letters_take_the_case_of_the_vocabulary(letters: str, written: str, case: str) -> None:
    vocabulary = text.build_vocabulary([letters + ("S" if case == "upper" else "")])
    assert text.vocabulary_case(vocabulary) == case
    assert text.decode(text.encode(written, vocabulary), vocabulary) == {"upper": "CAB'S", "lower": "cab's"}.get(
        case, written
    )


def test_the_longest_token_is_taken() -> None:
    phonemes = Vocabulary(("<pad>", "a", "aː", "t", "tʃ"), blank=0)
    assert text.encode("tʃ aː t a", phonemes) == [4, 2, 3, 1]
    assert text.encode("tʃaːta", phonemes) == [4, 2, 3, 1]


def test_composed_and_decomposed_letters_meet() -> None:
    parts = Vocabulary(("<pad>", "e", "\u0301"), blank=0)
    assert text.encode("\u00e9", parts) == text.encode("e\u0301", parts) == [1, 2]
    nukta = Vocabulary(("<pad>", "\u0958"), blank=0)  # which NFC writes as two characters
    assert text.encode("\u0958", nukta) == text.encode("\u0915\u093c", nukta) == [1]


def test_letters_outside_the_vocabulary_are_named() -> None:
    with pytest.raises(sonant.VocabularyError, match=r"but 'd', '7' are not among them"):
        text.encode("a d 7 d", LATIN)
    with pytest.raises(sonant.VocabularyError, match=r"'\|' is not among"):
        text.encode("a|b", LATIN)
    with pytest.raises(sonant.VocabularyError, match=r"and 3 more are"):
        text.encode("abcdefghijklmno", Vocabulary(("<pad>",), blank=0), unknown=True)
    assert text.encode("ad", LATIN, unknown=True) == [LATIN.index["a"], 3]


@pytest.mark.parametrize(
    ("language", "code"), [("en", "eng"), ("de-AT", "deu"), ("azj-script_latin", "azj"), ("fra", "fra")]
)
def test_languages_have_three_letters(language: str, code: str) -> None:
    assert text.language_code(language) == code
