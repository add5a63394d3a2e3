"""Letter case for readers: most models write capitals alone, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from sonant.types import Letter, Segment, Transcript, Word

Case = Literal["sentence", "lower", "upper", "asis"]

DOTTED = frozenset(["tr", "tur", "az", "aze", "azj", "azb", "crh", "gag"])
"""Languages whose I has a dotted and a dotless form: Turkish and its neighbours."""
_ENGLISH_I = re.compile(r"^(\W*)i(?=['’,;:!?]|\.*$)")
_FIRST = re.compile(r"[^\W_]")
_END = re.compile("[.?!…。？！؟۔։।॥]['\"’”»)\\]]*$")


def in_case(transcript: Transcript, case: Case) -> Transcript:
    """The transcript in another letter case; `asis` gives it back unchanged, and so does a script without case.

    `sentence`: a capital at the beginning of a sentence, small letters after it. Sentences end at their marks; where
    the text has none, each segment begins one. In English the word I keeps its capital; other names cannot be told
    from words. A text that has both capitals and small letters is left as it is: whoever wrote it knew better.
    """
    language = _base(transcript.language)
    words = [word.text for word in transcript.words]
    if case == "asis" or (case == "sentence" and is_mixed(words)):
        return transcript
    english = language in ("en", "eng") or (language is None and all(map(str.isascii, words)))
    marked = any(map(ends_sentence, words))
    starts = True
    segments: list[Segment] = []
    for segment in transcript.segments:
        starts = starts or not marked
        written: list[Word] = []
        for word in segment.words:
            text = _cased(word.text, case, language)
            if case == "sentence":
                text = _ENGLISH_I.sub(r"\1I", text) if english else text
                if starts and _FIRST.search(text):
                    text, starts = capital(text, language), False
                starts = starts or ends_sentence(text)
            written.append(replace(word, text=text, letters=_letters(word, text)))
        segments.append(Segment(tuple(written), segment.space))
    return replace(transcript, segments=tuple(segments))


def is_mixed(texts: Iterable[str]) -> bool:
    """Whether there are both capitals and small letters, of those that have the other form: ß has none."""
    letters = set[str]().union(*texts)
    return any(c.isupper() and c != c.lower() for c in letters) and any(
        c.islower() and c != c.upper() and len(c.upper()) == 1 for c in letters
    )


def ends_sentence(text: str) -> bool:
    """Whether a mark that ends a sentence stands at the end of a word."""
    return not text[-1:].isalnum() and _END.search(text[-8:]) is not None


def capital(text: str, language: str | None) -> str:
    """`text` with a capital where its first letter is; nothing changes where a digit comes first."""
    first = _FIRST.search(text)
    if first is None:
        return text
    at = first.start()
    if language in ("nl", "nld", "dut") and text.startswith("ij", at):
        return text[:at] + "IJ" + text[at + 2 :]
    letter = "İ" if text[at] == "i" and language in DOTTED else text[at].title()  # Georgian has no titles: as it is
    return text[:at] + letter + text[at + 1 :]


def _cased(text: str, case: Case, language: str | None) -> str:
    if case == "upper":
        return (text.replace("i", "İ") if language in DOTTED else text).upper()
    if language in DOTTED:
        text = text.replace("I\u0307", "i").replace("İ", "i").replace("I", "ı")
    return text.lower()


def _letters(word: Word, text: str) -> tuple[Letter, ...]:
    """A word's letters in the case of its text, where they can be told apart in it."""
    if "".join(letter.text for letter in word.letters) != word.text or len(text) != len(word.text):
        return word.letters
    return tuple(_sliced(word.letters, text))


def _sliced(letters: Iterable[Letter], text: str) -> Iterator[Letter]:
    at = 0
    for letter in letters:
        end = at + len(letter.text)
        yield replace(letter, text=text[at:end])
        at = end


def _base(language: str | None) -> str | None:
    """`tr` of `tr-TR`, `azj` of `azj-script_latin`."""
    return re.split("[-_]", language.lower())[0] if language else None
