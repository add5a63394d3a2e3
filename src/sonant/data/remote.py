"""Files at URLs that fsspec knows (`s3://`, `gs://`, `hf://`): opened, measured, fetched; the only user of fsspec."""

from __future__ import annotations

import io
import os
from os import PathLike
from pathlib import Path
from typing import Any, cast

from sonant.audio.samples import reason
from sonant.errors import DataError, MissingExtraError


def is_url(path: str | PathLike[str]) -> bool:
    """Whether a path names a file elsewhere."""
    return "://" in os.fspath(path)


def open_url(url: str) -> io.BufferedReader:
    """The bytes of a file, read as they are asked for; raises `DataError` where it cannot be opened."""
    files, path = find_store(url)
    try:
        return io.BufferedReader(cast("io.RawIOBase", files.open(path, "rb")))
    except FileNotFoundError as error:
        raise DataError(f"{url} does not exist; check its spelling.") from error
    except Exception as error:  # each store has errors of its own
        raise DataError(f"{url} cannot be read ({reason(error)}); check who may read it.") from error


def fetch(url: str, place: Path) -> None:
    """Copy a file, front to back; whatever its store raises, `OSError` where it came short of what the store says."""
    files, path = find_store(url)
    size = files.size(path)
    files.get_file(path, str(place))
    came = place.stat().st_size
    if size is not None and came != size:
        raise OSError(f"{came} of {size} bytes came")


def size_of(url: str) -> int | None:
    """Bytes of a file, where its store says so."""
    files, path = find_store(url)
    return files.size(path)


def find_store(url: str) -> tuple[Any, str]:
    """The store that a URL leads to, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError:
        raise MissingExtraError("Files at URLs need fsspec: pip install 'sonant[remote]'") from None
    try:
        return cast("tuple[Any, str]", url_to_fs(url))
    except ImportError as error:
        raise MissingExtraError(f"{url} needs another package: {reason(error)}") from error
    except Exception as error:  # an unknown protocol, or wrong credentials
        raise DataError(f"{url} leads nowhere ({reason(error)}); check its spelling.") from error
