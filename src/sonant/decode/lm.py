"""N-gram language models: opened from sonant's own files at once, from ARPA and KenLM files by converting them first.

All scores are natural logarithms; ARPA files, KenLM and the programs around them speak of base 10.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from io import BufferedReader
from math import exp
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from sonant import native
from sonant.errors import LanguageModelError, OptionError
from sonant.files import UNPACKING_FAULTS, cache_folder, open_output, unpacked
from sonant.types import Progress

OWN_MAGIC, KENLM_MAGIC = b"sonantLM", b"mmap lm http://kheafield.com/code"
PIECE = 1 << 20
FORMAT = 2
"""Counts up when conversions that are kept can no longer be used."""


class Scored(NamedTuple):
    """What a model has to say of some words."""

    scores: list[float]
    """ln p(word | words before) of each word, then of the sentence's end where that was asked for."""
    known: list[bool]
    """Whether the model knows each word."""


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well a model foresees a text; those of two texts add up."""

    sentences: int = 0
    words: int = 0
    """Without the ends of sentences, which are foreseen as well."""
    unknown: int = 0
    """Words that the model does not know."""
    score: float = 0.0
    """ln p(text), unknown words and ends of sentences included."""
    known_score: float = 0.0
    """The same without what unknown words cost."""

    @classmethod
    def of(cls, sentence: Scored) -> Perplexity:
        """Of one sentence with its end; nothing where it is empty."""
        if not sentence.known:
            return cls()
        known = sum(score for score, is_known in zip(sentence.scores, [*sentence.known, True], strict=True) if is_known)
        return cls(1, len(sentence.known), sentence.known.count(False), sum(sentence.scores), known)

    def __add__(self, other: Perplexity) -> Perplexity:
        """Of both texts together."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return Perplexity(*(mine + theirs for mine, theirs in pairs))

    @property
    def including_unknown(self) -> float:
        """Of all words and ends: e to their mean cost."""
        return _exp(-self.score / max(1, self.words + self.sentences))

    @property
    def excluding_unknown(self) -> float:
        """The same over known words and ends alone."""
        return _exp(-self.known_score / max(1, self.words + self.sentences - self.unknown))


class LanguageModel:
    """A back-off n-gram model in a mapped file; immutable, so that threads may share it.

    `native` is the automaton that the beam search walks: states and words are numbers there.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Map one of sonant's own files, in milliseconds at any size; `open_lm` takes the other formats, too.

        Raises `LanguageModelError` where the file is missing, damaged or of another kind.
        """
        self.path = Path(path)
        try:
            self.native = native.LanguageModel(os.fsencode(self.path))
        except RuntimeError as error:
            raise LanguageModelError(str(error)) from None

    @property
    def order(self) -> int:
        """The most words an n-gram has."""
        return self.native.order

    @property
    def counts(self) -> list[int]:
        """How many n-grams of one word, of two, and so on."""
        return self.native.counts

    def words(self) -> list[str]:
        """All words by number, `<unk>` first, `<s>` and `</s>` among them."""
        return [word.decode(errors="replace") for word in self.native.words()]

    def __contains__(self, word: str) -> bool:
        """Whether the model knows a word."""
        return self.native.find(_bytes(word)) != 0

    def score(self, words: str | Sequence[str], begin: bool = True, end: bool = True) -> Scored:
        """What each word costs after those before it, and the end after all; a string is split at spaces.

        `begin` and `end` say whether the words begin and end a sentence. What is unknown is scored as `<unk>`.
        """
        each = words.split() if isinstance(words, str) else words
        return Scored(*self.native.score([_bytes(word) for word in each], begin, end))

    def perplexity(self, lines: Iterable[str]) -> Perplexity:
        """How well the model foresees a text of one sentence a line; empty lines count for nothing."""
        return sum((Perplexity.of(self.score(line)) for line in lines), Perplexity())


