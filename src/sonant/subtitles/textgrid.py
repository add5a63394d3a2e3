"""Praat's TextGrid, `.TextGrid`: a tier of segments, one of words, and of letters and speakers where any are known.

It carries texts and times, of letters too: not confidences or the language. Intervals of a tier neither overlap nor
are empty, so a word ends where the next begins, and lasts a millisecond at least.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple, NoReturn

from sonant.errors import OptionError
from sonant.subtitles.spread import segments_by_speaker
from sonant.subtitles.tidy import clean, tidied, transcript_of
from sonant.types import Letter, Transcript, Word

TICK = 0.001
_TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|(?<!\S)([-+]?[0-9][0-9.eE+-]{0,40}|<exists>|<absent>)(?!\S)|![^\n]*')
_WORDS = re.compile(r"(.*[ -])?(words?|ort)", re.IGNORECASE)
_SEGMENTS = re.compile(r"(.*[ -])?(segments?|utterances?|sentences?|phrases?)", re.IGNORECASE)
_SPEAKERS = re.compile(r"(.*[ -])?speakers?", re.IGNORECASE)
_LETTERS = re.compile(r"(.*[ -])?(letters?|characters?)", re.IGNORECASE)


class Interval(NamedTuple):
    """A part of a tier."""

    start: float
    end: float
    text: str


def to_textgrid(transcript: Transcript) -> str:
    """The transcript in Praat's long form."""
    segments = list(tidied(transcript.segments))
    words = fitted((word.start, word.end, word.text) for segment in segments for word in segment.words)
    letters = fitted(
        (letter.start, letter.end, text)
        for segment in segments
        for word in segment.words
        for letter in word.letters
        if (text := clean(letter.text))
    )
    spans: list[Interval] = []
    turns: list[Interval] = []
    first = 0
    for segment in segments:
        last = first + len(segment.words)
        spans.append(Interval(words[first].start, words[last - 1].end, segment.text))
        if segment.speaker:
            turns.append(spans[-1]._replace(text=segment.speaker))
        first = last
    end = max([transcript.duration, *(tier[-1].end for tier in (words, letters) if tier)])
    end = round(end, 3) or 1.0  # Praat wants some time
    tiers = {"segments": spans, "words": words} | ({"letters": letters} if letters else {})
    tiers |= {"speakers": turns} if turns else {}
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {_number(end)}\n'
    body = "".join(_tier(number, name, tier, end) for number, (name, tier) in enumerate(tiers.items(), 1))
    return f"{head}tiers? <exists>\nsize = {len(tiers)}\nitem []:\n{body}"


def fitted(parts: Iterable[tuple[float, float, str]]) -> list[Interval]:
    """Intervals that neither overlap nor are empty: each ends, if that leaves any of it, where the next begins."""
    found: list[Interval] = []
    for start, end, text in parts:
        if found:
            last = found[-1]
            found[-1] = last._replace(end=max(min(last.end, start), round(last.start + TICK, 3)))
            start = max(start, found[-1].end)
        found.append(Interval(start, max(end, round(start + TICK, 3)), text))
    return found


def _tier(number: int, name: str, parts: Sequence[Interval], end: float) -> str:
    """A tier that fills all the time; what lies between is empty."""
    filled: list[Interval] = []
    clock = 0.0
    for part in parts:
        if part.start > clock:
            filled.append(Interval(clock, part.start, ""))
        filled.append(part)
        clock = part.end
    if clock < end:
        filled.append(Interval(clock, end, ""))
    head = f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n        xmin = 0\n'
    head += f"        xmax = {_number(end)}\n        intervals: size = {len(filled)}\n"
    return head + "".join(
        f"        intervals [{i}]:\n            xmin = {_number(part.start)}\n            xmax = {_number(part.end)}\n"
        f"            text = {_quoted(part.text)}\n"
        for i, part in enumerate(filled, 1)
    )


