"""`torchaudio.load`, `info` and `save`: any file by sonant's reader, WAV with its channels by the standard library."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from os import PathLike
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from sonant.audio import open_audio
from sonant.errors import AudioError, OptionError, OutputError

Source = str | PathLike[str] | BinaryIO
_ENCODED = "PCM_S"


@dataclass(frozen=True)
class AudioMetaData:
    """What a file declares about itself."""

    sample_rate: int
    """Hertz."""
    num_frames: int
    """Samples of each channel."""
    num_channels: int
    bits_per_sample: int
    """0 where the codec has none."""
    encoding: str


def load(
    uri: Source,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,  # torchaudio's name
    buffer_size: int = 4096,  # noqa: ARG001
    backend: str | None = None,  # noqa: ARG001
) -> tuple[Tensor, int]:
    """Samples (C, N) in -1 to 1 and their rate; (N, C) without `channels_first`.

    WAV of 8, 16 or 32 bits keeps its channels; all else comes as one channel, their mean. `normalize=False` (integers
    of the file) is not offered. Raises `AudioError` as `sonant.audio.open_audio` does.
    """
    del format
    if not normalize:
        raise OptionError("load gives floats from -1 to 1, but normalize=False came; multiply by the full scale.")
    if frame_offset < 0 or num_frames < -1 or num_frames == 0:
        raise OptionError(
            f"frame_offset must be at least 0 and num_frames positive or -1, but {frame_offset} and {num_frames} came."
        )
    samples, rate = _pcm(uri) or _decoded(uri)
    end = None if num_frames == -1 else frame_offset + num_frames
    part = torch.tensor(samples[:, frame_offset:end])
    return (part if channels_first else part.T), rate


def info(uri: Source, format: str | None = None, buffer_size: int = 4096, backend: str | None = None) -> AudioMetaData:  # noqa: ARG001
    """Rate, length and channels; files other than WAV are read through, and tell of one channel, as `load` gives."""
    found = _pcm(uri)
    if found is None:
        samples, rate = _decoded(uri)
        return AudioMetaData(rate, samples.shape[1], 1, 0, "UNKNOWN")
    samples, rate = found
    with wave.open(str(uri) if isinstance(uri, PathLike) else uri, "rb") as file:
        bits = 8 * file.getsampwidth()
    if not isinstance(uri, str | PathLike):
        uri.seek(0)
    return AudioMetaData(rate, samples.shape[1], len(samples), bits, f"{_ENCODED}" if bits > 8 else "PCM_U")


def save(
    uri: Source,
    src: Tensor,
    sample_rate: int,
    channels_first: bool = True,
    format: str | None = None,
    encoding: str | None = None,
    bits_per_sample: int | None = None,
    buffer_size: int = 4096,  # noqa: ARG001
    backend: str | None = None,  # noqa: ARG001
    compression: object = None,  # noqa: ARG001
) -> None:
    """Write floats (C, N) as WAV of 16 bits (or `bits_per_sample=32`); beyond -1 to 1 they are clipped.

    Raises `OptionError` for other formats and `OutputError` where the file cannot be written.
    """
    suffix = str(uri).rpartition(".")[2].lower() if isinstance(uri, str | PathLike) else "wav"
    bits = bits_per_sample or 16
    if (format or suffix) != "wav" or encoding not in (None, "PCM_S") or bits not in (16, 32):
        raise OptionError(
            f"save writes WAV of 16 or 32 bits, but {format or suffix}, {encoding} and {bits} came; "
            "write a .wav and convert it with ffmpeg."
        )
    if src.ndim != 2:
        raise OptionError(f"save takes samples (channels, samples), but {tuple(src.shape)} came; reshape them.")
    rows = src.detach().cpu() if channels_first else src.detach().cpu().T
    if rows.is_floating_point():
        scale = 2.0 ** (bits - 1)
        whole = (rows.double() * scale).round().clamp(-scale, scale - 1)
    elif rows.dtype == (torch.int16 if bits == 16 else torch.int32):
        whole = rows
    else:
        raise OptionError(f"save takes floats, or integers of {bits} bits, but {rows.dtype} came; convert it first.")
    try:
        with wave.open(str(uri) if isinstance(uri, PathLike) else uri, "wb") as file:
            file.setparams((len(rows), bits // 8, int(sample_rate), 0, "NONE", ""))
            file.writeframes(whole.T.numpy().astype(f"<i{bits // 8}").tobytes())
    except OSError as error:
        raise OutputError(f"{uri} cannot be written ({error}); check the folder and its rights.") from error


def _pcm(uri: Source) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int] | None:
    """The samples (C, N) and rate of a WAV of 8, 16 or 32 bits; None for other files."""
    source = str(uri) if isinstance(uri, PathLike) else uri
    try:
        with wave.open(source, "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes()) if width in (1, 2, 4) else b""
    except (wave.Error, EOFError, OSError):
        raw, width, channels, rate = b"", 0, 1, 0
    if not isinstance(source, str):
        source.seek(0)
    if not raw:
        return None
    values = np.frombuffer(
        raw[: len(raw) // (width * channels) * width * channels], f"<{'u1' if width == 1 else f'i{width}'}"
    )
    centred = values.astype(np.float32) - (128 if width == 1 else 0)
    return (centred / np.float32(2 ** (8 * width - 1))).reshape(-1, channels).T, rate


def _decoded(uri: Source) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int]:
    """One channel (1, N) of any file at its own rate."""
    with open_audio(uri) as probe:
        rate = probe.source_rate
    if not isinstance(uri, str | PathLike):
        uri.seek(0)
    if rate is None:
        raise AudioError(f"{uri} must say its sample rate, but does not; convert it to WAV.")
    with open_audio(uri, rate) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream])[None], rate
