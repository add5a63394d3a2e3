"""Real texts as a model would spell them: words with their tokens, numbers spoken, wildcards for what it cannot spell.

A text is cut into lines and words. What is written (case, punctuation) stays with each word; what is searched for is
its spoken form: normalised, numbers in words (num2words, where it is installed and knows the language), accents left
off where the vocabulary lacks them, other scripts in Latin letters (uroman, where it is installed). What is then still
not to be spelled is a wildcard: any sound.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from typing import Any

from sonant.errors import AlignmentError, VocabularyError
from sonant.text import encode, normalise, vocabulary_case
from sonant.types import Vocabulary

WILDCARD = -1
"""The token that any sound is."""
_MARK = "\ue000"
"""Stands in a spoken form for what cannot be spelled; a character that no text has."""
_SENTENCE = re.compile(r"(?<=[.!?…][\"'”’»)\]])\s+|(?<=[.!?…])\s+|(?<=[。！？])\s*")
_ENGLISH_NUMBER = re.compile(
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.(?P<part>\d+))?(?P<nth>(?:st|nd|rd|th)\b)?", re.IGNORECASE
)
_NUMBER = re.compile(r"(?P<whole>\d{1,3}(?:[.'\u2019\u202f]\d{3})+(?!\d)|\d+)(?:[.,](?P<part>\d+))?(?P<nth>)")
_LOOSE_MARK = re.compile(r"\s+([^\w\s]+)(?=\s|$)")
_LONGEST = 15
"""Digits of a number that is still said as one."""
_YEARS = range(1100, 2100)
_TWO_LETTERS = {
    "ara": "ar", "ces": "cs", "dan": "da", "deu": "de", "eng": "en", "fas": "fa", "fin": "fi", "fra": "fr", "heb": "he",
    "hun": "hu", "ind": "id", "isl": "is", "ita": "it", "jpn": "ja", "kaz": "kz", "kor": "ko", "lav": "lv", "lit": "lt",
    "nld": "nl", "nob": "no", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "slk": "sk", "slv": "sl", "spa": "es",
    "srp": "sr", "swe": "sv", "tel": "te", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi",
}  # fmt: skip
"""From the codes of MMS to those of num2words."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A word of a text."""

    text: str
    """As it is written, with its punctuation."""
    tokens: tuple[int, ...]
    """What is searched for: indices of the vocabulary (its separator between spoken words) and wildcards."""
    line: int
    """The line that it stands in, from 0."""


