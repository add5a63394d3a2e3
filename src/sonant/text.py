"""Texts: normalised, as tokens of a vocabulary, and compared with each other (word and character error rate).

No audio and no models. A text is compared as it stands: normalise both sides first, alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import inf, isqrt
from typing import Literal, TypeVar

from sonant.errors import VocabularyError
from sonant.types import Vocabulary

T = TypeVar("T")
Case = Literal["lower", "upper", "as is"]
Pair = tuple[T | None, T | None]
"""What was said and what was heard for it: None, heard is an insertion; said, None a deletion."""

_APOSTROPHES = str.maketrans("\u2018\u2019\uff07", "'''")
_LANGUAGES = (
    "af:afr am:amh ar:ara as:asm az:aze be:bel bg:bul bn:ben bo:bod br:bre bs:bos ca:cat cs:ces cy:cym da:dan de:deu "
    "el:ell en:eng eo:epo es:spa et:est eu:eus fa:fas fi:fin fo:fao fr:fra fy:fry ga:gle gl:glg gu:guj ha:hau he:heb "
    "hi:hin hr:hrv ht:hat hu:hun hy:hye id:ind ig:ibo is:isl it:ita ja:jpn jv:jav ka:kat kk:kaz km:khm kn:kan ko:kor "
    "ku:kur ky:kir la:lat lb:ltz lo:lao lt:lit lv:lav mg:mlg mi:mri mk:mkd ml:mal mn:mon mr:mar ms:msa mt:mlt my:mya "
    "nb:nob ne:nep nl:nld nn:nno no:nor oc:oci or:ori pa:pan pl:pol ps:pus pt:por ro:ron ru:rus rw:kin sa:san sd:snd "
    "si:sin sk:slk sl:slv sn:sna so:som sq:sqi sr:srp su:sun sv:swe sw:swa ta:tam te:tel tg:tgk th:tha tk:tuk tl:tgl "
    "tr:tur tt:tat ug:uig uk:ukr ur:urd uz:uzb vi:vie wo:wol xh:xho yi:yid yo:yor zh:zho zu:zul "
)
"""ISO 639-1 to the three letters of 639-2 and 639-3."""
_BUILT = ("<pad>", "<s>", "</s>", "<unk>")
_NAMED = 12
"""Letters that a message names at most."""


def normalise(text: str, *, case: Case = "lower", keep: str = "'", digits: bool = True) -> tuple[str, Counter[str]]:
    """The words of a text alone, with a space between them, and how often each other character was dropped.

    Unicode's composed form (NFC), one letter case, typographic apostrophes as `'`. Letters, their marks and (where
    `digits`) numbers stay; of what else there is, the characters in `keep` stay inside a word: *don't*, but not
    *'quoted'*. A dropped apostrophe joins what it stood between, as do invisible characters; all else parts it.
    """
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES)
    text = unicodedata.normalize("NFC", _cased(text, case))
    dropped: Counter[str] = Counter()
    cleaned: list[str] = [" "]
    for char in text:
        kind = unicodedata.category(char)
        if kind[0] == "L" or (kind[0] == "N" and digits) or char in keep or _marks(char, kind, cleaned[-1]):
            cleaned.append(char)
        else:
            dropped.update(char.strip())
            cleaned += _gap(char, kind)
    cleaned.append(" ")
    written: list[str] = []
    for i, char in enumerate(cleaned):
        if _in_word(char) or char == " " or (_in_word(cleaned[i - 1]) and _in_word(cleaned[i + 1])):
            written.append(char)
        else:
            dropped[char] += 1
            written += _gap(char, unicodedata.category(char))
    return unicodedata.normalize("NFC", " ".join("".join(written).split())), dropped


def vocabulary_case(vocabulary: Vocabulary) -> Case:
    """The letter case that all of a vocabulary's letters have; `as is` where they differ or have none."""
    return _spelling(vocabulary)[1]


def encode(text: str, vocabulary: Vocabulary, *, unknown: bool = False) -> list[int]:
    """A text's tokens: letters in the vocabulary's case, the longest token that fits first, a separator for a space.

    Where the vocabulary has no separator, spaces only part tokens. Letters outside it become its unknown token if
    `unknown` and it has one; otherwise `VocabularyError` names them.
    """
    spellings, case, longest = _spelling(vocabulary)
    outside: dict[str, None] = {}
    tokens: list[int] = []
    for word in _cased(unicodedata.normalize("NFC", text), case).split():
        if tokens and vocabulary.separator is not None:
            tokens.append(vocabulary.separator)
        for part in _spell(unicodedata.normalize("NFC", word), spellings, longest):
            if part in spellings:
                tokens.append(spellings[part])
            else:
                outside[part] = None
                tokens.append(-1 if vocabulary.unknown is None else vocabulary.unknown)
    if outside and (vocabulary.unknown is None or not unknown):
        raise VocabularyError(
            f"A text must be spelled with the tokens of the vocabulary, but {_listed(outside)} "
            f"{'is' if len(outside) == 1 else 'are'} not among them; normalise the text, or leave it out."
        )
    return tokens


def plain_letters(vocabulary: Vocabulary) -> tuple[Mapping[str, int], Callable[[str], str]]:
    """ASCII letters with their tokens, none where tokens have several letters; and how a word gets the tokens' case.

    `encode` spells a word of these letters alone just so.
    """
    spellings, case, longest = _spelling(vocabulary)
    plain = {letter: token for letter, token in spellings.items() if letter.isascii()} if longest == 1 else {}
    return plain, str.lower if case == "lower" else str.upper if case == "upper" else str


def decode(tokens: Iterable[int], vocabulary: Vocabulary) -> str:
    """The text that tokens spell; blanks, marks and unknown letters are not written, repeats are."""
    unwritten = vocabulary.silent | {vocabulary.unknown}
    parts = [" " if i == vocabulary.separator else vocabulary.tokens[i] for i in tokens if i not in unwritten]
    return " ".join("".join(parts).split())


def needed_frames(tokens: Sequence[object]) -> int:
    """Frames that CTC needs at least: one a token, and a blank between two equal ones."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))


def count_letters(texts: Iterable[str]) -> Counter[str]:
    """How often each character stands in the texts, spaces left out."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update("".join(text.split()))
    return counts


def build_vocabulary(texts: Iterable[str], *, spaces: bool = True, minimum: int = 1) -> Vocabulary:
    """A vocabulary for normalised texts: `<pad>` (the blank), `<s>`, `</s>`, `<unk>`, `|`, and the letters in order.

    Letters that stand there fewer than `minimum` times are left to `<unk>` (`count_letters` tells which). `spaces`
    is False for scripts that write none: the vocabulary then has no separator.
    """
    letters = sorted(letter for letter, count in count_letters(texts).items() if count >= minimum)
    if not letters:
        raise VocabularyError(
            f"A vocabulary is built from texts with letters that stand there at least {minimum} times, "
            "but there is none; pass the transcripts."
        )
    if spaces and "|" in letters:
        raise VocabularyError("'|' stands for the space between words, but the texts hold it too; normalise them.")
    tokens = (*_BUILT, *(["|"] if spaces else []), *letters)
    return Vocabulary(tokens, 0, len(_BUILT) if spaces else None, unknown=3, silent=frozenset({0, 1, 2}))


@dataclass(frozen=True, slots=True)
class Errors:
    """How a text differs from what was said; sums over texts by `+`."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    hits: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.hits + other.hits,
        )

    @property
    def total(self) -> int:
        """Fewest changes that turn one text into the other."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Words or characters that were said."""
        return self.substitutions + self.deletions + self.hits

    @property
    def rate(self) -> float:
        """Errors a word said: the word error rate. Infinite where nothing was said but something heard."""
        return self.total / self.length if self.length else inf if self.total else 0.0


def align_sequences(reference: Sequence[T], hypothesis: Sequence[T]) -> list[Pair[T]]:
    """What was said beside what was heard, with the fewest errors.

    Of several such alignments: from the end, a hit or substitution before a deletion before an insertion. Time grows
    with the product of the lengths over the processor's word (10,000 words take tens of milliseconds), memory with its
    square root: every so many columns are kept and the others computed again. Columns are bit vectors after Hyyrö,
    "A bit-vector algorithm for computing Levenshtein and Damerau edit distances" (2003).
    """
    places: dict[T, int] = {}
    for i, token in enumerate(reference):
        places[token] = places.get(token, 0) | 1 << i
    full = (1 << len(reference)) - 1
    size = isqrt(len(hypothesis)) + 1
    kept: list[tuple[int, int]] = []
    up, down = full, 0
    for j, token in enumerate(hypothesis):
        if j % size == 0:
            kept.append((up, down))
        _, up, down = _column(places.get(token, 0), up, down, full)

    pairs: list[Pair[T]] = []
    i, j = len(reference), len(hypothesis)
    while i and j:
        first = (j - 1) // size * size
        up, down = kept[first // size]
        columns: list[tuple[int, int]] = []
        for token in hypothesis[first:j]:
            level, up, down = _column(places.get(token, 0), up, down, full)
            columns.append((level, up))
        while i and j > first:
            said, heard = reference[i - 1], hypothesis[j - 1]
            level, up = columns[j - 1 - first]
            if said == heard or not level >> (i - 1) & 1:
                pairs.append((said, heard))
                i, j = i - 1, j - 1
            elif up >> (i - 1) & 1:
                pairs.append((said, None))
                i -= 1
            else:
                pairs.append((None, heard))
                j -= 1
    pairs += [(said, None) for said in reversed(reference[:i])]
    pairs += [(None, heard) for heard in reversed(hypothesis[:j])]
    return pairs[::-1]


def count_errors(reference: Sequence[T], hypothesis: Sequence[T]) -> Errors:
    """The errors of the alignment that `align_sequences` gives; elements may be anything hashable but None."""
    return count_pairs(align_sequences(reference, hypothesis))


def count_pairs(pairs: Iterable[Pair[T]]) -> Errors:
    """The errors of an alignment."""
    kinds = Counter(
        "insertion" if said is None else "deletion" if heard is None else "hit" if said == heard else "substitution"
        for said, heard in pairs
    )
    return Errors(kinds["substitution"], kinds["deletion"], kinds["insertion"], kinds["hit"])


def align_words(reference: str, hypothesis: str) -> list[Pair[str]]:
    """The words that were said beside those that were heard, as `align_sequences` does."""
    return align_sequences(reference.split(), hypothesis.split())


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Errors in words, which are what stands between spaces."""
    return count_errors(reference.split(), hypothesis.split())


def char_errors(reference: str, hypothesis: str) -> Errors:
    """Errors in characters (Unicode code points); each stretch of white space between words is one."""
    return count_errors(" ".join(reference.split()), " ".join(hypothesis.split()))


def _column(matches: int, up: int, down: int, full: int) -> tuple[int, int, int]:
    """The next column of the table of distances D[i, j], as sets of rows i.

    `level`: D[i, j] = D[i-1, j-1]. `up`, `down`: D[i, j] is one more, one less than D[i-1, j].
    """
    level = (((matches & up) + up ^ up) | matches | down) & full
    right = ((down | (full ^ (level | up))) << 1 | 1) & full  # D[i-1, j] is one more than D[i-1, j-1]
    left = (level & up) << 1 & full
    return level, left | (full ^ (level | right)), right & level


Spelling = tuple[dict[str, int], Case, int]
"""The tokens that texts are spelled with, composed, with their indices; their letter case; the longest one's length."""


def _spelling(vocabulary: Vocabulary) -> Spelling:
    return _spelling_of(vocabulary.tokens, vocabulary.silent | {vocabulary.separator, vocabulary.unknown})


@lru_cache(maxsize=16)
def _spelling_of(tokens: tuple[str, ...], unwritten: frozenset[int | None]) -> Spelling:
    found: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if i not in unwritten and token:
            found.setdefault(unicodedata.normalize("NFC", token), i)
    letters = "".join(found)
    case: Case = "as is"
    if letters.upper() != letters.lower():
        case = "upper" if letters == letters.upper() else "lower" if letters == letters.lower() else "as is"
    return found, case, max(map(len, found), default=0)


def _spell(word: str, spellings: dict[str, int], longest: int) -> list[str]:
    """Cut a word into the longest tokens, from its beginning; what none fits, into characters."""
    if longest == 1 and spellings.keys() >= set(word):
        return list(word)  # as below, ten times as fast: a language model may have 60,000 words
    parts: list[str] = []
    at = 0
    while at < len(word):
        found = next((word[at : at + n] for n in range(longest, 0, -1) if word[at : at + n] in spellings), word[at])
        decomposed = unicodedata.normalize("NFD", found)
        parts += decomposed if found not in spellings and all(c in spellings for c in decomposed) else [found]
        at += len(found)
    return parts


def _cased(text: str, case: Case) -> str:
    return text.lower() if case == "lower" else text.upper() if case == "upper" else text


def _marks(char: str, kind: str, before: str) -> bool:
    """Whether a character belongs to the letter before it: accents and vowel signs do, emoji's variants do not."""
    return kind in ("Mn", "Mc") and _in_word(before) and not unicodedata.name(char, "").startswith("VARIATION SELECTOR")


def _gap(char: str, kind: str) -> str:
    """What a dropped character leaves: apostrophes, marks and invisible characters nothing, all others a space."""
    return "" if char == "'" or kind == "Cf" or kind[0] == "M" else " "


def _in_word(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN"


def _listed(letters: Iterable[str]) -> str:
    """`'a', 'b' and 3 more`."""
    letters = list(letters)
    named = ", ".join(map(repr, letters[:_NAMED]))
    return named + (f" and {len(letters) - _NAMED} more" if len(letters) > _NAMED else "")


def language_code(language: str) -> str:
    """`eng` for `en`, `en-GB` and `eng`: containers and MMS models want the three letters."""
    name = re.split("[-_]", language.lower())[0]
    found = re.search(rf"\b{re.escape(name)}:(...)", _LANGUAGES)
    return found[1] if found else name
