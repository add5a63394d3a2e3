"""Nothing that a pickle asks for ever runs, and no pickle takes more than its share of time and memory."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sonant.checkpoints import pickles
from sonant.checkpoints.torch_files import read_torch_file
from sonant.errors import CheckpointError
from unit.programs import MAGIC, archive, number, read_all, storage, tensor, text


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


def test_objects_of_known_classes_are_kept_as_attributes_alone(tmp_path: Path) -> None:
    """As fairseq writes settings: a Namespace, an enumeration's member, a defaultdict, a type that is only named."""
    program = (
        b"\x80\x02}(" + text("args") + b"cargparse\nNamespace\n)\x81}(" + text("__class__") + b"K\x01"
        + text("arch") + text("ctc") + b"K\x07K\x08ub"
        + text("enum") + b"cfairseq.dataclass.constants\nChoice\n" + text("a") + b"\x85R"
        + text("cache") + b"ccollections\ndefaultdict\nc__builtin__\ndict\n\x85R" + text("k") + b"K\x02s"
        + text("kind") + b"ctyping\nAny\n"
        + text("optional") + b"c_operator\ngetitem\nctyping\nOptional\nc__builtin__\nint\n\x86Ru."
    )  # fmt: skip
    value = read_torch_file(archive(tmp_path / "a.bin", program))
    assert isinstance(value, dict)
    assert type(value["args"]) is pickles.Inert
    assert value["args"].attributes == {"__class__": 1, "arch": "ctc"}
    assert (value["enum"].name, value["enum"].args) == ("fairseq.dataclass.constants.Choice", ("a",))
    assert value["cache"] == {"k": 2}


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02c__builtin__\nobject\n)R.",
        b"\x80\x02c_operator\ngetitem\n}K\x01\x86R.",
        b"\x80\x02ccollections\ndefaultdict\n" + text("dict") + b"\x85R.",
        b"\x80\x02cargparse\nArgumentParser\n)R.",
        b"\x80\x02cfairseq_evil\nsystem\n)R.",
        b"\x80\x02}cargparse\nNamespace\n)RNs.",
    ],
)
def test_what_only_resembles_them_is_refused(program: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read_torch_file(archive(tmp_path / "a.bin", program))


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
