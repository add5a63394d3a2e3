"""A line a word: TSV for spreadsheets and scripts, NIST's CTM for scoring (sclite) and speech toolkits.

TSV, `.tsv`, under a line of names: start and end in seconds, the word, its confidence, the number of its segment, and
its speaker where any is known.
CTM, `.ctm`: file, channel, start, duration, word, confidence. Neither carries letters, language or warnings, and CTM no
segments or speakers: words are read as one segment up to a pause.
"""

from __future__ import annotations

import re
from itertools import groupby
from math import isfinite
from pathlib import PurePath

from sonant.errors import OptionError
from sonant.subtitles.spread import spaces_of
from sonant.subtitles.tidy import lines_of, refuse, tidied, transcript_of
from sonant.types import Segment, Transcript, Word

PAUSE = 0.6
"""Seconds between two words of a CTM that end a segment, as they do where words are decoded."""
_NAMES = ("start", "end", "text", "confidence", "segment")
_SPEAKER = "speaker"
_BLANK = re.compile("[ \t]+")


def to_tsv(transcript: Transcript) -> str:
    """A line a word, its values between tabs."""
    known = any(word.speaker for word in transcript.words)
    rows = ["\t".join((*_NAMES, _SPEAKER) if known else _NAMES)]
    for number, segment in enumerate(tidied(transcript.segments), 1):
        for w in segment.words:
            who = f"\t{w.speaker or ''}" if known else ""
            rows.append(f"{w.start:.3f}\t{w.end:.3f}\t{w.text}\t{_confidence(w)}\t{number}{who}")
    return "\n".join(rows) + "\n"


def to_ctm(transcript: Transcript) -> str:
    """A line a word; spaces inside a word or the file's name become such that do not break (U+00A0) and `_`."""
    name = _BLANK.sub("_", PurePath(transcript.source or "audio").stem.strip()) or "audio"
    words = (word for segment in tidied(transcript.segments) for word in segment.words)
    return "".join(
        f"{name} 1 {w.start:.3f} {w.end - w.start:.3f} {w.text.replace(' ', chr(0xA0))} {_confidence(w)}\n"
        for w in words
    )


def _confidence(word: Word) -> str:
    return f"{word.confidence:.4f}" if isfinite(word.confidence) else "0.0000"


def from_tsv(text: str) -> Transcript:
    """What `to_tsv` wrote; columns may stand in any order, `confidence`, `segment` and `speaker` may lack.

    Raises `OptionError` with the line that is wrong.
    """
    lines = lines_of(text)
    names = lines[0].split("\t")
    if not {"start", "end", "text"} <= set(names):
        refuse(1, "the names start, end and text between tabs", lines[0])
    words: list[tuple[str, Word]] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        values = line.split("\t")
        if len(values) != len(names):
            refuse(number, f"{len(names)} values between tabs", line)
        row = dict(zip(names, values, strict=True))
        start, end = _number(row["start"]), _number(row["end"])
        confidence = _number(row.get("confidence", "1"))
        if start is None or end is None or confidence is None or start > end:
            refuse(number, "numbers, the start no later than the end", line)
        word = Word(row["text"], start, end, confidence, (), row.get(_SPEAKER) or None)
        words.append((row.get("segment", "1"), word))
    space = spaces_of(word.text for _, word in words)
    groups = (tuple(word for _, word in group) for _, group in groupby(words, key=lambda p: (p[0], p[1].speaker)))
    return transcript_of([Segment(group, space) for group in groups])


def from_ctm(text: str) -> Transcript:
    """The words of one file and channel, in the order of their times; a segment ends at a pause of 0.6 s.

    Raises `OptionError` with the line that is wrong, and where there are several files or channels.
    """
    words: list[Word] = []
    source: list[str] = []
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        values = _BLANK.split(line.strip(" \t"))
        if len(values) not in (5, 6):
            refuse(number, "file, channel, start, duration, word and confidence", line)
        start, duration = _number(values[2]), _number(values[3])
        confidence = _number(values[5]) if len(values) == 6 else 1.0
        if start is None or duration is None or confidence is None or duration < 0:
            refuse(number, "numbers for start, duration and confidence", line)
        source = source or values[:2]
        if values[:2] != source:
            raise OptionError(
                f"A CTM of one file and channel can be read, but line {number} goes over to another; split it first."
            )
        words.append(Word(values[4].replace("\u00a0", " "), start, round(start + duration, 3), confidence))
    words.sort(key=lambda word: word.start)
    space = spaces_of(word.text for word in words)
    segments: list[Segment] = []
    begin = 0
    for i in range(1, len(words) + 1):
        if i == len(words) or words[i].start - words[i - 1].end >= PAUSE:
            segments.append(Segment(tuple(words[begin:i]), space))
            begin = i
    return transcript_of(segments)


def _number(text: str) -> float | None:
    """A number of at least 0, None for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
