"""What a model makes of audio on the way to text, in files: states of its layers, and units (codes of its codebooks).

A file's arrays are collected on disk until the last window is heard, so memory does not grow with its length; then
they go whole into a folder of `.npy`, an `.npz` or a Parquet table. `Recognizer.feature_pieces` computes them.

Shapes: T frames, D hidden size, C channels of the convolutions, G codebooks, V entries of each.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints import Checkpoint
from sonant.errors import CheckpointError, MissingExtraError, OptionError, OutputError
from sonant.files import make_folder, open_output
from sonant.model.config import PretrainConfig
from sonant.types import FloatArray

Layers = str | Sequence[int]
"""Layers of a transformer, 0 for what enters the first, as numbers or as `6,9`; or `all` of them."""
Arrays = Mapping[str, NDArray[Any]]
"""Rows of each array by its name: `layer_6` (T, D), `units` (T, G)."""
BLOCK_BYTES = 1 << 22
"""What is copied at once."""
UNITS = "units"


def layer_name(layer: int) -> str:
    """What a layer's array is called in files."""
    return f"layer_{layer}"


def parse_layers(layers: Layers) -> Sequence[int] | None:
    """The numbers of layers, None for all; `OptionError` for a text that is neither `all` nor numbers with commas."""
    if not isinstance(layers, str):
        return layers
    if layers.strip() == "all":
        return None
    parts = [part.strip() for part in layers.split(",")]
    if not all(part.isdecimal() and part.isascii() for part in parts):
        raise OptionError(f"Layers are `all` or whole numbers with commas, such as 6,9, but {layers!r} came.")
    return [int(part) for part in dict.fromkeys(parts)]