def _number(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def from_textgrid(text: str) -> Transcript:
    """The words of a TextGrid in either of Praat's forms, its tiers known by their names (`words`, `Anna - words`).

    `segments` groups them (or `utterances`, `sentences`); without it a pause of silence does not, and all are one.
    Raises `OptionError` for what is no TextGrid, with the line, and for one without a tier of words.
    """
    tiers, end = _tiers(Tokens(text))
    words = _named(tiers, _WORDS)
    if words is None:
        names = ", ".join(repr(name) for name, _ in tiers) or "none"
        raise OptionError(
            f"A TextGrid must have a tier called words, but its tiers are {names}; rename the one that holds the words."
        )
    letters = iter(_named(tiers, _LETTERS) or [])
    spans = _named(tiers, _SEGMENTS) or [Interval(0.0, end, "")]
    turns = iter(_named(tiers, _SPEAKERS) or [])
    turn = next(turns, None)
    groups: list[list[Word]] = [[] for _ in spans]
    at = 0
    letter = next(letters, None)
    for word in words:
        while at + 1 < len(spans) and _middle(word) >= spans[at].end:
            at += 1
        own: list[Letter] = []
        while letter is not None and _middle(letter) < word.end:
            if _middle(letter) >= word.start:
                own.append(Letter(letter.text, letter.start, letter.end, 1.0))
            letter = next(letters, None)
        while turn is not None and _middle(word) >= turn.end:
            turn = next(turns, None)
        speaker = turn.text if turn is not None and turn.start <= _middle(word) else None
        groups[at].append(Word(word.text, word.start, word.end, 1.0, tuple(own), speaker))
    unspaced = any(
        len(group) > 1 and "".join(word.text for word in group) == span.text
        for group, span in zip(groups, spans, strict=True)
    )
    space = "" if unspaced else " "
    return transcript_of([part for group in groups for part in segments_by_speaker(group, space)], end)


def _middle(part: Interval) -> float:
    return (part.start + part.end) / 2


def _named(tiers: Sequence[tuple[str, list[Interval]]], wanted: re.Pattern[str]) -> list[Interval] | None:
    """What is said in the first tier of a name."""
    parts = next((parts for name, parts in tiers if wanted.fullmatch(name.strip())), None)
    return None if parts is None else [part for part in parts if part.text.strip()]


class Tokens:
    """The texts in quotes and the numbers that stand free, in order: all that Praat itself reads of a TextGrid."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = self._matches()
        self._at = 0

    def _matches(self) -> Iterator[re.Match[str]]:
        return (match for match in _TOKEN.finditer(self._text) if not match[0].startswith("!"))

    def text(self, what: str) -> str:
        match = self._next(what)
        if match[1] is None:
            self.refuse(what)
        return match[1].replace('""', '"')

    def number(self, what: str) -> float:
        try:
            number = float(self._next(what)[2] or "")
        except ValueError:
            self.refuse(what)
        if not isfinite(number):
            self.refuse(what)
        return number

    def _next(self, what: str) -> re.Match[str]:
        match = next(self._found, None)
        if match is None:
            self._at = len(self._text)
            self.refuse(what)
        self._at = match.start()
        return match

    def flag(self) -> bool:
        """Whether there are tiers."""
        return self._next("<exists>")[2] == "<exists>"

    def refuse(self, what: str) -> NoReturn:
        """Raise `OptionError` with the line of the last token."""
        line = self._text.count("\n", 0, self._at) + 1
        raise OptionError(f"A TextGrid must have {what} at line {line}, but has not; save it with Praat anew.")


def _tiers(tokens: Tokens) -> tuple[list[tuple[str, list[Interval]]], float]:
    """The tiers of intervals with their names, and where the time ends."""
    if tokens.text('"ooTextFile"') != "ooTextFile" or tokens.text('"TextGrid"') != "TextGrid":
        tokens.refuse('the marks "ooTextFile" and "TextGrid"')
    tokens.number("the beginning of its time")
    end = tokens.number("the end of its time")
    tiers: list[tuple[str, list[Interval]]] = []
    for _ in range(int(tokens.number("the number of its tiers")) if tokens.flag() else 0):
        kind, name = tokens.text("the class of a tier"), tokens.text("the name of a tier")
        if kind not in ("IntervalTier", "TextTier"):
            tokens.refuse("IntervalTier or TextTier as the class of a tier")
        tokens.number("the beginning of a tier")
        tokens.number("the end of a tier")
        count = int(tokens.number("the number of intervals"))
        if kind == "IntervalTier":
            tiers.append((name, [_interval(tokens) for _ in range(count)]))
            continue
        for _ in range(count):
            tokens.number("the time of a point")
            tokens.text("the mark of a point")
    return tiers, end


def _interval(tokens: Tokens) -> Interval:
    start, end = tokens.number("the start of an interval"), tokens.number("the end of an interval")
    if not 0 <= start <= end:
        tokens.refuse("an interval that ends after it starts")
    return Interval(start, end, clean(tokens.text("the text of an interval")))
