"""The process that decodes what clients send, so that a hostile file can hurt its own request only.

`python -m sonant.server.decoder --fork FD` waits at a socket for files and forks a child for each, with limits of its
own on processor time and memory. With `--rate RATE` it decodes standard input to standard output, once. What comes
out are frames of one letter, a length (4 bytes, little-endian) and a body: H a head and E an end as JSON, S samples
as float32, X a sentence that says what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
from typing import Any, BinaryIO

from sonant import audio
from sonant.errors import SonantError

SHORT_WAV = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\4\0\0\0\0\0\0\0"
HEAD, SAMPLES, END, ERROR = b"H", b"S", b"E", b"X"


def decode(source: BinaryIO, target: BinaryIO, sample_rate: int) -> None:
    """Write the sound of `source` to `target` as frames, at `sample_rate` hertz."""
    try:
        with audio.open_audio(source, sample_rate) as stream:
            described = {"duration": stream.duration, "source_rate": stream.source_rate, "codec": stream.codec}
            write(target, HEAD, json.dumps(described).encode())
            for block in stream:
                write(target, SAMPLES, block.astype("<f4", copy=False).tobytes())
            mixer = stream.mixer
            found = {"warnings": stream.warnings, "powers": mixer.powers, "mixed": mixer.mixed}
            write(target, END, json.dumps(found).encode())
    except SonantError as error:
        write(target, ERROR, json.dumps(str(error)).encode())
    target.flush()


def write(target: BinaryIO, kind: bytes, body: bytes) -> None:
    """One frame."""
    target.write(kind + len(body).to_bytes(4, "little") + body)


def serve(control: socket.socket) -> None:
    """Fork a child for each request that comes with a file to read and a pipe to write; end with the socket."""
    audio.read(SHORT_WAV)  # loads the libraries here, once, and not in every child
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends us by closing the socket
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries them
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 4096, 2)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            _decode_and_exit(json.loads(request), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(b"+")


def _decode_and_exit(request: dict[str, Any], source: int, target: int) -> None:
    """In the child: nothing but this file, within its limits; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who no longer reads ends us as we write
        threading.Thread(target=_end_unread, args=(target,), daemon=True).start()
        restrain(request["seconds"], request["memory"])
        with os.fdopen(source, "rb") as file, os.fdopen(target, "wb") as pipe:
            decode(file, pipe, request["rate"])
        status = 0
    except MemoryError:
        pass  # the pipe ends too soon, which says it
    finally:
        os._exit(status)


def _end_unread(target: int) -> None:
    """End this process as soon as nobody reads it any more: before its first sample it may compute for minutes."""
    closed = select.poll()
    closed.register(target, 0)  # of which an error alone is told
    closed.poll()
    os._exit(1)


def restrain(seconds: int, memory: int) -> None:
    """Limit this process to so many seconds of processor time and bytes of memory, and let it write no file."""
    import resource

    limits = {"RLIMIT_CPU": seconds, "RLIMIT_AS": memory, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):  # some systems lack some of them
            resource.setrlimit(getattr(resource, name), (limit, limit))


if __name__ == "__main__":
    way, number = sys.argv[1], int(sys.argv[2])
    if way == "--fork":
        serve(socket.socket(fileno=number))
    else:
        decode(sys.stdin.buffer, sys.stdout.buffer, number)