class Quantizer:
    """The codebooks of a model pre-trained as wav2vec 2.0, which name each frame by the entries it is closest to.

    They choose as in evaluation, without noise: arXiv:2006.11477, section 2. Raises `CheckpointError` for a model
    that has none.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        if "quantizer.weight_proj.weight" not in checkpoint.tensors:
            raise CheckpointError(
                f"Units are entries of the codebooks that wav2vec 2.0 is pre-trained with, but {checkpoint.name} has "
                "none; pass a model that was pre-trained only, such as facebook/wav2vec2-base."
            )
        shape = PretrainConfig.from_dict(checkpoint.settings)
        self.groups, self.entries = shape.num_codevector_groups, shape.num_codevectors_per_group
        outputs = self.groups * self.entries
        self.weight = checkpoint.weight("quantizer.weight_proj.weight", (outputs, checkpoint.config.conv_dim[-1]))
        self.bias = checkpoint.weight("quantizer.weight_proj.bias", (outputs,))

    def __call__(self, convolved: FloatArray) -> NDArray[np.int32]:
        """Normalised outputs of the convolutions (T, C) to the chosen entry of each codebook, (T, G)."""
        scores = convolved @ self.weight.T + self.bias
        return scores.reshape(len(convolved), self.groups, self.entries).argmax(-1).astype(np.int32)


class Spool:
    """Arrays that grow by rows, on disk, in files that vanish with the process."""

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        self.folder, self.dtype = folder, np.dtype(dtype)
        self.arrays: dict[str, tuple[IO[bytes], np.dtype[Any], int]] = {}
        """For each: its rows, their type and how many numbers are in one."""
        self.num_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for array in self.arrays.values():
            array[0].close()

    def append(self, arrays: Arrays) -> None:
        """Take the next rows of every array; floats become the spool's type, `OptionError` where they overflow."""
        try:
            for name, array in arrays.items():
                with np.errstate(over="ignore"):
                    rows = array.astype(self.dtype) if array.dtype.kind == "f" else array
                if rows.dtype != array.dtype and not np.isfinite(rows).all():
                    raise OptionError(f"Features must fit {rows.dtype}, but {name} has larger ones; take float32.")
                if name not in self.arrays:
                    self.arrays[name] = TemporaryFile(dir=self.folder), rows.dtype, rows.shape[1]  # noqa: SIM115
                self.arrays[name][0].write(np.ascontiguousarray(rows).data)
        except OSError as error:
            raise OutputError(
                f"{self.folder} could not be written ({error.strerror}); make room, or name another place."
            ) from error
        self.num_rows += len(next(iter(arrays.values()), ()))

    def blocks(self, name: str, rows: int | None = None) -> Iterator[NDArray[Any]]:
        """An array (T, D) in blocks of so many rows, or of some megabytes."""
        file, dtype, width = self.arrays[name]
        rows = rows or max(BLOCK_BYTES // (width * dtype.itemsize), 1)
        file.seek(0)
        while data := file.read(rows * width * dtype.itemsize):
            yield np.frombuffer(data, dtype).reshape(-1, width)

    def write_npy(self, name: str, file: IO[bytes]) -> None:
        """An array as a `.npy` file."""
        _, dtype, width = self.arrays[name]
        description = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.num_rows, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in self.blocks(name):
            file.write(block.data)


class Writer(AbstractContextManager["Writer"], Protocol):
    """Where features go. A file without any result is not written, nor one whose block raises."""

    folder: Path
    """Where there is room for a spool."""

    def has(self, name: str, arrays: Iterable[str]) -> bool:
        """Whether an earlier run has written these arrays of an input."""
        ...

    def add(self, name: str, spool: Spool) -> None:
        """Write the arrays of one input."""
        ...


class FolderWriter:
    """A folder an input, with a `.npy` an array: `DIR/talk/layer_6.npy`. Every file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def has(self, name: str, arrays: Iterable[str]) -> bool:
        return all((self.folder / name / f"{array}.npy").is_file() for array in arrays)

    def add(self, name: str, spool: Spool) -> None:
        place = self.folder / name
        try:
            place.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{place} must be a folder, but cannot be made ({error.strerror}); move it.") from error
        with ExitStack() as stack:  # all are written before the first appears
            for array in spool.arrays:
                spool.write_npy(array, stack.enter_context(open_output(place / f"{array}.npy")))


class _SingleFile:
    """One file of all inputs, which appears once the last is written."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.absolute().parent
        if not self.folder.is_dir():  # known now, not after hours of audio
            raise OutputError(f"{path} cannot be written, because its folder does not exist; create that first.")
        self._stack = ExitStack()
        self._table: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def has(self, name: str, arrays: Iterable[str]) -> bool:  # noqa: ARG002 (of an unfinished file nothing is left)
        return False

    def _opened(self, begin: Callable[[IO[bytes]], AbstractContextManager[Any]]) -> Any:
        if self._table is None:
            self._table = self._stack.enter_context(begin(self._stack.enter_context(open_output(self.path))))
        return self._table


class NpzWriter(_SingleFile):
    """An `.npz`, which `numpy.load` reads: `layer_6` of an only input, `talk/layer_6` where there are several."""

    def __init__(self, path: Path, several: bool) -> None:
        super().__init__(path)
        self.several = several

    def add(self, name: str, spool: Spool) -> None:
        table = cast("zipfile.ZipFile", self._opened(lambda file: zipfile.ZipFile(file, "w", allowZip64=True)))
        for array in spool.arrays:
            member = f"{name}/{array}.npy" if self.several else f"{array}.npy"
            with table.open(member, "w", force_zip64=True) as file:
                spool.write_npy(array, file)


class ParquetWriter(_SingleFile):
    """A Parquet table, a row a frame: `file`, `start` (seconds), and a list of numbers for each array."""

    ROWS = 1500
    """Of a row group: half a minute."""

    def __init__(self, path: Path, frame_seconds: float) -> None:
        super().__init__(path)
        self.frame_seconds = frame_seconds
        try:
            self.arrow, self.parquet = (cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.parquet"))
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "Parquet is written by pyarrow, which is not installed: pip install 'sonant[parquet]'"
            ) from error

    def add(self, name: str, spool: Spool) -> None:
        arrow = self.arrow
        types = {a: arrow.list_(arrow.from_numpy_dtype(dtype), width) for a, (_, dtype, width) in spool.arrays.items()}
        schema = arrow.schema([("file", arrow.string()), ("start", arrow.float64()), *types.items()])
        writer = self._opened(lambda file: self.parquet.ParquetWriter(file, schema, use_dictionary=["file"]))
        first = 0
        for group in zip(*(self._lists(spool, array) for array in spool.arrays), strict=True):
            count = len(group[0])
            starts = np.arange(first, first + count) * self.frame_seconds
            columns = [arrow.array([name] * count, arrow.string()), arrow.array(starts), *group]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
            first += count

    def _lists(self, spool: Spool, array: str) -> Generator[Any]:
        for block in spool.blocks(array, self.ROWS):
            yield self.arrow.FixedSizeListArray.from_arrays(self.arrow.array(block.ravel()), block.shape[1])


def open_writer(output: Path, *, several: bool, frame_seconds: float) -> Writer:
    """Where the suffix of `output` sends features: `.npz`, `.parquet`, or without one a folder of `.npy`."""
    suffix = output.suffix.lower()
    if suffix == ".npz":
        return NpzWriter(output, several)
    if suffix == ".parquet":
        return ParquetWriter(output, frame_seconds)
    if suffix and not output.is_dir():
        raise OptionError(f"Features go to a folder, .npz or .parquet, but {output.name} was asked for; rename it.")
    return FolderWriter(output)
