"""Any audio as mono float32 at one rate: files, bytes, file objects, standard input and arrays, read or streamed.

Containers are decoded in `sonant.audio.media`, rates are changed here, by soxr. Nothing here normalises: that belongs
to `sonant.windows`.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from math import inf
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

import numpy as np
import soxr
from numpy.typing import ArrayLike

from sonant.audio.live import Broadcast, Microphone
from sonant.audio.media import Media
from sonant.audio.samples import (
    HIGHEST_RATE,
    LOWEST_RATE,
    Mixer,
    Pieces,
    check_form,
    checked,
    mono_block,
    reason,
    seconds,
)
from sonant.errors import AudioError, OptionError
from sonant.types import FloatArray

__all__ = [
    "AudioStream", "File", "Resampler", "Source", "from_array", "mono_block", "open_audio", "open_live", "open_media",
    "read",
]  # fmt: skip

File = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path (`-` is standard input), a file's bytes, or a file object open for reading bytes."""


LIVE_BLOCK = 0.1
"""Seconds of a block of live sound."""

Part = tuple[float, float | None] | None
"""Seconds from the beginning and seconds of length; None is all."""


class AudioStream:
    """Mono float32 blocks of about a second each (live a tenth), once, in memory that does not grow with the length.

    Iterating raises `AudioError` where the audio turns out to hold nothing, or samples that are no numbers.
    """

    def __init__(
        self,
        name: str,
        pieces: Pieces,
        sample_rate: int,
        duration: float | None,
        warnings: list[str],
        close: Callable[[], None] = lambda: None,
        source_rate: int | None = None,
        mixer: Mixer | None = None,
        codec: str | None = None,
        block_seconds: float = 1.0,
    ) -> None:
        self.name = name
        """What messages call the source: its path as given, or a description."""
        self.sample_rate = sample_rate
        """Hertz of the blocks."""
        self.duration = duration
        """Seconds that the source declares to last, which may be wrong; None where it does not say."""
        self.source_rate = source_rate
        """Hertz of the source as it declares them (Opus always 48000); None where it does not say."""
        self.mixer = mixer or Mixer()
        """How loud its channels are; complete once the last block is read."""
        self.codec = codec
        """FFmpeg's name of what the sound is written in; None for samples."""
        self.warnings = warnings
        """What was odd, as sentences; complete once the last block is read."""
        self.num_samples = 0
        """Samples given so far."""
        self.listener: Callable[[FloatArray], None] | None = None
        """Is told each block before it is given."""
        self._blocks = self._counted(_resampled(checked(seconds(pieces, block_seconds), name), sample_rate))
        self._close = close

    def __iter__(self) -> Iterator[FloatArray]:
        return self._blocks

    def _counted(self, blocks: Iterable[FloatArray]) -> Generator[FloatArray]:
        for block in blocks:
            self.num_samples += len(block)
            if self.listener:
                self.listener(block)
            yield block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the blocks and let go of the source; a file object of the caller stays open."""
        self._blocks.close()  # PyAV crashes when a closed container is read on
        self._close()


Source = File | AudioStream | ArrayLike
"""A file, an open stream of audio, or samples."""


def open_audio(
    source: Source,
    sample_rate: int = 16_000,
    *,
    array_rate: float | None = None,
    offset: float | None = None,
    duration: float | None = None,
) -> AudioStream:
    """A stream of `source` at `sample_rate` hertz, its channels mixed down by their mean.

    Of a container the default track is read (else the first). Stretches of its timeline without sound become silence,
    so times are those a player shows. Samples need their `array_rate`; their form is that of `from_array`.
    With `offset` only what follows so many seconds is given, `duration` seconds at most; most containers are read from
    there on. Raises `AudioError` for what cannot be opened, decoded or heard.
    """
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise OptionError(
            f"Audio is read at {LOWEST_RATE} to {HIGHEST_RATE} Hz, but {sample_rate} Hz was asked for; "
            "pass the rate of the model, mostly 16000."
        )
    if not (offset is None or 0 <= offset < inf) or not (duration is None or 0 < duration < inf):
        raise OptionError(
            f"A part of audio begins at 0 s or later and lasts longer than 0 s, but an offset of {offset} and a "
            f"duration of {duration} came; correct them."
        )
    part = None if offset is None and duration is None else (offset or 0.0, duration)
    if isinstance(source, AudioStream):
        if source.sample_rate != sample_rate or part:
            raise OptionError(
                f"An open stream is read as it is, at {source.sample_rate} Hz from where it stands, but {sample_rate} "
                "Hz or a part of it was asked for; open it so."
            )
        return source
    if isinstance(source, str | PathLike | bytes | bytearray | memoryview) or hasattr(source, "read"):
        return _stream(open_media(cast("File", source)), sample_rate, part)
    return _open_array(cast(ArrayLike, source), array_rate, sample_rate, part)


def open_live(
    source: str, sample_rate: int = 16_000, *, patience: float = 60.0, notice: Callable[[str], None] = lambda _: None
) -> AudioStream:
    """A stream of what comes from a microphone (`mic`, `mic:NAME`), an address (`https://...`) or a file.

    An address is connected to anew where it is lost, `notice` told of it, until `patience` seconds brought nothing;
    what was missed is silence. Raises `AudioError` as `open_audio`, and `MissingExtraError` without what microphones
    need.
    """
    if source.partition(":")[0] == "mic" and not Path(source).exists():
        microphone = Microphone(source.partition(":")[2] or None, notice)
        pieces, close = microphone.pieces(), microphone.close
    elif re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        broadcast = Broadcast(source, patience, notice)
        pieces, close = broadcast.pieces(), broadcast.close
    else:
        return _stream(open_media(source), sample_rate, None, LIVE_BLOCK)
    return AudioStream(source, pieces, sample_rate, None, [], close, block_seconds=LIVE_BLOCK)


def read(
    source: Source,
    sample_rate: int = 16_000,
    *,
    array_rate: float | None = None,
    offset: float | None = None,
    duration: float | None = None,
) -> FloatArray:
    """All of `source` as (N,), with the meaning and the errors of `open_audio`; four bytes a sample of memory."""
    with open_audio(source, sample_rate, array_rate=array_rate, offset=offset, duration=duration) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream])


def from_array(samples: ArrayLike, sample_rate: float, target_rate: int = 16_000) -> FloatArray:
    """Samples as mono float32 (N,) at `target_rate`: whatever `numpy.asarray` takes, (N,), (N, C) or (C, N).

    The shorter axis is the channels (of equal ones the second). Integers are divided by their type's full scale,
    unsigned ones centred first; floats keep their values, beyond -1 to 1 too.
    Raises `AudioError` for other types and shapes, and for samples that are no numbers.
    """
    return read(samples, target_rate, array_rate=sample_rate)


def open_media(source: File) -> Media:
    """The sound of a file as it is written: its own rate, channels and numbers. Whoever reads it to its end closes it.

    Raises `AudioError` as `open_audio` does.
    """
    if isinstance(source, str | PathLike):
        name, file, close = _opened(os.fspath(source))
    elif isinstance(source, bytes | bytearray | memoryview):
        name, file, close = "The audio", io.BytesIO(source), True
    else:
        name, file, close = _name_of(source), source, False
    try:
        return Media(name, file, file.close if close else lambda: None)
    except BaseException:
        if close:
            file.close()
        raise


def _opened(path: str) -> tuple[str, BinaryIO, bool]:
    """A regular file, or standard input: a pipe or a device opened by its name could hold us forever.

    With what messages call it, and whether it is ours to close.
    """
    if path == "-":
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # so it is under pythonw
            raise AudioError("Standard input was asked for, but this process has none; pass a file.")
        return "Standard input", sys.stdin.buffer, False
    try:
        if (place := Path(path)).is_dir():
            raise AudioError(f"{path} is a folder, but a file was expected; pass the files in it one by one.")
        if place.exists() and not place.is_file():
            raise AudioError(f"{path} is a pipe or a device, but a file was expected; pass - to read standard input.")
        return path, place.open("rb"), True
    except FileNotFoundError as error:
        if "://" in path:
            raise AudioError(f"{path} is an address, but a file was expected; download it first.") from error
        raise AudioError(f"{path} does not exist; check the path and the folder it starts from.") from error
    except PermissionError as error:
        raise AudioError(f"{path} may not be read by this user; change its permissions or copy it.") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{path} cannot be opened ({reason(error)}); check the path.") from error


def _stream(media: Media, sample_rate: int, part: Part, block: float = 1.0) -> AudioStream:
    pieces = media.part(*part) if part else media.pieces()
    duration = media.duration
    if part and duration is not None:
        duration = max(0.0, min(duration - part[0], part[1] or inf))
    return AudioStream(
        media.name,
        pieces,
        sample_rate,
        duration,
        media.warnings,
        media.close,
        media.rate,
        media.mixer,
        media.codec,
        block,
    )


def _open_array(samples: ArrayLike, array_rate: float | None, sample_rate: int, part: Part) -> AudioStream:
    try:
        array = np.asarray(samples)
    except Exception as error:  # whatever a foreign __array__ raises: tensors on a GPU, ragged lists
        raise AudioError(f"Samples that numpy can take were expected, but it says: {reason(error)}.") from error
    if array.dtype.kind not in "fiu":
        raise AudioError(
            "A path, bytes, a file object or samples as integers or floats were expected, "
            f"but {type(samples).__name__} of {array.dtype} came; convert it first."
        )
    if array.ndim not in (1, 2):
        raise AudioError(f"Samples of shape (N,) or (N, channels) were expected, but {array.shape} came; reshape them.")
    if array.size == 0:
        raise AudioError(f"Samples were expected, but the array of shape {array.shape} is empty; pass one with sound.")
    if array_rate is None or array_rate % 1 != 0:  # so are infinity and NaN
        raise AudioError(f"Samples need the whole number of hertz they were recorded at, but {array_rate} came.")
    rate = int(array_rate)
    channels = array[None] if array.ndim == 1 else array if array.shape[0] < array.shape[1] else array.T
    check_form("The array", rate, len(channels))
    if array.dtype.kind == "i" and array.itemsize == 8 and 0 < max(abs(int(array.min())), int(array.max())) < 2**31:
        # lists of int come as int64: at its full scale they would be silence
        raise AudioError(
            "64-bit integers are taken at a full scale of 2**63, but these stay below 2**31; "
            "convert them to the type they were recorded in, mostly with astype('int16')."
        )
    if part:
        first = round(part[0] * rate)
        channels = channels[:, first : None if part[1] is None else first + round(part[1] * rate)]
    if not (length := channels.shape[1]):
        raise AudioError(
            f"The array ends before {part and part[0]:g} s, where a part of it begins; correct the offset and duration."
        )
    mixer = Mixer()
    pieces = ((rate, mixer.mix(list(channels[:, start : start + rate]))) for start in range(0, length, rate))
    return AudioStream("The array", pieces, sample_rate, length / rate, [], source_rate=rate, mixer=mixer)


class Resampler:
    """Samples (N,) from one rate to another as they come, equal to soxr's in one piece wherever they are cut."""

    def __init__(self, rate: int, target_rate: int) -> None:
        self._stream = None if rate == target_rate else soxr.ResampleStream(rate, target_rate, 1, dtype="float32")

    def feed(self, samples: FloatArray) -> FloatArray:
        """What the next samples give, which may be nothing yet."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def finish(self) -> FloatArray:
        """What was held back."""
        nothing = np.zeros(0, np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


def _resampled(pieces: Pieces, sample_rate: int) -> Generator[FloatArray]:
    """Blocks at `sample_rate`."""
    resampler = Resampler(sample_rate, sample_rate)
    last_rate = sample_rate
    for rate, piece in pieces:
        if rate != last_rate:
            if len(block := resampler.finish()):
                yield block
            resampler, last_rate = Resampler(rate, sample_rate), rate
        if len(block := resampler.feed(piece)):
            yield block
    if len(block := resampler.finish()):
        yield block


def _name_of(file: BinaryIO) -> str:
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else "The audio"
