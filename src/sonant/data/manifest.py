"""Manifests: one utterance a line as JSON, under NeMo's field names, read and written as streams.

`audio_filepath` is relative to the manifest's folder, and may lead into a tar archive: `train-000000.tar/17.flac`.
Manifests may lie at URLs, and their paths may be some.
"""

from __future__ import annotations

import io
import json
import math
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from sonant import audio
from sonant.audio import AudioStream
from sonant.audio.samples import reason
from sonant.data.remote import is_url, open_url
from sonant.errors import AudioError, DataError
from sonant.files import UNPACKING_FAULTS, open_output, unpacked
from sonant.types import FloatArray

ARCHIVE = ".tar"


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech, and what is known of it."""

    audio: str
    """Path of the file; of a manifest that was read, from the working folder or the root."""
    duration: float | None = None
    """Seconds, as declared."""
    text: str | None = None
    """What is said; None where nobody wrote it down."""
    offset: float | None = None
    """Seconds from the file's beginning, where the utterance is a part of it; None where it is the whole file."""
    speaker: str | None = None
    language: str | None = None
    label: str | None = None
    """A class: a mood, a keyword, whatever is to be told apart."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Every other key of the line, kept as it was."""
    encoded: bytes | None = field(default=None, repr=False, compare=False)
    """The bytes of the audio file, where they came along (`read_shards`)."""
    local: str | None = field(default=None, repr=False, compare=False)
    """Where the audio file lies now, if it was fetched from where `audio` says."""

    @property
    def name(self) -> str:
        """What messages call it: the file, and where in it."""
        return self.audio if self.offset is None else f"{self.audio} at {self.offset:g} s"


def read_manifest(path: str | PathLike[str]) -> Iterator[Utterance]:
    """The utterances of a manifest, packed by gzip, bzip2 or xz or not, in order, one at a time.

    Raises `DataError` that names file and line for what is no utterance, or where the file holds none.
    """
    folder = os.fspath(path).rpartition("/")[0] if is_url(path) else Path(path).parent
    count = 0
    for number, line in read_lines(path):
        if not line.strip():
            continue
        count += 1
        yield from_fields(parse_object(line, path, number), folder, f"{path}:{number}")
    if not count:
        raise DataError(f"{path} must hold one utterance a line, but is empty; prepare it with `sonant data prepare`.")


def write_manifest(path: str | PathLike[str], utterances: Iterable[Utterance]) -> int:
    """Write a manifest in one step, paths relative to its folder where they lie below it; the number of utterances."""
    folder = Path(path).resolve().parent
    count = 0
    with open_output(path) as file:
        for utterance in utterances:
            fields = to_fields(utterance, relative_to(utterance.audio, folder))
            file.write(json.dumps(fields, ensure_ascii=False).encode(errors="surrogateescape") + b"\n")
            count += 1
    return count


def relative_to(path: str, folder: Path) -> str:
    """`path` from `folder` on where it lies below it, else from the root; with slashes on every system."""
    if is_url(path):
        return path
    full = Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve() would follow the links of a data set
    for base in (folder, Path(os.path.abspath(folder))):  # noqa: PTH100
        if full.is_relative_to(base):
            return full.relative_to(base).as_posix()
    return full.as_posix()


def from_fields(values: Mapping[str, Any], folder: Path | str, where: str, encoded: bytes | None = None) -> Utterance:
    """The utterance of one line; `where` names the line in the `DataError` of a wrong value.

    `folder` is a text where it is a URL.
    """
    rest = dict(values)
    path = rest.pop("audio_filepath", None)
    if not isinstance(path, str) or not path:
        raise DataError(f"{where} must name a file as audio_filepath, but has {path!r} there; correct the line.")
    texts: dict[str, Any] = {}
    for key in ("text", "speaker", "language", "label"):
        value = rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise DataError(f"{where} must have a text as {key}, but has {value!r} there; correct the line.")
        texts[key] = None if value is None else str(value)
    seconds: dict[str, Any] = {}
    for key, least in (("duration", math.ulp(0.0)), ("offset", 0.0)):
        value = rest.pop(key, None)
        if value is not None and not (type(value) in (int, float) and least <= value < math.inf):
            raise DataError(f"{where} must have seconds as {key}, but has {value!r} there; correct the line.")
        seconds[key] = None if value is None else float(value)
    if not is_url(path):
        path = f"{folder}/{path}" if isinstance(folder, str) else str(folder / path)
    return Utterance(path, **texts, **seconds, extra=rest, encoded=encoded)


