"""Text to an n-gram language model: interpolated modified Kneser-Ney, equal to that of KenLM's lmplz.

The native core counts and smooths in bounded memory; here files are opened, decompressed and written.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sonant import native
from sonant.decode.lm import is_arpa
from sonant.errors import DataError, OptionError, OutputError
from sonant.files import UNPACKING_FAULTS, open_output, unpacked

if TYPE_CHECKING:
    from sonant.native._native import Estimate

HIGHEST_ORDER = 8
LEAST_MEMORY = 1 << 20
PIECE = 1 << 20
"""Bytes of text that are handed on at a time."""

TextSource = str | PathLike[str] | io.BufferedReader
"""A file, plain or compressed by gzip, xz or bzip2 whatever its name; or one that is open."""
Progress = Callable[[str, int, int | None], None]
"""Told what is done, how far it is, and what it comes to (None where nobody knows). It may raise to end the work."""


@dataclass(frozen=True, slots=True)
class LmEstimate:
    """What became of a text. Tuples are by order, unigrams first."""

    num_sentences: int
    num_words: int
    """Words read, without the marks of sentences."""
    num_skipped: int
    """Words left out because a model keeps them for itself: `<s>`, `</s>`, `<unk>`."""
    num_types: int
    """Different words."""
    found: tuple[int, ...]
    """N-grams of the text, with `<s>`, `</s>` and `<unk>`."""
    kept: tuple[int, ...]
    """N-grams of the model."""
    discounts: tuple[tuple[float, float, float], ...]
    """What is taken from adjusted counts of 1, 2, and 3 and more."""
    notes: tuple[str, ...]
    """Sentences that a user should read."""


def estimate_lm(
    texts: Iterable[TextSource],
    *,
    output: str | PathLike[str] | None = None,
    arpa: str | PathLike[str] | None = None,
    order: int = 4,
    prune: Sequence[int] = (),
    vocabulary: Iterable[str] | None = None,
    skip_marks: bool = False,
    small: bool = False,
    memory: int = 1 << 30,
    temporary: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> LmEstimate:
    """Estimate a model and write it to `output`, to `arpa`, or to both.

    `output` is in sonant's own format, but an ARPA file, too, where it is named `.arpa` or `.arpa.gz`.
    A line is a sentence, words stand between ASCII white space, lines without words count for nothing. `prune` drops
    n-grams that occur at most so often, by order from 1; the last threshold holds for all longer ones. N-grams with a
    word outside of `vocabulary` are dropped, too. `small` writes `output` in a quarter of the bytes, with rounded
    scores. Time is linear in the text. Memory is `memory` bytes for buffers, what different words take, and for
    `output` the model itself; all else lies in nameless files in `temporary`.
    Raises `DataError` for texts, `OptionError` for settings, and `OutputError` where something cannot be written.
    Heafield et al., Scalable modified Kneser-Ney language model estimation, ACL 2013.
    """
    sources = [source if isinstance(source, io.BufferedReader) else Path(source) for source in texts]
    outputs = [Path(path) for path in (output, arpa) if path is not None]
    _check_places(sources, outputs)
    if output is not None and is_arpa(output):
        output, arpa = None, output
    if small and output is None:
        raise OptionError(f"An ARPA file cannot be small, but {arpa} is one; name an output in .lm.")
    folder = Path(temporary) if temporary is not None else Path(tempfile.gettempdir())
    with ExitStack() as stack:
        write_lm = None if output is None else stack.enter_context(open_output(output)).write
        write_arpa = None if arpa is None else _opened_arpa(arpa, stack).write
        stack.enter_context(_faults_as_sentences(folder))
        model = native.KneserNey(
            order=_checked_order(order),
            thresholds=_thresholds(prune, order),
            allowed_words=None if vocabulary is None else list(vocabulary),
            skip_marks=skip_marks,
            memory=_checked_memory(memory),
            folder=os.fsencode(folder),
        )
        _read_all(model, sources, progress)
        found = model.finish(write_arpa=write_arpa, write_lm=write_lm, small=small, progress=progress)
    return _described(found)


def read_words(path: str | PathLike[str]) -> list[str]:
    """The words of a list, in any layout with white space between them; `DataError` where it cannot be read."""
    with _opened(Path(path)) as (name, _, reader):
        try:
            return reader.read().decode().split()
        except UnicodeDecodeError as error:
            raise DataError(f"{name} must be UTF-8, but byte {error.start} is not; convert it first.") from error


def parse_bytes(size: str) -> int:
    """`512M` or `2G` in bytes; a number alone is bytes. Raises `OptionError`."""
    units = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
    number, unit = (size[:-1], size[-1:].upper()) if size[-1:].isalpha() else (size, "")
    try:
        return int(float(number) * (1 << units[unit]))
    except (KeyError, ValueError, OverflowError):
        raise OptionError(f"A size must be a number with K, M, G or T, but is {size!r}; write 512M or 2G.") from None


def _check_places(sources: Sequence[Path | io.BufferedReader], outputs: Sequence[Path]) -> None:
    if not sources:
        raise OptionError("At least one text must be given, but there is none; name a file.")
    if not outputs:
        raise OptionError("A model must be written somewhere, but no place is given; name an output or an ARPA file.")
    if len(outputs) == 2 and is_arpa(outputs[0]):
        raise OptionError(f"{outputs[0]} and {outputs[1]} would both be ARPA files; name one, or an output in .lm.")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise OptionError(f"{outputs[0]} is named for both formats; give each a file of its own.")
    read = [source for source in sources if isinstance(source, Path) and source.exists()]
    for path in outputs:
        if path.exists() and any(path.samefile(source) for source in read):
            raise OptionError(f"{path} is a text to read, which the model would replace; name another output.")


def _checked_order(order: int) -> int:
    if not 1 <= order <= HIGHEST_ORDER:
        raise OptionError(f"The order of a model must be 1 to {HIGHEST_ORDER}, but is {order}; 3 or 4 is usual.")
    return order


def _checked_memory(memory: int) -> int:
    if memory < LEAST_MEMORY:
        raise OptionError(f"Memory must be at least {LEAST_MEMORY >> 20} MB, but is {memory} bytes; allow 1G.")
    return memory


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    """One threshold an order."""
    given = list(prune) or [0]
    if len(given) > order or given[0] < 0 or any(a > b for a, b in pairwise(given)):
        raise OptionError(
            f"Pruning must be at most {order} thresholds that do not decrease, but is "
            f"{','.join(map(str, given))}; 0,0,1 drops what is longer than two words and came once."
        )
    return given + [given[-1]] * (order - len(given))


def _read_all(model: native.KneserNey, sources: Sequence[Path | io.BufferedReader], progress: Progress | None) -> None:
    """Feed the texts one after the other; progress is in bytes of the files as they are stored."""
    sizes = [_size(source) for source in sources]
    total = sum(size or 0 for size in sizes) if None not in sizes else None
    before = 0
    for source in sources:
        fed = 0
        with _opened(source) as (name, raw, reader):
            model.begin(name.encode(errors="backslashreplace").decode())  # a file's name may be no text
            while piece := reader.read(PIECE):
                model.feed(piece)
                fed += len(piece)
                if progress:
                    progress("reading", before + (raw.tell() if total else fed), total)
            model.end()
        before += _size(source) or fed


def _opened_arpa(path: str | PathLike[str], stack: ExitStack) -> BinaryIO | gzip.GzipFile:
    """A file that appears whole once the stack is left, packed where its name says so."""
    file = stack.enter_context(open_output(path))
    if Path(path).suffix.lower() != ".gz":
        return file
    return stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6))


def _size(source: Path | io.BufferedReader) -> int | None:
    """Bytes of a file, None where it has no size."""
    if isinstance(source, io.BufferedReader):
        return None
    try:
        status = source.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


@contextmanager
def _opened(source: Path | io.BufferedReader) -> Generator[tuple[str, io.BufferedReader, io.BufferedIOBase]]:
    """A text's name, the file as it is stored, and what reads it decompressed."""
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", "the text"))
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
            yield name, raw, unpacked(raw)
    except UNPACKING_FAULTS as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name} could not be read ({reason}); check the path and the file.") from error


