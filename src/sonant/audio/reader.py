"""The file object that FFmpeg sees, and what its first bytes tell of files that cannot be read."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import BinaryIO

from sonant.audio.samples import reason
from sonant.errors import AudioError


class Reader:
    """A file for FFmpeg: it keeps what went wrong for us, as exceptions do not pass through C."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = "audio" + PurePath(name).suffix  # helps to guess the format, and names nothing that could be opened
        self._file = file
        self._name = name
        self._error: BaseException | None = None
        self._seekable = False
        self._pending = self.head = b""
        try:
            self._seekable = hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable())
            if self._seekable:
                file.seek(0)
            self.head = self.read(64)
            if self._seekable:
                file.seek(0)
            else:
                self._pending = self.head
        except (OSError, ValueError) as error:  # closed, for one
            self._error = error
        self.check()
        if not self.head:
            raise AudioError(f"{name} is empty, but sound was expected; record or copy it again.")

    def seekable(self) -> bool:
        return self._seekable

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end, and after an error, which `check` raises."""
        if self._pending:
            data, self._pending = self._pending[:size], self._pending[size:]
            return data
        try:
            data = self._file.read(size)
        except BaseException as error:  # noqa: BLE001  # Ctrl-C too
            self._error = error
            return b""
        if not isinstance(data, bytes) or len(data) > size:  # PyAV would copy past the end of its buffer
            self._error = TypeError(f"{len(data)} for {size}" if isinstance(data, bytes) else type(data).__name__)
            return b""
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # before the beginning: a broken file asks for that
            return -1
        except BaseException as error:  # noqa: BLE001
            self._error = error
            return -1

    def tell(self) -> int:
        return self._file.tell()

    def is_piped_mp4(self) -> bool:
        """An MP4 may have its index at the end, where a pipe cannot go first."""
        return self.head[4:8] == b"ftyp" and not self._seekable

    def cut_to(self) -> float:
        """The share that is there of the bytes that the header of a WAV or the first frame of an MP3 counts."""
        if not self._seekable:
            return 1.0
        position = self._file.tell()
        size = self._file.seek(0, 2)
        counted = 0
        if self.head[:4] == b"RIFF":
            counted = 8 + int.from_bytes(self.head[4:8], "little")
        else:
            tag = 0
            if self.head[:3] == b"ID3":  # its length has seven bits a byte
                tag = 10 + sum(byte << shift for byte, shift in zip(self.head[6:10], (21, 14, 7, 0), strict=True))
            self._file.seek(tag)
            found = re.search(b"(?:Xing|Info)\\0\\0\\0[\\3\\7\\x0b\\x0f]....(....)", self.read(512), re.DOTALL)
            counted = tag + int.from_bytes(found[1], "big") if found else 0
        self._file.seek(position)
        return size / counted if size < counted < 0x7FFF0000 else 1.0  # who writes to a pipe counts what fits

    def check(self) -> None:
        """Raise what went wrong while FFmpeg was reading."""
        error = self._error
        if isinstance(error, TypeError):
            raise AudioError(
                f"{self._name} must give bytes, at most as many as it is asked for, but gave {error}; "
                "open it in binary mode ('rb')."
            ) from error
        if isinstance(error, OSError | ValueError):
            raise AudioError(f"{self._name} could not be read ({reason(error)}); copy it to a local disk.") from error
        if error is not None:
            raise error


def unreadable(reader: Reader) -> str:
    """Why a file is no audio, to stand behind its name."""
    head = reader.head
    if head.lstrip(b"\xef\xbb\xbf").startswith((b"#EXTM3U", b"ffconcat")):
        return "is a playlist, which is not followed; pass the files it names"
    if reader.is_piped_mp4():
        return "is an MP4 that cannot be read from a pipe; save it to a file first"
    if head[4:8] == b"ftyp":
        return "is an MP4 whose index is missing or damaged, as if its copy was cut short; copy it again"
    return "is not audio or video that can be read here, or it is damaged; check it with a player or convert it to WAV"
