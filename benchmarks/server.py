"""How much does the server cost beside a bare loop over `transcribe`, and how many live streams do two cores carry?

    python benchmarks/server.py [--models built-in base] [--seconds 10] [--requests 64] [--rounds 5] [--memory 10000]

The server and the loop are processes of their own with as many threads, and take turns round after round, so that a
busy machine troubles both alike: `ratio` is the median of the rounds' ratios of requests a second. Requests are WAV
files over kept connections, from 1, 8 and 64 clients. Streams are fed as fast as the server takes them; how many the
cores could carry is the number of cores over the server's processor seconds a second of sound, which other load changes
little. Paced streams are fed at the speed of speech, more and more of them at a time: `late` is how long after a word's
end its final text came, and they are carried while its 95th percentile is within half a second of a single stream's.
`base` is a base-size model with random weights, for its computation alone. `--memory` asks so many short requests and
notes the server's resident set. Written to results/server.json.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from websockets.sync.client import connect

from sonant import audio

from engines import make_model  # isort: skip
from machine import RESULTS, describe, write_result  # isort: skip

RATE = 16000
CLIENTS = (1, 8, 64)
STREAMS = (1, 8)
EXAMPLE = Path(__file__).parent.parent / "examples" / "forest.ogg"


def speech(seconds: float) -> np.ndarray:
    """The example over and over, with pauses; 16-bit samples."""
    piece = np.concatenate([audio.read(EXAMPLE), np.zeros(RATE // 2, np.float32)])
    return (np.resize(piece, round(seconds * RATE)) * 32767).astype("<i2")


def wav(samples: np.ndarray) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return held.getvalue()


class Server:
    """`sonant serve` in a process of its own."""

    def __init__(self, model: str | None, threads: int, workers: int) -> None:
        chosen = ["--model", model] if model else []
        limits = ["--max-requests", "128", "--max-streams", "64", "--threads", str(threads), "--workers", str(workers)]
        command = [sys.executable, "-m", "sonant", "serve", "--port", "0", *limits, *chosen]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        said = self.process.stderr.readline()
        found = re.search(r":(\d+)/", said)
        if not found:
            raise SystemExit(f"The server did not start: {said}{self.process.stderr.read()}")
        self.port = int(found[1])

    @property
    def cpu(self) -> float:
        """Processor seconds so far, without those of the processes that decode files."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident(self) -> float:
        """Megabytes of memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def ask(self, body: bytes, count: int, clients: int) -> list[float]:
        """Seconds that each of so many requests took."""
        held = threading.local()

        def one(_: int) -> float:
            if not hasattr(held, "connection"):
                held.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            began = time.perf_counter()
            held.connection.request("POST", "/", body)
            answer = held.connection.getresponse()
            if answer.status != 200 or b"text" not in answer.read():
                raise SystemExit(f"The server answered {answer.status}")
            return time.perf_counter() - began

        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(one, range(count)))

    def stream(self, samples: np.ndarray) -> None:
        """One stream, to its end; a server with too many does not read on, nor does it answer pings then."""
        with connect(f"ws://127.0.0.1:{self.port}/v1/stream", max_queue=None, ping_interval=None) as socket:
            for start in range(0, len(samples), RATE // 10):
                socket.send(samples[start : start + RATE // 10].tobytes())
            socket.send('{"type": "finish"}')
            while json.loads(socket.recv())["type"] != "done":
                pass

    def paced(self, samples: np.ndarray) -> list[float]:
        """One stream at the speed of speech: how many seconds after its end each final word came."""
        piece = RATE // 10
        with connect(f"ws://127.0.0.1:{self.port}/v1/stream", max_queue=None, ping_interval=None) as socket:
            began = time.perf_counter()

            def feed() -> None:
                for start in range(0, len(samples), piece):
                    time.sleep(max(0.0, began + (start + piece) / RATE - time.perf_counter()))
                    socket.send(samples[start : start + piece].tobytes())
                socket.send('{"type": "finish"}')

            feeder = threading.Thread(target=feed)
            feeder.start()
            late: list[float] = []
            while (message := json.loads(socket.recv()))["type"] != "done":
                words = message["words"] if message["type"] == "final" else []
                late += [time.perf_counter() - began - word["end"] for word in words]
            feeder.join()
        return late

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()


LOOP = """
import io, os, sys, time, sonant
asr = sonant.load(sys.argv[1] or None, threads=int(sys.argv[2]))
body = open(sys.argv[3], "rb").read()
asr.transcribe(io.BytesIO(body))
print(flush=True)
for line in sys.stdin:
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(int(line)):
        asr.transcribe(io.BytesIO(body))
    print(time.perf_counter() - began, time.process_time() - cpu, flush=True)
