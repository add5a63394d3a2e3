"""Pickles, read without running anything that they ask for.

A pickle is a program. Here it is interpreted: a `PickleReader` knows the instructions that build numbers, texts and
containers, and may call nothing but this module's own table `_CALLS`: tensors, sizes, ordered dictionaries, sets.
Objects of the classes in `_INERT`, in which fairseq keeps its settings, become `Inert`: attributes without behaviour.
Whatever else a file names is refused by that name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from sonant.checkpoints.arrays import DTYPES, Storage, StoredArray

_MAX_COST = 2_000_000
"""Instructions of a pickle; a model of a thousand tensors takes some forty thousand."""


class RefusedError(Exception):
    """The pickle asks for something that is not in our tables; the message names it."""


class DamagedError(ValueError):
    """The pickle cannot have been written by PyTorch; the message says why."""


@dataclass(frozen=True)
class _Global:
    """The name of something in a Python module: a name, never the thing."""

    name: str


@dataclass(eq=False)
class Inert:
    """An object whose class is only known by name: what it was made of, and none of what it could do."""

    name: str
    """Of its class."""
    args: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])


class PickleReader:
    """Builds the value that a pickle describes, instruction by instruction, calling nothing but `_CALLS`."""

    def __init__(self, stream: BinaryIO, find: Callable[[str, str, int], Storage]) -> None:
        self.stream = stream
        self.find = find
        """From a storage's kind, key and size to the storage."""
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        """What lay on the stack at each mark."""
        self.memo: dict[int, Any] = {}
        self.cost = 0
        """Instructions so far, and whatever they copied: what bounds time and memory."""

    def run(self) -> object:
        """Read one pickle, to its end and no further."""
        try:
            return self.interpret()
        except (TypeError, LookupError, ArithmeticError) as error:  # an empty stack, a missing memo, a wrong argument
            raise DamagedError("its pickle contradicts itself") from error

    def interpret(self) -> object:
        while True:
            self.spend(1)
            opcode = _OPCODES.get(self.stream.read(1))
            name = opcode.name if opcode else "unknown"
            if name == "STOP":
                return self.stack.pop()
            if name not in _STEPS and name not in _FRESH and name not in _PLAIN and name not in _EMPTY:
                raise RefusedError(f"the pickle instruction {name}")
            arg: Any = opcode.arg.reader(self.stream) if opcode and opcode.arg and name != "GLOBAL" else None
            if name in _PLAIN:
                self.stack.append(arg)
            elif name in _FRESH:
                self.stack.append(_FRESH[name]())
            elif name in _STEPS:
                _STEPS[name](self, arg)

    def spend(self, cost: int) -> None:
        self.cost += cost
        if self.cost > _MAX_COST:
            raise DamagedError("its pickle is longer than that of any model")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def drop_mark(self, _: object) -> None:
        self.pop_mark()

    def mark(self, _: object) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def make_tuple(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is set:
            cast("set[Any]", target).update(map(checked_key, items))
        elif type(target) is list:
            cast("list[Any]", target).extend(items)
        else:
            raise DamagedError("items are appended to what is no list")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise DamagedError("items are set in what is no dictionary")
        cast("dict[Any, Any]", target).update(zip(map(checked_key, items[::2]), items[1::2], strict=True))

    def name(self, name: str) -> None:
        if name not in _CALLS and name not in _STORAGES and name not in _NAMES and not name.startswith(_INERT):
            raise RefusedError(name)
        self.stack.append(_Global(name))

    def read_name(self, _: object) -> None:
        """Two lines, the module and the name in it; pickletools would take backslashes in them for escapes."""
        text = bytearray()
        while text.count(b"\n") < 2:
            text += self.stream.read(1) or b"\n"
            if len(text) > 1000:
                raise DamagedError("a name has no end")
        self.name(text[:-1].decode().replace("\n", "."))

    def stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise DamagedError("a name is no text")
        self.name(f"{module}.{name}")

    def call(self, _: object) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if type(function) is not _Global or type(args) is not tuple:
            raise RefusedError("a call of what is no known function")
        args = cast("tuple[Any, ...]", args)
        self.spend(len(args) + sum(len(arg) for arg in args if type(arg) in (list, tuple, str)))
        if function.name in _CALLS:
            self.stack.append(_CALLS[function.name](*args))
        elif function.name.startswith(_INERT):
            self.stack.append(Inert(function.name, args))
        else:
            raise RefusedError(f"a call of {function.name}")

    def build(self, _: object) -> None:
        """Note an inert object's attributes; drop those of a state dict (`_metadata`); nothing else may have any."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is Inert:
            if type(state) is dict:
                attributes = cast("dict[Any, Any]", state)
                self.spend(len(attributes))
                target.attributes.update({key: value for key, value in attributes.items() if type(key) is str})
        elif type(target) is not dict:
            raise RefusedError("attributes of what is no dictionary")

    def persistent(self, _: object) -> None:
        """A storage, which lies outside the pickle: ("storage", kind, key, device, size) and, once, a view of it."""
        match self.stack.pop():
            case ("storage", _Global(kind), str(key), str(), int(size), *view) if view in ([], [None]):
                if kind not in _STORAGES or not 0 <= size < 1 << 48:
                    raise DamagedError("it has a storage of an unknown kind or size")
                self.stack.append(self.find(_STORAGES[kind], checked_key(key), size))
            case _:
                raise DamagedError("it refers to something outside that is no storage")


def checked_key(key: Any) -> Any:
    """A key that is quick to hash and compare: no tuples in tuples, no megabytes of text."""
    match key:
        case str() | bytes() if len(key) <= 1000:
            return key
        case int() if key.bit_length() <= 64:
            return key
        case None | float():
            return key
        case _:
            raise DamagedError("a key is neither a short text nor a number")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredArray:
    """torch._utils._rebuild_tensor and its later versions; gradients and hooks are dropped."""
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise DamagedError("a tensor is not made of a storage, a shape and strides")
    return StoredArray(storage, offset, cast("tuple[int, ...]", shape), cast("tuple[int, ...]", strides))


def _parameter(data: Any, *_: Any) -> StoredArray:
    if type(data) is not StoredArray:
        raise DamagedError("a parameter is no tensor")
    return data


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    if type(items) not in (list, tuple):
        raise DamagedError("a dictionary is not made of items")
    return {checked_key(key): value for key, value in items}


def _set(items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple):
        raise DamagedError("a set is not made of items")
    return set(map(checked_key, items))


def _size(items: Any = ()) -> tuple[Any, ...]:
    if type(items) not in (list, tuple):
        raise DamagedError("a size is not made of numbers")
    return tuple(items)


def _default_dictionary(factory: Any = None, *_: Any) -> dict[Any, Any]:
    if factory is not None and type(factory) is not _Global:
        raise DamagedError("a dictionary's factory is no class")
    return {}


def _subscript(whole: Any, _: Any) -> Inert:
    """A type such as `typing.Optional[str]`."""
    if type(whole) is not _Global or not whole.name.startswith("typing."):
        raise RefusedError("an item of what is no type")
    return Inert(whole.name)


def _bytes(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise DamagedError("bytes are not made of a text")
    return text.encode("latin1")


def _device(*place: Any) -> str:
    if any(type(part) not in (str, int) for part in place):
        raise DamagedError("a device is no text")
    return ":".join(str(part) for part in place)


_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _default_dictionary,
    "operator.getitem": _subscript,
    "_operator.getitem": _subscript,
    "builtins.set": _set,
    "__builtin__.set": _set,  # as Python 2 and pickle protocol 2 write it
    "_codecs.encode": _bytes,  # as protocol 2 writes bytes
}
_KINDS = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
_STORAGES = {f"torch.{kind}Storage": dtype for kind, dtype in _KINDS.items()}
_TYPES = ("dict", "list", "tuple", "str", "int", "float", "bool", "bytes", "object")
_NAMES = {f"torch.{name}" for name in DTYPES} | {f"{home}.{t}" for home in ("builtins", "__builtin__") for t in _TYPES}
"""What may be named, but not called."""
_INERT = ("argparse.Namespace", "omegaconf.", "fairseq.", "typing.", "numpy.dtype", "numpy.core.multiarray.scalar",
          "numpy._core.multiarray.scalar")  # fmt: skip
"""How the names of classes begin whose objects are kept as attributes only; of numpy, scores that fairseq noted."""

_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_PLAIN = frozenset({
    "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
})  # fmt: skip
"""Instructions whose argument is the value."""
_EMPTY = frozenset({"PROTO", "FRAME"})
_FRESH: Mapping[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_STEPS: Mapping[str, Callable[[PickleReader, Any], None]] = {
    "MARK": PickleReader.mark,
    "POP": lambda reader, _: reader.stack.pop(),
    "POP_MARK": PickleReader.drop_mark,
    "DUP": lambda reader, _: reader.stack.append(reader.stack[-1]),
    "BINGET": PickleReader.get,
    "LONG_BINGET": PickleReader.get,
    "BINPUT": PickleReader.put,
    "LONG_BINPUT": PickleReader.put,
    "MEMOIZE": PickleReader.memoize,
    "TUPLE1": lambda reader, _: reader.make_tuple(1),
    "TUPLE2": lambda reader, _: reader.make_tuple(2),
    "TUPLE3": lambda reader, _: reader.make_tuple(3),
    "TUPLE": lambda reader, _: reader.push(tuple(reader.pop_mark())),
    "LIST": lambda reader, _: reader.push(reader.pop_mark()),
    "APPEND": lambda reader, _: reader.append([reader.stack.pop()]),
    "APPENDS": lambda reader, _: reader.append(reader.pop_mark()),
    "ADDITEMS": lambda reader, _: reader.append(reader.pop_mark()),
    "SETITEM": lambda reader, _: reader.set_items([reader.stack.pop(-2), reader.stack.pop()]),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop_mark()),
    "GLOBAL": PickleReader.read_name,
    "STACK_GLOBAL": PickleReader.stack_global,
    "REDUCE": PickleReader.call,
    "NEWOBJ": PickleReader.call,
    "BUILD": PickleReader.build,
    "BINPERSID": PickleReader.persistent,
}
