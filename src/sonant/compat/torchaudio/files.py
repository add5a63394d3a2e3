"""`torchaudio.load`, `info` and `save`: any file by sonant's reader, WAV written by the standard library."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonant.audio import open_media
from sonant.audio.media import Media
from sonant.audio.samples import mono
from sonant.errors import AudioError, OptionError, OutputError

Source = str | PathLike[str] | BinaryIO

_ENCODINGS = {"pcm_mulaw": "ULAW", "pcm_alaw": "ALAW", "mp3float": "MP3"}
"""What torchaudio calls some of FFmpeg's codecs; others by the start of their name, or all of it."""


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


def list_audio_backends() -> list[str]:
    """What reads files: FFmpeg's libraries, which come with PyAV."""
    return ["ffmpeg"]


def get_audio_backend() -> str:
    """The only one."""
    return "ffmpeg"


def set_audio_backend(backend: str | None) -> None:
    """Nothing: there is only one."""
    del backend


def load(
    uri: Source,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
) -> tuple[Tensor, int]:
    """Samples (C, N) of -1 to 1 and their rate; (N, C) without `channels_first`.

    Without `normalize`, WAV files of integers come as these (of 24 bits as int32, shifted up). A file object is read
    from its beginning. `format`, `buffer_size` and `backend` change nothing: the format is seen in the file. Beyond the
    end there are no samples. Raises `AudioError` as `sonant.audio.open_audio` does, of up to 8 channels.
    """
    del format, buffer_size, backend
    if frame_offset < 0 or num_frames < -1:
        raise OptionError(
            f"frame_offset must be at least 0, and num_frames too, or -1, but {frame_offset} and {num_frames} came."
        )
    media = open_media(uri)
    whole = not normalize and media.codec.startswith(("pcm_s", "pcm_u"))
    rate, parts = _part(media, frame_offset, None if num_frames == -1 else frame_offset + num_frames, whole)
    samples = torch.as_tensor(np.concatenate(parts, axis=1))
    return (samples if channels_first else samples.T), rate


def info(uri: Source, format: str | None = None, buffer_size: int = 4096, backend: str | None = None) -> AudioMetaData:
    """Rate, length, channels, bits and encoding; all but WAV and FLAC is read through to count its samples."""
    del format, buffer_size, backend
    media = open_media(uri)
    codec = media.codec
    encoding = _ENCODINGS.get(codec) or (codec[:5] if codec.startswith("pcm_") else codec).upper()
    count, rate = media.counted, media.rate
    if count is None or rate is None:
        sizes = [(rate, len(planes[0])) for rate, planes in media.planes()]
        count, rate = sum(size for _, size in sizes), sizes[0][0]
    media.close()
    return AudioMetaData(rate, count, media.channels, media.bits, encoding)


def _part(media: Media, first: int, last: int | None, whole: bool) -> tuple[int, list[NDArray[Any]]]:
    """The rate, and the samples (C, n) from `first` to `last`, as floats or as the file's own integers."""
    planes = media.planes()
    parts: list[NDArray[Any]] = []
    form, clock = (0, 0), 0
    for rate, channels in planes:
        if form != (rate, len(channels)) and parts:
            raise AudioError(f"{media.name} must keep its rate and channels, but changes them; convert it to WAV.")
        form = rate, len(channels)
        samples = np.stack(channels if whole else [mono([channel]) for channel in channels])
        part = samples[:, max(0, first - clock) : None if last is None else max(0, last - clock)]
        if part.size or not parts:
            parts.append(part)
        clock += samples.shape[1]
        if last is not None and clock >= last:
            break
    planes.close()
    media.close()
    return form[0], parts


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