"""


class Loop:
    """`transcribe` over and over in a process of its own."""

    def __init__(self, model: str | None, threads: int, file: Path) -> None:
        command = [sys.executable, "-c", LOOP, model or "", str(threads), str(file)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.process.stdout.readline()

    def run(self, count: int) -> tuple[float, float]:
        """Seconds of the clock and of processors for so many files."""
        assert self.process.stdin
        assert self.process.stdout
        print(count, file=self.process.stdin, flush=True)
        wall, cpu = map(float, self.process.stdout.readline().split())
        return wall, cpu

    def close(self) -> None:
        self.process.communicate()


@contextmanager
def model_of(name: str) -> Iterator[str | None]:
    """What `--model` takes for a model of this benchmark."""
    if name != "base":
        yield None if name == "built-in" else name
        return
    with tempfile.TemporaryDirectory() as folder:
        make_model("base", Path(folder))
        yield folder


def requests(server: Server, loop: Loop, body: bytes, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rounds of a bare loop and of every number of clients."""
    server.ask(body, 4, 2)
    bare: list[tuple[float, float]] = []
    took: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    walls: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    cpus: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    for _ in range(options.rounds):
        bare.append(loop.run(options.requests))
        for clients in CLIENTS:
            began, cpu = time.perf_counter(), server.cpu
            took[clients] += server.ask(body, options.requests, clients)
            walls[clients].append(time.perf_counter() - began)
            cpus[clients].append(server.cpu - cpu)
    count = options.requests
    wall, cpu = zip(*bare, strict=True)
    rows: list[dict[str, Any]] = [
        {"what": "loop", "per_second": round(count / median(wall), 2), "cpu": round(median(cpu) / count, 4)}
    ]
    for clients in CLIENTS:
        p50, p99 = np.quantile(took[clients], (0.5, 0.99))
        ratios = [loop / served for loop, served in zip(wall, walls[clients], strict=True)]
        row = {"what": "server", "clients": clients, "per_second": round(count / median(walls[clients]), 2)}
        row |= {"ratio": round(median(ratios), 3), "p50": round(p50, 4), "p99": round(p99, 4)}
        rows.append(row | {"cpu_without_decoding": round(median(cpus[clients]) / count, 4)})
        print(json.dumps(row), file=sys.stderr)
    return rows


def streams(server: Server, samples: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """What a second of a stream's sound costs, by how many there are at a time."""
    rows: list[dict[str, Any]] = []
    for count in STREAMS:
        costs: list[float] = []
        for _ in range(rounds):
            cpu = server.cpu
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(server.stream, [samples] * count))
            costs.append((server.cpu - cpu) / (count * len(samples) / RATE))
        cores = os.cpu_count() or 1
        rows.append({"streams": count, "cpu_a_second": round(median(costs), 4), "carried": int(cores / median(costs))})
        print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def paced(server: Server, samples: np.ndarray, counts: list[int]) -> Iterator[dict[str, Any]]:
    """Lateness by how many streams there are at a time, until they are too many; ends with how many were carried."""
    alone = carried = 0.0
    for count in counts:
        cpu = server.cpu
        with ThreadPoolExecutor(count) as pool:
            late = [second for seconds in pool.map(server.paced, [samples] * count) for second in seconds]
        p50, p95, p99 = np.quantile(late, (0.5, 0.95, 0.99))
        alone = alone or p95
        row = {"paced": count, "late_p50": round(p50, 3), "late_p95": round(p95, 3), "late_p99": round(p99, 3)}
        yield row | {"cores_busy": round((server.cpu - cpu) * RATE / len(samples), 3)}
        if p95 > alone + 0.5:
            break
        carried = count
    if counts:
        yield {"paced_carried": int(carried)}


def memory(server: Server, count: int) -> Iterator[list[float]]:
    """How many requests there were, and megabytes after them; twenty times."""
    body, some = wav(speech(0.4)), max(count // 20, 1)
    for done in range(0, count, some):
        server.ask(body, some, 4)
        yield [done + some, round(server.resident, 1)]


def measure(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is known of a model, part after part."""
    samples = speech(options.seconds)
    with model_of(name) as model, tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(wav(samples))
        file.flush()
        server = Server(model, options.threads, options.workers)
        loop = Loop(model, options.threads, Path(file.name))
        try:
            row: dict[str, Any] = {"requests": requests(server, loop, wav(samples), options)}
            row["streams"] = streams(server, speech(options.stream_seconds), max(1, options.rounds // 2))
            yield row
            counts = options.paced if name != "base" else []  # whose weights are random, and say nothing to be late
            for point in paced(server, speech(options.stream_seconds), counts):
                print(json.dumps(point), file=sys.stderr)
                row.setdefault("paced", []).append(point)
                yield row
            for point in memory(server, options.memory if name == options.models[0] else 0):
                row.setdefault("memory", []).append(point)
                yield row
        finally:
            loop.close()
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["built-in", "base"], help="built-in, base, or what load takes")
    parser.add_argument("--seconds", type=float, default=10.0, help="of sound in a request")
    parser.add_argument("--stream-seconds", type=float, default=60.0, help="of sound in a stream")
    parser.add_argument("--requests", type=int, default=64, help="in each round, for each number of clients")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--paced", type=int, nargs="*", default=[1, 2, 4, 8, 12, 16, 24, 32], help="streams at a time")
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS", help="for the curve of memory")
    options = parser.parse_args()
    path = RESULTS / "server.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for name in options.models:
        about = {"settings": vars(options), "machine": describe("uvicorn", "fastapi")}
        for row in measure(name, options):
            known[name] = {**about, **row}
            write_result("server", known)


if __name__ == "__main__":
    main()
