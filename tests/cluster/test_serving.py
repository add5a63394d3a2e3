"""A server whose engines are replicas on a cluster: equal results, nothing lost when replicas die, the same door."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonant
from cluster import processes
from flow.conftest import EXAMPLE, SAID
from flow.serving import Server, pcm16, serving, wav
from sonant import audio, subtitles

websockets = pytest.importorskip("websockets.sync.client")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes as Linux does"),
]
HEADERS = {"authorization": "Bearer secret"}
REPLICA = "ServeReplica"


@pytest.fixture(scope="module")
def server(cluster: Any) -> Iterator[Server]:
    with serving("--cluster", cluster.address, "--replicas", "2", "--token", "secret") as server:
        yield server
    assert not [line for line in server.errors if not line.startswith("sonant: ")], "".join(server.errors)
    assert not processes.find(REPLICA)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return audio.read(EXAMPLE)


def ask(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def heard_seconds(server: Server) -> float:
    lines = ask(server, "GET", "/metrics", **HEADERS)[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("sonant_engine_heard_seconds_total{"))


def test_an_upload_survives_the_death_of_all_replicas(server: Server, samples: np.ndarray) -> None:
    long = wav(np.tile(samples, 40))
    answers: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(server, "POST", "/v1/transcripts", long, **HEADERS)))
    asking.start()
    while heard_seconds(server) == 0.0:
        time.sleep(0.05)
    assert len(processes.kill(REPLICA)) == 2
    asking.join(180)
    [(status, body)] = answers
    assert status == 200, body
    asr = sonant.load(precision="fp32", threads=1)
    expected = json.loads(subtitles.to_json(asr.transcribe(np.frombuffer(long[44:], "<i2"), 16000)))
    assert json.loads(body)["segments"] == expected["segments"]
    assert len(processes.find(REPLICA)) == 2


def test_a_stream_outlives_its_replicas_and_is_told_that_it_waits(server: Server, samples: np.ndarray) -> None:
    messages: list[dict[str, Any]] = []
    uri = server.url.replace("http", "ws") + "/v1/stream"
    with websockets.connect(uri, additional_headers=HEADERS) as live:
        live.send(pcm16(samples))
        while not any(message["type"] in ("partial", "final") for message in messages):
            messages.append(json.loads(live.recv(60)))
        processes.kill(REPLICA)
        live.send(pcm16(samples))
        live.send(json.dumps({"type": "finish"}))
        while messages[-1]["type"] != "done":
            messages.append(json.loads(live.recv(120)))
    said = " ".join(message["text"] for message in messages if message["type"] == "final" and message["text"])
    assert said == f"{SAID} {SAID}"
    assert max(message["seconds"] for message in messages if message["type"] == "lag") > 2


def test_the_door_is_as_without_a_cluster(server: Server) -> None:
    body = EXAMPLE.read_bytes()
    assert ask(server, "POST", "/", body)[0] == 401
    assert ask(server, "POST", "/", body, origin="http://elsewhere.org", **HEADERS)[0] == 403
    assert ask(server, "POST", "/", body, host="elsewhere.org", **HEADERS)[0] == 421
    status, answer = ask(server, "POST", "/", body, **HEADERS)
    assert (status, json.loads(answer)) == (200, {"text": SAID})
