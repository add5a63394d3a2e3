"""How wide a text is on the screen, and where its lines may be broken: between words, or characters where none are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from sonant.subtitles.tidy import RIGHT_TO_LEFT_MARK
from sonant.types import Word

# Han, kana and their marks: a line may end between any two, but for the sets below.
_IDEOGRAPHS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_PARTS = re.compile(
    f"[{_IDEOGRAPHS}][\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef]*|[\u3000-\u303f\uff01-\uff65]|[^{_IDEOGRAPHS}\u3000-\u303f\uff01-\uff65]+"
)
_HAS_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")

NO_START = frozenset(
    "、。，．・：；？！‥…゛゜ーヽヾゝゞ々ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶ｡､･ｰｧｨｩｪｫｬｭｮｯﾞﾟ"
    "）〕］｝〉》」』】〙〗〟｠»’”)]},.!?:;%‰℃°ะาำๅๆฯ"
)
"""What no line begins with (JIS X 4051's rules in short), and Thai vowels that follow their letter."""
NO_END = frozenset("（〔［｛〈《「『【〘〖〝｟«‘“([{$£¥＄￡￥#＃@เแโใไ")
"""What no line ends with: what opens a bracket or a quotation, stands before a number, or before its Thai letter."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A word on its way to a line; or a part of one, where a line may end within it."""

    text: str
    start: float
    """Seconds from the beginning of the file."""
    end: float
    """Seconds from the beginning of the file."""
    before: str
    """What parts it from the piece before it on its line: a space, or nothing."""
    columns: int
    """What it takes of a line's width, `before` not counted."""


@lru_cache(maxsize=1 << 14)
def columns(text: str) -> int:
    """Columns that a text takes: two for East Asian wide characters, none for marks, one for others."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf") or "\u1160" <= char <= "\u11ff":  # Korean in parts
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def pieces_of(words: Iterable[Word], space: str) -> Iterator[Piece]:
    """The pieces of words that `space` parts; only what is written in Han or kana is taken apart."""
    before = ""
    for word in words:
        if word.text.isascii() or len(word.text) == 1 or not _HAS_IDEOGRAPH.search(word.text):
            yield Piece(word.text, word.start, word.end, before, columns(word.text))
        else:
            yield from _parted(word, before)
        before = space


def _parted(word: Word, before: str) -> Iterator[Piece]:
    """A word cut between its characters; those share its time by their width, or have that of its letters."""
    parts = _PARTS.findall(word.text)
    widths = [columns(part) for part in parts]
    letters = word.letters
    own = len(letters) == len(parts) and all(x.text == part for x, part in zip(letters, parts, strict=True))
    each, done = (word.end - word.start) / max(sum(widths), 1), 0
    for i, (part, width) in enumerate(zip(parts, widths, strict=True)):
        start, end = word.start + done * each, word.start + (done + width) * each
        done += width
        if own:
            start, end = letters[i].start, letters[i].end
        yield Piece(part, round(start, 3), round(end, 3), "" if i else before, width)


def unbreakable(left: str, right: str) -> bool:
    """Whether two pieces with nothing between them must stay on one line."""
    return left[-1] in NO_END or right[0] in NO_START or unicodedata.category(right[0])[0] == "M"


def direction_marks(lines: Iterable[str]) -> list[str]:
    """What each line of a cue needs before it to be read from right to left where most of its letters are.

    Players take the direction of a line's first letter; Latin words that begin a line of Arabic would turn it round.
    """
    lines = list(lines)
    if all(map(str.isascii, lines)):
        return [""] * len(lines)
    kinds = [[kind for kind in map(unicodedata.bidirectional, line) if kind in ("L", "R", "AL")] for line in lines]
    left = sum(kind == "L" for line in kinds for kind in line)
    if 2 * left >= sum(map(len, kinds)):
        return [""] * len(lines)
    return [RIGHT_TO_LEFT_MARK if not line or line[0] == "L" else "" for line in kinds]
