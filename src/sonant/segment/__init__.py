"""Long recordings with their texts to utterances for training: aligned, cut at pauses, written with a manifest.

A recording is heard once for its alignment and read once more for its pieces; of it only emissions and levels are
held. What has no text, no sound, or is too unsure is left out, and told.
"""

from __future__ import annotations

import secrets
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from sonant.alignment import UNHEARD, Alignment
from sonant.alignment.spelling import Speller
from sonant.audio.flac import to_flac
from sonant.audio.samples import reason
from sonant.data.manifest import Utterance, open_utterance, write_manifest
from sonant.errors import DataError, OutputError
from sonant.mux import language_code
from sonant.recognizer import Recognizer
from sonant.segment.choose import Loudness, Piece, SegmentSpec, choose_pieces
from sonant.types import FloatArray, Progress, Word

__all__ = ["LEFT_OUT", "MANIFEST", "SegmentSpec", "Segmented", "segment_book", "write_book"]

MANIFEST = "manifest.jsonl"
LEFT_OUT = "left-out.jsonl"
"""Stretches that no utterance holds: a manifest of its own, each line with its `reason`."""

PAUSED, SLOW = 0.5, 0.2
"""Seconds that a word may last at most: so many, and so many a letter."""

Reason = Literal["not heard", "cannot be spelled", "between pieces", "no text"]


@dataclass(frozen=True)
class Segmented:
    """What came of one recording."""

    pieces: tuple[Utterance, ...]
    """Parts of the recording with their texts, `confidence` among their extras."""
    left_out: tuple[Utterance, ...]
    """The rest of the text, and speech without a text, each with its `reason`; no duration where it has none."""
    seconds: float
    """Of the recording."""
    num_words: int
    """Of the text."""
    num_used: int
    """Words of the text that pieces hold."""

    @property
    def used_seconds(self) -> float:
        """Of the recording, in pieces."""
        return sum(piece.duration or 0.0 for piece in self.pieces)


def segment_book(
    asr: Recognizer,
    book: Utterance,
    spec: SegmentSpec | None = None,
    *,
    exact: bool = True,
    progress: Progress | None = None,
) -> Segmented:
    """The pieces of a recording whose whole text is known, as parts of it.

    Numbers are written out as the model's language says them. A word with a symbol or number whose sound is not known,
    or in letters that the model cannot be asked for, is left out. Raises `DataError` where no piece can be had, and
    what `asr.align` raises.
    """
    spec = spec or SegmentSpec()
    loudness = Loudness(asr.checkpoint.config.hop)
    with open_utterance(book, asr.checkpoint.sample_rate) as stream:
        stream.listener = loudness.add
        found = asr.align(stream, book.text or "", star="words", exact=exact, progress=progress)
        seconds = stream.num_samples / stream.sample_rate
    said = _spoken(asr, book, found)
    trusted = [text is not None and _is_heard(word) for word, text in zip(found, said, strict=True)]
    chosen = choose_pieces(found.words, trusted, found.untold, loudness.levels(), asr.frame_seconds, spec)
    if not chosen:
        raise DataError(
            f"{book.name} must have speech that its text fits, but no stretch of {spec.min_seconds:g} to "
            f"{spec.max_seconds:g} s between pauses reaches a confidence of {spec.min_confidence:g}; look whether "
            "text, recording and model belong together, or allow less."
        )
    space = asr.vocabulary.space
    pieces = tuple(_part(book, p, space.join(text or "" for text in said[p.words])) for p in chosen)
    used = sum(p.words.stop - p.words.start for p in chosen)
    return Segmented(pieces, tuple(_rest(book, found, said, chosen, space)), seconds, len(found), used)


