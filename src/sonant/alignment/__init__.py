"""Emissions and the text that was said to words and letters with their times, for minutes or ten hours.

The search is compiled (`native/align.h`): the likeliest way through the emissions that spells the text, by CTC's rules,
proven to be so. Words of the text that are not in the audio may be left out, at a cost; speech that is not in the text
is taken by wildcards between lines. Both are reported, and do not push the rest aside.
Shapes: T frames, V tokens, L tokens of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, overload

import numpy as np

from sonant import native
from sonant.alignment.reading import Reading
from sonant.alignment.spelling import WILDCARD, Spelled, Speller
from sonant.decode.checks import checked
from sonant.decode.words import AS_HEARD
from sonant.errors import AlignmentError, OptionError
from sonant.text import needed_frames
from sonant.types import Emissions, Segment, Vocabulary, Word, WordTimes

Star = Literal["lines", "words", "none"]
"""Where speech may stand that is not in the text: around lines, around words, nowhere."""
Status = Literal["exact", "pruned", "mismatch"]

LEAVING_OUT = 5.0
"""What leaving out a word costs for each of its tokens; a letter heard as another one costs about as much."""
WILDCARD_COST = 1.5
"""What a wildcard costs a frame that is not silent: less than a letter in the wrong place, more than in the right."""
UNHEARD = 1e-3
"""Confidence below which a word counts as not heard."""
MISMATCH = 0.2
"""Share of words not heard above which text and audio do not belong together."""
MEMORY = 1 << 30
"""Bytes that a search may take for what it remembers, unless told otherwise."""
MOST_CELLS = 1 << 36
"""Cells that a proof, or the search for a first way, may look at: a minute or two."""


@dataclass(frozen=True)
class Alignment(Sequence[Word]):
    """The words of a text where they were heard: a sequence of `Word`, with what is to be known of it."""

    lines: tuple[Segment, ...]
    """The lines of the text (of a text on a single line its sentences) as segments."""
    status: Status
    """`exact`: no way to place the text is likelier. `pruned`: a likelier one may exist, for speed was wanted or the
    proof would have taken minutes. `mismatch`: more than a fifth of the words were not heard, whatever the search."""
    score: float
    """Sum of the log-probabilities along the way."""
    unheard: tuple[int, ...] = ()
    """The words, by number, that the audio does not seem to hold; those left out have confidence 0, no letters and no
    length."""
    untold: tuple[tuple[float, float], ...] = ()
    """Stretches of speech that the text does not hold, in seconds."""

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for line in self.lines for word in line.words)

    @overload
    def __getitem__(self, index: int) -> Word: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Word]: ...
    def __getitem__(self, index: int | slice) -> Word | Sequence[Word]:
        return self.words[index]

    def __iter__(self) -> Iterator[Word]:
        return iter(self.words)

    def __len__(self) -> int:
        return sum(len(line.words) for line in self.lines)


def align(
    emissions: Emissions,
    text: str | Sequence[str],
    *,
    language: str | None = None,
    star: Star = "lines",
    leave_out: bool = True,
    exact: bool = True,
    max_memory: int = MEMORY,
    times: WordTimes = AS_HEARD,
) -> Alignment:
    """The words of `text` (or of its lines) where the emissions of the whole recording hold them.

    A word keeps its case and punctuation; numbers are searched for as the `language` says them. With `star="none"` and
    `leave_out=False` all audio and all of the text belong together. `exact=False` does without the proof. `times` say
    how late the model is, and how far words go beyond the letters that it hears.
    An hour whose text fits takes under a second of processor time, ten hours about a minute, for the proof grows with
    the square of the length. It is given up after 2^36 cells, a minute or two, but never for want of `max_memory`
    bytes: with fewer it computes more again.
    Raises `AlignmentError` for a text that cannot have been said, and `OptionError` for what are no log-probabilities.
    """
    if star not in ("lines", "words", "none") or max_memory < 0:
        raise OptionError(
            "An alignment takes a star around lines, words or none and a memory of 0 bytes or more, but "
            f"{star!r} and {max_memory} came; leave out what is not needed."
        )
    vocabulary = emissions.vocabulary
    log_probs = checked(emissions.log_probs, len(vocabulary), emissions.first)
    words = Speller(vocabulary, language).spell(text)
    script = _Script(words, vocabulary, star, leave_out)
    script.check_length(emissions)
    tokens = np.array(script.tokens, np.int32)
    proof, starts, ends, score, cells = native.align(
        log_probs,
        tokens,
        vocabulary.blank,
        wildcard_cost=WILDCARD_COST,
        unit_begins=np.array([unit[0] for unit in script.units], np.int32),
        unit_ends=np.array([unit[1] for unit in script.units], np.int32),
        unit_costs=np.array([unit[2] for unit in script.units], np.float32),
        exact=exact,
        memory=max_memory,
        most_cells=MOST_CELLS,
    )
    if not proof and cells > MOST_CELLS:
        raise AlignmentError(
            "A text to align must belong to its audio, but a minute's search has found no way to place it; allow words "
            "to be left out (leave_out=True), or pass the text of this recording alone."
        )
    if not proof:
        raise AlignmentError(
            "A text to align must be possible, but these emissions give its letters no probability at all in any order "
            "of time; look whether model and text have the same language."
        )
    reading = Reading(emissions, log_probs, tokens, starts, ends)
    found = reading.words([word.text for word in words], script.places, times)
    unheard = tuple(i for i, word in enumerate(found) if word.confidence < UNHEARD)
    status: Status = "mismatch" if len(unheard) > MISMATCH * len(found) else "exact" if proof == 2 else "pruned"
    lines = _lines(words, found, vocabulary.space)
    return Alignment(lines, status, score, unheard, tuple(reading.untold(script.stars)))


def _lines(words: Sequence[Spelled], found: Sequence[Word], space: str) -> tuple[Segment, ...]:
    numbered = zip(words, found, strict=True)
    return tuple(
        Segment(tuple(word for _, word in group), space)
        for _, group in groupby(numbered, key=lambda each: each[0].line)
    )


def align_many(
    many: Sequence[tuple[Emissions, str | Sequence[str]]],
    *,
    threads: int = 1,
    language: str | None = None,
    star: Star = "lines",
    leave_out: bool = True,
    exact: bool = True,
    max_memory: int = MEMORY,
    times: WordTimes = AS_HEARD,
) -> list[Alignment]:
    """Each of many recordings with its text, over threads; the result of one does not depend on the others.

    Arguments and errors are those of `align`; `max_memory` is shared among the threads.
    """
    if threads < 1:
        raise OptionError(f"threads must be at least 1, but is {threads}; leave it out.")

    def one(pair: tuple[Emissions, str | Sequence[str]]) -> Alignment:
        emissions, text = pair
        return align(
            emissions, text, language=language, star=star, leave_out=leave_out, exact=exact,
            max_memory=max_memory // threads, times=times,
        )  # fmt: skip

    if threads == 1:
        return [one(pair) for pair in many]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, many))


class _Script:
    """A text as the search wants it: tokens, where its words are among them, and what may be left out."""

    def __init__(self, words: Sequence[Spelled], vocabulary: Vocabulary, star: Star, leave_out: bool) -> None:
        self.wildcard = len(vocabulary)
        self.tokens: list[int] = []
        self.places: list[slice] = []
        """The tokens of each word."""
        self.units: list[tuple[int, int, float]] = []
        self.stars: list[int] = []
        """The tokens between words that stand for speech outside the text."""
        if star != "none":
            self._add_star()
        for i, word in enumerate(words):
            begin = len(self.tokens)
            self.tokens += [self.wildcard if token == WILDCARD else token for token in word.tokens]
            self.places.append(slice(begin, len(self.tokens)))
            last = i + 1 == len(words)
            if not last and vocabulary.separator is not None:
                self.tokens.append(vocabulary.separator)
            if leave_out:
                self.units.append((begin, len(self.tokens), LEAVING_OUT * (len(self.tokens) - begin)))
            if star == "words" or (star == "lines" and (last or words[i + 1].line != word.line)):
                self._add_star()

    def _add_star(self) -> None:
        at = len(self.tokens)
        self.stars.append(at)
        self.tokens.append(self.wildcard)
        self.units.append((at, at + 1, 0.0))

    def check_length(self, emissions: Emissions) -> None:
        """Raises `AlignmentError` where the emissions have fewer frames than the text needs."""
        stars = set(self.stars)
        tokens = [token for i, token in enumerate(self.tokens) if i not in stars]
        needed = needed_frames(tokens)
        if needed > len(emissions):
            missing = needed - len(emissions)
            raise AlignmentError(
                f"A text must fit its audio, but this one needs {needed} frames at least and the audio has "
                f"{len(emissions)}, which is {missing} too few ({missing * emissions.frame_seconds:.2f} s); pass the "
                "text of this recording alone."
            )
