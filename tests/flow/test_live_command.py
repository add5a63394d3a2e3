"""`sonant live` as a user runs it."""

from __future__ import annotations

import inspect
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.conftest import SAID
from flow.serving import wav
from flow.test_command import run
from sonant import audio, subtitles
from sonant.stream import StreamSpec

RATE = 16000
COMMAND = [sys.executable, "-m", "sonant", "live", "--precision", "fp32"]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))


def test_a_file_is_captioned_in_every_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    srt, vtt, hls = tmp_path / "a.srt", tmp_path / "a.vtt", tmp_path / "hls"
    assert run(monkeypatch, "live", example, "--output", srt, "--output", vtt, "--hls", hls) == 0
    assert capsys.readouterr().out == SAID + "\n"
    for path in (srt, vtt, hls / "captions-000000.vtt"):
        assert subtitles.read(path).text == SAID.capitalize()
    assert "#EXT-X-ENDLIST" in (hls / "captions.m3u8").read_text()


def test_the_command_has_the_times_of_streams() -> None:
    """Said twice, so that the command's help need not import what hears."""
    from sonant.cli import live

    defaults = {name: parameter.default for name, parameter in inspect.signature(live.run).parameters.items()}
    spec = asdict(StreamSpec())
    assert {name: defaults[name] for name in spec if name in defaults} == {
        name: spec[name] for name in ("step", "window", "margin", "endpoint")
    }


def test_a_stream_of_speech_is_what_the_transcript_of_it_is(asr: sonant.Recognizer, example: Path) -> None:
    samples = audio.read(example)
    pauses = [np.zeros(int(seconds * RATE), np.float32) for seconds in (0.3, 2.0, 0.1, 5.0)]
    recording = np.concatenate([part for pause in pauses for part in (samples, pause)])
    stream = asr.stream()
    events = [event for start in range(0, len(recording), 777) for event in stream.feed(recording[start : start + 777])]
    events += stream.finish()
    words = [word for event in events if event.kind == "final" for word in event.words]
    whole = asr.transcribe(recording, RATE)
    assert [word.text for word in words] == [word.text for word in whole.words] == SAID.split() * 4
    assert max(abs(a.start - b.start) for a, b in zip(words, whole.words, strict=True)) < 0.1
    again = asr.stream()
    assert again.feed(recording) + again.finish() == events


def test_other_rates_and_silence(asr: sonant.Recognizer, example: Path) -> None:
    samples = audio.read(example, 44_100)
    stream = asr.stream(sample_rate=44_100)
    events = stream.feed(np.zeros(30 * 44_100, np.float32))
    assert events == []
    events = stream.feed(samples) + stream.finish()
    assert " ".join(event.text for event in events if event.kind == "final" and event.words) == SAID


def test_a_connection_lost_in_the_middle_loses_no_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path
) -> None:
    body, count = example.read_bytes(), iter(range(100))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            part = body[: len(body) * 2 // 3] if next(count) == 0 else body
            for start in range(0, len(part), 1000):
                self.wfile.write(part[start : start + 1000])
                time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/talk.ogg"
        assert run(monkeypatch, "live", address, "--precision", "fp32") == 0
        server.shutdown()
    out, err = capsys.readouterr()
    assert out == SAID + "\n"
    assert "was lost at" in err


def test_ctrl_c_finishes_what_was_heard(example: Path, tmp_path: Path) -> None:
    long, srt = tmp_path / "long.wav", tmp_path / "a.srt"
    with long.open("wb") as file:
        subprocess.run(  # a minute of the example
            [sys.executable, "-c", _TILED, str(example)], stdout=file, check=True
        )
    command = [*COMMAND, str(long), "--realtime", "--output", str(srt)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == SAID + "\n"
    running.send_signal(signal.SIGINT)
    _out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "Traceback" not in err
    assert subtitles.read(srt).text.upper().startswith(SAID)


_TILED = """
import io, sys, wave
import numpy as np
from sonant import audio
samples = np.concatenate([audio.read(sys.argv[1]), np.zeros(32000, "f")])
file = io.BytesIO()
with wave.open(file, "wb") as writer:
    writer.setnchannels(1); writer.setsampwidth(2); writer.setframerate(16000)
    writer.writeframes((np.tile(samples, 12) * 32767).astype("<i2").tobytes())
sys.stdout.buffer.write(file.getvalue())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo terminals")
def test_a_terminal_shows_words_before_they_are_final(example: Path) -> None:
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": ""}
    running = subprocess.Popen([*COMMAND, str(example)], stdout=other, stderr=subprocess.DEVNULL, env=environment)
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert running.wait() == 0
    text = shown.decode()
    assert "\x1b[2mSEVEN" in text
    assert SAID in text.rpartition("\x1b[2K")[0] + text


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["nosuch.wav"], 2, "nosuch.wav does not exist"),
        (["EXAMPLE", "--margin", "9"], 2, "A stream's window"),
        (["EXAMPLE", "--output", "x.docx"], 2, ".srt or .vtt"),
        (["EXAMPLE", "--to", "http://x"], 2, "ws://HOST/PATH"),
        (["http://127.0.0.1:9/x.mp3"], 1, "cannot be heard"),
    ],
)
def test_wrong_usage_says_why(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: Path,
    words: list[str],
    code: int,
    part: str,
) -> None:
    if "--to" in words:
        pytest.importorskip("websockets")
    assert run(monkeypatch, "live", *(str(example) if word == "EXAMPLE" else word for word in words)) == code
    assert part in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files as POSIX systems do")
def test_a_disk_that_is_full_ends_its_file_alone(example: Path, tmp_path: Path) -> None:
    """It is told of once; the terminal and the other files go on."""
    samples = audio.read(example)
    long = tmp_path / "long.wav"
    long.write_bytes(wav(np.concatenate([samples, np.zeros(RATE * 2, np.float32)] * 4)))
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150)); "
    limited += "from sonant.cli import main; sys.argv[0] = 'sonant'; main()"
    srt, hls = tmp_path / "a.srt", tmp_path / "hls"
    command = [sys.executable, "-c", limited, "live", "--precision", "fp32", str(long), "--output", str(srt)]
    done = subprocess.run([*command, "--hls", str(hls)], check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [SAID] * 4
    complaints = [line for line in done.stderr.splitlines() if "could not be written" in line]
    assert [sum(str(path) in line for line in complaints) for path in (srt, hls)] == [1, 1]
    assert done.returncode == 1
