"""Who may come into the server, how much they may bring, and what they are told."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient, WebSocketDenialResponse

import sonant
from flow.conftest import SAID
from flow.serving import HOST, pcm16
from sonant import audio
from sonant.errors import OptionError
from sonant.server.app import create_app
from sonant.server.batcher import Batcher
from sonant.server.guard import _Body
from sonant.server.models import Models, ServedModel
from sonant.server.run import _bound
from sonant.server.settings import ServerSettings, is_loopback

TOKEN = "a+secret/of,signs="


@contextmanager
def server(asr: sonant.Recognizer, **settings: Any) -> Iterator[TestClient]:
    models = Models([ServedModel("digits", asr, Batcher([asr.engine], 16_000))])
    app = create_app(models, ServerSettings(**settings))
    with TestClient(app.state.guard, base_url=f"http://{HOST}") as client:
        yield client


@pytest.fixture(scope="module")
def locked(asr: sonant.Recognizer) -> Iterator[TestClient]:
    with server(asr, token=TOKEN, origins=("https://friend.example",), max_upload=1 << 20, max_streams=1) as client:
        yield client


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": b"Bearer " + token.encode()}  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/share"])
def test_without_the_token_nothing_is_told(locked: TestClient, path: str) -> None:
    for headers in ({}, bearer("wrong"), bearer(""), {"authorization": TOKEN.encode()}):
        answer = locked.get(path, headers=headers)
        assert answer.status_code == 401
        assert "Bearer" in answer.json()["error"]["message"]


def test_the_page_and_its_health_are_open(locked: TestClient) -> None:
    assert [locked.get(path).status_code for path in ("/", "/healthz", "/web/app.js")] == [200] * 3
    assert locked.post("/", content=b"x").status_code == 401  # Hugging Face's door is at the same place


def test_with_the_token_all_is_told(locked: TestClient) -> None:
    assert locked.get("/v1/models", headers=bearer()).status_code == 200


def test_websockets_bring_tokens_as_headers_or_as_names_of_protocols(asr: sonant.Recognizer) -> None:
    with server(asr, token="key-1") as client:
        coded = base64.urlsafe_b64encode(b"key-1").decode().rstrip("=")
        ways: list[dict[str, Any]] = [
            {"headers": {"host": HOST, "authorization": "Token key-1"}},
            {"headers": {"host": HOST}, "subprotocols": ["sonant", f"sonant-token.{coded}"]},
            {"headers": {"host": HOST}, "subprotocols": ["token", "key-1"]},
            {"headers": {"host": HOST}, "subprotocols": ["realtime", "openai-insecure-api-key.key-1"]},
        ]
        for way in ways:
            with client.websocket_connect("/v1/stream", **way) as socket:
                assert socket.receive_json()["type"] == "ready"
                assert socket.accepted_subprotocol in (None, "sonant", "token", "realtime")
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/v1/stream", headers={"host": HOST}),
        ):
            pass
        assert refused.value.status_code == 401


def test_other_pages_may_not_use_it_unless_they_are_allowed(locked: TestClient) -> None:
    foe, friend = {"origin": "https://foe.example"}, {"origin": "https://friend.example"}
    for path in ("/", "/v1/transcripts"):
        assert locked.post(path, content=b"x", headers=bearer() | foe).status_code == 403
    answer = locked.post("/v1/transcripts", content=b"x", headers={"authorization": "Bearer x"} | friend)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, friend["origin"])
    assert "script-src" in answer.headers["content-security-policy"]
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        locked.websocket_connect("/v1/stream", headers={"host": HOST, "authorization": "Bearer x"} | foe),
    ):
        pass
    assert refused.value.status_code == 403
    asked = locked.options("/v1/transcripts", headers=friend | {"access-control-request-method": "POST"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "https://friend.example")
    assert "access-control-allow-origin" not in locked.get("/healthz", headers=foe).headers


def test_a_strange_name_that_leads_here_is_not_answered(asr: sonant.Recognizer) -> None:
    with server(asr) as client:
        for host, status in (("foe.example", 421), ("127.0.0.1:8000", 200), ("[::1]:80", 200), ("LOCALHOST", 200)):
            assert client.get("/healthz", headers={"host": host}).status_code == status, host


def test_what_is_too_large_is_given_up_while_it_is_read(asr: sonant.Recognizer) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(400):
            sent += 1
            yield bytes(1 << 16)

    with server(asr, max_upload=1 << 20) as client:
        assert client.post("/", content=bytes(3 << 20)).status_code == 413
        answer = client.post("/v1/transcripts", content=endless())
        assert (answer.status_code, "1048576 bytes" in answer.text) == (413, True)
        form = {"files": {"file": ("a.wav", bytes(3 << 20))}}
        assert client.post("/v1/audio/transcriptions", **form).status_code == 413
        assert client.get("/metrics").text.count("sonant_requests_running 0") == 1


def test_what_is_held_in_memory_is_small(asr: sonant.Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonant.server.own.TRANSCRIPT_BYTES", 1000)
    with server(asr) as client:
        field = client.post("/v1/audio/transcriptions", files={"file": ("a", b"x")}, data={"prompt": "x" * 70_000})
        fields = client.post("/v1/audio/transcriptions", data={str(i): "x" for i in range(60)})
        files = client.post("/v1/audio/transcriptions", files=[("file", ("a", b"x")), ("more", ("b", b"x"))])
        for answer, word in ((field, "maximum size"), (fields, "many fields"), (files, "many files")):
            assert (answer.status_code, word in answer.json()["error"]["message"]) == (400, True), answer.text
        answer = client.post("/v1/subtitles", content=bytes(1001))
        assert (answer.status_code, "at most 1000 bytes" in answer.text) == (400, True)


def test_what_lasts_too_long_is_refused(asr: sonant.Recognizer, example: Path) -> None:
    with server(asr, max_duration=2) as client:
        answer = client.post("/", content=example.read_bytes())
        assert (answer.status_code, "may last 2 s" in answer.text) == (413, True)


def test_beyond_the_places_a_request_is_told_when_to_come_back(asr: sonant.Recognizer, example: Path) -> None:
    with server(asr, max_requests=1) as client:
        release, entered = threading.Event(), threading.Event()

        def slow() -> Iterator[bytes]:
            entered.set()
            assert release.wait(30)
            yield example.read_bytes()

        answers: list[Any] = []
        first = threading.Thread(target=lambda: answers.append(client.post("/", content=slow())))
        service = client.app._service  # type: ignore[attr-defined]
        service.running = 1  # a place that is taken, wherever by
        try:
            refused = client.post("/", content=example.read_bytes())
        finally:
            service.running = 0
        assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (503, True)
        release.set()
        first.start()
        first.join(60)
        assert answers[0].json() == {"text": SAID}
        assert 'sonant_refused_total{reason="requests"} 1' in client.get("/metrics").text


def test_beyond_the_places_a_stream_is_told(asr: sonant.Recognizer) -> None:
    with server(asr, max_streams=1) as client, client.websocket_connect("/v1/stream", headers={"host": HOST}) as first:
        assert first.receive_json()["type"] == "ready"
        for path in ("/v1/stream", "/v1/listen"):
            with client.websocket_connect(path, headers={"host": HOST}) as second:
                message = second.receive_json()
                assert message["type"].lower() == "error"
                assert "at most 1 live streams" in message["message"]
                assert second.receive()["code"] == 1013
        first.send_text('{"type": "finish"}')
        assert first.receive_json() == {"type": "done", "seconds": 0.0}


def test_a_stream_that_says_nothing_is_ended(asr: sonant.Recognizer) -> None:
    began = time.monotonic()
    with server(asr, idle_seconds=0.2) as client:
        with client.websocket_connect("/v1/stream", headers={"host": HOST}) as socket:
            assert socket.receive_json()["type"] == "ready"
            assert "nothing came" in socket.receive_json()["message"]
            assert socket.receive()["type"] == "websocket.close"
        assert "sonant_streams_open 0" in client.get("/metrics").text
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("path", ["stream", "listen"])
def test_who_waits_for_us_is_not_idle(asr: sonant.Recognizer, example: Path, path: str) -> None:
    class Slow:
        name, device, precision = asr.engine.name, asr.engine.device, asr.engine.precision

        def emit(self, waveforms: Any) -> Any:
            time.sleep(0.15)
            return asr.engine.emit(waveforms)

    models = Models([ServedModel("digits", asr, Batcher([Slow()], 16_000))])  # type: ignore[list-item]
    app = create_app(models, ServerSettings(idle_seconds=0.1))
    sound = pcm16(audio.read(example))
    with (
        TestClient(app.state.guard, base_url=f"http://{HOST}") as client,
        client.websocket_connect(f"/v1/{path}?encoding=linear16", headers={"host": HOST}) as socket,
    ):
        socket.send_bytes(sound)
        socket.send_text('{"type": "finish"}' if path == "stream" else '{"type": "CloseStream"}')
        kinds = []
        while not kinds or kinds[-1] not in ("done", "Metadata"):
            kinds.append(socket.receive_json()["type"])
            assert kinds[-1].lower() != "error"


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": " "},
        {"token": "clé"},
        {"token": "two words"},
        {"max_streams": 0},
        {"max_duration": 0},
        {"origins": ("friend.example",)},
        {"origins": ("https://friend.example/",)},
        {"origins": ("https://Friend.example",)},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        ServerSettings(**wrong)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("a.example", False)],
)
def test_addresses_of_this_machine_alone(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_body_that_trickles_has_an_end() -> None:
    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read() -> None:
        body = _Body(trickle, limit=10_000, idle_seconds=5, seconds=0.2, too_large="")
        for _ in range(1000):
            await body()

    with pytest.raises(HTTPException) as told:
        asyncio.run(read())
    assert told.value.status_code == 408


@pytest.mark.parametrize(("host", "advice"), [("203.0.113.7", "--host"), ("no.such.host.invalid", "--host")])
def test_an_address_that_is_not_ours_is_said_to_be_none(host: str, advice: str) -> None:
    with pytest.raises(OptionError, match=f"cannot listen at {host}:0 .*{advice}"):
        _bound(host, 0, "--port")
