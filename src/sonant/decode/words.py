"""Tokens heard in order to words, and words to segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log

from sonant.types import Letter, Segment, Vocabulary, Word

PAUSE = 0.6
"""Seconds of blanks that end a segment, and with it a word whose separator the model forgot."""


class WordBuilder:
    """Collects letters into words, closing one at each separator and at each pause."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.words: list[Word] = []
        self.letters: list[Letter] = []

    def add(self, token: int, start: float, end: float, confidence: float) -> None:
        """Take the next token, never a blank."""
        vocabulary = self.vocabulary
        if token == vocabulary.separator:
            self.close()
        elif not self.is_mute(token):
            if self.letters and start - self.letters[-1].end >= PAUSE:
                self.close()
            self.letters.append(Letter(vocabulary.tokens[token], start, end, confidence))
            if vocabulary.separator is None:
                self.close()

    def is_mute(self, token: int) -> bool:
        """Whether a token writes nothing and ends no word."""
        return token in self.vocabulary.silent or token == self.vocabulary.unknown

    def close(self) -> None:
        """End the word under way, if there is one."""
        if self.letters:
            self.words.append(word_of(self.letters))
            self.letters = []


def word_of(letters: Sequence[Letter]) -> Word:
    """A word from its letters."""
    confidence = exp(sum(log(max(letter.confidence, 1e-30)) for letter in letters) / len(letters))
    text = "".join(letter.text for letter in letters)
    return Word(text, letters[0].start, letters[-1].end, confidence, tuple(letters))


def segments_of(words: Sequence[Word], space: str = " ", pause: float = PAUSE) -> Iterator[Segment]:
    """Cut words into segments at pauses of `pause` seconds and more."""
    begin = 0
    for i in range(1, len(words) + 1):
        if i == len(words) or words[i].start - words[i - 1].end >= pause:
            yield Segment(tuple(words[begin:i]), space)
            begin = i
