"""How far a job is: counted by its driver, read by people and by Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sonant.errors import OptionError
from sonant.files import write_text

WRITE_SECONDS = 5.0
"""How often a file of metrics is written anew."""


@dataclass
class Tally:
    """How far a job is."""

    inputs: int = 0
    """All that were listed, each once."""
    declared: float | None = None
    """Seconds of sound that they declare; None where one of them does not say."""
    duplicates: int = 0
    """Inputs that were named again, and are done once."""
    kept: int = 0
    """Results of earlier runs."""
    done: int = 0
    """Results of this run."""
    failed: int = 0
    seconds: float = 0.0
    """Of sound, heard in this run."""
    began: float = field(default_factory=time.monotonic)
    """When the first task was handed out."""
    nodes: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds of sound that each machine heard; one without a name is this one."""

    @property
    def elapsed(self) -> float:
        """Seconds since the first task was handed out."""
        return time.monotonic() - self.began

    @property
    def speed(self) -> float:
        """Seconds of sound heard in a second."""
        return self.seconds / max(self.elapsed, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds until the end, if the rest is like what was done; None where nothing was."""
        tried = self.done + self.failed
        return self.elapsed * (self.inputs - self.kept - tried) / tried if tried else None


def metrics_text(tally: Tally) -> str:
    """A tally as Prometheus reads it; only numbers and the names of machines, never what was said."""
    return "".join(f"{line}\n" for line in _lines(tally))


def _lines(tally: Tally) -> Iterator[str]:
    families: dict[str, tuple[str, str, float]] = {
        "inputs": ("gauge", "Inputs that were listed, each once.", tally.inputs),
        "kept": ("gauge", "Inputs whose results are those of earlier runs.", tally.kept),
        "done_total": ("counter", "Inputs that this run has done.", tally.done),
        "failed_total": ("counter", "Inputs that failed.", tally.failed),
        "speed": ("gauge", "Seconds of sound heard in a second.", tally.speed),
        "elapsed_seconds": ("gauge", "Seconds since the first input was begun.", tally.elapsed),
    }
    if tally.left is not None:
        families["left_seconds"] = ("gauge", "Seconds until the end, if the rest is alike.", tally.left)
    for name, (kind, meaning, value) in families.items():
        yield f"# HELP sonant_batch_{name} {meaning}"
        yield f"# TYPE sonant_batch_{name} {kind}"
        yield f"sonant_batch_{name} {value:.12g}"
    yield "# HELP sonant_batch_audio_seconds_total Seconds of sound heard, by machine."
    yield "# TYPE sonant_batch_audio_seconds_total counter"
    for node, seconds in tally.nodes.items() or {"": 0.0}.items():
        name = node.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        yield f'sonant_batch_audio_seconds_total{{node="{name}"}} {seconds:.12g}'


@contextmanager
def open_metrics(where: str | None) -> Generator[Callable[[Tally], None]]:
    """What is to be told of a tally, and shows it at `PORT` or `HOST:PORT` (under any path), or in a file.

    A port without a host is open to this machine alone. Raises `OptionError` for one that is not to be had.
    """
    if where is None:
        yield lambda _: None
    elif (port := where.rpartition(":")[2]).isdecimal() and "/" not in where:
        with _served(where.rpartition(":")[0] or "127.0.0.1", int(port), where) as page:
            yield page
    else:
        written: list[float] = []
        last: list[Tally] = []

        def show(tally: Tally) -> None:
            last[:] = [tally]
            if not written or time.monotonic() - written[0] >= WRITE_SECONDS:
                written[:] = [time.monotonic()]
                write_text(where, metrics_text(tally))

        try:
            yield show
        finally:
            if last and Path(where).parent.is_dir():
                write_text(where, metrics_text(last[0]))


@contextmanager
def _served(host: str, port: int, where: str) -> Generator[Callable[[Tally], None]]:
    shown = [Tally()]

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = metrics_text(shown[0]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    try:
        server = ThreadingHTTPServer((host, port), Page)
    except (OSError, OverflowError) as error:
        raise OptionError(f"--metrics must be a free port or a file, but {where} is not ({error}).") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield lambda tally: shown.__setitem__(0, tally)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
