"""A server under many clients, slow ones, dead ones and hostile ones: it serves the others, and loses nothing."""

from __future__ import annotations

import http.client
import json
import os
import random
import resource
import selectors
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.conftest import SAID
from flow.serving import Server, gauge, pcm16, post, resident, serving, wait_for, wav
from sonant import audio

websockets = pytest.importorskip("websockets.sync.client")
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at processes as Linux shows them"),
]


@pytest.fixture(scope="module")
def samples(example: Path) -> np.ndarray:
    return audio.read(example)


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_ten_thousand_idle_connections_are_refused_politely_and_the_others_are_served(example: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 10_500:
        pytest.skip("this system lets a process have too few connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 10_500), hard))
    idle: list[socket.socket] = []
    try:
        with serving("--max-connections", "200") as server:
            refused = selectors.DefaultSelector()
            for _ in range(10_000):
                idle.append(socket.create_connection(("127.0.0.1", server.port), timeout=60))
                refused.register(idle[-1], selectors.EVENT_READ)
            told: set[int] = set()
            deadline = time.monotonic() + 60
            while len(told) < 9_800 and time.monotonic() < deadline:
                for key, _ in refused.select(1):
                    if key.fileobj.recv(200).startswith(b"HTTP/1.1 503"):
                        told.add(key.fd)
                        refused.unregister(key.fileobj)
            assert len(told) == 9_800
            for connection in idle:
                connection.close()
            wait_for(server, "sonant_requests_running", 0)
            assert post(server, example.read_bytes()) == (200, {"text": SAID})
            assert open_files(server) < 200
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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


def test_two_hundred_streams_at_once_are_heard_or_told(samples: np.ndarray) -> None:
    def hear(uri: str) -> str:
        with websockets.connect(uri, open_timeout=120, close_timeout=30) as client:
            with suppress(ConnectionClosed):
                client.send(pcm16(samples))
                client.send('{"type": "finish"}')
            messages: list[dict[str, Any]] = []
            with suppress(ConnectionClosed):
                while True:
                    messages.append(json.loads(client.recv(timeout=300)))
        if messages[-1]["type"] == "error":
            return f"{messages[-1]['code']} {messages[-1]['retry_after']}"
        assert messages[-1]["type"] == "done"
        return " ".join(message["text"] for message in messages if message["type"] == "final" and message["text"])

    with serving("--max-streams", "40") as server, ThreadPoolExecutor(200) as clients:
        uri = server.url.replace("http", "ws") + "/v1/stream"
        said = list(clients.map(hear, [uri] * 200))
        assert set(said) <= {SAID, "503 30"}
        assert said.count(SAID) >= 40
        wait_for(server, "sonant_streams_open", 0)


def test_who_reads_nothing_holds_up_nobody(example: Path, samples: np.ndarray) -> None:
    """A stream and a reader of captions that never read, while another sends captions without end."""
    with serving("--max-streams", "3") as server:
        uri = server.url.replace("http", "ws") + "/v1"
        small = {"max_queue": 1, "open_timeout": 60}
        with (
            websockets.connect(f"{uri}/captions?channel=a", **small) as deaf,
            websockets.connect(f"{uri}/captions?channel=a&publish=1") as sender,
            websockets.connect(f"{uri}/captions?channel=b") as other,
            websockets.connect(f"{uri}/captions?channel=b&publish=1") as second,
        ):
            before = resident(server)
            words = [{"text": "x" * 60_000}]
            for _ in range(1000):  # 60 MB
                sender.send(json.dumps({"type": "final", "text": "", "words": words}))
            second.send('{"type": "final", "text": "HERE"}')
            assert json.loads(other.recv(timeout=60))["text"] == "HERE"
            assert resident(server) - before < 50_000
            assert post(server, example.read_bytes()) == (200, {"text": SAID})
            deaf.socket.close()


def test_half_a_head_and_half_a_body_are_given_up(example: Path) -> None:
    """By one's own clock: what says nothing, what says its first head slowly, or its second, and a body that stalls."""
    with serving("--idle-timeout", "5") as server:
        place = ("127.0.0.1", server.port)
        silent, slow, second, body = (socket.create_connection(place, timeout=90) for _ in range(4))
        with silent, slow, second, body:
            second.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert second.recv(2000).startswith(b"HTTP/1.1 200")
            body.sendall(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nabc")
            assert body.recv(2000).startswith(b"HTTP/1.1 408")
            ended: set[socket.socket] = set()
            for _ in range(40):
                for connection, data in ((slow, b"G"), (second, b"G"), (silent, b"")):
                    try:
                        connection.setblocking(False)
                        if connection.recv(100) == b"":
                            ended.add(connection)
                    except BlockingIOError:
                        with suppress(OSError):
                            connection.send(data)
                    except OSError:
                        ended.add(connection)
                if len(ended) == 3:
                    break
                time.sleep(1)
            assert len(ended) == 3
        assert post(server, example.read_bytes()) == (200, {"text": SAID})


@pytest.mark.parametrize("seed", range(3))
def test_messages_that_were_garbled_break_nothing(example: Path, samples: np.ndarray, seed: int) -> None:
    """True conversations of every protocol, with bytes changed, left out, doubled and cut, down to the frames."""
    chance = random.Random(seed)
    with serving("--wyoming", "0", "--max-streams", "200", "--idle-timeout", "2") as server:
        assert server.wyoming
        for _ in range(150):
            port, said = chance.choice([(server.port, http_talk), (server.wyoming, wyoming_talk)])
            data = garbled(said(chance, samples), chance)
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2) as client:
                client.sendall(data)
                if chance.random() < 0.5:
                    client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        wait_for(server, "sonant_streams_open", 0)
        wait_for(server, "sonant_requests_running", 0)
        assert post(server, example.read_bytes()) == (200, {"text": SAID})
        assert not [line for line in server.errors if "Traceback" in line], "".join(server.errors)
        assert server.process.poll() is None


def http_talk(chance: random.Random, samples: np.ndarray) -> bytes:
    """A request, or a websocket with some messages."""
    path = chance.choice(["/v1/stream", "/v1/listen", "/v1/realtime", "/v1/captions", "/v1/captions?publish=1"])
    if chance.random() < 0.3:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"a" * 50 + b"\r\n--x--\r\n"
        )
        kind = b"multipart/form-data; boundary=x"
        path = chance.choice(["/v1/audio/transcriptions", "/", "/v1/transcripts", "/v1/subtitles", "/v1/listen"])
        first = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\ncontent-type: "
        return first.encode() + kind + b"\r\n\r\n" + body
    head = (
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    texts = ['{"type":"finish"}', '{"type":"session.update","session":{"audio":{"input":{"format":{"rate":24000}}}}}']
    texts += ['{"type":"input_audio_buffer.append","audio":"AAAA"}', '{"type":"CloseStream"}', '{"type":"flush"}']
    frames = [frame(2, pcm16(samples[:4000]))] + [frame(1, chance.choice(texts).encode()) for _ in range(4)]
    chance.shuffle(frames)
    return head.encode() + b"".join(frames)


def frame(code: int, data: bytes) -> bytes:
    """A websocket's frame, masked with nothing."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([0x80 | code]) + size + bytes(4) + data


def wyoming_talk(chance: random.Random, samples: np.ndarray) -> bytes:
    sound = pcm16(samples[:3000])
    form = {"rate": 16000, "width": 2, "channels": 1}
    events = [b'{"type":"describe"}\n', json.dumps({"type": "audio-start", "data": form}).encode() + b"\n"]
    events.append(
        json.dumps({"type": "audio-chunk", "data": form, "payload_length": len(sound)}).encode() + b"\n" + sound
    )
    return b"".join([*events, b'{"type":"audio-stop"}\n'])


def garbled(data: bytes, chance: random.Random) -> bytes:
    """With a few bytes changed, left out or doubled, and perhaps cut."""
    held = bytearray(data)
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(held))
        way = chance.randrange(3)
        if way == 0:
            held[at] = chance.randrange(256)
        elif way == 1:
            del held[at : at + chance.randrange(1, 9)]
        else:
            held[at:at] = held[at : at + chance.randrange(1, 200)]
    return bytes(held[: chance.randrange(len(held))] if chance.random() < 0.3 else held)


def test_nothing_that_was_accepted_is_lost_by_a_stop_under_load(example: Path, samples: np.ndarray) -> None:
    body = wav(np.tile(samples, 3))
    with (
        serving("--max-requests", "16", "--max-streams", "4") as server,
        ThreadPoolExecutor(24) as clients,
        ExitStack() as opened,
    ):
        uri = server.url.replace("http", "ws") + "/v1/stream"
        streams = [opened.enter_context(websockets.connect(uri, open_timeout=60)) for _ in range(4)]
        for stream in streams:
            assert json.loads(stream.recv(timeout=60))["type"] == "ready"
            stream.send(pcm16(samples))
        answers = [clients.submit(post, server, body) for _ in range(20)]
        while gauge(server, "sonant_requests_running") < 16:
            time.sleep(0.02)
        os.kill(server.process.pid, signal.SIGTERM)
        late = clients.submit(post, server, body)
        found = [answer.result(300) for answer in answers]
        assert {status for status, _ in found} <= {200, 503}
        assert sum(status == 200 for status, _ in found) >= 16
        assert all(answer["text"].count("SEVEN") == 3 for status, answer in found if status == 200)
        for stream in streams:
            messages: list[dict[str, Any]] = []
            with suppress(ConnectionClosed):
                while True:
                    messages.append(json.loads(stream.recv(timeout=60)))
            said = " ".join(m["text"] for m in messages if m["type"] == "final" and m["text"])
            assert (said, messages[-1]["type"]) == (SAID, "done")
        with suppress(OSError, http.client.HTTPException):  # refused in words, or no longer listening
            assert late.result(60)[0] == 503
        assert server.process.wait(60) == 0


def test_memory_does_not_grow_with_the_number_of_requests(samples: np.ndarray) -> None:
    """A thousand after two hundred; `benchmarks/server.py --requests 10000` draws the curve of ten thousand."""
    with serving() as server, ThreadPoolExecutor(4) as clients:
        body = wav(samples[:6000])

        def ask(count: int) -> tuple[int, int]:
            assert {status for status, _ in clients.map(lambda _: post(server, body), range(count))} == {200}
            return resident(server), open_files(server)

        memory, files = ask(200)
        later, more = ask(1000)
        assert later - memory < 15_000  # kB
        assert more <= files + 4
