"""The server's protocols, in process: what they answer equals what `transcribe` gives."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession

import sonant
from flow.conftest import SAID
from flow.serving import HOST, pcm16
from sonant import audio
from sonant.server import huggingface
from sonant.server.app import create_app
from sonant.server.batcher import Batcher
from sonant.server.models import Models, ServedModel
from sonant.server.settings import ServerSettings

AT_HOST = {"host": HOST}


@pytest.fixture(scope="module")
def client(asr: sonant.Recognizer) -> Iterator[TestClient]:
    models = Models([ServedModel("digits", asr, Batcher([asr.engine], 16_000))])
    app = create_app(models, ServerSettings(max_duration=60), ("http://192.0.2.7:8000",))
    with TestClient(app.state.guard, base_url=f"http://{HOST}") as client:
        yield client


@pytest.fixture(scope="module")
def sound(example: Path) -> bytes:
    return example.read_bytes()


@pytest.fixture(scope="module")
def transcript(asr: sonant.Recognizer, example: Path) -> sonant.Transcript:
    return asr.transcribe(example)


@pytest.fixture(scope="module")
def samples(example: Path) -> np.ndarray:
    return audio.read(example)


def ask(client: TestClient, sound: bytes, **form: Any) -> Any:
    return client.post("/v1/audio/transcriptions", files={"file": ("a.ogg", sound)}, data=form)


def test_openai_s_json_and_text(client: TestClient, sound: bytes) -> None:
    assert ask(client, sound, model="whisper-1").json()["text"] == SAID
    text = ask(client, sound, response_format="text")
    assert (text.text, text.headers["content-type"]) == (SAID + "\n", "text/plain; charset=utf-8")


def test_openai_s_verbose_json_holds_the_times_of_transcribe(
    client: TestClient, sound: bytes, transcript: sonant.Transcript
) -> None:
    form = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
    answer = ask(client, sound, **form).json()
    assert answer["words"] == [
        {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} for word in transcript.words
    ]
    assert [segment["text"] for segment in answer["segments"]] == [segment.text for segment in transcript.segments]
    assert (answer["task"], answer["duration"]) == ("transcribe", 3.425)
    assert "words" not in ask(client, sound, response_format="verbose_json").json()
    assert "words" in ask(client, sound, response_format="verbose_json", timestamp_granularities="word").json()


def test_openai_s_events_add_up_to_the_text(client: TestClient, sound: bytes) -> None:
    body = ask(client, sound, stream="true").text
    events = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    *deltas, done = map(json.loads, events)
    assert "".join(event["delta"] for event in deltas) == done["text"] == SAID


def test_models_are_listed_without_places_on_this_machine(client: TestClient) -> None:
    [card] = client.get("/v1/models").json()["data"]
    assert (card["id"], card["object"]) == ("digits", "model")
    assert client.get("/v1/models/digits").json() == card


def test_openai_s_prompt_is_expected(asr: sonant.Recognizer, sound: bytes) -> None:
    beam = sonant.BeamDecoder(asr.vocabulary)
    recognizer = sonant.Recognizer(asr.checkpoint, asr.engine, beam)
    app = create_app(Models([ServedModel("digits", recognizer, Batcher([asr.engine], 16_000))]), ServerSettings())
    with TestClient(app.state.guard, base_url=f"http://{HOST}") as client:
        assert ask(client, sound).json()["text"] == SAID
        for stream in ("false", "true"):
            answer = ask(client, sound, prompt="Steven, Gödel.", stream=stream).text
            assert SAID.replace("SEVEN", "STEVEN") in answer


@pytest.mark.parametrize("path", ["/", "/models/digits", "/huggingface"])
def test_hugging_face_s_bytes_and_base64(client: TestClient, sound: bytes, path: str) -> None:
    assert client.post(path, content=sound, headers={"content-type": "audio/ogg"}).json() == {"text": SAID}
    body = {"inputs": base64.b64encode(sound).decode(), "parameters": {"return_timestamps": "word"}}
    answer = client.post(path, json=body).json()
    assert " ".join(chunk["text"] for chunk in answer["chunks"]) == SAID


def test_deepgram_s_files(client: TestClient, sound: bytes, transcript: sonant.Transcript) -> None:
    answer = client.post("/v1/listen", content=sound).json()
    [alternative] = answer["results"]["channels"][0]["alternatives"]
    assert alternative["transcript"] == SAID
    assert [word["start"] for word in alternative["words"]] == [round(word.start, 3) for word in transcript.words]


def test_all_that_is_known_of_a_file(client: TestClient, asr: sonant.Recognizer, sound: bytes, example: Path) -> None:
    answer = client.post("/v1/transcripts?emissions=true", content=sound).json()
    assert (answer["text"], answer["model"], answer["source"]) == (SAID, "digits", None)
    picture = answer["emissions"]
    data = np.frombuffer(base64.b64decode(picture["data"]), np.uint8).reshape(picture["frames"], -1)
    expected = np.exp(asr.emissions(example).log_probs) * 255
    assert np.abs(data - expected).max() <= 0.51
    assert picture["tokens"] == list(asr.vocabulary.tokens)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_are_those_of_transcribe(
    client: TestClient, sound: bytes, transcript: sonant.Transcript, form: str
) -> None:
    from sonant import subtitles

    written = subtitles.render(transcript, f".{form}")
    assert ask(client, sound, response_format=form).text == written
    tree = client.post("/v1/transcripts", content=sound).text
    assert client.post(f"/v1/subtitles?format={form}", content=tree).text == written


@pytest.mark.parametrize(
    ("form", "status", "sentence"),
    [
        ({"model": "unheard"}, 404, r"digits"),
        ({"response_format": "pdf"}, 400, r"response_format is not as it must be (Input should be 'json', "),
        ({"stream": "perhaps"}, 400, r"stream is not as it must be"),
        ({"timestamp_granularities[]": "letter"}, 400, r"word or segment"),
    ],
)
def test_what_cannot_be_is_told_as_openai_does(
    client: TestClient, sound: bytes, form: dict[str, str], status: int, sentence: str
) -> None:
    answer = ask(client, sound, **form)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/", "/v1/listen", "/v1/transcripts"])
def test_what_is_no_sound_is_a_sentence_in_each_protocol(client: TestClient, path: str) -> None:
    body = {"files": {"file": ("a.wav", b"nothing")}} if "audio" in path else {"content": b"nothing"}
    answer = client.post(path, **body)
    assert answer.status_code == 400
    assert "not audio or video" in answer.text


def test_what_is_not_there_is_a_sentence(client: TestClient) -> None:
    def said(answer: Any) -> tuple[int, str]:
        return answer.status_code, answer.json()["error"]["message"]

    assert said(client.get("/v1/nothing")) == (
        404, "A path of this server was expected, but '/v1/nothing' is none; /docs lists them.",
    )  # fmt: skip
    refused = client.delete("/v1/models")
    assert (said(refused), refused.headers["allow"]) == (
        (405, "/v1/models wants GET, but DELETE came; /docs lists what it takes."), "GET",
    )  # fmt: skip
    assert "file was expected, but is missing" in said(client.post("/v1/audio/transcriptions"))[1]
    text = client.post("/v1/audio/transcriptions", files={"model": (None, "x"), "file": (None, "hello")})
    assert "file must be a file, but text came" in said(text)[1]
    with pytest.raises(WebSocketDenialResponse) as told, client.websocket_connect("/v1/x", headers=AT_HOST):
        pass
    assert (told.value.status_code, "/docs lists them" in told.value.text) == (404, True)


def test_json_is_unpacked_where_it_holds_up_nobody(
    client: TestClient, sound: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    real = huggingface._unpacked

    def unpacked(body: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(body)

    monkeypatch.setattr(huggingface, "_unpacked", unpacked)
    assert client.post("/", json={"inputs": base64.b64encode(sound).decode()}).json()["text"] == SAID
    assert threads[0].startswith("sonant")


def test_addresses_are_not_fetched(client: TestClient) -> None:
    answer = client.post("/v1/listen", json={"url": "http://127.0.0.1/a.wav"})
    assert (answer.status_code, "fetches no addresses" in answer.text) == (400, True)


def finished(socket: WebSocketTestSession, last: str) -> list[dict[str, Any]]:
    """Messages up to the last."""
    messages = [socket.receive_json()]
    while messages[-1]["type"] != last:
        assert messages[-1]["type"] != "error", messages[-1]
        messages.append(socket.receive_json())
    return messages


@pytest.mark.parametrize(("size", "encoding"), [(6401, "pcm16"), (100_000, "float32")])
def test_a_stream_says_what_asr_stream_says(
    client: TestClient, asr: sonant.Recognizer, samples: np.ndarray, size: int, encoding: str
) -> None:
    data = pcm16(samples) if encoding == "pcm16" else samples.astype("<f4").tobytes()
    heard = np.frombuffer(data, "<i2").astype(np.float32) / 32768 if encoding == "pcm16" else samples
    with asr.stream() as stream:
        events = stream.feed(heard) + stream.finish()
    expected = [(event.kind, event.text, round(event.start, 3), round(event.end, 3)) for event in events]
    with client.websocket_connect(f"/v1/stream?encoding={encoding}", headers=AT_HOST) as socket:
        assert socket.receive_json()["type"] == "ready"
        for start in range(0, len(data), size):
            socket.send_bytes(data[start : start + size])
        socket.send_text('{"type": "finish"}')
        messages = [message for message in finished(socket, "done") if message["type"] != "lag"]
    assert messages.pop() == {"type": "done", "seconds": 3.425}
    assert [(m["type"], m["text"], m["start"], m["end"]) for m in messages] == expected


def test_a_flush_makes_all_final_and_times_go_on(client: TestClient, samples: np.ndarray) -> None:
    with client.websocket_connect("/v1/stream", headers=AT_HOST) as socket:
        for _ in range(2):
            socket.send_bytes(pcm16(samples))
            socket.send_text('{"type": "flush"}')
        socket.send_text('{"type": "finish"}')
        messages = finished(socket, "done")
    flushes = [i for i, message in enumerate(messages) if message["type"] == "flushed"]
    finals = [message for message in messages if message["type"] == "final"]
    assert [messages[i]["seconds"] for i in flushes] == [3.425, 6.85]
    assert " ".join(message["text"] for message in finals if message["text"]) == f"{SAID} {SAID}"
    first, second = ([word["start"] for message in finals for word in message["words"]][i::6] for i in (0, 5))
    assert first[1] - first[0] == pytest.approx(3.425, abs=0.002)
    assert second[1] - second[0] == pytest.approx(3.425, abs=0.002)


def test_captions_are_passed_on_to_those_who_read_their_channel(client: TestClient, samples: np.ndarray) -> None:
    with (
        client.websocket_connect("/v1/captions?channel=one", headers=AT_HOST) as reader,
        client.websocket_connect("/v1/stream?channel=one", headers=AT_HOST) as socket,
    ):
        socket.send_bytes(pcm16(samples))
        socket.send_text('{"type": "finish"}')
        own = [m for m in finished(socket, "done")[1:-1] if m["type"] != "lag"]
        passed = [reader.receive_json() for _ in own]
        assert passed == own
        with client.websocket_connect("/v1/captions?channel=one&publish=1", headers=AT_HOST) as writer:
            writer.send_text(json.dumps({"type": "final", "text": "HERE", "words": [], "secret": 1}))
            assert reader.receive_json() == {"type": "final", "text": "HERE", "words": []}


def test_deepgram_s_stream(client: TestClient, samples: np.ndarray) -> None:
    query = "encoding=linear16&sample_rate=16000&interim_results=true&vad_events=true&utterance_end_ms=1000"
    with client.websocket_connect(f"/v1/listen?{query}", headers=AT_HOST) as socket:
        socket.send_bytes(pcm16(samples))
        socket.send_text('{"type": "KeepAlive"}')
        socket.send_text('{"type": "CloseStream"}')
        messages = finished(socket, "Metadata")
    kinds = [message["type"] for message in messages]
    assert kinds.count("SpeechStarted") == kinds.count("UtteranceEnd") == 1
    final = [message for message in messages if message.get("is_final")]
    said = [message["channel"]["alternatives"][0]["transcript"] for message in final]
    assert " ".join(filter(None, said)) == SAID
    assert [message["speech_final"] for message in final][-1]
    assert any(not message["is_final"] for message in messages if message["type"] == "Results")


@pytest.mark.parametrize("path", ["/v1/listen", "/v1/stream"])
def test_a_file_is_no_live_audio(client: TestClient, sound: bytes, path: str) -> None:
    with client.websocket_connect(path, headers=AT_HOST) as socket:
        socket.send_bytes(sound)
        while (message := socket.receive_json())["type"] == "ready":
            pass
    assert (message["type"].lower(), "a compressed file came" in message["message"]) == ("error", True)


def test_captions_sent_to_where_they_are_read_are_refused(client: TestClient) -> None:
    with client.websocket_connect("/v1/captions", headers=AT_HOST) as socket:
        socket.send_text(json.dumps({"type": "final", "text": "HERE", "words": []}))
        assert "publish=1" in socket.receive_json()["message"]


def test_what_openai_s_client_clears_is_in_no_item(client: TestClient, samples: np.ndarray) -> None:
    def send(kind: str, **fields: Any) -> None:
        socket.send_json({"type": kind, **fields})

    sound = base64.b64encode(pcm16(samples)).decode()
    form = {"format": {"type": "audio/pcm", "rate": 16000}, "turn_detection": None}
    with client.websocket_connect("/v1/realtime?intent=transcription", headers=AT_HOST) as socket:
        send("session.update", session={"type": "transcription", "audio": {"input": form}})
        for end in ("clear", "commit"):
            send("input_audio_buffer.append", audio=sound)
            send(f"input_audio_buffer.{end}")
        kind = "conversation.item.input_audio_transcription.completed"
        while (message := socket.receive_json())["type"] != kind:
            pass
    assert message["transcript"] == SAID
    assert message["usage"]["seconds"] == pytest.approx(3.425, abs=0.01)


def test_what_a_stream_announces_must_be_sound(client: TestClient) -> None:
    for query in ("sample_rate=7", "sample_rate=x", "encoding=mp3", "channels=99", "model=unheard", "channel=a/b"):
        with client.websocket_connect(f"/v1/stream?{query}", headers=AT_HOST) as socket:
            message = socket.receive_json()
            assert (message["type"], message["code"] in (400, 404)) == ("error", True), query
            assert socket.receive()["type"] == "websocket.close"
    assert client.get("/healthz").json()["status"] == "ok"


def test_the_page_its_parts_and_the_numbers_are_there(client: TestClient) -> None:
    for path in ("/", "/overlay", "/docs", "/sw.js", "/manifest.webmanifest", "/web/app.js", "/web/worklet.js"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert client.get("/web/../app.py").status_code == 404
    assert client.get("/web/%2e%2e/app.py").status_code == 404
    assert 'sonant_audio_seconds_total{kind="file"}' in client.get("/metrics").text
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/audio/transcriptions", "/v1/listen", "/v1/transcripts", "/healthz"} <= set(paths)
    share = client.get("/v1/share").json()
    assert share["urls"] == ["http://192.0.2.7:8000"]
    assert share["qr"].startswith("<svg")
