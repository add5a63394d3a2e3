"""Words to cues: what stands on the screen at once, and for how long.

Where a stretch of speech is cut is found by dynamic programming over costs: many cues, half-empty ones, ones too quick
to be read, and cuts that part what belongs together. A cue is settled as soon as one more of its size is known, so
that a stream without pauses is cut as it comes, and just as the whole would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

from sonant.errors import OptionError
from sonant.subtitles.breaks import break_cost, break_lines, phrase_words
from sonant.subtitles.tidy import tidied
from sonant.subtitles.widths import Piece, columns, pieces_of
from sonant.types import Segment

CUE, EMPTY, HURRY, BREAK = 1.0, 1.0, 2.0, 1.0
"""Costs: of a cue; of one that is all empty (by the square); of one of which nothing can be read; of a plain break."""
CLOSE = 0.5
"""Shorter pauses between two cues are closed down to the gap: the first stays, so that nothing flickers."""
TICK = 0.001


@dataclass(frozen=True, slots=True)
class CueSpec:
    """What cues may be; the defaults are those of Netflix's Timed Text Style Guide for English.

    BBC's guidelines agree: two lines, 160 to 180 words a minute (some 15 to 17 characters a second).
    """

    width: int = 42
    """Columns of a line; wide characters (Chinese, Japanese, Korean) take two."""
    lines: int = 2
    """Lines of a cue."""
    reading_speed: float = 17.0
    """Columns that can be read in a second; cues stay longer than speech where there is room."""
    min_duration: float = 5 / 6
    """Seconds that a cue stays, unless the next one comes sooner."""
    max_duration: float = 7.0
    """Seconds that a cue stays at most."""
    gap: float = 1 / 12
    """Seconds without a cue between two of them: two frames of a film."""

    def __post_init__(self) -> None:
        for name in ("width", "lines"):
            if getattr(self, name) < 1:
                raise OptionError(f"The {name} of cues must be 1 or more, but {getattr(self, name)} came; raise it.")
        seconds = (self.min_duration, self.max_duration, self.gap)
        if not (self.reading_speed > 0 and all(x >= 0 and isfinite(x) for x in seconds) and self.max_duration > 0):
            raise OptionError(
                "The reading speed of cues and their longest duration must be above 0, their shortest and their gap 0 "
                f"or more, but {self.reading_speed}, {self.max_duration}, {self.min_duration} and {self.gap} came; "
                "correct them."
            )
        if self.min_duration > self.max_duration:
            raise OptionError(
                f"The shortest cue must not be longer than the longest, but {self.min_duration:g} s and "
                f"{self.max_duration:g} s came; exchange them."
            )


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown at once."""

    start: float
    """Seconds from the beginning of the file; no cue starts before the one before it ends."""
    end: float
    """Seconds from the beginning of the file, above `start`."""
    lines: tuple[tuple[Piece, ...], ...]
    speaker: str | None = None
    """Who says it, where that is known."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Its lines as they are read."""
        return tuple(line[0].text + "".join(p.before + p.text for p in line[1:]) for line in self.lines)


def cues_of(
    segments: Iterable[Segment], spec: CueSpec | None = None, language: str | None = None, *, named: bool = False
) -> Iterator[Cue]:
    """The cues of segments, in order, as soon as each is settled; none spans two segments.

    Time grows with the number of words, memory does not. `language` (`en`, `deu`) tells which words open a phrase:
    lines and cues rather end before those than after. A word wider than a line has a line of its own. With `named` a
    speaker's name stands before the words, `Anna: `, where another one spoke before.
    """
    spec = spec or CueSpec()
    openers = phrase_words(language)
    held: list[Piece] = []
    speaker: str | None = None
    clock = 0.0
    last = None
    for segment in tidied(segments):
        new = named and segment.speaker and segment.speaker != last
        pieces = pieces_of(segment.words, segment.space)
        last = segment.speaker
        for group in _groups(_with_name(pieces, f"{last}: ") if new else pieces, spec, openers):
            if held:
                yield replace(cue := _timed(held, group[0].start, clock, spec, openers), speaker=speaker)
                clock = cue.end
            held, speaker = group, segment.speaker
    if held:
        yield replace(_timed(held, None, clock, spec, openers), speaker=speaker)


def _with_name(pieces: Iterator[Piece], name: str) -> Iterator[Piece]:
    """Pieces of which the first has a name before it, on the same line."""
    first = next(pieces)
    yield replace(first, text=name + first.text, columns=columns(name) + first.columns)
    yield from pieces


def _groups(pieces: Iterable[Piece], spec: CueSpec, openers: frozenset[str]) -> Iterator[list[Piece]]:
    """The pieces of each cue of one segment."""
    most = 2 * spec.width * spec.lines
    pending: list[Piece] = []
    wide = 0
    for piece in pieces:
        pending.append(piece)
        wide += piece.columns + len(piece.before)
        while wide > most and len(pending) > 1:
            first = pending[: _cuts(pending, spec, openers)[0]]
            yield first
            pending = pending[len(first) :]
            wide -= sum(piece.columns + len(piece.before) for piece in first)
    start = 0
    for end in _cuts(pending, spec, openers):
        yield pending[start:end]
        start = end


def _cuts(pieces: Sequence[Piece], spec: CueSpec, openers: frozenset[str]) -> list[int]:
    """Where the cheapest cues of some pieces end, each index the first that is no longer in."""
    count = len(pieces)
    after = [BREAK * break_cost(pieces[i], pieces[i + 1], openers) for i in range(count - 1)] + [0.0]
    until = [piece.start - spec.gap for piece in pieces[1:]] + [inf]
    best, back = [0.0] + [inf] * count, [0] * (count + 1)
    room = spec.width * spec.lines
    for i in range(count):
        start, latest = pieces[i].start, pieces[i].start + spec.max_duration + TICK
        line = total = 0
        lines = 1
        for j in range(i, count):
            piece = pieces[j]
            if j > i:
                wide = len(piece.before) + piece.columns
                if line + wide <= spec.width:
                    line += wide
                elif lines < spec.lines:
                    lines, line = lines + 1, piece.columns
                else:
                    break
                if piece.end > latest:
                    break
                total += wide
            else:
                line = total = piece.columns
            needed = max(total / spec.reading_speed, spec.min_duration, TICK)
            missing = (start + needed - until[j]) / needed
            cost = best[i] + CUE + after[j] + EMPTY * max(0.0, 1 - total / room) ** 2
            if missing > 0:
                cost += HURRY * min(missing, 1.0)
            if cost < best[j + 1]:
                best[j + 1], back[j + 1] = cost, i
    ends: list[int] = []
    at = count
    while at:
        ends.append(at)
        at = back[at]
    return ends[::-1]


def _timed(
    pieces: Sequence[Piece], following: float | None, clock: float, spec: CueSpec, openers: frozenset[str]
) -> Cue:
    """A cue of some pieces, after one that ends at `clock`, before one that starts at `following`."""
    lines = break_lines(pieces, spec.width, openers)
    total = sum(piece.columns + len(piece.before) for piece in pieces) - len(pieces[0].before)
    start = max(pieces[0].start, clock)
    longest = start + spec.max_duration
    end = start + max(spec.min_duration, total / spec.reading_speed)
    end = max(end, *(piece.end for piece in pieces))
    if following is not None and following - end < CLOSE:
        # next to the next cue: with the gap, or without where the gap would be the longer part
        end = following - spec.gap if following - start >= 2 * spec.gap else following
    end = min(end, longest)
    start = round(start, 3)
    return Cue(start, max(round(end, 3), round(start + TICK, 3)), lines)
