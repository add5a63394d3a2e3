"""The clients that exist, as they are, against `sonant serve` as a user starts it."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flow.conftest import SAID
from flow.serving import Server, pcm16, serving
from sonant import audio

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the clients' own


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--wyoming", "0", "--token", "key") as server:
        yield server
    assert not [line for line in server.errors if not line.startswith("sonant: ")], "".join(server.errors)


@pytest.fixture(scope="module")
def samples(example: Path) -> np.ndarray:
    return audio.read(example)


def test_openai_s_files(server: Server, example: Path) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="key", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["digits"]
        with example.open("rb") as file:
            assert client.audio.transcriptions.create(file=file, model="whisper-1").text == SAID
        for form, mark in (("text", SAID), ("srt", "-->"), ("vtt", "WEBVTT")):
            got = client.audio.transcriptions.create(file=example, model="digits", response_format=form)
            assert mark in got
        verbose = client.audio.transcriptions.create(
            file=example, model="digits", response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
        assert " ".join(word.word for word in verbose.words) == SAID
        assert verbose.segments[0].start == verbose.words[0].start
        events = list(client.audio.transcriptions.create(file=example, model="digits", stream=True))
        assert events[-1].text == "".join(event.delta for event in events[:-1]) == SAID
        with pytest.raises(openai.NotFoundError, match="digits"):
            client.audio.transcriptions.create(file=example, model="unheard")
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="no").models.list()


@pytest.mark.parametrize("turns", ["client", "pauses"])
def test_openai_s_realtime(server: Server, samples: np.ndarray, turns: str) -> None:
    openai = pytest.importorskip("openai")
    sound = pcm16(audio.from_array(samples, 16_000, 24_000))
    items: dict[str, str] = {}
    deltas: dict[str, str] = {}

    async def hear() -> None:
        url = server.url.replace("http", "ws") + "/v1"
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="key", websocket_base_url=url)
        query = {"intent": "transcription"}
        async with client, client.realtime.connect(model="digits", extra_query=query) as connection:
            detection = None if turns == "client" else {"type": "server_vad"}
            form = {"type": "audio/pcm", "rate": 24000}
            sound_in = {"format": form, "transcription": {"model": "digits"}, "turn_detection": detection}
            await connection.session.update(session={"type": "transcription", "audio": {"input": sound_in}})
            for _ in range(2 if turns == "client" else 1):
                for data in (sound,) if turns == "client" else (sound, bytes(2 * 24000)):
                    for start in range(0, len(data), 48000):
                        piece = base64.b64encode(data[start : start + 48000]).decode()
                        await connection.input_audio_buffer.append(audio=piece)
                if turns == "client":
                    await connection.input_audio_buffer.commit()
            async for event in connection:
                assert event.type != "error", event
                if event.type.endswith("transcription.delta"):
                    deltas[event.item_id] = deltas.get(event.item_id, "") + event.delta
                if event.type.endswith("transcription.completed"):
                    items[event.item_id] = event.transcript
                    if len(items) == (2 if turns == "client" else 1):
                        return

    asyncio.run(asyncio.wait_for(hear(), 120))
    assert set(items.values()) == {SAID}
    assert deltas == items


def test_hugging_face_s_client(server: Server, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for place in ({"model": f"{server.url}/models/digits"}, {"base_url": server.url}):
        client = hub.InferenceClient(**place, token="key")
        assert client.automatic_speech_recognition(example.read_bytes()).text == SAID
    answer = client.automatic_speech_recognition(str(example), extra_body={"return_timestamps": "word"})
    assert " ".join(chunk.text for chunk in answer.chunks) == SAID


def test_deepgram_s_client(server: Server, samples: np.ndarray, example: Path) -> None:
    deepgram, httpx = pytest.importorskip("deepgram"), pytest.importorskip("httpx")
    from deepgram.environment import DeepgramClientEnvironment

    sockets = server.url.replace("http", "ws")
    place = DeepgramClientEnvironment(base=server.url, production=sockets, agent=sockets, agent_rest=server.url)
    with httpx.Client(timeout=60) as http:  # the client's own is never closed
        client = deepgram.DeepgramClient(api_key="key", environment=place, httpx_client=http)
        file = client.listen.v1.media.transcribe_file(request=example.read_bytes(), model="digits")
    assert file.results.channels[0].alternatives[0].transcript == SAID
    said: list[str] = []
    with client.listen.v1.connect(
        model="digits", encoding="linear16", sample_rate=16000, interim_results=True
    ) as connection:
        connection.send_media(pcm16(samples))
        connection.send_close_stream()
        for message in connection:
            if message.type == "Results" and message.is_final:
                said.append(message.channel.alternatives[0].transcript)
            if message.type == "Metadata":
                assert message.duration == 3.425
                break
    assert " ".join(filter(None, said)) == SAID


def test_wyoming_s_client(server: Server, samples: np.ndarray) -> None:
    pytest.importorskip("wyoming")
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncTcpClient
    from wyoming.event import Event
    from wyoming.info import Describe, Info

    async def hear() -> str:
        assert server.wyoming
        async with AsyncTcpClient("127.0.0.1", server.wyoming) as client:
            await client.write_event(Event("describe", {**Describe().to_dict(), "token": "key"}))
            event = await client.read_event()
            assert event
            [program] = Info.from_event(event).asr
            assert [model.name for model in program.models] == ["digits"]
            await client.write_event(Transcribe(language="en").event())
            await client.write_event(AudioStart(rate=16000, width=2, channels=1).event())
            data = pcm16(samples)
            for start in range(0, len(data), 2048):
                await client.write_event(AudioChunk(16000, 2, 1, data[start : start + 2048]).event())
            await client.write_event(AudioStop().event())
            chunks: list[str] = []
            while event := await client.read_event():
                if event.type == "transcript-chunk":
                    chunks.append(event.data["text"])
                if Transcript.is_type(event.type):
                    assert "".join(chunks) == event.data["text"]
                    return Transcript.from_event(event).text
        return ""

    async def without_token() -> str:
        async with AsyncTcpClient("127.0.0.1", server.wyoming) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event
            return event.type + event.data["text"]

    assert asyncio.run(asyncio.wait_for(hear(), 120)) == SAID
    assert "errorA token is needed" in asyncio.run(asyncio.wait_for(without_token(), 30))


def test_a_file_of_many_formats(server: Server, samples: np.ndarray) -> None:
    import wave

    httpx = pytest.importorskip("httpx")
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(pcm16(samples))
    answer = httpx.post(f"{server.url}/", content=held.getvalue(), headers={"authorization": "Bearer key"}, timeout=60)
    assert answer.json() == {"text": SAID}
