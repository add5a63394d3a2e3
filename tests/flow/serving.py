"""Servers for tests: the application in this process, or `sonant serve` as a user starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

HOST = "localhost"
SERVE = "import sys; from sonant.cli import main; sys.argv[0] = 'sonant'; main()"


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    wyoming: int | None
    errors: list[str]
    """Lines of its standard error so far."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """`sonant serve` at a port of its own; it is ended with the block, and must have said nothing but where it is."""
    command = [sys.executable, "-c", SERVE, "serve", "--port", "0", "--precision", "fp32", "--threads", "1", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    errors: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr
        wanted = 1 + ("--wyoming" in arguments)
        for line in process.stderr:
            errors.append(line)
            if sum("Listening at" in line or "Wyoming at" in line for line in errors) == wanted:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(120)
        said = "".join(errors)
        [url] = re.findall(r"Listening at (\S+)/ ", said) or [said]
        found = re.search(r"Wyoming at tcp://\S+:(\d+)\.", said)
        yield Server(process, url, int(found[1]) if found else None, errors)
    finally:
        process.terminate()
        process.wait(60)
        reader.join(10)
        assert process.stderr
        process.stderr.close()


def pcm16(samples: np.ndarray) -> bytes:
    """Samples as 16-bit bytes."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
