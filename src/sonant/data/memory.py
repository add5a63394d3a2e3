"""What was measured of recordings, remembered, so that a data set is decoded for its check only once."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from sonant.data.manifest import Utterance, split_archive
from sonant.data.sound import Sound, examine

MEASURED = 1
"""Counts up when `examine` measures otherwise."""
AT_ONCE = 500
"""Sounds that an interruption may lose."""


class SoundMemory:
    """An SQLite file of sounds; a file that was written since is measured anew.

    Where the memory itself cannot be read or written, everything is measured: it only ever saves time.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = Lock()
        self._fresh = 0
        self._base: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
            self._base.execute("CREATE TABLE IF NOT EXISTS sounds (key BLOB PRIMARY KEY, sound TEXT)")
        except (sqlite3.Error, OSError):
            self._forget()

    def examine(self, utterance: Utterance, sample_rate: int) -> Sound:
        """What `sonant.data.sound.examine` says, now or before; by any number of threads."""
        key = _key(utterance, sample_rate)
        if key is not None and (known := self._recall(key)) is not None:
            return known
        sound = examine(utterance, sample_rate)
        if key is not None and sound.error is None:
            self._keep(key, sound)
        return sound

    def _recall(self, key: bytes) -> Sound | None:
        try:
            with self._lock:
                found = self._base and self._base.execute("SELECT sound FROM sounds WHERE key = ?", (key,)).fetchone()
            if not found:
                return None
            values: dict[str, Any] = json.loads(found[0])
            values |= {"digest": bytes.fromhex(values["digest"]), "warnings": tuple(values["warnings"])}
            return Sound(**values)
        except (sqlite3.Error, ValueError, TypeError, KeyError):
            return None

    def _keep(self, key: bytes, sound: Sound) -> None:
        line = json.dumps(asdict(sound) | {"digest": sound.digest.hex()})
        with self._lock:
            try:
                if self._base:
                    self._base.execute("INSERT OR REPLACE INTO sounds VALUES (?, ?)", (key, line))
                    self._fresh += 1
                    if self._fresh % AT_ONCE == 0:
                        self._base.commit()
            except sqlite3.Error:
                self._forget()

    def _forget(self) -> None:
        if self._base is not None:
            self._base.close()
        self._base = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            try:
                if self._base:
                    self._base.commit()
            except sqlite3.Error:
                pass  # another run holds it: these are measured again
            self._forget()


def _key(utterance: Utterance, sample_rate: int) -> bytes | None:
    """Names the samples; None where that takes more than the file system's word."""
    if utterance.encoded is not None:
        return None
    archive, member = split_archive(utterance.audio) or (utterance.audio, "")
    try:
        place = os.path.abspath(archive)  # noqa: PTH100  # as fast as it can be
        state = Path(place).stat()
    except (OSError, ValueError):
        return None
    part = None if utterance.offset is None else (utterance.offset, utterance.duration)
    what = (MEASURED, place, state.st_size, state.st_mtime_ns, member, part, sample_rate)
    return blake2b(repr(what).encode(errors="surrogateescape"), digest_size=16).digest()
