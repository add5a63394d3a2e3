"""Where a line or a cue had best end: at a pause, after a mark, before a word that opens a phrase, last anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import inf

from sonant.subtitles.widths import Piece, unbreakable

PAUSE = 0.4
"""Seconds between two words that make any break between them as good as one after a full stop."""
CLAUSE, PHRASE, PLAIN, TORN, FORBIDDEN = 0.3, 0.6, 1.0, 2.0, 100.0
"""Costs: after a comma, before a word that opens a phrase, anywhere, after such a word, where none may be."""
UNEVEN, LINE = 4.0, 0.5
"""Costs of lines: of filling one twice as far as another, and a share of what a break costs."""

_SENTENCE = re.compile("[.?!…。？！؟۔।॥]['\"’”»」』)\\]]*$")
_CLAUSE = re.compile("[,;:—–،؛、，；：]['\"’”»」』)\\]]*$")
_EDGES = re.compile(r"^\W+|\W+$")

# Conjunctions, prepositions, articles and pronouns that lead what follows them.
_WORDS = {
    "en": "a about after an and as at because before between but by for from her his how if in into its like my nor of"
    " on or our over she since so than that the their then this through to under until we what when where which while"
    " who with without you your he i it they",
    "de": "aber als am an auf aus bei bis da damit dann das dass dem den denn der des die durch ein eine einem einen"
    " einer er es für gegen ich ihr im in ist mit nach oder ob ohne seit sie sondern über um und unter vom von vor"
    " wann warum was weil wenn wer wie wir wo zu zum zur zwischen",
    "fr": "à au aux avec car ce ces cette chez comme dans de depuis des donc du elle en entre et il je la le les leur"
    " lorsque mais ni nous on or ou où par parce pendant pour puis quand que qui sa sans se ses si son sous sur tu un"
    " une vers vous",
    "es": "a al ante aunque bajo como con cuando de del desde donde el ella en entre es ese esta este hacia hasta la"
    " las lo los mientras ni o para pero por porque pues que quien se si sin sobre su sus tras un una y yo",
    "it": "a ai al alla anche che chi come con da dai dal dalla de dei del della di dopo dove e ed fra gli i il in la"
    " le lo ma mentre ne nel nella o per perché poi prima quando se senza si su sul sulla tra un una uno",
    "pt": "a ao aos as até com como da das de depois do dos e em enquanto entre mas na nas no nos o onde os ou para"
    " pela pelo por porque quando que quem se sem sobre sua um uma",
    "nl": "aan als bij dan dat de die door een en er haar het hij hoe ik in is maar met na naar of om omdat onder ons"
    " op over te tegen tot tussen uit van voor waar want wat we wie zij zijn zonder",
    "ru": "а без больше в во где для до если же за и из или к как когда кто на над не но о об от по под при про с со"
    " та так то у что чтобы эта это этот я",
    "pl": "a ale bez bo czy dla do gdy gdzie i jak jeśli kiedy który na nad nie o od oraz po pod przed przez przy się"
    " to w we więc z za ze że żeby",
}
_NAMES = {
    "eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it", "por": "pt", "nld": "nl",
    "dut": "nl", "rus": "ru", "pol": "pl",
}  # fmt: skip


def phrase_words(language: str | None) -> frozenset[str]:
    """Words that open a phrase, in small letters; those of English where the language is not known."""
    name = re.split("[-_]", language.lower())[0] if language else "en"
    return frozenset(_WORDS.get(_NAMES.get(name, name), "").split())


def break_cost(left: Piece, right: Piece, openers: frozenset[str]) -> float:
    """What it costs to part two pieces: 0 after a sentence and at a pause, up to `TORN`, more where it is forbidden."""
    if not right.before and unbreakable(left.text, right.text):
        return FORBIDDEN
    pause = right.start - left.end
    if pause >= PAUSE:
        return 0.0
    mark, opens = _nature(left.text, openers)
    cost = PLAIN if mark is None else mark
    if mark is None and opens:
        cost = TORN
    elif mark is None and _nature(right.text, openers)[1]:
        cost = PHRASE
    return cost * (1 - max(pause, 0.0) / PAUSE)


@lru_cache(maxsize=1 << 14)
def _nature(text: str, openers: frozenset[str]) -> tuple[float | None, bool]:
    """What a break after a word costs for the mark at its end, None without one; and whether it opens a phrase."""
    end = text[-8:]
    mark = 0.0 if _SENTENCE.search(end) else CLAUSE if _CLAUSE.search(end) else None
    return mark, _EDGES.sub("", text[:40]).lower() in openers


def break_lines(pieces: Sequence[Piece], width: int, openers: frozenset[str]) -> tuple[tuple[Piece, ...], ...]:
    """Pieces as the fewest lines that hold them, the most even ones that end at good places; the last rather longer."""
    count = _fewest(pieces, width)
    if count == 1:
        return (tuple(pieces),)
    n = len(pieces)
    costs = [LINE * break_cost(pieces[i], pieces[i + 1], openers) for i in range(n - 1)] + [0.0]
    tables: list[list[int]] = []
    best = [0.0] + [inf] * n
    for line in range(count):
        following, back = [inf] * (n + 1), [0] * (n + 1)
        for i in range(n):
            if best[i] == inf:
                continue
            wide = 0
            for j in range(i, n):
                wide += pieces[j].columns + (len(pieces[j].before) if j > i else 0)
                if wide > width and j > i:
                    break
                cost = best[i] + costs[j] + UNEVEN * (wide / width) ** 2 + 0.01 * (count - line) * wide / width
                if cost < following[j + 1]:
                    following[j + 1], back[j + 1] = cost, i
        best = following
        tables.append(back)
    ends = [n]
    for back in reversed(tables):
        ends.append(back[ends[-1]])
    ends.reverse()
    return tuple(tuple(pieces[a:b]) for a, b in pairwise(ends))


def _fewest(pieces: Sequence[Piece], width: int) -> int:
    """Lines that pieces need."""
    count, line = 1, pieces[0].columns
    for piece in pieces[1:]:
        wide = len(piece.before) + piece.columns
        count, line = (count, line + wide) if line + wide <= width else (count + 1, piece.columns)
    return count
