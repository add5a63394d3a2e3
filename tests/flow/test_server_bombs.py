"""Files made to hurt: each is refused in a sentence, while the server serves the others as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from flow import bombs
from flow.conftest import SAID
from flow.serving import Server, pcm16, post, resident, serving, wait_for
from sonant import audio

websockets = pytest.importorskip("websockets.sync.client")
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at processes as Linux shows them"),
]
BOMBS = {
    "an hour that says nothing of its length": (413, "may last 60 s", lambda: bombs.flac_of_silence(3600, 0)),
    "an hour": (413, "may last 60 s", lambda: bombs.flac_of_silence(3600)),
    "a second that says it lasts 99 days": (413, "may last 60 s", lambda: bombs.flac_of_silence(1, (1 << 36) - 1)),
    "days of gaps": (413, "may last 60 s", lambda: bombs.matroska_of_gaps(200, 3500)),
    "two thousand million samples a second": (400, "sample rate", lambda: bombs.wav_of_form(2_000_000_000, 1)),
    "many channels": (400, "channels", lambda: bombs.wav_of_form(8000, 65_535)),
    "a picture of 2 GB": (400, "", lambda: bombs.picture(26_000)),
    "boxes within boxes": (400, "", lambda: bombs.nested_mp4(100_000)),
    "an archive": (400, "is not audio", lambda: bombs.zipped(50)),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--max-duration", str(60 / 3600)) as server:
        yield server


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_a_sentence(server: Server, name: str) -> None:
    status, word, make = BOMBS[name]
    bomb = make()
    assert len(bomb) < 3_000_000
    answer = post(server, bomb)
    assert (answer[0], word in answer[1]["error"], answer[1]["error"].endswith(".")) == (status, True, True), answer
    wait_for(server, "sonant_requests_running", 0)


def test_bombs_hurt_their_own_requests_only(server: Server, example: Path) -> None:
    """All of them at once, while others ask and one streams."""
    samples = audio.read(example)
    files = [make() for _, _, make in BOMBS.values()]
    before = resident(server)
    with (
        ThreadPoolExecutor(len(files)) as clients,
        websockets.connect(server.url.replace("http", "ws") + "/v1/stream", open_timeout=60) as live,
    ):
        answers = [clients.submit(post, server, file) for file in files]
        live.send(pcm16(samples))
        live.send('{"type": "finish"}')
        for _ in range(3):
            assert post(server, example.read_bytes()) == (200, {"text": SAID})
        said: list[str] = []
        with suppress(ConnectionClosed):
            while True:
                message = json.loads(live.recv(timeout=120))
                said += [message["text"]] if message["type"] == "final" and message["text"] else []
        assert " ".join(said) == SAID
        assert [answer.result()[0] for answer in answers] == [status for status, _, _ in BOMBS.values()]
    wait_for(server, "sonant_requests_running", 0)
    assert resident(server) - before < 150_000  # kB
    assert server.process.poll() is None
