"""Recordings and their texts, as verbs take them: side by side, or by their names."""

from __future__ import annotations

import sys
from pathlib import Path

from sonant.errors import OptionError

TEXTS = (".txt", ".lab")
"""How files with the text of a recording end; the first is tried first."""


def pair_texts(files: list[str]) -> list[tuple[str, str]]:
    """Each recording with its text.

    Of two files the second is the text of the first. Of others those that end in .txt or .lab are texts, and belong to
    the recording of their name; where none is named, the one that lies beside the recording is taken. Raises
    `OptionError` for a recording without a text, and for a text without a recording.
    """
    from sonant.data.layouts import SUFFIXES

    if len(files) == 2 and _suffix(files[1]) not in SUFFIXES and _suffix(files[0]) not in TEXTS:
        return [(files[0], files[1])]
    texts = [Path(file) for file in files if _suffix(file) in TEXTS]
    recordings = [file for file in files if _suffix(file) not in TEXTS]
    pairs = [(recording, _text_of(Path(recording), texts)) for recording in recordings]
    taken = {text for _, text in pairs}
    for text in texts:
        if str(text) not in taken:
            raise OptionError(f"{text} must belong to a recording of its name, but none is named; add the recording.")
    return pairs


def _text_of(recording: Path, texts: list[Path]) -> str:
    found = [text for text in texts if text.stem == recording.stem]
    found = [text for text in found if text.parent == recording.parent] or found
    found = found or [place for suffix in TEXTS if (place := recording.with_suffix(suffix)).is_file()][:1]
    if len(found) != 1:
        came = "none is there" if not found else f"{' and '.join(map(str, found))} were named"
        raise OptionError(
            f"{recording} must have one text, a .txt of its name, but {came}; name it after the recording."
        )
    return str(found[0])


def _suffix(file: str) -> str:
    return Path(file).suffix.lower()


def read_text(path: str) -> str:
    """A text as it lies in a file, or comes on standard input; `OptionError` where it cannot be read."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"{path} must be a text, but cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} must be UTF-8, but byte {error.start} is not; save it as UTF-8.") from error
