"""The files that hold records: JSON lines, or Parquet with a column a key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, BinaryIO, Protocol, cast

from sonant.errors import MissingExtraError, OutputError
from sonant.jobs.store import Store, iterate_lines

LINES = ".jsonl"
PARQUET = ".parquet"


class Parts(Protocol):
    """A way of writing parts."""

    suffix: str

    def write(self, file: BinaryIO, records: Iterable[bytes]) -> None:
        """A part of these records; equal ones give equal bytes."""
        ...

    def read(self, store: Store, name: str) -> Iterator[bytes]:
        """The records of a part, byte for byte as they were written."""
        ...


class LineParts:
    """A record a line."""

    suffix = LINES

    def write(self, file: BinaryIO, records: Iterable[bytes]) -> None:
        file.writelines(record + b"\n" for record in records)

    def read(self, store: Store, name: str) -> Iterator[bytes]:
        yield from iterate_lines(store, name)


class ParquetParts:
    """A row a record; every part of a job has the same columns."""

    suffix = PARQUET

    def __init__(self, task: str) -> None:
        try:
            self.arrow, self.parquet = (cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.parquet"))
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "Parquet is written by pyarrow, which is not installed: pip install 'sonant[parquet]'"
            ) from error
        self.schema = self._schema(task)

    def write(self, file: BinaryIO, records: Iterable[bytes]) -> None:
        rows = [json.loads(record) for record in records]
        self.parquet.write_table(self.arrow.Table.from_pylist(rows, self.schema), file)

    def read(self, store: Store, name: str) -> Iterator[bytes]:
        with store.open(name) as file:
            try:
                rows = self.parquet.read_table(file).to_pylist()
            except (OSError, self.arrow.ArrowException) as error:
                raise OutputError(f"{name} of an earlier run cannot be read ({error}); delete it.") from error
        for row in rows:
            yield json.dumps(row, ensure_ascii=False).encode()

    def _schema(self, task: str) -> Any:
        arrow = self.arrow
        text, number = arrow.string(), arrow.float64()
        heard = [("text", text), ("start", number), ("end", number), ("confidence", number)]
        words = arrow.list_(arrow.struct(heard))
        segments = arrow.struct([("start", number), ("end", number), ("text", text), ("words", words)])
        said = [
            ("language", text),
            ("text", text),
            ("warnings", arrow.list_(text)),
            ("segments", arrow.list_(segments)),
        ]
        columns: dict[str, list[Any]] = {
            "transcribe": said,
            "align": [*said, ("status", text), ("score", number)],
            "features": [("arrays", arrow.list_(text)), ("frames", arrow.int64())],
            "identify": [
                ("label", text),
                ("labels", arrow.list_(arrow.struct([("label", text), ("probability", number)]))),
                ("step", number),
                ("over_time", arrow.list_(arrow.list_(number))),
                ("embedding", arrow.list_(number)),
            ],
        }
        head = [("id", text), ("source", text), ("offset", number), ("duration", number)]
        return arrow.schema([*head, *columns[task]])


def open_parts(suffix: str, task: str) -> Parts:
    """The way of writing that a suffix names; `MissingExtraError` for Parquet without pyarrow."""
    return ParquetParts(task) if suffix == PARQUET else LineParts()
