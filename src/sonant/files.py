"""Results on disk: they appear whole or not at all. And where is kept what need not be made twice."""

from __future__ import annotations

import lzma
import os
import secrets
import stat
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from sonant.errors import OutputError, SonantError

UNPACKING_FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file that may be packed may raise."""


def write_text(path: str | PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path` in one step; whoever reads it sees the old file or the new one.

    A file that is replaced keeps its permissions, a link keeps pointing to it. What UTF-8 cannot hold (halves of
    characters, from odd file names) is written as an escape. Raises `OutputError` and leaves nothing behind.
    """
    with open_output(path) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextmanager
def open_output(path: str | PathLike[str], *, private: bool = False) -> Generator[BinaryIO]:
    """A file to write that stands at `path` once the block ends well, with the promises of `write_text`.

    `private` makes it its owner's alone, whatever it was before.

    What the block raises passes through, but for an `OSError`, which becomes an `OutputError`.
    """
    inside = False
    try:
        place = Path(path).resolve()
        mode = _replaceable(path, place)
        partial = place.with_name(f".sonant-{secrets.token_hex(8)}.tmp")  # a rename is one step within a folder only
        try:
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "wb"
            ) as file:
                inside = True
                yield file
                inside = False
                file.flush()
                os.fsync(file.fileno())  # a full disk may say so only now
            if mode is not None and not private:
                partial.chmod(mode)
            partial.replace(place)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except SonantError:
        raise
    except FileNotFoundError as error:
        raise OutputError(f"{path} cannot be written, because its folder does not exist; create that first.") from error
    except PermissionError as error:
        raise OutputError(f"{path} may not be written by this user; choose another place.") from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a circle of links
        if inside and not isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path} could not be written ({reason}); choose another place, or make room.") from error


def make_folder(path: str | PathLike[str]) -> None:
    """Make a folder, and those above it; `OutputError` where it cannot be written, now and not after hours of work."""
    from tempfile import TemporaryFile

    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(
            f"{path} must be a folder that can be written, but is not ({error.strerror}); name another."
        ) from error


def _replaceable(path: str | PathLike[str], place: Path) -> int | None:
    """The permissions of the file at `place`, None where there is none."""
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder, but a file to write was expected; add a file's name.")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{path} is a device or a pipe, but a file to write was expected; choose another name.")
    if not os.access(place, os.W_OK):
        raise PermissionError
    return stat.S_IMODE(mode)


def cache_folder() -> Path:
    """Where is kept what saves work; it may not exist, or not be writable."""
    if folder := os.environ.get("SONANT_CACHE"):
        return Path(folder)
    try:
        return Path.home() / ".cache" / "sonant"
    except RuntimeError:  # a user without a home
        return Path(os.devnull) / "sonant"  # where nothing can be kept


def unpacked(file: BufferedReader) -> BufferedIOBase:
    """The bytes of a file that has just been opened, unpacked where gzip, bzip2 or xz has packed it.

    Reading what is packed may raise any of `UNPACKING_FAULTS`.
    """
    start = file.peek(6)  # a pipe does not go back
    if start.startswith(b"\x1f\x8b"):
        import gzip

        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh"):
        import bz2

        return bz2.BZ2File(file)
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file)
    return file
