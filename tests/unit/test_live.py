"""What is made of a stream's events: cues, growing files, HLS, messages to others."""

from __future__ import annotations

import json
import math
import re
import socket
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sonant import live, subtitles
from sonant.errors import MissingExtraError, OptionError, OutputError
from sonant.live import CueMaker, HlsFolder, Relay, SubtitleFile, message_of, paced
from sonant.stream import StreamEvent
from sonant.subtitles.cues import Cue
from sonant.types import Segment, Transcript, Word

TEXT = (
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG AND RUNS AWAY INTO THE WOODS BECAUSE IT HEARD THE HUNTERS COMING UP "
    "THE LONG AND WINDING ROAD FROM THE VILLAGE BY THE RIVER WHERE NOBODY HAD SEEN A FOX FOR MANY A YEAR"
)


def spoken(text: str, start: float = 0.0, pace: float = 0.4) -> list[Word]:
    return [Word(w, start + i * pace, start + i * pace + 0.3, 0.9) for i, w in enumerate(text.split())]


def final(words: list[Word], end: bool = False) -> StreamEvent:
    times = (words[0].start, words[-1].end) if words else (0.0, 0.0)
    return StreamEvent("final", tuple(words), *times, end)


def partial(words: list[Word]) -> StreamEvent:
    return StreamEvent("partial", tuple(words), words[0].start, words[-1].end)


def test_cues_are_those_of_the_finished_segments() -> None:
    first, second = spoken("HELLO THERE I AM HERE"), spoken("GOOD BYE", 9.0)
    maker = CueMaker("en")
    found = maker.add(partial(first)) + maker.add(final(first[:3])) + maker.add(final(first[3:], end=True))
    assert [cue.texts for cue in found] == [("Hello there I am here",)]
    found += maker.add(final(second)) + maker.add(final([], end=True))
    whole = subtitles.in_case(Transcript((Segment(tuple(first)), Segment(tuple(second))), 12.0, "en"), "sentence")
    assert found == list(subtitles.cues_of(whole.segments, language="en"))


def test_a_segment_that_goes_on_and_on_gives_its_cues_as_it_goes() -> None:
    words = spoken(" ".join([TEXT] * 3))
    maker = CueMaker("en")
    found: list[tuple[int, Cue]] = []
    for i, word in enumerate(words):
        found += [(i, cue) for cue in maker.add(final([word]))]
        if maker.since is not None:
            assert words[i].end - maker.since < 16
    early = len(found)
    found += [(len(words), cue) for cue in maker.add(final([], end=True))]
    assert early > 5
    said = " ".join(text for _, cue in found for text in cue.texts)
    assert said.upper().split() == [word.text for word in words]
    assert said[0] == "T"
    assert said[1:].replace(" I ", " i ") == said[1:].lower().replace(" I ", " i ")
    for (_, before), (_, after) in pairwise(found):
        assert before.end <= after.start < after.end


