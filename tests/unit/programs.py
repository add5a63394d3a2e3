"""Pickles by instruction, and archives around them, that no PyTorch would write."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from sonant.checkpoints.arrays import StoredArray
from sonant.checkpoints.torch_files import read_torch_file

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


def archive(path: Path, program: bytes, storages: dict[str, bytes] | None = None, **extra: bytes) -> Path:
    """A zip archive as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", program)
        for key, data in (storages or {}).items():
            file.writestr(f"model/data/{key}", data)
        for name, data in extra.items():
            file.writestr(f"model/{name}", data)
    return path


def text(value: str) -> bytes:
    """The instruction that puts a text on the stack."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """The instructions of a number, without the header and the end of its pickle."""
    return pickle.dumps(value, 2)[2:-1]


def storage(kind: str = "torch\nFloatStorage", key: str = "0", size: int = 4) -> bytes:
    """The instructions of a storage."""
    return b"(" + text("storage") + f"c{kind}\n".encode() + text(key) + text("cpu") + number(size) + b"tQ"


def tensor(offset: int = 0, shape: tuple[Any, ...] = (4,), strides: tuple[Any, ...] = (1,), size: int = 4) -> bytes:
    """A pickle of one tensor, whatever it claims to be."""
    view = b"".join(
        pickle.dumps(value, 2)[2:-1].replace(b"q\x00", b"").replace(b"q\x01", b"") for value in (shape, strides)
    )
    call = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return (
        b"\x80\x02" + call + b"(" + storage(size=size) + number(offset) + view + b"\x89ccollections\nOrderedDict\n)RtR."
    )


def read_all(path: Path) -> object:
    """The value, with every tensor of a dictionary read."""
    value = read_torch_file(path)
    for item in value.values() if isinstance(value, dict) else [value]:
        if isinstance(item, StoredArray):
            item.read()
    return value
