"""Files of `torch.save`, both formats: the zip archive with an entry a storage, and the older pickles in a row.

The pickle inside is read by `pickles`, which runs nothing; numbers stay in the file until they are asked for.
"""

from __future__ import annotations

import io
import struct
import zipfile
from mmap import mmap
from pathlib import Path
from typing import BinaryIO, cast

from sonant.checkpoints.arrays import Storage, StoredArray, map_file
from sonant.checkpoints.pickles import PickleReader, RefusedError, checked_key
from sonant.errors import CheckpointError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
# What zipfile and pickletools raise for a damaged file, beside what is raised here.
_DAMAGE = (ValueError, ArithmeticError, LookupError, RuntimeError, OSError, EOFError, struct.error, zipfile.BadZipFile)


def read_torch_file(path: Path) -> object:
    """What was saved: plain containers, numbers and texts, with tensors as `StoredArray`s that are read when asked for.

    Raises `CheckpointError` for a file that is damaged, of another kind, or asks for more than tensors and containers.
    """
    data = map_file(path)
    try:
        if data[:4] == b"PK\x03\x04":
            return _read_zip(path, data)
        if data[:1] == b"\x80":  # how pickles begin
            return _read_legacy(data)
    except RefusedError as error:
        raise CheckpointError(
            f"{path} must hold tensors and plain containers only, but asks for {_shown(error)}, "
            "which could run anything; get the model as safetensors."
        ) from None
    except _DAMAGE as error:
        reason = _shown(error)
        raise CheckpointError(f"{path} must be of torch.save, but is damaged ({reason}); fetch it again.") from error
    raise CheckpointError(f"{path} must be of torch.save, but is of another kind; get the model as safetensors.")


def named_arrays(values: object) -> dict[str, StoredArray]:
    """The tensors that a dictionary of a file holds by name; none where it is no dictionary."""
    if not isinstance(values, dict):
        return {}
    named = cast("dict[object, object]", values).items()
    return {name: array for name, array in named if isinstance(name, str) and isinstance(array, StoredArray)}


def _shown(error: Exception) -> str:
    """A message that quotes the file, made fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:100])


def _read_zip(path: Path, data: mmap) -> object:
    """The archive `NAME/data.pkl` with one file a storage, `NAME/data/KEY`, none of them compressed."""
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
    roots = [name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if not roots:
        raise ValueError("it has no data.pkl")
    root = roots[0]
    if root + "byteorder" in entries:
        start, end = _span(data, entries[root + "byteorder"])
        if data[start:end] != b"little":
            raise ValueError("its numbers are big-endian, which sonant does not read")
    storages: dict[str, Storage] = {}

    def find(dtype: str, key: str, size: int) -> Storage:
        storage = storages.get(key)
        if storage is None:
            if f"{root}data/{key}" not in entries:
                raise ValueError(f"the storage {key[:20]} is not in it")
            start, end = _span(data, entries[f"{root}data/{key}"])
            storage = storages[key] = Storage(data, dtype, size)
            if storage.place(start) > end:
                raise ValueError(f"the storage {key} is cut short")
        return _same(storage, dtype, size)

    start, end = _span(data, entries[root + "data.pkl"])
    return PickleReader(io.BytesIO(data[start:end]), find).run()


def _span(data: mmap, info: zipfile.ZipInfo) -> tuple[int, int]:
    """The bytes of the file that an entry of the archive lies in."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ValueError(f"{info.filename} in it is compressed, which torch.save never does")
    head = info.header_offset
    if head < 0 or data[head : head + 4] != b"PK\x03\x04" or len(data) < head + 30:
        raise ValueError(f"{info.filename} in it is not where the archive says")
    name_length, extra_length = struct.unpack_from("<HH", data, head + 26)
    start = head + 30 + name_length + extra_length
    if start + info.file_size > len(data):
        raise ValueError(f"{info.filename} in it is cut short")
    return start, start + info.file_size


def _read_legacy(data: mmap) -> object:
    """Five pickles (magic number, version, machine, value, storage keys), then each storage behind its length."""
    storages: dict[str, Storage] = {}

    def find(dtype: str, key: str, size: int) -> Storage:
        return _same(storages.setdefault(key, Storage(data, dtype, size)), dtype, size)

    stream = cast("BinaryIO", data)
    if PickleReader(stream, find).run() != _LEGACY_MAGIC or PickleReader(stream, find).run() != _LEGACY_VERSION:
        raise ValueError("it is a pickle of something else")
    machine, value, keys = (PickleReader(stream, find).run() for _ in range(3))
    if not isinstance(machine, dict) or cast("dict[object, object]", machine).get("little_endian") is not True:
        raise ValueError("its numbers are big-endian, which sonant does not read")
    if type(keys) is not list or set(map(checked_key, cast("list[object]", keys))) != set(storages):
        raise ValueError("its list of storages does not match its tensors")
    position = stream.tell()
    for key in cast("list[str]", keys):
        storage = storages[key]
        if data[position : position + 8] != storage.size.to_bytes(8, "little"):
            raise ValueError(f"the storage {key} has another length than its tensors say")
        position = storage.place(position + 8)
    return value


def _same(storage: Storage, dtype: str, size: int) -> Storage:
    """The storage, if it is what another mention of it said."""
    if storage.dtype != dtype or storage.size != size:
        raise ValueError("two tensors do not agree about their storage")
    return storage
