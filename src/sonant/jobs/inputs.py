"""The inputs of a job, one at a time and always in the same order: files, folders, globs, manifests and tar shards.

Each lies on this machine or at a URL that fsspec knows. What cannot be listed at all is an error now, before any work;
a manifest's line that is no utterance becomes a task that says so.
"""

from __future__ import annotations

import glob
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from sonant.audio.samples import reason
from sonant.data.layouts import SUFFIXES, from_row, read_table
from sonant.data.manifest import ARCHIVE, Utterance, from_fields, parse_object, read_lines
from sonant.data.remote import find_store, is_url, open_url
from sonant.errors import DataError, OptionError
from sonant.jobs.tasks import Task

MANIFESTS = (".jsonl", ".ndjson", ".json")
TABLES = (".tsv", ".csv")
PACKED = (".gz", ".bz2", ".xz")
LONGEST_NAME = 150
"""Characters of one part of a path that files of their own get; longer ones are cut and told apart by their id."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An input before it has an id."""

    utterance: Utterance
    name: str
    place: tuple[int, int] | None = None
    error: str | None = None


def read_inputs(sources: Iterable[str], *, with_text: bool = False) -> Iterator[Task]:
    """The tasks that sources stand for; `with_text` makes another text another input.

    Raises `OptionError` for a source that does not exist or holds nothing, `DataError` for one that cannot be read.
    """
    for source in sources:
        found = False
        for each in _expand(source):
            found = True
            yield _task(each, with_text)
        if not found:
            raise OptionError(
                f"{source} must lead to audio, to .jsonl, .tsv or .csv, or to .tar, but nothing of the kind is there; "
                "check the path."
            )


def check_apart(sources: Iterable[str], dest: str) -> None:
    """Raise `OptionError` where results would lie among the inputs, and be taken for some by the next run."""
    for source in sources:
        root = source.partition("**")[0].rpartition("/")[0] or "." if "**" in source else source
        if is_url(source) or is_url(dest):
            inside = (dest.rstrip("/") + "/").startswith(root.rstrip("/") + "/")
        else:
            inside = Path(root).is_dir() and Path(dest).resolve().is_relative_to(Path(root).resolve())
        if inside:
            raise OptionError(f"Results must not lie among the inputs, but {dest} is inside {source}; choose another.")


def _task(found: _Found, with_text: bool) -> Task:
    utterance = found.utterance
    part = utterance.offset is not None
    key = [utterance.audio, utterance.offset, utterance.duration if part else None]
    key += [utterance.text] if with_text else []
    key += ["", found.error] if found.error else []
    digest = blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    end = f"@{utterance.offset:g}" if part else ""
    return Task(
        id=digest,
        audio=utterance.audio,
        name=safe_name(found.name, digest) + end,
        offset=utterance.offset,
        duration=utterance.duration,
        text=utterance.text if with_text else None,
        place=found.place,
        error=found.error,
    )


def safe_name(name: str, digest: str) -> str:
    """A relative path below some folder, whatever came."""
    shown = name.encode(errors="backslashreplace").decode().partition("://")[2] or name
    parts = [part for part in shown.replace(os.sep, "/").split("/") if part not in ("", "..", ".")]
    cut = [part if len(part) <= LONGEST_NAME else f"{part[:LONGEST_NAME]}-{digest[:8]}" for part in parts]
    return "/".join(part.replace("\0", "").replace(":", "_") for part in cut) or digest


def _expand(source: str) -> Iterator[_Found]:
    if is_url(source):
        yield from _expand_url(source)
        return
    path = Path(source)
    if path.is_dir():
        yield from (found for place in _walk(path) for found in _one(str(place), _below(place, path), listed=True))
    elif path.exists() or not glob.has_magic(source):
        if not path.exists():
            raise OptionError(f"{source} does not exist; check the path and the folder it starts from.")
        yield from _one(source, path.name)
    else:
        root = Path(*_plain_parts(path))
        for place in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207  # Path.glob keeps no ./ and no ..
            if Path(place).is_file():
                yield from _one(place, _below(Path(place), root), listed=source.endswith("*"))


def _plain_parts(path: Path) -> list[str]:
    """The folders of a pattern before its first wildcard."""
    parts: list[str] = []
    for part in path.parent.parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _below(place: Path, folder: Path) -> str:
    return place.relative_to(folder).as_posix() if place.is_relative_to(folder) else place.as_posix()


def _walk(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Every file below a folder, in the order of names, one folder's names at a time; links are followed once."""
    try:
        status = folder.stat()
        here = status.st_dev, status.st_ino
        entries = [] if here in above else sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror}); check who may read it.") from error
    for entry in entries:
        if entry.is_dir():
            yield from _walk(Path(entry.path), (*above, here))
        elif entry.is_file() or entry.is_symlink():  # one that leads nowhere is a failure, with its name
            yield Path(entry.path)


