"""Lexicons: which words there are, and which tokens of a vocabulary spell them, by letters or by phones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path

from sonant import text
from sonant.errors import OptionError, VocabularyError
from sonant.files import UNPACKING_FAULTS, unpacked
from sonant.types import Vocabulary

_VARIANT = re.compile(r"(.+)\((\d+)\)")
_COMMENTS = (";;;", "#")


@dataclass
class Lexicon:
    """Words, each with one or more spellings in tokens."""

    words: list[str] = field(default_factory=list[str])
    spellings: list[tuple[list[int], int]] = field(default_factory=list[tuple[list[int], int]])
    """Tokens, and which of the words they spell."""
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    """From a word to its place in `words`."""

    def add(self, word: str, tokens: Sequence[int]) -> None:
        """Take one more spelling of a word that may be new."""
        number = self.numbers.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        self.spellings.append((list(tokens), number))

    def spelled(self) -> dict[str, list[list[int]]]:
        """From each word in lower case to its spellings."""
        found: dict[str, list[list[int]]] = {}
        for tokens, number in self.spellings:
            found.setdefault(self.words[number].casefold(), []).append(tokens)
        return found


def read_lexicon(source: str | PathLike[str] | Iterable[str], vocabulary: Vocabulary) -> Lexicon:
    """The words of a file (UTF-8, may be packed) or of lines that are given themselves.

    A line is a word, spelled by its letters, or a word and then its spelling: tokens of the vocabulary with spaces
    between. The pronouncing dictionary of Carnegie Mellon has this form; its comments, its variants `WORD(2)` and the
    stress digits of its phones (where the vocabulary has none) are understood, and so are separators at a spelling's
    end. Raises `VocabularyError` where a spelling needs a token that the vocabulary lacks, naming the line, and
    `OptionError` for a file that cannot be read or holds no word.
    """
    name, lines = _read(source)
    known = {token: i for token, i in vocabulary.index.items() if writable(i, vocabulary)}
    lexicon = Lexicon()
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if not parts or parts[0].startswith(_COMMENTS):
            continue
        word, *tokens = parts
        if "#" in tokens and "#" not in known:
            tokens = tokens[: tokens.index("#")]
        spelling = _spelling(word, tokens, vocabulary, known, f"{name}, line {number}")
        if tokens and (variant := _VARIANT.fullmatch(word)):
            word = variant[1]
        if (word, tuple(spelling)) not in seen:
            seen.add((word, tuple(spelling)))
            lexicon.add(word, spelling)
    if not lexicon.words:
        raise OptionError(f"A lexicon must have words, but {name} has none; pass a file with a word a line.")
    return lexicon


def letters_lexicon(words: Iterable[str], vocabulary: Vocabulary) -> tuple[Lexicon, list[str]]:
    """The words that the vocabulary's letters can spell, written in its letter case; and each as it was given."""
    lexicon, given = Lexicon(), list[str]()
    letters, cased = text.plain_letters(vocabulary)
    for word in words:
        try:  # four times as fast as `spell`: a language model may have 90,000 words, and captions wait for them
            written = cased(word)
            spelling = [letters[letter] for letter in written]
        except KeyError:
            spelling = spell(word, vocabulary) or []
            written = "".join(vocabulary.tokens[i] for i in spelling)
        if spelling and written not in lexicon.numbers:
            lexicon.add(written, spelling)
            given.append(word)
    return lexicon, given


def spell(word: str, vocabulary: Vocabulary) -> list[int] | None:
    """A word's letters as tokens; None where the vocabulary lacks one."""
    try:
        tokens = text.encode(word, vocabulary)
    except VocabularyError:
        return None
    return tokens if tokens and vocabulary.separator not in tokens else None


def writable(token: int, vocabulary: Vocabulary) -> bool:
    """Whether a token is a letter: neither blank, separator, unknown nor a mark."""
    return token not in vocabulary.silent and token not in (vocabulary.separator, vocabulary.unknown)


def _read(source: str | PathLike[str] | Iterable[str]) -> tuple[str, list[str]]:
    if not isinstance(source, str | PathLike):
        return "the lexicon", list(source)
    path = Path(fspath(source))
    try:
        with path.open("rb") as file:
            data = unpacked(file).read()
    except UNPACKING_FAULTS as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(
            f"A lexicon must be a file with a word a line, but {path} cannot be read ({reason}); name another."
        ) from error
    try:
        return str(path), data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise OptionError(f"A lexicon must be UTF-8, but {path}, line {line}, is not; convert it to UTF-8.") from error


def _spelling(word: str, tokens: list[str], vocabulary: Vocabulary, known: dict[str, int], where: str) -> list[int]:
    if not tokens:
        letters = spell(word, vocabulary)
        if letters is not None:
            return letters
        missing = next((c for c in word if spell(c, vocabulary) is None), word)
        raise VocabularyError(
            f"A lexicon must be spelled with the tokens of the vocabulary, but {word!r} ({where}) needs {missing!r}, "
            "which is none; leave the word out, or write its spelling behind it."
        )
    separator = None if vocabulary.separator is None else vocabulary.tokens[vocabulary.separator]
    while tokens and tokens[-1] == separator:
        tokens = tokens[:-1]
    spelling: list[int] = []
    for token in tokens:
        index = known.get(token, known.get(token.rstrip("012")))
        if index is None:
            raise VocabularyError(
                f"A lexicon must be spelled with the tokens of the vocabulary, but {word!r} ({where}) has {token!r}, "
                "which is none; spell it with the model's tokens."
            )
        spelling.append(index)
    return spelling or _spelling(word, [], vocabulary, known, where)
