"""Hotwords: words and phrases that a user expects, as tokens that the search gives a boost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, product
from math import isfinite
from numbers import Real

from sonant.decode.lexicon import Lexicon, spell
from sonant.errors import OptionError, VocabularyError
from sonant.types import Vocabulary

MAX_VARIANTS = 16
"""Pronunciations of one phrase that are listened for, at most."""
Phrases = list[tuple[list[int], int]]


def hotword_phrases(
    hotwords: Mapping[str, float], lexicon: Lexicon, vocabulary: Vocabulary, *, join: bool
) -> tuple[Phrases, list[float]]:
    """Each phrase as tokens with its number, and the boosts by number; words new to the lexicon `join` it.

    Words have the spellings of the lexicon where it knows them (in any letter case), else their letters. A boundary is
    the token behind the vocabulary's last one; it stands before, between and after words, but not in scripts without
    spaces. Raises `VocabularyError` for a word that cannot be spelled, `OptionError` for a boost that is no number.
    """
    if not isinstance(hotwords, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionError(f"Hotwords must be words with boosts, as {{'zero': 3.0}}, but {hotwords!r} was given.")
    boosts: list[float] = []
    phrases: Phrases = []
    spelled = lexicon.spelled() if hotwords else {}
    for phrase, boost in hotwords.items():
        if not phrase.split():
            raise OptionError("A hotword must have letters, but one is empty; leave it out.")
        if not isinstance(boost, Real) or not isfinite(boost):
            raise OptionError(f"The boost of the hotword {phrase!r} must be a number, but is {boost!r}; 8 is much.")
        variants = [_variants(word, phrase, spelled, lexicon, vocabulary, join) for word in phrase.split()]
        for words in islice(product(*variants), MAX_VARIANTS):
            phrases.append((_joined(words, vocabulary), len(boosts)))
        boosts.append(float(boost))
    return phrases, boosts


def has_bounds(vocabulary: Vocabulary) -> bool:
    """Whether words begin and end somewhere: in all scripts but those without spaces."""
    return vocabulary.space != ""


def _variants(
    word: str, phrase: str, spelled: dict[str, list[list[int]]], lexicon: Lexicon, vocabulary: Vocabulary, join: bool
) -> list[list[int]]:
    known = spelled.get(word.casefold())
    if known:
        return known
    letters = spell(word, vocabulary)
    if letters is None:
        raise VocabularyError(
            f"A hotword must be spelled with the tokens of the vocabulary, but {word!r} of {phrase!r} cannot be; "
            "add it to the lexicon with its spelling, or leave it out."
        )
    if join:
        written = "".join(vocabulary.tokens[i] for i in letters)
        lexicon.add(written, letters)
        spelled[word.casefold()] = [letters]
    return [letters]


def _joined(words: Sequence[Sequence[int]], vocabulary: Vocabulary) -> list[int]:
    if not has_bounds(vocabulary):
        return [token for word in words for token in word]
    boundary = len(vocabulary)
    return [boundary, *(token for word in words for token in (*word, boundary))]
