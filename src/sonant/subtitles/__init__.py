"""Transcripts as files: subtitles, tables, TextGrid, JSON and plain text; all but the last are read again.

What each format cannot carry stands in its module. JSON carries all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from sonant.errors import OptionError
from sonant.files import write_text
from sonant.subtitles.ass import from_ass, to_ass
from sonant.subtitles.cues import Cue, CueSpec, cues_of
from sonant.subtitles.readable import Case, in_case
from sonant.subtitles.srt import from_srt, to_srt
from sonant.subtitles.tables import from_ctm, from_tsv, to_ctm, to_tsv
from sonant.subtitles.textgrid import from_textgrid, to_textgrid
from sonant.subtitles.tidy import clean
from sonant.subtitles.tree import from_json, to_json
from sonant.subtitles.webvtt import from_vtt, to_vtt
from sonant.types import Transcript

__all__ = [
    "FORMATS", "Case", "Cue", "CueSpec", "cues_of", "format_of", "from_ass", "from_ctm", "from_json", "from_srt",
    "from_textgrid", "from_tsv", "from_vtt", "in_case", "read", "render", "save", "to_ass", "to_ctm", "to_json",
    "to_srt", "to_text", "to_textgrid", "to_tsv", "to_vtt",
]  # fmt: skip

MOST_BYTES = 256 << 20
"""A larger file is no transcript: ten hours as JSON with letters take a tenth of it."""


def to_text(transcript: Transcript) -> str:
    """The words, a line a segment, after the name of its speaker where that is known."""
    names = (clean(segment.speaker or "") for segment in transcript.segments)
    lines = zip(names, transcript.segments, strict=True)
    return "".join(f"{name}: {segment.text}\n" if name else f"{segment.text}\n" for name, segment in lines)


@dataclass(frozen=True)
class Format:
    """A way of writing transcripts."""

    write: Callable[[Transcript, CueSpec | None, bool], str]
    """From a transcript, its cues' form and whether it is karaoke."""
    read: Callable[[str], Transcript] | None
    cues: bool = False
    """Whether it is made of cues, which are read by people: sentence case is then the default."""


FORMATS: Mapping[str, Format] = {
    ".json": Format(lambda transcript, _spec, _karaoke: to_json(transcript), from_json),
    ".txt": Format(lambda transcript, _spec, _karaoke: to_text(transcript), None),
    ".srt": Format(lambda transcript, spec, _karaoke: to_srt(transcript, spec), from_srt, cues=True),
    ".vtt": Format(lambda transcript, spec, karaoke: to_vtt(transcript, spec, karaoke=karaoke), from_vtt, cues=True),
    ".ass": Format(lambda transcript, spec, karaoke: to_ass(transcript, spec, karaoke=karaoke), from_ass, cues=True),
    ".tsv": Format(lambda transcript, _spec, _karaoke: to_tsv(transcript), from_tsv),
    ".ctm": Format(lambda transcript, _spec, _karaoke: to_ctm(transcript), from_ctm),
    ".textgrid": Format(lambda transcript, _spec, _karaoke: to_textgrid(transcript), from_textgrid),
}
"""What writes and reads a transcript, by the suffix of its file in small letters."""


def render(
    transcript: Transcript,
    suffix: str,
    *,
    case: Case | None = None,
    cues: CueSpec | None = None,
    karaoke: bool = False,
) -> str:
    """A transcript as the text of a file that ends in `suffix` (`.srt`).

    `case` is sentence case for subtitles and the model's own otherwise where it is not given. `cues` and `karaoke`
    count for subtitles alone, karaoke not for SRT, which cannot have it. Raises `OptionError` for an unknown suffix.
    """
    format = format_of(f"*{suffix}")
    return format.write(in_case(transcript, case or ("sentence" if format.cues else "asis")), cues, karaoke)


def save(
    transcript: Transcript,
    path: str | PathLike[str],
    *,
    case: Case | None = None,
    cues: CueSpec | None = None,
    karaoke: bool = False,
) -> None:
    """Write to `path` what `render` gives for its suffix, whole or not at all.

    Raises `OptionError` for an unknown suffix and `OutputError` where it cannot be written.
    """
    format_of(path)
    write_text(path, render(transcript, Path(path).suffix, case=case, cues=cues, karaoke=karaoke))


def read(path: str | PathLike[str]) -> Transcript:
    """The transcript that a file holds, as far as its format carries it; the suffix names the format.

    Files of other programs are read too, in UTF-8, or UTF-16 where a mark at the beginning says so. Raises
    `OptionError` for a file that cannot be read or is not what its suffix says, with the line.
    """
    parse = format_of(path).read
    if parse is None:
        raise OptionError(f"Words with times were expected, but {path} is plain text; pass subtitles or JSON.")
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"{path} cannot be read ({reason}); check the path.") from error
    if len(data) > MOST_BYTES:
        raise OptionError(f"{path} is larger than {MOST_BYTES >> 20} MB, which no transcript is; pass another file.")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} must be UTF-8, but byte {error.start} is not; save it as UTF-8.") from error
    try:
        return parse(text)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error


def format_of(path: str | PathLike[str]) -> Format:
    """The format that the suffix of a file's name means; `OptionError` for one that is not known."""
    found = FORMATS.get(Path(path).suffix.lower())
    if found is None:
        *most, last = FORMATS
        raise OptionError(
            f"A transcript is a file whose name ends in {', '.join(most)} or {last}, but {path} was given; rename it."
        )
    return found