@contextmanager
def _faults_as_sentences(folder: Path) -> Generator[None]:
    """Errors of the core as errors of ours."""
    try:
        yield
    except native.TextError as error:
        raise DataError(str(error)) from error
    except native.TemporaryFileError as error:
        raise OutputError(
            f"Temporary files could not be kept in {folder} ({error}); make room, or name another folder."
        ) from error
    except MemoryError as error:
        raise OptionError("There is not enough memory for buffers and model; allow less, or prune more.") from error


def _described(found: Estimate) -> LmEstimate:
    kept = [count for count in found["kept"] if count]
    guessed = [str(k) for k, estimated in enumerate(found["estimated"], 1) if not estimated and found["kept"][k - 1]]
    notes: list[str] = []
    if guessed:
        notes.append(
            f"The text is too small or too regular to estimate the discounts of order {', '.join(guessed)}; "
            "0.5, 1 and 1.5 were taken."
        )
    if len(kept) < len(found["kept"]):
        notes.append(f"The model's order is {len(kept)}, because no n-gram of order {len(kept) + 1} is left.")
    if found["num_skipped"]:
        notes.append(f"{found['num_skipped']} words that a model keeps for itself (<s>, </s>, <unk>) were skipped.")
    return LmEstimate(
        num_sentences=found["num_sentences"],
        num_words=found["num_words"],
        num_skipped=found["num_skipped"],
        num_types=found["num_types"],
        found=tuple(found["found"]),
        kept=tuple(kept),
        discounts=tuple(found["discounts"][: len(kept)]),
        notes=tuple(notes),
    )
