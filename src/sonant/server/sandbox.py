"""Media from clients as samples, decoded in another process (`sonant.server.decoder`) within limits."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np

from sonant.audio import AudioStream
from sonant.audio.samples import Mixer, Pieces
from sonant.errors import AudioError, EngineError
from sonant.server.batcher import LeftError
from sonant.server.decoder import END, ERROR, HEAD, SAMPLES

LARGEST_FRAME = 1 << 24
"""Bytes of one frame; the decoder sends a second of sound at a time."""
SILENT_SECONDS = 60.0
"""How long a decoder may say nothing while it is waited for."""
LOOKED = 0.25
"""Seconds between looks whether it still is."""
NAME = "The audio"
EXCEEDED = (
    f"{NAME} could not be decoded within the limits of this server on memory and processor time; "
    "send a shorter file, or the sound alone as WAV or FLAC."
)


class TooLongError(AudioError):
    """Audio that lasts longer than the server takes."""


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may cost."""

    seconds: int = 120
    """Of processor time."""
    memory: int = 2 << 30
    """Bytes of address space, some 0.5 GiB of which are libraries."""
    duration: float = 4 * 3600.0
    """Seconds of sound."""


class Decoders:
    """Opens media in processes of their own; safe to use from several threads."""

    def __init__(self, limits: DecodeLimits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._server: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def open(self, file: BinaryIO, sample_rate: int, left: Callable[[], bool] = lambda: False) -> AudioStream:
        """The sound of a file of the system's (one with a `fileno`), mono, at `sample_rate` hertz.

        Raises `AudioError`, here or while it is read, for what cannot be decoded or takes more than the limits allow,
        and `LeftError` once nobody wants it any more, which `left` tells.
        """
        file.flush()
        file.seek(0)
        pipe = self._forked(file, sample_rate) if hasattr(os, "fork") else _spawned(file, sample_rate)
        try:
            kind, body = _frame(pipe, left)
            if kind != HEAD:
                raise AudioError(_sentence(body) if kind == ERROR else EXCEEDED)
            head: dict[str, Any] = json.loads(body)
            if (head["duration"] or 0.0) > self.limits.duration:  # said before hours of it are heard in vain
                raise self._too_long()
        except BaseException:
            pipe.close()
            raise
        mixer, warnings = Mixer(), list[str]()
        return AudioStream(
            NAME,
            self._pieces(pipe, sample_rate, mixer, warnings, left),
            sample_rate,
            head["duration"],
            warnings,
            pipe.close,
            head["source_rate"],
            mixer,
            head["codec"],
        )

    def start(self) -> None:
        """Start the process that forks, which takes half a second, before the first file comes."""
        if hasattr(os, "fork"):
            with self._lock:
                self._started()

    def close(self) -> None:
        """End the process that forks; files under way are read to their end."""
        with self._lock:
            if self._server:
                process, control = self._server
                control.close()
                process.wait()
                self._server = None

    def _started(self) -> socket.socket:
        if self._server and self._server[0].poll() is not None:  # it was killed
            self._server[1].close()
            self._server = None
        if self._server is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                command = [sys.executable, "-m", "sonant.server.decoder", "--fork", str(theirs.fileno())]
                quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
                process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=quiet, start_new_session=True)
            self._server = process, ours
        return self._server[1]

    def _forked(self, file: BinaryIO, sample_rate: int) -> BinaryIO:
        """The pipe to which a new child writes."""
        limits = self.limits
        request = {"rate": sample_rate, "seconds": limits.seconds, "memory": limits.memory}
        readable, writable = os.pipe()
        try:
            with self._lock:
                for attempt in range(2):  # it may have been killed
                    control = self._started()
                    try:
                        socket.send_fds(control, [json.dumps(request).encode()], [file.fileno(), writable])
                        if control.recv(1):
                            break
                    except OSError:
                        pass
                    if attempt:
                        raise EngineError(f"{NAME} could not be decoded, as no process could be started for it.")
                    control.close()
                    self._server = None
        except BaseException:
            os.close(readable)
            raise
        finally:
            os.close(writable)
        return os.fdopen(readable, "rb", buffering=0)

    def _too_long(self) -> TooLongError:
        return TooLongError(
            f"{NAME} may last {self.limits.duration:g} s on this server, but lasts longer; "
            "send it in parts, or start the server with a longer --max-duration."
        )

    def _pieces(
        self, pipe: BinaryIO, sample_rate: int, mixer: Mixer, warnings: list[str], left: Callable[[], bool]
    ) -> Pieces:
        longest = self.limits.duration * sample_rate
        num_samples = 0
        for kind, body in _frames(pipe, left):
            if kind == SAMPLES:
                samples = np.frombuffer(body, "<f4").astype(np.float32)
                num_samples += len(samples)
                if num_samples > longest:
                    raise self._too_long()
                yield sample_rate, samples
            elif kind == END:
                found: dict[str, Any] = json.loads(body)
                mixer.powers, mixer.mixed = [float(power) for power in found["powers"]], float(found["mixed"])
                warnings += map(str, found["warnings"])
            else:
                raise AudioError(_sentence(body))


def _spawned(file: BinaryIO, sample_rate: int) -> BinaryIO:
    """The output of a new process, where there is no fork; it has no limits but the time it may be silent."""
    command = [sys.executable, "-m", "sonant.server.decoder", "--rate", str(sample_rate)]
    process = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE)
    assert process.stdout
    return cast(BinaryIO, process.stdout)


def _frames(pipe: BinaryIO, left: Callable[[], bool]) -> Generator[tuple[bytes, bytes]]:
    """Frames up to the last."""
    while True:
        kind, body = _frame(pipe, left)
        yield kind, body
        if kind in (END, ERROR):
            return


def _frame(pipe: BinaryIO, left: Callable[[], bool]) -> tuple[bytes, bytes]:
    """The next frame; `AudioError` where the decoder was ended by its limits."""
    head = _read(pipe, 5, left)
    size = int.from_bytes(head[1:], "little")
    if size > LARGEST_FRAME or head[:1] not in (HEAD, SAMPLES, END, ERROR) or (head[:1] == SAMPLES and size % 4):
        raise AudioError(EXCEEDED)
    return head[:1], _read(pipe, size, left)


def _read(pipe: BinaryIO, size: int, left: Callable[[], bool]) -> bytes:
    held = bytearray()
    while len(held) < size:
        if hasattr(select, "poll"):
            _wait(pipe, left)
        piece = pipe.read(size - len(held))
        if not piece:
            raise AudioError(EXCEEDED)
        held += piece
    return bytes(held)


def _wait(pipe: BinaryIO, left: Callable[[], bool]) -> None:
    """Until there is something to read; a thread that waited on for nobody would be missing to others."""
    ready = select.poll()
    ready.register(pipe, select.POLLIN)
    latest = time.monotonic() + SILENT_SECONDS
    while not ready.poll(LOOKED * 1000):
        if left():
            raise LeftError
        if time.monotonic() > latest:
            raise AudioError(EXCEEDED)


def _sentence(body: bytes) -> str:
    try:
        return str(json.loads(body))
    except ValueError:
        return EXCEEDED
