"""A server under clients that break off, talk nonsense or are too many; and stopped while it works."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.conftest import SAID
from flow.serving import Server, pcm16, serving
from sonant import audio

websockets = pytest.importorskip("websockets.sync.client")
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--wyoming", "0", "--max-streams", "4", "--idle-timeout", "20") as server:
        yield server
    assert not [line for line in server.errors if not line.startswith("sonant: ")], "".join(server.errors)


@pytest.fixture(scope="module")
def samples(example: Path) -> np.ndarray:
    return audio.read(example)


def post(server: Server, body: bytes, path: str = "/") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def gauge(server: Server, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def wait_for(server: Server, name: str, value: float) -> None:
    for _ in range(300):
        if gauge(server, name) == value:
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} is {gauge(server, name)}, not {value}")


def test_clients_that_vanish_in_the_midst_of_an_upload_leave_nothing(server: Server) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n" + bytes(1000))
    wait_for(server, "sonant_requests_running", 0)


def test_a_client_that_vanishes_while_it_is_heard_gives_its_place_back(server: Server, samples: np.ndarray) -> None:
    uri = server.url.replace("http", "ws") + "/v1/stream"
    for _ in range(3):
        with websockets.connect(uri) as half:
            half.send(pcm16(np.tile(samples, 5)))
            half.socket.shutdown(socket.SHUT_RDWR)
    wait_for(server, "sonant_streams_open", 0)


@pytest.mark.parametrize("path", ["stream", "realtime?intent=transcription", "listen", "captions?publish=1"])
def test_nonsense_is_answered_and_breaks_nothing(server: Server, path: str) -> None:
    chance = random.Random(0)
    uri = f"{server.url.replace('http', 'ws')}/v1/{path}"
    kinds = ["session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "finish", "flush", "Finalize"]
    values: list[Any] = [None, 1, "x", [], {}, {"audio": 3}, {"audio": {"input": []}}, "AAAA", "é" * 40, 1e308]
    for _ in range(6):
        with suppress(TimeoutError, ConnectionClosed), websockets.connect(uri) as client:
            for _ in range(6):
                tree = {"type": chance.choice(kinds)}
                tree |= {"session": chance.choice(values), "audio": chance.choice(values)}
                message: str | bytes = chance.choice(
                    [json.dumps(tree), chance.randbytes(chance.randrange(40)), "{" * 2000, "\0", json.dumps(values)]
                )
                client.send(message)
            client.recv(timeout=0.05)
    assert post(server, b"nothing")[0] == 400
    wait_for(server, "sonant_streams_open", 0)


def test_nonsense_over_wyoming_is_answered_and_breaks_nothing(server: Server) -> None:
    assert server.wyoming
    lines = [
        b"\n", b"{}\n", b"[]\n", b'{"type": 3}\n', b"\xff\xfe\n", b"x" * 200_000,
        b'{"type":"audio-chunk","data_length":-1}\n',
        b'{"type":"audio-chunk","payload_length":99999999999}\n', b'{"type":"audio-start","data":{"rate":"x"}}\n',
        b'{"type":"audio-start","data":{"rate":16000,"width":[],"channels":1}}\n', b'{"type":"audio-stop"}\n',
        b'{"type":"audio-chunk","data":{"rate":16000},"payload_length":3}\nabc', b'{"type":"transcribe","data":[]}\n',
    ]  # fmt: skip
    for line in lines:
        place = ("127.0.0.1", server.wyoming)
        with suppress(OSError), socket.create_connection(place, timeout=30) as client:  # it need not read on
            client.sendall(line)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    wait_for(server, "sonant_streams_open", 0)


@pytest.mark.skipif(not Path("/proc").exists(), reason="sends signals as POSIX systems do")
def test_a_stop_finishes_what_runs(example: Path, samples: np.ndarray) -> None:
    with serving() as server:
        answers: list[tuple[int, Any]] = []
        long = np.tile(samples, 8)
        file = wav(long)
        asking = threading.Thread(target=lambda: answers.append(post(server, file)))
        with websockets.connect(server.url.replace("http", "ws") + "/v1/stream") as live:
            assert json.loads(live.recv())["type"] == "ready"
            live.send(pcm16(samples))
            asking.start()
            wait_for(server, "sonant_requests_running", 1)
            os.kill(server.process.pid, signal.SIGTERM)
            messages: list[dict[str, Any]] = []
            with suppress(ConnectionClosed):  # with the code for a server that stops
                while True:
                    messages.append(json.loads(live.recv()))
            asking.join(120)
        said = " ".join(message["text"] for message in messages if message["type"] == "final" and message["text"])
        assert (said, messages[-1]["type"]) == (SAID, "done")
        [(status, answer)] = answers
        assert (status, answer["text"].count("SEVEN")) == (200, 8)
        assert server.process.wait(60) == 0
        assert not [line for line in server.errors if not line.startswith("sonant: ")], "".join(server.errors)


def wav(samples: np.ndarray) -> bytes:
    import io
    import wave

    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(pcm16(samples))
    return held.getvalue()


@pytest.mark.slow
def test_many_idle_connections_are_refused_politely_and_the_others_are_served(example: Path) -> None:
    with serving("--max-connections", "200") as server:
        idle = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(400)]
        try:
            refused = 0
            for connection in idle[200:]:
                refused += connection.recv(200).startswith(b"HTTP/1.1 503")
            assert refused >= 199
            for connection in idle[:50]:
                connection.close()
            time.sleep(1)
            assert post(server, example.read_bytes()) == (200, {"text": SAID})
        finally:
            for connection in idle:
                connection.close()


@pytest.mark.slow
def test_two_hundred_clients_at_once_are_all_answered(example: Path) -> None:
    with serving("--max-requests", "32") as server, ThreadPoolExecutor(200) as clients:
        body = example.read_bytes()
        answers = list(clients.map(lambda _: post(server, body), range(200)))
        assert {status for status, _ in answers} <= {200, 503}
        assert sum(status == 200 for status, _ in answers) >= 32
        assert all(answer == {"text": SAID} for status, answer in answers if status == 200)
        assert all("at most 32 files" in answer["error"]["message"] for status, answer in answers if status == 503)
        wait_for(server, "sonant_requests_running", 0)
        assert post(server, body) == (200, {"text": SAID})


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_requests(example: Path) -> None:
    with serving() as server:
        body = example.read_bytes()

        def resident() -> int:
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

        for _ in range(50):
            assert post(server, body)[0] == 200
        before = resident()
        for _ in range(200):
            assert post(server, body)[0] == 200
        assert resident() - before < 20_000  # kB
