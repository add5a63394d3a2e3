"""Addresses whose connections are lost, on this machine's own loopback, and a microphone that plays a part."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from sonant import audio
from sonant.audio import live
from sonant.errors import AudioError, MissingExtraError
from sonant.types import FloatArray

RATE = 16000
Answer = Callable[[BaseHTTPRequestHandler, int], None]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WAIT", 0.05)


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """The address of a server that answers the n-th request as told."""
    count = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, next(count))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def chirp(seconds: float) -> FloatArray:
    """A sound that says where it is: its pitch rises."""
    at = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * (100 * at + 50 * at**2))).astype(np.float32)


def wav(samples: FloatArray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def encoded(samples: FloatArray, form: str, codec: str, **options: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options) as container:
        track = container.add_stream(codec, rate=RATE)
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        frame.rate = RATE
        resampler = av.AudioResampler(track.codec_context.format, "mono", RATE)
        for part in [*resampler.resample(frame), None]:
            container.mux(track.encode(part))
    return file.getvalue()


def heard(address: str, **options: float) -> tuple[FloatArray, list[str]]:
    notices: list[str] = []
    with audio.open_live(address, RATE, notice=notices.append, **options) as stream:
        return np.concatenate(list(stream)), notices


def send(handler: BaseHTTPRequestHandler, body: bytes, length: int | None) -> None:
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_file_whose_connection_is_lost_is_heard_once_and_whole() -> None:
    samples = chirp(6.0)
    body = wav(samples)

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, body[: len(body) // 2] if number == 0 else body, len(body))

    with server(answer) as address:
        found, notices = heard(f"{address}/talk.wav")
    np.testing.assert_allclose(found, samples, atol=2e-4)
    [notice] = notices
    assert "was lost at" in notice


def test_a_slow_server_is_waited_for() -> None:
    samples = chirp(2.0)
    body = wav(samples)

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, body[:1000], len(body))
        for start in range(1000, len(body), 16000):
            time.sleep(0.05)
            handler.wfile.write(body[start : start + 16000])

    with server(answer) as address:
        found, notices = heard(f"{address}/talk.wav")
    np.testing.assert_allclose(found, samples, atol=2e-4)
    assert notices == []


def test_a_broadcast_goes_on_and_what_was_missed_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream without times of its own, the time without it counts."""
    monkeypatch.setattr(live, "FIRST_WAIT", 0.6)
    body = encoded(chirp(2.0), "mp3", "libmp3lame" if "libmp3lame" in av.codecs_available else "mp3")

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number < 2:
            send(handler, body, None)
        else:
            handler.send_error(404)

    with server(answer) as address:
        found, notices = heard(f"{address}/radio", patience=1.0)
    seconds = len(found) / RATE
    assert 4.5 < seconds < 6.0
    quiet = np.flatnonzero(np.abs(found) < 1e-4)
    assert len(quiet) > 0.5 * RATE
    assert 1.9 < np.median(quiet) / RATE < 4.0
    assert "trying again" in notices[0]
    assert "taken to be over" in notices[-1]


def test_a_transport_stream_that_went_on_has_silence_for_what_was_missed() -> None:
    samples = chirp(6.0)

    def part(begin: float, end: float) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format="mpegts") as container:
            track = container.add_stream("mp2", rate=RATE)
            for start in range(round(begin * RATE), round(end * RATE), 1152):
                block = np.zeros((1, 1152), np.int16)
                cut = samples[start : start + 1152]
                block[0, : len(cut)] = cut * 32767
                frame = av.AudioFrame.from_ndarray(block, "s16", "mono")
                frame.rate, frame.pts = RATE, start
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        return file.getvalue()

    bodies = [part(0, 2), part(3, 5), part(4, 6)]

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number < len(bodies):
            send(handler, bodies[number], None)
        else:
            handler.send_error(404)

    with server(answer) as address:
        found, _ = heard(f"{address}/tv", patience=0.5)
    assert len(found) / RATE == pytest.approx(6.0, abs=0.2)
    assert np.abs(found[round(2.3 * RATE) : round(2.7 * RATE)]).max() < 1e-3

    def shared(at: float) -> float:
        """How well a stretch fits where it belongs."""
        piece = found[round(at * RATE) : round((at + 0.3) * RATE)]
        around = samples[round((at - 0.04) * RATE) : round((at + 0.34) * RATE)]
        best = np.correlate(around, piece, "valid").max()
        return float(best / np.sqrt(np.dot(piece, piece) * np.dot(around, around) * 0.3 / 0.38))

    assert min(map(shared, (0.5, 1.5, 3.5, 4.4, 5.4))) > 0.9


