"""Files of `torch.save` are read as PyTorch reads them; damaged ones are refused in a sentence."""

from __future__ import annotations

import io
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sonant.checkpoints.torch_files import read_torch_file
from sonant.errors import CheckpointError
from unit.programs import MAGIC, archive, read_all, tensor


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