def open_lm(path: str | PathLike[str], progress: Progress | None = None) -> LanguageModel:
    """The model of an own file, an ARPA file (also packed by gzip, bzip2 or xz) or a KenLM binary.

    What is not sonant's own is converted the first time and kept in the cache folder until the file changes (by size
    and time); where nothing can be kept, it is converted each time. `progress` is told how many bytes of the file (of
    a KenLM binary: steps) are done. Raises `LanguageModelError`.
    """
    with _reading(path) as file:
        if file.read(len(OWN_MAGIC)) == OWN_MAGIC:
            return LanguageModel(path)
        status = os.fstat(file.fileno())
    identity = f"{FORMAT}\0{Path(path).resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    name = blake2b(identity.encode(errors="surrogateescape"), digest_size=16).hexdigest()
    kept = cache_folder() / "language-models" / f"{name}.lm"
    if kept.exists():
        try:
            return LanguageModel(kept)
        except LanguageModelError:
            pass  # damaged meanwhile: made again
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        convert_lm(path, kept, progress)
        return LanguageModel(kept)
    except OSError:  # OutputError is one
        return _open_unkept(path, progress)


def _open_unkept(path: str | PathLike[str], progress: Progress | None) -> LanguageModel:
    folder = tempfile.mkdtemp(prefix="sonant-")
    try:
        model = convert_lm(path, Path(folder) / "converted.lm", progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


def convert_lm(
    path: str | PathLike[str],
    output: str | PathLike[str],
    progress: Progress | None = None,
    *,
    small: bool = False,
) -> LanguageModel:
    """Write an ARPA file (also packed) or a KenLM binary as an own file, whole or not at all, and open that.

    `small` asks for the layout of a quarter of the size, with rounded scores, which can be made of an own file, too.
    Takes about twice the memory of the exact file; `progress` is told what it is told by `open_lm`. Raises
    `LanguageModelError` naming the line or the byte that is wrong, `OutputError`, and `OptionError` where the output
    has the name of an ARPA file, which cannot be written of a model that was read.
    """
    if is_arpa(output):
        raise OptionError(
            f"What is written is sonant's own format, but {output} is named like an ARPA file; name it .lm."
        )
    with _reading(path) as file:
        start = file.read(len(KENLM_MAGIC))
        file.seek(0)
        if start.startswith(OWN_MAGIC):
            _convert_own(path, output, small)
        elif start == KENLM_MAGIC:
            with open_output(output) as out, _telling(path, RuntimeError):
                native.convert_kenlm(os.fsencode(path), out.write, progress, small)
        else:
            _convert_arpa(path, file, output, progress, small)
    return LanguageModel(output)


def is_arpa(path: str | PathLike[str]) -> bool:
    """Whether a name is that of an ARPA file, plain or packed by gzip."""
    return Path(path).name.lower().endswith((".arpa", ".arpa.gz"))


def _convert_own(path: str | PathLike[str], output: str | PathLike[str], small: bool) -> None:
    model = LanguageModel(path)
    if not small or model.native.is_small:
        raise LanguageModelError(f"{path} is one of sonant's own language models already; use it as it is.")
    with open_output(output) as out, _telling(path, RuntimeError):
        model.native.write_small(out.write)


def _convert_arpa(
    path: str | PathLike[str], file: BufferedReader, output: str | PathLike[str], progress: Progress | None, small: bool
) -> None:
    size = os.fstat(file.fileno()).st_size
    reader = native.ArpaReader()
    with _telling(path, RuntimeError, *UNPACKING_FAULTS):
        text = unpacked(file)
        for piece in iter(lambda: text.read(PIECE), b""):
            reader.feed(piece)
            if progress:
                progress(file.tell(), size)
    with open_output(output) as out, _telling(path, RuntimeError):
        reader.write(out.write, small)


@contextmanager
def _reading(path: str | PathLike[str]) -> Generator[BufferedReader]:
    try:
        file = Path(path).open("rb")  # noqa: SIM115  # only opening is judged here
    except FileNotFoundError:
        raise LanguageModelError(f"{path} does not exist; name the file of a language model.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LanguageModelError(f"{path} cannot be read ({reason}); name the file of a language model.") from None
    with file:
        yield file


@contextmanager
def _telling(path: str | PathLike[str], *faults: type[Exception]) -> Generator[None]:
    """Makes one sentence of what the native readers and the unpackers have to say of a file."""
    try:
        yield
    except faults as error:
        raise LanguageModelError(
            f"{path} is no language model that can be read, {error}; get or make it again."
        ) from None
    except MemoryError:
        raise LanguageModelError(f"{path} needs more memory than this machine has; prune the model.") from None


def _bytes(word: str) -> bytes:
    return word.encode(errors="surrogatepass")  # half a character is in no model


def _exp(value: float) -> float:
    return exp(min(value, 700.0))
