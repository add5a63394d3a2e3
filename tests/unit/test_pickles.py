"""Files of `torch.save` are read as PyTorch reads them, and nothing that a file asks for ever runs."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sonant.checkpoints import pickles
from sonant.checkpoints.arrays import StoredArray
from sonant.checkpoints.torch_files import read_torch_file
from sonant.errors import CheckpointError

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


# Files of PyTorch


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_type_and_layout_are_read(zipped: bool, protocol: int, tmp_path: Path) -> None:
    base = torch.arange(100, dtype=torch.float32)
    tensors = {
        "offset": base[10:20],
        "same storage": base[50:60],
        "transposed": torch.randn(3, 4).t(),
        "strided": torch.arange(24).reshape(2, 3, 4)[:, ::2, 1],
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "bfloat16": torch.randn(5).bfloat16(),
        "bool": torch.tensor([True, False]),
        **{str(kind): torch.arange(3).to(kind) for kind in (
            torch.float16, torch.float64, torch.int8, torch.uint8, torch.int16, torch.int32, torch.complex64,
        )},
    }  # fmt: skip
    path = tmp_path / "file.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    value = read_torch_file(path)
    assert isinstance(value, dict)
    assert list(value) == list(tensors)
    for name, expected in tensors.items():
        array = value[name].read()
        wanted = expected.detach().float() if name == "bfloat16" else expected.detach()
        np.testing.assert_array_equal(array, wanted.numpy(), strict=True)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_containers_and_plain_values_are_read(zipped: bool, protocol: int, tmp_path: Path) -> None:
    values = {
        "list": [1, -2.5, None, True, "é", b"\xff", 2**80],
        "tuple": (1, (2, 3), [], {}, ()),
        "set": {1, 2},
        3: 70000,
    }
    model = torch.nn.BatchNorm1d(2)
    path = tmp_path / "file.pt"
    saved = {**values, "size": torch.Size([2, 3]), "device": torch.device("cpu"), "state": model.state_dict()}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    value = read_torch_file(path)
    assert isinstance(value, dict)
    assert {key: value[key] for key in values} == values
    assert (value["size"], value["device"]) == ((2, 3), "cpu")
    assert list(value["state"]) == list(model.state_dict())


def test_tensors_stay_in_the_file_until_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    torch.save({"a": torch.arange(4, dtype=torch.float32)}, path)
    value = read_torch_file(path)
    assert isinstance(value, dict)
    array = value["a"].read()
    assert not array.flags.owndata
    assert not array.flags.writeable
    del value
    assert array.sum() == 6  # the array alone keeps the file mapped


# Malice


class Evil:
    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def programs(marker: Path) -> dict[str, bytes]:
    """Pickles that create a file, or would if they were trusted, by every way there is."""
    command = f"touch {marker}"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    shell = b"cos\nsystem\n"
    return {
        "os.system": pickle.dumps({"weight": Evil(os.system, command)}, 2),
        "os.system, protocol 4": pickle.dumps({"weight": Evil(os.system, command)}, 4),
        "posix.system": b"\x80\x02cposix\nsystem\n" + text(command) + b"\x85R.",
        "eval": pickle.dumps(Evil(eval, code), 2),
        "exec": pickle.dumps([Evil(exec, code)], 4),
        "import": b"\x80\x02cbuiltins\ngetattr\nc__builtin__\n__import__\n" + text("os") + b"\x85R" + text("system")
        + b"\x86R" + text(command) + b"\x85R.",
        "torch.load": b"\x80\x02ctorch\nload\n" + text(command) + b"\x85R.",
        "a function of torch._utils": b"\x80\x02ctorch._utils\n_import_dotted_name\n" + text("os.system") + b"\x85R.",
        "setstate": b"\x80\x02cpathlib\nPath\n)\x81}" + text("a") + text("b") + b"sb.",
        "stack global": b"\x80\x04" + text("os") + b"\x940" + text("system") + b"\x940h\x00h\x01\x93" + text(command)
        + b"\x85R.",
        "dotted stack global": b"\x80\x04" + text("collections") + text("OrderedDict.fromkeys") + b"\x93)R.",
        "stack global of objects": b"\x80\x04]]\x93)R.",
        "global across modules": b"\x80\x02ctorch._utils\nos.system\n" + text(command) + b"\x85R.",
        "build on a class": b"\x80\x02ccollections\nOrderedDict\n}" + text("__init__") + shell + b"sb.",
        "build of attributes": b"\x80\x02ccollections\nOrderedDict\nN}" + text("clear") + text("x") + b"s\x86b.",
        "build on a tensor": tensor()[:-1] + b"}" + text("storage") + text("x") + b"sb.",
        "inst": b"\x80\x02(" + text(command) + b"ios\nsystem\n.",
        "inst, protocol 0": f"(S'{command}'\nios\nsystem\n.".encode(),
        "global, protocol 0": f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        "obj": b"\x80\x02(" + shell + text(command) + b"o.",
        "newobj": b"\x80\x02" + shell + text(command) + b"\x85\x81.",
        "newobj_ex": b"\x80\x04" + shell + text(command) + b"\x85}\x92.",
        "extension code": b"\x80\x02\x82\x01" + text(command) + b"\x85R.",
        "long extension code": b"\x80\x02\x84\x01\x00\x00\x00" + text(command) + b"\x85R.",
        "call of a text": b"\x80\x02" + text("os.system") + text(command) + b"\x85R.",
        "call of a result": b"\x80\x02ccollections\nOrderedDict\n)R" + text(command) + b"\x85R.",
        "call of a storage's kind": b"\x80\x02ctorch\nFloatStorage\n" + number(10**12) + b"\x85R.",
        "call with what is no tuple": b"\x80\x02ctorch\nSize\n]R.",
        "hooks of a tensor": tensor().replace(b"ccollections\nOrderedDict\n)R", shell + text(command) + b"\x85R"),
        "persistent text": b"\x80\x02" + text(command) + b"Q.",
        "persistent, protocol 0": f"P{command}\n.".encode(),
        "persistent module": b"\x80\x02(" + text("module") + shell + text("a") + text("b") + b"tQ.",
        "persistent, too short": b"\x80\x02(" + text("storage") + b"tQ.",
        "storage of a function": b"\x80\x02" + storage("os\nsystem") + b".",
        "storage of a text": b"\x80\x02(" + text("storage") + text("FloatStorage") + text("0") + text("cpu") + number(4)
        + b"tQ.",
        "storage of a call": b"\x80\x02" + storage("torch\nSize") + b".",
        "storage that is a view": b"\x80\x02" + storage()[:-2] + b"(" + text("1") + number(0) + number(4) + b"ttQ.",
        "buffer": b"\x80\x05\x97.",
        "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1) + b"a.",
    }  # fmt: skip


@pytest.mark.parametrize("name", programs(Path("marker")))
def test_no_pickle_runs_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import copyreg

    marker = tmp_path / "marker"
    monkeypatch.setitem(copyreg._inverted_registry, 1, ("os", "system"))
    monkeypatch.setitem(copyreg._extension_cache, 1, os.system)
    program = programs(marker)[name]
    archive(tmp_path / "zipped.bin", program, {"0": bytes(16)})
    (tmp_path / "legacy.bin").write_bytes(MAGIC + program + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16))
    (tmp_path / "bare.bin").write_bytes(program)
    for file in ("zipped.bin", "legacy.bin", "bare.bin"):
        with pytest.raises(CheckpointError, match=file):
            read_torch_file(tmp_path / file)
    assert not marker.exists()


def test_the_programs_would_run_if_they_were_trusted(tmp_path: Path) -> None:
    for name in ("os.system", "eval", "import", "stack global", "inst", "obj", "global, protocol 0"):
        marker = tmp_path / name.replace(" ", "-")
        pickle.loads(programs(marker)[name])
        assert marker.exists(), name


def test_what_is_refused_is_named_for_a_terminal(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.bin", b"\x80\x02cos\n\x1b[31m" + b"x" * 500 + b"\n.")
    with pytest.raises(CheckpointError, match=r"asks for os\.\?\[31mx{80,100}, which"):
        read_torch_file(path)


def test_attributes_of_a_state_dict_are_dropped(tmp_path: Path) -> None:
    program = b"\x80\x02ccollections\nOrderedDict\n)R" + text("a") + b"K\x01s}" + text("clear") + b"Nsb."
    assert read_torch_file(archive(tmp_path / "a.bin", program)) == {"a": 1}


# Bombs and damage


@pytest.mark.parametrize(
    "program",
    [
        tensor(shape=(5,)),
        tensor(offset=1),
        tensor(offset=-1),
        tensor(strides=(-1,)),
        tensor(shape=(-4,)),
        tensor(shape=(2**60,), strides=(0,)),
        tensor(shape=(1 << 10**6,)),
        tensor(shape=(4,), strides=(0,), size=1),
        tensor(shape=(1,) * 100, strides=(1,) * 100),
        tensor(shape=(2, 2)),
        tensor(shape=(4.0,)),
        tensor(shape=(True,)),
        tensor(shape=("4",)),
        tensor(size=5),
        tensor(size=2**40),
        tensor(size=1 << 10**6),
        b"\x80\x02" + storage(key="1") + b".",
        b"\x80\x02" + storage(key="../0") + b".",
        b"\x80\x02" + storage() + storage("torch\nDoubleStorage", size=2) + b"\x86.",
        b"\x80\x02" + storage() + storage(size=2) + b"\x86.",
    ],
)  # fmt: skip
def test_tensors_outside_their_storage_are_refused(program: bytes, tmp_path: Path) -> None:
    assert read_all(archive(tmp_path / "good.bin", tensor(), {"0": bytes(16)})) is not None
    with pytest.raises(CheckpointError):
        read_all(archive(tmp_path / "a.bin", program, {"0": bytes(16)}))


def test_a_pickle_that_copies_itself_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "_MAX_COST", 20_000)
    items = b"\x80\x02](" + b"N" * 5000 + b"eq\x000"
    copies = b"(" + b"ctorch\nSize\nh\x00\x85R" * 500 + b"t."
    with pytest.raises(CheckpointError, match="longer than"):
        read_torch_file(archive(tmp_path / "a.bin", items + copies))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02" + b"]q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"}h\x00Ns.",  # hashing the key would take 2**60 steps
        b"\x80\x02}" + number(1 << 10**6) + b"Ns.",
        b"\x80\x04\x8f(" + b")" + b"\x90.",
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"abc.",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02j\xff\xff\xff\xff.",
        b"\x80\x02I" + b"9" * 100_000 + b"\n.",
        b"\x80\x02.",
        b"\x80\x02",
        b"",
        b"\x80\x020.",
        b"\x80\x021.",
        b"\x80\x02Ne.",
        b"\x80\x02}Na.",
        b"\x80\x02](Nu.",
        b"\x80\x02}(Nu.",
    ],
)
def test_bombs_and_nonsense_are_refused_at_once(program: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read_torch_file(archive(tmp_path / "a.bin", program))


def test_deep_nesting_does_no_harm(tmp_path: Path) -> None:
    value = read_torch_file(archive(tmp_path / "a.bin", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."))
    assert isinstance(value, list)


def test_a_big_endian_archive_is_refused(tmp_path: Path) -> None:
    assert read_all(archive(tmp_path / "good.bin", tensor(), {"0": bytes(16)}, byteorder=b"little")) is not None
    with pytest.raises(CheckpointError, match="big-endian"):
        read_torch_file(archive(tmp_path / "a.bin", tensor(), {"0": bytes(16)}, byteorder=b"big"))


@pytest.mark.parametrize("count", [3, 4, 5, -1])
def test_a_storage_of_another_length_than_its_tensors_say_is_refused(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(MAGIC + tensor() + pickle.dumps(["0"], 2) + struct.pack("<q", count) + bytes(20))
    if count == 4:
        assert read_all(path) is not None
    else:
        with pytest.raises(CheckpointError, match="another length"):
            read_torch_file(path)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model/data.pkl", tensor(size=10**7))
        file.writestr("model/data/0", bytes(4 * 10**7))
    assert path.stat().st_size < 10**5
    with pytest.raises(CheckpointError, match="is compressed, which"):
        read_torch_file(path)


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x80\x02", b"PK\x03\x04", b"{}", bytes(100)])
def test_other_files_are_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.bin .*; \w+.*\.$"):
        read_torch_file(path)


def test_a_pointer_to_the_weights_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        read_torch_file(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    torch.save({"a": torch.ones(100), "b": torch.ones(3, 4)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_torch_file(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_read_or_refused(zipped: bool, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    values = {"a": torch.ones(5), "b": torch.nn.Parameter(torch.ones(3, 4).t()), "c": [1, 2.5, "x", (1, 2)]}
    torch.save(values, buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()
    pickle_end = whole.index(b".PK") if zipped else len(whole)
    generator = random.Random(0)
    path, read, refused = tmp_path / "a.bin", 0, 0
    for i in range(400):
        damaged = bytearray(whole)
        for _ in range(generator.choice([1, 1, 2, 8])):
            place = generator.randrange(min(pickle_end, len(damaged)) if i % 2 else len(damaged))
            match generator.randrange(4):
                case 0:
                    damaged[place] = generator.randrange(256)
                case 1:
                    damaged[place] ^= 1 << generator.randrange(8)
                case 2:
                    del damaged[place : place + generator.randrange(1, 9)]
                case _:
                    damaged[place:place] = generator.randbytes(generator.randrange(1, 9))
        path.write_bytes(damaged)
        try:
            read_all(path)
            read += 1
        except CheckpointError:
            refused += 1
    assert read > 20
    assert refused > 100


def test_pytorch_is_not_needed(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2).bfloat16()}, tmp_path / "a.bin")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from sonant.checkpoints.torch_files import read_torch_file\n"
        "print(read_torch_file(Path(sys.argv[1]))['a'].read())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.bin")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[1.", "1.]"]