def write_book(segmented: Segmented, book: Utterance, folder: Path, name: str, sample_rate: int | None) -> None:
    """Write the pieces to the folder `name` in `folder`, with their manifest, whole or not at all.

    Each piece is a FLAC file at `sample_rate`; where that is None nothing is copied, and the manifest names parts of
    the recording. Who speaks is the book's `speaker`, or else called `name`. Raises `OutputError`.
    """
    partial = folder / f".sonant-{secrets.token_hex(8)}.tmp"
    pieces = [replace(piece, speaker=piece.speaker or name) for piece in segmented.pieces]
    try:
        partial.mkdir()
        if sample_rate:
            for number, samples in enumerate(_sounds(book, pieces, sample_rate)):
                path = partial / f"{name}-{number + 1:05}.flac"
                path.write_bytes(to_flac(samples, sample_rate))
                seconds = round(len(samples) / sample_rate, 4)
                pieces[number] = replace(pieces[number], audio=str(path), offset=None, duration=seconds)
        write_manifest(partial / MANIFEST, pieces)
        write_manifest(partial / LEFT_OUT, segmented.left_out)
        partial.rename(folder / name)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder / name} could not be written ({reason(error)}); make room.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sounds(book: Utterance, pieces: Sequence[Utterance], sample_rate: int) -> Iterator[FloatArray]:
    """The samples of each piece, as the recording is read once."""
    begin = book.offset or 0.0
    bounds = deque(
        (round((p.offset - begin) * sample_rate), round((p.offset - begin + p.duration) * sample_rate))
        for p in pieces
        if p.offset is not None and p.duration is not None
    )
    held, at = np.zeros(0, np.float32), 0
    with open_utterance(book, sample_rate) as stream:
        for block in stream:
            held = np.concatenate([held, block])
            while bounds and bounds[0][1] <= at + len(held):
                first, last = bounds.popleft()
                yield held[first - at : last - at]
            if not bounds:
                return
            passed = min(max(bounds[0][0] - at, 0), len(held))
            held, at = held[passed:], at + passed
    yield from (held[first - at : last - at] for first, last in bounds)  # the last may end within a frame


def _is_heard(word: Word) -> bool:
    """Whether a word has letters where it stands, and does not stretch over what else is said there."""
    slow = word.end - word.start > PAUSED + SLOW * len(word.letters)
    return word.confidence >= UNHEARD and not slow and any(letter.text for letter in word.letters)


def _spoken(asr: Recognizer, book: Utterance, found: Alignment) -> list[str | None]:
    """Each word as it is read aloud; None where that is not known."""
    language = asr.checkpoint.language
    speller = Speller(asr.vocabulary, language)
    foreign = bool(book.language and language) and language_code(book.language or "") != language_code(language or "")
    return [None if foreign and any(map(str.isdigit, word.text)) else speller.spoken(word.text) for word in found]


def _part(book: Utterance, piece: Piece, text: str) -> Utterance:
    offset = round((book.offset or 0.0) + piece.start, 4)
    extra = {**book.extra, "confidence": round(piece.confidence, 4)}
    return replace(book, offset=offset, duration=round(piece.end - piece.start, 4), text=text, extra=extra)


def _rest(
    book: Utterance, found: Alignment, said: Sequence[str | None], chosen: Sequence[Piece], space: str
) -> Iterator[Utterance]:
    """What no piece holds, in the order of time."""
    begin = book.offset or 0.0
    kept = {i for piece in chosen for i in range(piece.words.start, piece.words.stop)}

    def why(i: int) -> Reason | None:
        word = found[i]
        unspelled = said[i] is None or (word.letters and not any(letter.text for letter in word.letters))
        if i in kept:
            return None
        return "cannot be spelled" if unspelled else "between pieces" if _is_heard(word) else "not heard"

    def left(start: float, end: float, text: str | None, reason: Reason) -> Utterance:
        seconds = round(end - start, 4)
        offset, extra = round(begin + start, 4), {"reason": reason}
        return replace(book, offset=offset, duration=seconds if seconds > 0 else None, text=text, extra=extra)

    rest = [left(start, end, None, "no text") for start, end in found.untold]
    for told, group in groupby(range(len(found)), why):
        if told:
            words = [found[i] for i in group]
            text = space.join(word.text for word in words)
            rest.append(left(words[0].start, words[-1].end, text, told))
    yield from sorted(rest, key=lambda utterance: utterance.offset or 0.0)