@dataclass(frozen=True)
class Speller:
    """Spells texts in the tokens of one vocabulary."""

    vocabulary: Vocabulary
    language: str | None = None
    """ISO 639 code, for numbers."""

    def spell(self, text: str | Sequence[str]) -> list[Spelled]:
        """The words of a text or of its lines; raises `AlignmentError` where there is none."""
        found: list[Spelled] = []
        for number, line in enumerate(lines_of(text)):
            for word in self._words(line):
                tokens = self._tokens(word)
                if tokens:
                    found.append(Spelled(word, tokens, number))
                elif found and found[-1].line == number:  # a dash between words
                    before = found[-1]
                    found[-1] = Spelled(f"{before.text}{self.vocabulary.space}{word}", before.tokens, number)
        if not found:
            raise AlignmentError("A text to align must have words, but this one has none; pass what is said.")
        return found

    def spoken(self, word: str) -> str | None:
        """A written word with its numbers in words, as it is read aloud; None where some of its sound is not known."""
        spoken = self._spoken(word)
        if spoken == word:
            return word
        return None if _MARK in spoken else _LOOSE_MARK.sub(r"\1", " ".join(spoken.split()))

    def _words(self, line: str) -> Iterable[str]:
        if self.vocabulary.space:
            return line.split()
        found: list[str] = []
        for char in unicodedata.normalize("NFC", "".join(line.split())):
            if found and unicodedata.category(char)[0] not in "LNS":  # marks belong to the letter before
                found[-1] += char
            else:
                found.append(char)
        return found

    @cached_property
    def _tokens(self) -> Any:
        return cache(self._spell)  # a text has few words, often

    @cached_property
    def _inner(self) -> str:
        """Characters other than letters that the vocabulary has, such as the apostrophe."""
        mute = {*self.vocabulary.silent, self.vocabulary.separator, self.vocabulary.unknown}
        tokens = [token for i, token in enumerate(self.vocabulary.tokens) if i not in mute]
        return "".join(token for token in tokens if len(token) == 1 and unicodedata.category(token)[0] not in "LMN")

    def _spell(self, word: str) -> tuple[int, ...]:
        """What a written word sounds like; nothing for punctuation."""
        spoken = self._spoken(word)
        case, separator = vocabulary_case(self.vocabulary), self.vocabulary.separator
        tokens: list[int] = []
        for part in spoken.split():
            part = part if part == _MARK else normalise(part, case=case, keep=self._inner)[0]
            for piece in part.split():
                if tokens and separator is not None:
                    tokens.append(separator)
                tokens += self._letters(piece)
        several = [t for i, t in enumerate(tokens) if t != WILDCARD or i == 0 or tokens[i - 1] != WILDCARD]
        return tuple(several)

    def _spoken(self, word: str) -> str:
        """Numbers as words, symbols as marks."""
        word = "".join(f" {_MARK} " if _is_spoken_symbol(char) else char for char in word)
        if not any(char.isdigit() for char in word) or any(token.isdigit() for token in self.vocabulary.tokens):
            return word
        language = _TWO_LETTERS.get(self.language or "", (self.language or "").split("-")[0])
        pattern = _ENGLISH_NUMBER if language == "en" else _NUMBER
        return pattern.sub(lambda match: f" {_say(match, language)} ", word)

    def _letters(self, word: str) -> list[int]:
        if word == _MARK:
            return [WILDCARD]
        for spelling in (_same, _bare, _romanised):
            try:
                return encode(spelling(word), self.vocabulary)
            except VocabularyError:
                continue
        tokens: list[int] = []
        for char in _bare(word):
            try:
                tokens += encode(char, self.vocabulary)
            except VocabularyError:
                tokens += [WILDCARD] if tokens[-1:] != [WILDCARD] else []
        return tokens


def lines_of(text: str | Sequence[str]) -> list[str]:
    """The lines of a text that are not empty; of one that is a single line, its sentences."""
    lines = text.splitlines() if isinstance(text, str) else list(text)
    lines = [line for line in lines if line.strip()]
    if isinstance(text, str) and len(lines) == 1:
        lines = [sentence for sentence in _SENTENCE.split(lines[0]) if sentence.strip()]
    return lines


def _is_spoken_symbol(char: str) -> bool:
    return char in "%‰&@#§°+=×÷±" or unicodedata.category(char) == "Sc"


def _say(match: re.Match[str], language: str) -> str:
    """A number in words, or the mark of what cannot be spelled."""
    say = _number_sayer()
    if say is None:
        return _MARK
    digits = re.sub(r"\D", "", match["whole"])
    try:
        if (digits[0] == "0" and len(digits) > 1) or len(digits) > _LONGEST:
            return " ".join(say(int(digit), lang=language) for digit in digits + (match["part"] or ""))
        if match["part"]:
            return say(float(f"{digits}.{match['part']}"), lang=language)
        if match["nth"]:
            return say(int(digits), lang=language, to="ordinal")
        if int(digits) in _YEARS and digits == match["whole"]:
            return _year(say, int(digits), language)
        return say(int(digits), lang=language)
    except (NotImplementedError, OverflowError):  # a language that it does not know
        return _MARK


@cache
def _number_sayer() -> Any:
    try:
        return import_module("num2words").num2words  # has no types
    except ImportError:
        return None


def _year(say: Any, number: int, language: str) -> str:
    try:
        return say(number, lang=language, to="year")
    except (NotImplementedError, AttributeError, TypeError):
        return say(number, lang=language)


def _same(word: str) -> str:
    return word


def _bare(word: str) -> str:
    """Letters without their accents."""
    return "".join(char for char in unicodedata.normalize("NFD", word) if not "\u0300" <= char <= "\u036f")


def _romanised(word: str) -> str:
    """Any script in Latin letters, in lower case; the word itself where uroman is not installed."""
    romanise = _romaniser()
    return romanise(word) if romanise else word


@cache
def _romaniser() -> Any:
    try:
        return import_module("uroman").Uroman().romanize_string  # has no types
    except ImportError:
        return None
