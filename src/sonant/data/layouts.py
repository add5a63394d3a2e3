"""What the layouts of corpora share: what is wanted of one, tables and lists of names, files that must be there."""

from __future__ import annotations

import csv as tables
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sonant.data.manifest import Utterance, from_fields, read_lines
from sonant.errors import DataError

SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3", ".m4a", ".webm", ".mp4", ".mkv", ".aac", ".aiff", ".wma")
"""Of the files that are taken for audio."""
COLUMNS = {
    "audio_filepath": ("audio_filepath", "file_name", "path", "audio", "wav", "wav_filename", "filename", "file", "id"),
    "text": ("text", "transcription", "transcript", "sentence", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk"),
    "language": ("language", "lang", "locale"),
    "label": ("label", "class", "emotion"),
    "duration": ("duration", "seconds"),
    "offset": ("offset", "start"),
}
"""Names that the columns of tables go by, the best first."""


@dataclass(frozen=True)
class Choice:
    """What is wanted of a corpus."""

    split: str | None = None
    """`train`, `dev`, `test` or whatever the corpus calls its parts; None for the layout's own choice."""
    extract: Path | None = None
    """Folder for audio that lies inside tables."""


Layout = Callable[[Path, Choice], Iterator[Utterance]]


def from_row(row: Mapping[str, Any], folder: Path, where: str) -> Utterance:
    """The utterance of a table's row, its columns known by any of their usual names."""
    values = {key: value for key, value in row.items() if value not in (None, "")}
    fields: dict[str, Any] = {}
    for field, names in COLUMNS.items():
        if (name := next((name for name in names if name in values), None)) is not None:
            fields[field] = values.pop(name)
    if "audio_filepath" not in fields:
        raise DataError(
            f"{where} must name a file in a column such as path or file_name, but has {', '.join(map(str, row))}; "
            "rename the column, or choose another layout."
        )
    if "text" not in fields and any(name in row for name in COLUMNS["text"]):
        fields["text"] = ""
    for field in ("duration", "offset"):
        if isinstance(fields.get(field), str):
            try:
                fields[field] = float(fields[field])
            except ValueError as error:
                raise DataError(f"{where} must have seconds as {field}, but has {fields[field]!r}.") from error
    utterance = from_fields(fields | values, folder, where)
    if Path(utterance.audio).suffix:
        return utterance
    wavs = folder / "wavs"  # LJ Speech names files by their stem
    return replace(utterance, audio=beside(wavs if wavs.is_dir() else folder, str(fields["audio_filepath"]), ".wav"))


def read_table(place: Path, delimiter: str | None = None) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table by the names in its first line, each with its number; quotes count where commas part columns."""
    lines = (line for _, line in read_lines(place))
    first = next(lines, "")
    if delimiter is None:
        delimiter = max("\t", "|", ";", ",", key=first.count)
    rules: dict[str, Any] = {"delimiter": delimiter}
    rules |= {} if delimiter in ",;" else {"quoting": tables.QUOTE_NONE}
    header: list[str] = next(tables.reader([first], **rules), list[str]())
    if delimiter == "|" and not {"text", "transcription", "sentence"} & set(header):  # LJ Speech
        header = ["id", "text_raw", "text"][: len(header)] if len(header) > 2 else ["id", "text"]
        lines = (line for _, line in read_lines(place))
        first = ""
    rows = tables.reader(lines, **rules)
    for row in rows:
        if row:
            yield rows.line_num + bool(first), dict(zip(header, row, strict=False))


def expect(found: list[Path], folder: Path, what: str) -> list[Path]:
    """`found`, or a `DataError` that says what of the layout is missing."""
    if not found:
        why = "does not exist" if not folder.exists() else "is a file" if folder.is_file() else "holds none"
        raise DataError(f"{folder} must be a folder with {what}, but {why}; check the path, the layout and the split.")
    return found


def beside(folder: Path, name: str, usual: str) -> str:
    """The audio file of that name, whatever its suffix; with the usual one where there is none."""
    for suffix in (usual, *SUFFIXES):
        if (place := folder / (name + suffix)).is_file():
            return str(place)
    return str(folder / (name + usual))


def read_pairs(place: Path, between: str) -> Iterator[tuple[str, str]]:
    """The name and the text on each line."""
    for _, line in read_lines(place):
        name, _, text = line.strip().partition(between)
        if name:
            yield name, text.strip()
