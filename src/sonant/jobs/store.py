"""Where a job's results go: a folder, or a place in an object store; every file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Protocol, cast

from sonant.audio.samples import reason
from sonant.data.remote import find_store, is_url
from sonant.errors import OutputError, SonantError
from sonant.files import make_folder, open_output


class Store(Protocol):
    """Files by their names, which are relative and written with slashes. `OutputError` where it cannot be written."""

    def prepare(self) -> None:
        """Make the place, and find out now whether it can be written."""
        ...

    def names(self) -> list[str]:
        """Of the files right in it, sorted."""
        ...

    def unfinished(self) -> list[str]:
        """Files in it and below that were being written when a process was killed."""
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file's bytes, to read."""
        ...

    def write(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file that stands there, in place of an older one, once the block ends well."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        ...


class FolderStore:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        make_folder(self.folder)

    def names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_file())

    def unfinished(self) -> list[str]:
        return [place.relative_to(self.folder).as_posix() for place in self.folder.rglob(".sonant-*.tmp")]

    @contextmanager
    def open(self, name: str) -> Generator[BinaryIO]:
        with (self.folder / name).open("rb") as file:
            yield file

    @contextmanager
    def write(self, name: str) -> Generator[BinaryIO]:
        place = self.folder / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{place.parent} must be a folder, but cannot be made ({error.strerror}); move what is there."
            ) from error
        with open_output(place) as file:
            yield file

    def remove(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder / name} cannot be deleted ({error.strerror}); do it yourself.") from error


class RemoteStore:
    """A place that fsspec knows, such as `s3://bucket/results`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        files, self.path = find_store(self.url)
        self.files: Any = files

    def prepare(self) -> None:
        with self.write(".sonant"):
            pass
        self.remove(".sonant")

    def names(self) -> list[str]:
        self.files.invalidate_cache()
        with suppress(FileNotFoundError):
            listed = cast("list[dict[str, Any]]", self.files.ls(self.path, detail=True))
            return sorted(str(entry["name"]).rpartition("/")[2] for entry in listed if entry["type"] == "file")
        return []

    def unfinished(self) -> list[str]:
        return []  # a store shows what is complete

    @contextmanager
    def open(self, name: str) -> Generator[BinaryIO]:
        with self.files.open(f"{self.path}/{name}", "rb") as file:
            yield file

    @contextmanager
    def write(self, name: str) -> Generator[BinaryIO]:
        with TemporaryDirectory(prefix="sonant-") as folder:
            place = Path(folder) / "file"
            with place.open("wb") as file:
                yield file
            try:  # in one request or one upload of several parts, which stores show when it is complete
                self.files.put_file(str(place), f"{self.path}/{name}")
            except Exception as error:  # each store has errors of its own
                raise OutputError(
                    f"{self.url}/{name} could not be written ({reason(error)}); check who may write there."
                ) from error

    def remove(self, name: str) -> None:
        try:
            with suppress(FileNotFoundError):
                self.files.rm_file(f"{self.path}/{name}")
        except Exception as error:  # each store has errors of its own
            raise OutputError(f"{self.url}/{name} cannot be deleted ({reason(error)}); do it yourself.") from error


def open_store(dest: str) -> Store:
    """The store at a path or a URL."""
    if dest.startswith("file://"):
        dest = dest.removeprefix("file://")
    return RemoteStore(dest) if is_url(dest) else FolderStore(Path(dest))


def iterate_lines(store: Store, name: str) -> Iterator[bytes]:
    """The lines of a file, without their ends; `OutputError` where it cannot be read."""
    try:
        with store.open(name) as file:
            for line in file:
                yield line.rstrip(b"\n")
    except SonantError:
        raise
    except Exception as error:
        raise OutputError(f"{name} of an earlier run cannot be read ({reason(error)}); delete it.") from error
