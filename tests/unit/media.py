"""Media files of any kind, made at test time: by PyAV where it can, byte by byte where no encoder would."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    """A quiet sine (N,), float32."""
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(container: OutputContainer, stream: AudioStream, samples: np.ndarray, rate: int, start: float = 0.0) -> None:
    """Write (N,) or (C, N) to `stream`, its first sample at `start` seconds; `encode_end` follows the last."""
    samples = np.atleast_2d(samples).astype(np.float32)
    source = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="flt", layout=LAYOUTS[len(samples)])
    source.sample_rate = rate
    fifo = av.AudioFifo()
    for frame in av.AudioResampler(format=stream.format.name, layout=LAYOUTS[len(samples)], rate=rate).resample(source):
        frame.pts = None
        fifo.write(frame)
    position = round(start * rate)
    while (frame := fifo.read(stream.codec_context.frame_size or 4096, partial=True)) is not None:
        frame.pts, frame.time_base = position, Fraction(1, rate)
        position += frame.samples
        container.mux(stream.encode(frame))


def encode_end(container: OutputContainer, stream: AudioStream) -> None:
    container.mux(stream.encode(None))


def audio_stream(container: OutputContainer, codec: str, rate: int, channels: int, sample_format: str | None = None):
    stream = container.add_stream(codec, rate=rate)
    stream.layout = LAYOUTS[channels]
    if sample_format:
        stream.format = sample_format
    stream.codec_context.options = {"strict": "experimental"}  # FFmpeg's own Vorbis encoder
    return stream


def write_media(
    path: Path,
    samples: np.ndarray,
    rate: int = 16_000,
    codec: str = "pcm_s16le",
    format: str | None = None,
    options: dict[str, str] | None = None,
    start: float = 0.0,
    video: float = 0.0,
) -> Path:
    """`samples` (N,) or (C, N) as `codec` from `start` seconds on, beside `video` seconds of grey."""
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream = audio_stream(container, codec, rate, len(np.atleast_2d(samples)))
        picture = container.add_stream("mpeg4", rate=10) if video else None
        if picture:
            write_video(container, picture, video)
        encode(container, stream, samples, rate, start)
        encode_end(container, stream)
    return path


def write_video(container: OutputContainer, picture, seconds: float) -> None:
    picture.width = picture.height = 32
    picture.pix_fmt = "yuv420p"
    for i in range(round(seconds * 10)):
        frame = av.VideoFrame.from_ndarray(np.full((48, 32), 128, np.uint8), format="yuv420p")
        frame.pts, frame.time_base = i, Fraction(1, 10)
        container.mux(picture.encode(frame))
    container.mux(picture.encode(None))


def wav(data: bytes, rate: int = 16_000, channels: int = 1, bits: int = 16, code: int = 1, declared: int | None = None):
    """A RIFF file around `data`; `code` 1 is integers, 3 floats; `declared` bytes in the header where they differ."""
    size = len(data) if declared is None else declared
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", code, channels, rate, min(rate * block, 2**32 - 1), block % 2**16, bits)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(len(body) - len(data) + size, 2**32 - 1)) + body


def wav_of(samples: np.ndarray, rate: int = 16_000) -> bytes:
    """(N,) or (N, C) of int16 or float32 as a RIFF file."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    code = 3 if samples.dtype.kind == "f" else 1
    return wav(samples.tobytes(), rate, channels, 8 * samples.itemsize, code)


class Pipe(io.RawIOBase):
    """Bytes that can be read once, in order, as from a pipe."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: memoryview) -> int:
        data = self._file.read(min(len(buffer), 1000))  # pipes give what they have
        buffer[: len(data)] = data
        return len(data)

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("seek")
