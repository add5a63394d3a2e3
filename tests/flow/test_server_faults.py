"""A server under clients that break off, talk nonsense or are too many; and stopped while it works."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.conftest import SAID
from flow.serving import Server, pcm16, post, serving, wait_for, wav
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
