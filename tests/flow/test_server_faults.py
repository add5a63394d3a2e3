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
InvalidStatus = pytest.importorskip("websockets.exceptions").InvalidStatus


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


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"nonsense\n", "A message in JSON was expected"),
        (b"x" * 200_000, "A line of at most 65536 bytes"),
        (b'{"type":"describe","data_length":99999999}\n', "A length of at most 1048576"),
        (b'{"type":"transcribe","data":{"name":"unheard"}}\n', "A model of this server"),
        (b'{"type":"audio-start","data":{"rate":3}}\n', "samples a second"),
    ],
)
def test_nonsense_over_wyoming_is_told_for_what_it_is(server: Server, line: bytes, word: str) -> None:
    assert server.wyoming
    with socket.create_connection(("127.0.0.1", server.wyoming), timeout=30) as client, client.makefile("rb") as answer:
        client.sendall(line)
        head = json.loads(answer.readline())
        assert (head["type"], word in answer.read(head["data_length"]).decode()) == ("error", True)


def test_audio_that_wyoming_begins_anew_has_one_transcript(server: Server, samples: np.ndarray) -> None:
    assert server.wyoming
    start = b'{"type":"audio-start","data":{"rate":16000,"width":2,"channels":1}}\n'
    chunk = b'{"type":"audio-chunk","payload_length":%d}\n%b' % (2 * len(samples), pcm16(samples))
    with socket.create_connection(("127.0.0.1", server.wyoming), timeout=60) as client, client.makefile("rb") as answer:
        client.sendall(start + start + chunk + b'{"type":"audio-stop"}\n')
        texts: list[str] = []
        kind = ""
        while kind != "transcript-stop":
            head = json.loads(answer.readline())
            kind, data = head["type"], answer.read(head.get("data_length", 0))
            if kind == "transcript":
                texts.append(json.loads(data)["text"])
    assert texts == [SAID]


def test_a_websocket_that_is_refused_is_no_error_of_the_server(server: Server) -> None:
    for path, headers in (("/v1/nothing", {}), ("/v1/stream", {"Origin": "http://foe.example"})):
        with (
            pytest.raises(InvalidStatus),
            websockets.connect(server.url.replace("http", "ws") + path, additional_headers=headers),
        ):
            pass  # the fixture looks at what the server has written


@pytest.mark.skipif(not Path("/proc").exists(), reason="sends signals as POSIX systems do")
def test_a_second_signal_waits_for_nothing_and_shows_no_traceback(samples: np.ndarray) -> None:
    with serving() as server:
        file = wav(np.tile(samples, 300))

        def ask() -> None:
            with suppress(OSError, ValueError):
                post(server, file)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(server, "sonant_requests_running", 1)
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            threading.Event().wait(0.5)
        assert server.process.wait(20) == 0
        asking.join(60)
    said = "".join(server.errors)
    assert ("Traceback" in said, "leaked" in said) == (False, False), said


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
