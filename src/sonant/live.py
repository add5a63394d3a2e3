"""What becomes of live captions: cues as soon as they are settled, files that grow by them, HLS, other programs."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from sonant.errors import MissingExtraError, OptionError, OutputError
from sonant.files import write_text
from sonant.stream import StreamEvent
from sonant.subtitles.cues import Cue, CueSpec, cues_of
from sonant.subtitles.readable import Case, in_case
from sonant.subtitles.srt import srt_blocks
from sonant.subtitles.webvtt import vtt_blocks, vtt_head
from sonant.types import FloatArray, Segment, Transcript, Word

SEGMENT_SECONDS = 6
"""Of HLS: what Apple's authoring specification wants."""
KEPT_SEGMENTS = 600
"""An hour of them can be gone back to; older files are deleted."""
CLOCK = 1 << 33
"""Ticks of a transport stream's clock, which then begins anew."""
MOST_WAITING = 1000
"""Messages kept for a receiver that cannot be reached; the oldest are dropped."""
LONGEST_WAIT = 30.0
"""Seconds between attempts to reach it."""


def paced(blocks: Iterable[FloatArray], sample_rate: int, block_seconds: float = 0.1) -> Iterator[FloatArray]:
    """Blocks no sooner than a microphone would give them."""
    began, count, size = time.monotonic(), 0, round(sample_rate * block_seconds)
    for block in blocks:
        for start in range(0, len(block), size):
            piece = block[start : start + size]
            count += len(piece)
            time.sleep(max(0.0, began + count / sample_rate - time.monotonic()))
            yield piece


