"""Servers for tests: the application in this process, or `sonant serve` as a user starts it."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def wav(samples: np.ndarray) -> bytes:
    """Samples as a file."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(pcm16(samples))
    return held.getvalue()


def post(server: Server, body: bytes, path: str = "/") -> tuple[int, Any]:
    """Status and JSON of the answer to a body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def gauge(server: Server, name: str) -> float:
    """One of a server's numbers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def resident(server: Server) -> int:
    """Kilobytes of a server's memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def wait_for(server: Server, name: str, value: float) -> None:
    """Until a number has become this; half a minute at most."""
    for _ in range(300):
        if gauge(server, name) == value:
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} is {gauge(server, name)}, not {value}")