def to_fields(utterance: Utterance, path: str) -> dict[str, Any]:
    """What stands on the utterance's line when its file is written as `path`."""
    fields: dict[str, Any] = {"audio_filepath": path}
    for key in ("offset", "duration", "text", "speaker", "language", "label"):
        if (value := getattr(utterance, key)) is not None:
            fields[key] = value
    return fields | dict(utterance.extra)


def read_lines(path: str | PathLike[str]) -> Iterator[tuple[int, str]]:
    """The lines of a text file, packed or not, each with its number from 1; `DataError` where it cannot be read."""
    number = 0
    try:
        with open_url(os.fspath(path)) if is_url(path) else Path(path).open("rb") as file:
            for number, line in enumerate(unpacked(file), 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number + 1} must be text in UTF-8, but is not; convert it.") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; check the path and the folder it starts from.") from error
    except UNPACKING_FAULTS as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); check what it is and who may read it.") from error


def parse_object(line: str, path: str | PathLike[str], number: int) -> dict[str, Any]:
    """The JSON object on a line; `DataError` where there is none."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{path}:{number} must be a JSON object, but is not ({reason(error)}); mend the line."
        ) from error
    if not isinstance(values, dict):
        raise DataError(f"{path}:{number} must be a JSON object, but is {line.strip()[:40]!r}; write one a line.")
    return cast("dict[str, Any]", values)


def open_utterance(utterance: Utterance, sample_rate: int = 16_000) -> AudioStream:
    """A stream of the utterance alone, mono at `sample_rate`; `AudioError` names it where it cannot be read."""
    offset, duration = utterance.offset, utterance.duration if utterance.offset is not None else None
    if utterance.encoded is not None:
        file = io.BytesIO(utterance.encoded)
    elif (inside := split_archive(utterance.local or utterance.audio)) is not None:
        file = _open_member(*inside)
    else:
        return audio.open_audio(utterance.audio, sample_rate, offset=offset, duration=duration)
    file.name = utterance.audio  # what messages say
    return audio.open_audio(file, sample_rate, offset=offset, duration=duration)


def read_utterance(utterance: Utterance, sample_rate: int = 16_000) -> FloatArray:
    """The utterance's samples (N,), mono at `sample_rate`; of a long file little more than the part is read."""
    with open_utterance(utterance, sample_rate) as stream:
        return concatenate(stream)


def read_encoded(utterance: Utterance) -> bytes:
    """The bytes of the utterance's whole file; `AudioError` where it cannot be read."""
    if utterance.encoded is not None:
        return utterance.encoded
    if (inside := split_archive(utterance.local or utterance.audio)) is not None:
        return _open_member(*inside).getvalue()
    try:
        return Path(utterance.audio).read_bytes()
    except OSError as error:
        raise AudioError(f"{utterance.audio} cannot be read ({reason(error)}); check the path.") from error


def concatenate(stream: AudioStream) -> FloatArray:
    """All that a stream gives, (N,)."""
    return np.concatenate([np.zeros(0, np.float32), *stream])


def split_archive(path: str) -> tuple[str, str] | None:
    """The archive and the member that a path names, as `a/b.tar/c/d.wav`; None where it leads into none."""
    lowered = path.replace(os.sep, "/")
    at = lowered.lower().find(ARCHIVE + "/")
    return None if at < 0 else (path[: at + len(ARCHIVE)], lowered[at + len(ARCHIVE) + 1 :])


def _open_member(archive: str, member: str) -> io.BytesIO:
    if is_url(archive):
        raise AudioError(f"{archive} must lie on this machine for anything but data.train; copy it here.")
    try:
        place = _index(archive, Path(archive).stat().st_mtime_ns).get(member)
        if place is None:
            raise AudioError(f"{archive} must hold {member}, but does not; check the manifest against the archive.")
        with Path(archive).open("rb") as file:
            file.seek(place[0])
            return io.BytesIO(file.read(place[1]))
    except FileNotFoundError as error:
        raise AudioError(f"{archive} does not exist; check the path and the folder it starts from.") from error
    except (OSError, tarfile.TarError) as error:
        raise AudioError(f"{archive} cannot be read ({reason(error)}); it must be a plain tar archive.") from error


@lru_cache(maxsize=64)
def _index(archive: str, _changed: int) -> dict[str, tuple[int, int]]:
    """Where in an archive each file begins, and its length."""
    with tarfile.open(archive, "r:") as tar:
        return {entry.name.removeprefix("./"): (entry.offset_data, entry.size) for entry in tar if entry.isreg()}
