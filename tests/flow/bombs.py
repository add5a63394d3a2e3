"""Small files that are much to decode, or pretend to be, as bytes."""

from __future__ import annotations

import io
import struct
import wave
import zipfile
import zlib

import av


def flac_of_silence(seconds: int, declared: int | None = None) -> bytes:
    """At 8 kHz, 90 times smaller than its samples; its header may declare other samples than it has, 0 being none."""
    held, size = io.BytesIO(), 8000
    with av.open(held, "w", "flac") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=size)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = 8000
        for _ in range(seconds):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = bytearray(held.getvalue())
    if declared is not None:  # 36 bits, after 4 letters, a block's head of 4 bytes, and 13 bytes and a half
        data[21] = data[21] & 0xF0 | declared >> 32
        data[22:26] = (declared & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


def matroska_of_gaps(count: int, seconds: int) -> bytes:
    """A tenth of a second of sound every so many seconds."""
    held = io.BytesIO()
    with av.open(held, "w", "matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for i in range(count):
            frame = av.AudioFrame(format="s16", layout="mono", samples=800)
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            frame.sample_rate, frame.pts = 8000, i * seconds * 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return held.getvalue()


def wav_of_form(rate: int, channels: int) -> bytes:
    """A header that declares a form which no recording has, and a little silence."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    data = bytearray(held.getvalue())
    data[22:34] = struct.pack("<HIIH", channels, rate, 0xFFFFFFFF, min(2 * channels, 0xFFFF))
    return bytes(data)


def picture(side: int) -> bytes:
    """A black PNG of so many points square, of which the first hundred rows are there."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100 * (1 + side * 3))))
        + chunk(b"IEND", b"")
    )


def nested_mp4(depth: int) -> bytes:
    """Boxes within boxes."""
    boxes = b"".join((8 * (depth - i)).to_bytes(4, "big") + b"moov" for i in range(depth))
    return b"\0\0\0\x10ftypM4A \0\0\0\0" + boxes


def zipped(megabytes: int) -> bytes:
    """Zeros, a thousand times smaller."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("talk.wav", bytes(megabytes << 20))
    return held.getvalue()
