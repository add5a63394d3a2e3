"""Arrays that lie in files: mapped into memory, read when asked for, float32 whatever is stored.

Every reader of this package describes its tensors as `StoredArray`s; what a file says of them is checked here, once.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sonant.errors import CheckpointError
from sonant.types import FloatArray

# Under PyTorch's names. numpy has no bfloat16: its 16 bits are the upper half of a float32.
DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype("?"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
}
MAX_DIMENSIONS = 16


def map_file(path: Path) -> mmap.mmap:
    """A file's bytes, read-only; they stay mapped for as long as an array looks at them.

    Raises `CheckpointError` for a file that is empty, unreadable, or a Git LFS pointer in place of the weights.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise CheckpointError(f"{path} must hold weights, but is empty; fetch it again.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}); check its rights.") from error
    if data[:24] == b"version https://git-lfs.":
        raise CheckpointError(f"{path} must hold weights, but is a Git LFS pointer to them; run `git lfs pull` there.")
    return data


@dataclass
class Storage:
    """Numbers of one kind, one after the other in a file."""

    data: mmap.mmap
    dtype: str
    """A key of `DTYPES`."""
    size: int
    """Numbers, not bytes."""
    start: int = -1
    """Byte of the file; below zero while it is not known yet."""

    def place(self, start: int) -> int:
        """Put the numbers at a byte of the file; returns the byte after them, or raises `ValueError` beyond its end."""
        end = start + self.size * DTYPES[self.dtype].itemsize
        if start < 0 or self.size < 0 or end > len(self.data):
            raise ValueError("numbers beyond the end of the file")
        self.start = start
        return end


class Readable(Protocol):
    """A tensor that is read when it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class StoredArray:
    """A tensor in a file: a view of a storage."""

    storage: Storage
    offset: int
    """First number of the storage."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In numbers."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a view that is not wholly inside its storage or would grow when it is read."""
        whole = (self.offset, *self.shape, *self.strides)
        if any(type(n) is not int or not 0 <= n < 1 << 48 for n in whole) or len(self.shape) != len(self.strides):
            raise ValueError("a tensor's offset, shape and strides must be counts")
        if len(self.shape) > MAX_DIMENSIONS:
            raise ValueError("a tensor has too many dimensions")
        size = math.prod(self.shape)
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if size and (last >= self.storage.size or size > self.storage.size):
            raise ValueError("a tensor reaches beyond its storage")

    def read(self) -> NDArray[Any]:
        """The numbers as they are stored (bfloat16 widened to float32), as a read-only view of the file if possible."""
        storage, dtype = self.storage, DTYPES[self.storage.dtype]
        assert storage.start >= 0, "the storage has no place yet"
        if not math.prod(self.shape):
            array = np.zeros(self.shape, dtype)
        else:
            start = storage.start + self.offset * dtype.itemsize
            strides = tuple(n * dtype.itemsize for n in self.strides)
            array = np.ndarray(self.shape, dtype, storage.data, start, strides)
        return widen(array) if storage.dtype == "bfloat16" else array

    def part(self, start: int, stop: int) -> StoredArray:
        """Some of the rows, as a view; `ValueError` for rows that it does not have."""
        if not self.shape or not 0 <= start <= stop <= self.shape[0]:
            raise ValueError("a tensor has fewer rows than are wanted")
        shape = (stop - start, *self.shape[1:])
        return StoredArray(self.storage, self.offset + start * self.strides[0], shape, self.strides)


@dataclass(frozen=True)
class ChosenRows:
    """A tensor of some of another's rows."""

    whole: StoredArray
    rows: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.whole.shape[1:]

    def read(self) -> NDArray[Any]:
        """The rows, copied."""
        return self.whole.read()[list(self.rows)]


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in numbers, of an array in row-major order; `ValueError` for one of too many dimensions."""
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError("a tensor has too many dimensions")
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def widen(bits: NDArray[np.uint16]) -> FloatArray:
    """bfloat16, given as its bits, to float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(array: FloatArray) -> NDArray[np.uint16]:
    """float32, no NaN, to the bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(array).view(np.uint32).astype(np.uint64)  # 64 bits: rounding up must not wrap around
    return ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)


class Tensors(Mapping[str, FloatArray]):
    """Names to float32 arrays, read from their files at each access; keep what you use twice."""

    def __init__(self, arrays: Mapping[str, Readable]) -> None:
        self.arrays = arrays

    def __getitem__(self, name: str) -> FloatArray:
        array = self.arrays[name].read()
        if array.dtype.kind == "c":
            raise CheckpointError(f"The tensor {name} must hold real numbers, but is complex; use another model.")
        with np.errstate(all="ignore"):  # what float32 cannot hold becomes infinite, which `Checkpoint.weight` reports
            return np.require(array, np.float32, ["C_CONTIGUOUS", "ALIGNED"])

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return self.arrays[name].shape