def message_of(event: StreamEvent) -> dict[str, Any]:
    """An event as the server's `/v1/stream` sends it and `/v1/captions` takes it."""
    words = [
        {
            "text": word.text,
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in event.words
    ]
    times = {"start": round(event.start, 3), "end": round(event.end, 3)}
    message = {"type": event.kind, "text": event.text, **times, "words": words}
    return message | ({"segment_end": event.segment_end} if event.kind == "final" else {})


class CueMaker:
    """The final words of a stream to cues, each as soon as nothing that follows can change it.

    A segment's cues come when it ends; of one that goes on and on, each when two more could be filled.
    """

    def __init__(self, language: str | None, spec: CueSpec | None = None, case: Case = "sentence") -> None:
        self.language, self.spec = language, spec or CueSpec()
        self.case: Case = case
        self._words: list[Word] = []  # of the segment under way
        self._done = 0  # those of them that are in cues
        self._clock = 0.0  # the last cue's end

    @property
    def since(self) -> float | None:
        """When the first word that is final but in no cue begins."""
        return self._words[self._done].start if self._done < len(self._words) else None

    def add(self, event: StreamEvent) -> list[Cue]:
        """The cues that an event settles; partial ones settle none."""
        if event.kind == "partial":
            return []
        self._words += event.words
        found: list[Cue] = []
        room = 2 * self.spec.width * self.spec.lines
        while event.segment_end or self._columns() > room:
            cues = list(self._cues(event.space))
            found += cues if event.segment_end else cues[:1]
            if event.segment_end:
                self._words, self._done = [], 0
                break
            last = cues[0].lines[-1][-1].start + 0.005  # its times are rounded, and words begin a frame apart
            self._done += max(sum(word.start < last for word in self._words[self._done :]), 1)
        return list(map(self._after, found))

    def _columns(self) -> int:
        return sum(len(word.text) + 1 for word in self._words[self._done :])

    def _cues(self, space: str) -> Iterator[Cue]:
        if self._done == len(self._words):
            return
        whole = Transcript((Segment(tuple(self._words), space),), 0.0, self.language)
        [written] = in_case(whole, self.case).segments
        yield from cues_of([Segment(written.words[self._done :], space)], self.spec, self.language)

    def _after(self, cue: Cue) -> Cue:
        """The cue after the one before it, which may have stayed to be read."""
        start = max(cue.start, self._clock)
        self._clock = max(cue.end, round(start + self.spec.min_duration, 3) if start > cue.start else cue.end)
        return replace(cue, start=start, end=self._clock)


class SubtitleFile:
    """A `.srt` or `.vtt` file that grows by whole cues; what stands in it never changes."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in (".srt", ".vtt"):
            raise OptionError(f"Subtitles grow in files that end in .srt or .vtt, but {path} was given; rename it.")
        self._srt = suffix == ".srt"
        self._count = 0
        try:
            self._file: BinaryIO = self.path.open("wb", buffering=0)
        except OSError as error:
            raise OutputError(f"{path} could not be written ({error.strerror}); choose another place.") from error
        self._write("" if self._srt else vtt_head())

    def write(self, cues: Iterable[Cue]) -> None:
        """Append cues, each in one piece."""
        for cue in cues:
            self._count += 1
            [block] = srt_blocks([cue]) if self._srt else vtt_blocks([cue])
            self._write(f"{self._count}\n{block.partition(chr(10))[2]}" if self._srt else block)

    def close(self) -> None:
        self._file.close()

    def _write(self, text: str) -> None:
        try:
            self._file.write(text.encode(errors="backslashreplace"))
        except OSError as error:
            raise OutputError(f"{self.path} could not be written ({error.strerror}); make room.") from error


class HlsFolder:
    """Segmented WebVTT and its playlist, `captions.m3u8`, for a master playlist to name beside the video.

    `start` is the video's own time (PTS, in seconds) where the captions' time is 0.
    """

    def __init__(self, folder: str | PathLike[str], start: float = 0.0) -> None:
        if not 0 <= start < inf:
            raise OptionError(
                f"A video's time where captions begin must be 0 s or more, but is {start:g} s; correct it."
            )
        self.folder = Path(folder)
        self._map = f"X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:{round(start * 90_000) % CLOCK}"
        self._cues: deque[Cue] = deque()
        self._count = 0
        self._lengths: deque[float] = deque(maxlen=KEPT_SEGMENTS)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} is no folder to write to ({error.strerror}); choose another.") from error
        self._list(ended=False)

    def write(self, cues: Iterable[Cue]) -> None:
        """Take note of cues, which stand in every segment that they touch."""
        self._cues.extend(cues)

    def advance(self, until: float) -> None:
        """Write the segments that end by `until`; all cues that begin before it must be known."""
        while (self._count + 1) * SEGMENT_SECONDS <= until:
            self._segment(SEGMENT_SECONDS)

    def finish(self, seconds: float) -> None:
        """Write what is left of a stream of so many seconds, and end the playlist."""
        self.advance(seconds)
        if (left := seconds - self._count * SEGMENT_SECONDS) > 0:
            self._segment(left)
        self._list(ended=True)

    def _segment(self, length: float) -> None:
        begin = self._count * SEGMENT_SECONDS
        while self._cues and self._cues[0].end <= begin:
            self._cues.popleft()
        cues = [cue for cue in self._cues if cue.start < begin + SEGMENT_SECONDS]
        head = vtt_head().replace("\n\n", f"\n{self._map}\n\n", 1)
        write_text(self.folder / self._name(self._count), head + "".join(vtt_blocks(cues)))
        self._count += 1
        self._lengths.append(length)
        self._list(ended=False)
        with suppress(OSError):
            if self._count > 2 * KEPT_SEGMENTS:  # a player may still hold an older playlist
                (self.folder / self._name(self._count - 2 * KEPT_SEGMENTS - 1)).unlink(missing_ok=True)

    def _list(self, ended: bool) -> None:
        first = self._count - len(self._lengths)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}"]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
        for i, length in enumerate(self._lengths):
            lines += [f"#EXTINF:{length:.3f},", self._name(first + i)]
        lines += ["#EXT-X-ENDLIST"] if ended else []
        write_text(self.folder / "captions.m3u8", "\n".join(lines) + "\n")

    @staticmethod
    def _name(number: int) -> str:
        return f"captions-{number:06}.vtt"


class Relay:
    """Sends events to a websocket, from a thread of its own: a receiver that is slow or away delays no captions."""

    def __init__(self, url: str, notice: Callable[[str], None], token: str | None = None) -> None:
        try:
            self._client: Any = import_module("websockets.sync.client")
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "Events are sent through websockets, which is not installed: pip install 'sonant[live]'"
            ) from error
        if not _is_websocket(url):
            raise OptionError(f"Events go to an address like ws://HOST/PATH, but {url} was given; correct it.")
        self.url, self._notice = url, notice
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sonant-relay", daemon=True)
        self._thread.start()

    def send(self, message: dict[str, Any]) -> None:
        """Hand over a message; it never waits."""
        if self._waiting.qsize() >= MOST_WAITING:
            with suppress(queue.Empty):
                self._waiting.get_nowait()
        self._waiting.put(message)

    def close(self, timeout: float = 3.0) -> None:
        """Send what is left, if that goes quickly."""
        self._waiting.put(None)
        self._closing.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        wait, held = 0.5, None
        while True:
            connection = None
            try:
                with self._client.connect(self.url, open_timeout=5, additional_headers=self._headers) as connection:
                    wait = 0.5
                    while (held := held or self._waiting.get()) is not None:
                        connection.send(json.dumps(held, ensure_ascii=False))
                        held = None
                    return
            except Exception as error:  # noqa: BLE001  # of the system, of TLS, of the protocol
                if self._closing.is_set():
                    return
                why = _said(connection, error) or str(error) or type(error).__name__
                self._notice(f"{self.url} cannot be reached ({why}); trying on.")
            self._closing.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)


def _is_websocket(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _said(connection: Any, error: Any) -> str:
    """Why a server refused or closed a connection, where it says so in the way of ours; else nothing."""
    with suppress(Exception):
        if connection is None:
            return str(json.loads(error.response.body)["error"]["message"]).rstrip(".")
        return str(json.loads(connection.recv(timeout=0))["message"]).rstrip(".")
    return ""