def test_cues_do_not_overlap_where_speech_is_quick() -> None:
    maker = CueMaker("en")
    cues = [cue for i in range(5) for cue in maker.add(final(spoken("YES", 0.9 * i), end=True))]
    cues += maker.add(final(spoken("NO", 0.9 * 4 + 0.05), end=True))
    assert len(cues) == 6
    assert all(before.end <= after.start < after.end for before, after in pairwise(cues))


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_a_file_grows_by_whole_cues_and_is_complete_at_any_moment(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"talk{suffix}"
    file, maker, before = SubtitleFile(path), CueMaker("en"), ""
    for i in range(4):
        file.write(maker.add(final(spoken("GOOD MORNING", 5.0 * i), end=True)))
        now = path.read_text()
        assert now.startswith(before)
        assert len(subtitles.read(path).segments) == i + 1
        before = now
    file.close()
    assert path.read_text() == before
    if suffix == ".srt":
        assert re.findall(r"^\d+$", before, re.MULTILINE) == ["1", "2", "3", "4"]


def test_a_file_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.srt or \.vtt"):
        SubtitleFile(tmp_path / "talk.txt")
    with pytest.raises(OutputError, match="could not be written"):
        SubtitleFile(tmp_path / "no" / "talk.srt")


def playlist(folder: Path) -> list[str]:
    return [line for line in (folder / "captions.m3u8").read_text().splitlines() if not line.startswith("#")]


def test_hls_segments_hold_every_cue_that_touches_them(tmp_path: Path) -> None:
    folder, maker = HlsFolder(tmp_path / "hls", start=1.4), CueMaker("en")
    assert playlist(folder.folder) == []
    folder.write(maker.add(final(spoken("ONE", 5.5), end=True)))
    folder.advance(5.9)
    assert playlist(folder.folder) == []
    folder.write(maker.add(final(spoken("TWO", 13.0), end=True)))
    folder.advance(12.5)
    assert playlist(folder.folder) == ["captions-000000.vtt", "captions-000001.vtt"]
    assert "ENDLIST" not in (folder.folder / "captions.m3u8").read_text()
    folder.finish(14.0)
    texts = [(folder.folder / name).read_text() for name in playlist(folder.folder)]
    assert [("One" in text, "Two" in text) for text in texts] == [(True, False), (True, False), (False, True)]
    assert all(text.startswith("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:126000\n\n") for text in texts)
    listed = (folder.folder / "captions.m3u8").read_text()
    assert listed.endswith("#EXTINF:2.000,\ncaptions-000002.vtt\n#EXT-X-ENDLIST\n")


def test_hls_forgets_what_is_older_than_its_playlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEPT_SEGMENTS", 3)
    folder = HlsFolder(tmp_path)
    folder.advance(60.0)
    assert playlist(tmp_path) == [f"captions-{i:06}.vtt" for i in (7, 8, 9)]
    assert "#EXT-X-MEDIA-SEQUENCE:7\n" in (tmp_path / "captions.m3u8").read_text()
    assert len(list(tmp_path.glob("*.vtt"))) == 6


@pytest.mark.parametrize("start", [math.nan, math.inf, -1.0])
def test_hls_begins_at_a_time(tmp_path: Path, start: float) -> None:
    with pytest.raises(OptionError, match="0 s or more"):
        HlsFolder(tmp_path, start)


def test_hls_wraps_as_the_video_s_clock_does(tmp_path: Path) -> None:
    folder = HlsFolder(tmp_path, (1 << 33) / 90_000 + 1)
    folder.finish(1.0)
    assert "MPEGTS:90000\n" in (tmp_path / "captions-000000.vtt").read_text()


def test_a_message_says_all_of_an_event() -> None:
    words = spoken("GOOD BYE")
    assert message_of(partial(words[:1])) == {
        "type": "partial",
        "text": "GOOD",
        "start": 0.0,
        "end": 0.3,
        "words": [{"text": "GOOD", "start": 0.0, "end": 0.3, "confidence": 0.9}],
    }
    assert message_of(final(words, end=True))["segment_end"] is True


def test_events_go_to_a_websocket_that_comes_later() -> None:
    sync = pytest.importorskip("websockets.sync.server")
    got: list[dict[str, object]] = []

    def take(connection) -> None:
        for message in connection:
            got.append(json.loads(message))
            if len(got) == 1:
                connection.close()  # and the relay connects again

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    notices: list[str] = []
    relay = Relay(f"ws://127.0.0.1:{port}", notices.append)
    relay.send({"n": 0})
    deadline = time.monotonic() + 20
    while not notices and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "cannot be reached" in notices[0]
    with sync.serve(take, "127.0.0.1", port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while not got and time.monotonic() < deadline:
            time.sleep(0.01)
        for n in range(1, 100):
            relay.send({"n": n})
            if len(got) > 3:
                break
            time.sleep(0.1)
        relay.close(timeout=10)
        server.shutdown()
    numbers = [message["n"] for message in got]
    assert numbers[0] == 0
    assert len(numbers) > 3
    assert numbers == sorted(numbers)


def test_a_relay_shows_its_token_and_tells_why_it_is_sent_away() -> None:
    sync = pytest.importorskip("websockets.sync.server")
    tokens: list[str] = []

    def refuse(connection) -> None:
        tokens.append(connection.request.headers["Authorization"])
        connection.recv()
        connection.send(json.dumps({"type": "error", "message": "A channel is named otherwise."}))

    notices: list[str] = []
    with sync.serve(refuse, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        relay = Relay(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", notices.append, "secret")
        deadline = time.monotonic() + 20
        while not notices and time.monotonic() < deadline:
            relay.send({})
            time.sleep(0.05)
        relay.close(timeout=10)
        server.shutdown()
    assert tokens[0] == "Bearer secret"
    assert "(A channel is named otherwise)" in notices[0]


def test_a_relay_that_is_not_let_in_tells_why() -> None:
    sync = pytest.importorskip("websockets.sync.server")

    def refuse(connection, _request):
        return connection.respond(401, json.dumps({"error": {"message": "A token is needed here."}}))

    notices: list[str] = []
    with sync.serve(print, "127.0.0.1", 0, process_request=refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        relay = Relay(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", notices.append)
        relay.send({})
        deadline = time.monotonic() + 20
        while not notices and time.monotonic() < deadline:
            time.sleep(0.01)
        relay.close(timeout=10)
        server.shutdown()
    assert "(A token is needed here); trying on" in notices[0]


def test_a_relay_needs_an_address_and_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("websockets")
    for url in ("http://x", "ws://", "ws:///path", "ws://x:99999/"):
        with pytest.raises(OptionError, match=f"ws://HOST/PATH, but {url} was given"):
            Relay(url, print)
    monkeypatch.setitem(__import__("sys").modules, "websockets.sync.client", None)
    with pytest.raises(MissingExtraError, match=r"sonant\[live\]"):
        Relay("ws://x", print)


def test_a_relay_that_is_never_reached_ends() -> None:
    pytest.importorskip("websockets")
    relay = Relay("ws://127.0.0.1:9", lambda _: None)
    for n in range(2 * live.MOST_WAITING):
        relay.send({"n": n})
    began = time.monotonic()
    relay.close(timeout=20)
    assert not relay._thread.is_alive()
    assert relay._waiting.qsize() <= live.MOST_WAITING + 1
    assert time.monotonic() - began < 20


def test_pacing_keeps_the_samples_and_takes_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    samples = np.arange(2500, dtype=np.float32)
    given = [(piece, now[0]) for piece in paced([samples[:1000], samples[1000:]], 1000)]
    np.testing.assert_array_equal(np.concatenate([piece for piece, _ in given]), samples)
    assert given[0][1] == pytest.approx(100.1)
    assert given[-1][1] == pytest.approx(102.5)