def test_a_playlist_on_the_web_is_followed_and_local_files_are_not(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(chirp(1.0)))
    segment = encoded(chirp(2.0), "mpegts", "mp2")
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
    files = {
        "/good.m3u8": f"{head}#EXTINF:2.0,\na.ts\n#EXT-X-ENDLIST\n".encode(),
        "/bad.m3u8": f"{head}#EXTINF:2.0,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "/a.ts": segment,
    }

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        body = files[handler.path]
        send(handler, body, len(body))

    with server(answer) as address:
        found, notices = heard(f"{address}/good.m3u8")
        assert len(found) / RATE == pytest.approx(2.0, abs=0.15)
        assert notices == []
        with pytest.raises(AudioError, match=r"bad\.m3u8"):
            heard(f"{address}/bad.m3u8", patience=0.2)


@pytest.mark.parametrize(("code", "body"), [(404, b""), (200, b"<html>no sound</html>" * 100)])
def test_what_cannot_be_heard_is_said_at_once(code: int, body: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with server(answer) as address, pytest.raises(AudioError, match="cannot be heard"):
        heard(f"{address}/talk.mp3")


def test_an_address_that_is_silent_or_in_a_strange_tongue_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "OPENING", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(AudioError, match=r"\(nothing came\)"):
        heard(f"http://127.0.0.1:{mute.getsockname()[1]}/talk.mp3")
    with pytest.raises(AudioError, match=r"in this FFmpeg\); .* `sonant live -`\."):
        heard("mmsh2://127.0.0.1:9/x")


def test_files_come_in_short_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(chirp(1.05)))
    with audio.open_live(str(path), RATE) as stream:
        assert [len(block) for block in stream] == [1600] * 10 + [800]


class Player:
    """sounddevice, as far as it is used."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        self.opened: list[dict[str, object]] = []

    def InputStream(self, **options: object) -> SimpleNamespace:  # noqa: N802
        if options["device"] == "none":
            raise self.PortAudioError("No such device")
        self.opened.append(options)

        def read(count: int) -> tuple[np.ndarray, bool]:
            return np.full((count, 1), 0.25, np.float32), False

        return SimpleNamespace(start=lambda: None, read=read, close=lambda: None)

    def query_devices(self) -> list[dict[str, object]]:
        return [{"name": "headset", "max_input_channels": 1}, {"name": "loudspeaker", "max_input_channels": 0}]


def test_a_microphone_is_heard_at_the_model_s_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player()
    monkeypatch.setitem(sys.modules, "sounddevice", player)
    with audio.open_live("mic:3", RATE) as stream:
        blocks = [next(iter(stream)) for _ in range(10)]
    assert player.opened[0]["device"] == 3
    assert abs(sum(map(len, blocks)) - 16000) < 3200
    assert float(blocks[-1].mean()) == pytest.approx(0.25, abs=1e-3)


def test_a_microphone_that_is_not_there_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Player())
    with pytest.raises(AudioError, match=r"No such device.*mic:NAME: headset\."):
        audio.open_live("mic:none", RATE)


def test_a_microphone_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"sonant\[live\]"):
        audio.open_live("mic", RATE)


def test_a_microphone_without_the_system_s_library_names_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(MissingExtraError, match="apt install libportaudio2"):
        audio.open_live("mic", RATE)