def _expand_url(url: str) -> Iterator[_Found]:
    files, path = find_store(url)
    try:
        if glob.has_magic(path):
            root = path[: path.index(next(char for char in path if char in "*?["))].rpartition("/")[0]
            for place in sorted(cast("list[str]", files.glob(path))):
                yield from _one(str(files.unstrip_protocol(place)), place[len(root) + 1 :])
        elif kind_of(path) == "media" and files.isdir(path):
            for folder, _, names in files.walk(path, topdown=True):
                for name in sorted(cast("list[str]", names)):
                    place = f"{folder}/{name}"
                    below = place.removeprefix(path.rstrip("/") + "/")
                    yield from _one(str(files.unstrip_protocol(place)), below, listed=True)
        else:
            if not files.exists(path):
                raise OptionError(f"{url} does not exist; check its spelling.")
            yield from _one(url, path.rpartition("/")[2])
    except (DataError, OptionError):
        raise
    except Exception as error:  # each store has errors of its own
        raise DataError(f"{url} cannot be listed ({reason(error)}); check who may read it.") from error


def kind_of(path: str) -> str:
    """`manifest`, `table`, `shard` or `media`, by the path's suffix."""
    plain = path.lower()
    for suffix in PACKED:
        plain = plain.removesuffix(suffix)
    kinds = {"manifest": MANIFESTS, "table": TABLES, "shard": (ARCHIVE,)}
    return next((kind for kind, suffixes in kinds.items() if plain.endswith(suffixes)), "media")


def _one(place: str, name: str, listed: bool = False) -> Iterator[_Found]:
    """What one file holds; of those `listed` in a folder only recordings and shards count."""
    kind = kind_of(place)
    if kind == "shard":
        yield from _members(place, name)
    elif kind == "media":
        if not listed or place.lower().endswith(SUFFIXES):
            yield _Found(Utterance(place), name)
    elif not listed:
        yield from _lines(place) if kind == "manifest" else _rows(place)


def _lines(manifest: str) -> Iterator[_Found]:
    folder = manifest.rpartition("/")[0] if is_url(manifest) else Path(manifest).parent
    for number, line in read_lines(manifest):
        if not line.strip():
            continue
        where = f"{manifest}:{number}"
        try:
            utterance = from_fields(parse_object(line, manifest, number), folder, where)
        except DataError as error:
            yield _Found(Utterance(where), where, error=str(error))
        else:
            yield _Found(utterance, _relative(utterance.audio, folder))


def _rows(table: str) -> Iterator[_Found]:
    if is_url(table):
        raise OptionError(f"A table must lie on this machine, but {table} does not; copy it, or write JSON lines.")
    folder = Path(table).parent
    for number, row in read_table(Path(table)):
        where = f"{table}:{number}"
        try:
            utterance = from_row(row, folder, where)
        except DataError as error:
            yield _Found(Utterance(where), where, error=str(error))
        else:
            yield _Found(utterance, _relative(utterance.audio, folder))


def _relative(path: str, folder: str | Path) -> str:
    base = f"{folder}/"
    return path.removeprefix(base) if path.startswith(base) else path


def _members(shard: str, name: str) -> Iterator[_Found]:
    """The recordings of a tar archive, each with the line of its `.json`, if one stands beside it."""
    try:
        with open_url(shard) if is_url(shard) else Path(shard).open("rb") as file:
            yield from _pairs(cast("BinaryIO", file), shard, name)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"{shard} must be a whole tar archive, not packed, but is not ({reason(error)}); copy it again."
        ) from error


def _pairs(file: BinaryIO, shard: str, name: str) -> Iterator[_Found]:
    sound: tuple[str, tuple[int, int]] | None = None
    line: tuple[str, str] | None = None

    def found() -> Iterator[_Found]:
        if sound is None:
            return
        path = f"{shard}/{sound[0]}"
        try:
            fields = parse_object(line[1], path, 1) if line and line[0] == _key(sound[0]) else dict[str, Any]()
            told = from_fields({**fields, "audio_filepath": path}, "", path)
        except DataError as error:
            yield _Found(Utterance(path), path, error=str(error))
        else:
            yield _Found(Utterance(path, told.duration, told.text), f"{name}/{sound[0]}", sound[1])

    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (entry := tar.next()) is not None:
            cast("Any", tar).members.clear()  # or it remembers all of them
            member = entry.name.removeprefix("./")
            if entry.isreg() and member.lower().endswith(".json"):
                line = _key(member), cast("BinaryIO", tar.extractfile(entry)).read().decode(errors="replace")
            elif entry.isreg() and member.lower().endswith(SUFFIXES):
                yield from found()
                sound = member, (entry.offset_data, entry.size)
            if sound and line and line[0] == _key(sound[0]):
                yield from found()
                sound = None
        yield from found()


def _key(member: str) -> str:
    return str(PurePosixPath(member).with_suffix(""))
