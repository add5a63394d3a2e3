"""One live stream between a socket and the engines: samples in as they come, events out in their order."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import WebSocket

from sonant.errors import OptionError
from sonant.server.access import number, service_of
from sonant.server.batcher import LeftError, Ticket
from sonant.server.models import ServedModel
from sonant.types import FloatArray, Word

if TYPE_CHECKING:
    from sonant.server.service import Service
    from sonant.stream import Stream, StreamEvent

BACKLOG = 30.0
"""Seconds of sound that may wait; then no more is read from the client, whose sending stalls."""
PIECE = 0.5
"""Seconds that are heard before what came of them is sent."""
LAGGING = 2.0
"""Seconds of sound behind, above which a client is told."""
RATES = range(8000, 96001)
COMPRESSED = (b"OggS", b"\x1aE\xdf\xa3", b"fLaC", b"ID3")
"""With what files begin that a client may take for samples: Ogg, WebM, FLAC and MP3."""


@dataclass(frozen=True)
class Lag:
    """The stream is behind by more than a little, or no longer is."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """All that came before a `Live.cut` is final now."""

    seconds: float
    """From the beginning of the stream."""


class Live:
    """A stream of one client; its events are read by one task while another puts samples in."""

    def __init__(self, service: Service, model: ServedModel, sample_rate: int, protocol: str) -> None:
        if sample_rate not in RATES:
            raise OptionError(
                f"Live audio must have {RATES.start} to {RATES.stop - 1} samples a second, but {sample_rate} were "
                "announced; convert it."
            )
        self.sample_rate = sample_rate
        self.model = model
        self.seconds = 0.0
        """Sound that has been heard."""
        self._service = service
        self._ticket = Ticket(live=True)
        self._asr = model.recognizer(self._ticket)
        self._stream = self._opened()
        self._offset = 0.0  # where the stream under way began
        self._waiting: deque[FloatArray | None] = deque()  # None is a cut
        self._held = 0  # samples that wait
        self._ended = self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        service.open_stream(self, protocol)

    @classmethod
    def asked_for(cls, socket: WebSocket, protocol: str, encoding: str) -> tuple[Live, PcmReader]:
        """A stream as a socket's query wants it, and what reads its bytes, which are `encoding` unless it says so.

        Raises `OptionError` for what cannot be, and `BusyError` where no place is free.
        """
        service, query = service_of(socket), socket.query_params
        model = service.models.find(query.get("model"), query.get("language"))
        reader = PcmReader(query.get("encoding", encoding), number(query.get("channels"), "channels", 1))
        return cls(service, model, number(query.get("sample_rate"), "sample_rate", 16_000), protocol), reader

    async def put(self, samples: FloatArray) -> None:
        """Take samples (N,), mono, -1 to 1; waits while too much waits already."""
        if self._ended or not len(samples):
            return
        self._waiting.append(samples)
        self._held += len(samples)
        self._changed.set()
        if self._held > BACKLOG * self.sample_rate:
            self._room.clear()
        await self._room.wait()

    @property
    def busy(self) -> bool:
        """Whether it is we who are waited for: its end is, or something that came."""
        return self._ended or bool(self._waiting)

    def cut(self) -> None:
        """Make all that came final, and begin anew with what follows."""
        if not self._ended:
            self._waiting.append(None)
            self._changed.set()

    def end(self) -> None:
        """No more comes: the events end once all is final."""
        self._ended = True
        self._changed.set()
        self._room.set()

    def close(self) -> None:
        """Give up what is not yet heard, and the place."""
        self._closed = True
        self.end()
        self.model.batcher.leave(self._ticket)
        self._service.streams.discard(self)

    async def events(self) -> AsyncGenerator[StreamEvent | Lag | Cut]:
        """What becomes known, as it does; ends after `end`, or at once after `close`."""
        told = False
        try:
            while not self._closed:
                if not self._waiting and not self._ended:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                lag = self._held / self.sample_rate
                self._service.metrics.observe("sonant_stream_lag_seconds", lag)
                if (lag > LAGGING) != told:
                    told = not told
                    yield Lag(lag)
                step, waited = asyncio.ensure_future(self._step()), 0.0
                try:
                    while not (await asyncio.wait([step], timeout=LAGGING))[0]:
                        told, waited = True, waited + LAGGING
                        yield Lag(max(waited, self._held / self.sample_rate))
                    events = step.result()
                finally:
                    step.cancel()
                for event in events:
                    yield event
                if self._ended and not self._waiting:
                    for event in await self._thread(self._stream.finish):
                        yield self._shifted(event)
                    return
        except LeftError:
            return
        finally:
            self.close()

    async def _step(self) -> list[StreamEvent | Cut]:
        """Hear the next samples, or make a cut."""
        samples = self._take()
        if len(samples):
            self.seconds += len(samples) / self.sample_rate
            self._service.metrics.count("sonant_audio_seconds_total", len(samples) / self.sample_rate, kind="live")
            events = await self._thread(self._stream.feed, samples)
            return [self._shifted(event) for event in events]
        if not self._waiting:
            return []
        self._waiting.popleft()
        events = [self._shifted(event) for event in await self._thread(self._stream.finish)]
        self._stream, self._offset = self._opened(), self.seconds
        return [*events, Cut(self.seconds)]

    def _take(self) -> FloatArray:
        """Samples that wait, up to the next cut and not more than a piece."""
        taken: list[FloatArray] = [np.zeros(0, np.float32)]
        room = round(PIECE * self.sample_rate)
        while room and self._waiting and (samples := self._waiting[0]) is not None:
            taken.append(samples[:room])
            if len(samples) > room:
                self._waiting[0] = samples[room:]
            else:
                self._waiting.popleft()
            room -= len(taken[-1])
        joined = np.concatenate(taken)
        self._held -= len(joined)
        if self._held <= BACKLOG * self.sample_rate / 2:
            self._room.set()
        return joined

    async def _thread(self, work: Any, *arguments: Any) -> list[StreamEvent]:
        return await self._service.in_thread(work, *arguments)

    def _opened(self) -> Stream:
        return self._asr.stream(sample_rate=self.sample_rate)

    def _shifted(self, event: StreamEvent) -> StreamEvent:
        if not self._offset:
            return event
        by = self._offset
        words = tuple(moved(word, by) for word in event.words)
        return replace(event, words=words, start=event.start + by, end=event.end + by)


def moved(word: Word, by: float) -> Word:
    """A word so many seconds later."""
    letters = tuple(replace(letter, start=letter.start + by, end=letter.end + by) for letter in word.letters)
    return replace(word, start=word.start + by, end=word.end + by, letters=letters)


class PcmReader:
    """Bytes of one encoding to samples; a sample that is cut by the end of a message is completed by the next."""

    def __init__(self, encoding: str = "pcm16", channels: int = 1) -> None:
        kinds = {"pcm16": "<i2", "linear16": "<i2", "float32": "<f4", "linear32": "<i4"}
        if encoding not in kinds or not 1 <= channels <= 8:
            raise OptionError(
                f"Live audio must be {', '.join(kinds)} with 1 to 8 channels, but {encoding[:40]!r} with {channels} "
                "was announced; convert it."
            )
        self._kind = np.dtype(kinds[encoding])
        self._channels = channels
        self._rest = b""
        self._begun = False

    def read(self, data: bytes) -> FloatArray:
        """Samples (N,), mono; `OptionError` for what is no sound."""
        if not self._begun and data.startswith(COMPRESSED):
            raise OptionError(
                "Live audio must be samples, but a compressed file came; decode it first, or send it as a whole."
            )
        self._begun = self._begun or bool(data)
        data = self._rest + data
        size = self._kind.itemsize * self._channels
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], self._kind).astype(np.float32)
        if self._kind.kind == "i":
            samples /= np.float32(2.0 ** (8 * self._kind.itemsize - 1))
        elif not np.all(np.abs(samples) <= 1e6):  # not a number fails this too
            raise OptionError("Samples must be numbers around -1 to 1, but others came; send sound.")
        return samples.reshape(-1, self._channels).mean(1, dtype=np.float32)


def from_base64(text: object) -> bytes:
    """The bytes that base64 stands for; `OptionError` where it is none."""
    try:
        return base64.b64decode(text if isinstance(text, str) else "!", validate=True)
    except (binascii.Error, ValueError) as error:
        raise OptionError("Audio as base64 was expected, but something else came; encode it.") from error


def described(word: Word) -> dict[str, Any]:
    """A word as messages carry it."""
    times = {"start": round(word.start, 3), "end": round(word.end, 3)}
    return {"text": word.text, **times, "confidence": round(float(word.confidence), 4)}
