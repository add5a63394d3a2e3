"""What all protocols share: places for files and streams, transcription in threads, and stopping without loss."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from sonant.decode import Decoder, DecoderState
from sonant.errors import SonantError
from sonant.server.batcher import LeftError, Ticket
from sonant.server.metrics import Metrics
from sonant.server.models import Models, ServedModel
from sonant.server.prompts import expecting
from sonant.server.sandbox import Decoders
from sonant.server.settings import ServerSettings
from sonant.types import Emissions, Hypothesis, Transcript, Vocabulary, Word

if TYPE_CHECKING:
    from sonant.server.live import Live

T = TypeVar("T")
STOPPING = "The server is stopping; try again in a moment."
SPEED = 20.0
"""Seconds of sound that an engine is taken to hear in a second until it has been seen."""


class BusyError(SonantError):
    """More than the server takes at a time."""

    def __init__(self, sentence: str, retry_after: float) -> None:
        super().__init__(sentence)
        self.retry_after = max(1, math.ceil(retry_after))
        """Seconds after which it may be worth to try again."""


class SlowError(SonantError):
    """A request that took longer than it may."""


@dataclass(frozen=True)
class Watch:
    """Looks over the decoder's shoulder, from the thread that decodes."""

    words: Callable[[tuple[Word, ...]], None] | None = None
    """Called with the words that have become final."""
    emissions: Callable[[Emissions], None] | None = None
    """Called with each piece of emissions."""


class Service:
    """One server's work, whatever the protocol; made and used in one event loop."""

    def __init__(self, models: Models, settings: ServerSettings) -> None:
        self.models = models
        self.settings = settings
        self.metrics = Metrics()
        self.decoders = Decoders(settings.decode_limits)
        self.running = 0
        """Files that are heard or wait."""
        self.streams: set[Live] = set()
        self.stopping = False
        self._pool = ThreadPoolExecutor(settings.max_requests + settings.max_streams + 2, "sonant")
        began = time.monotonic()
        self.metrics.watch("sonant_requests_running", lambda: self.running)
        self.metrics.watch("sonant_streams_open", lambda: len(self.streams))
        self.metrics.watch("sonant_uptime_seconds", lambda: time.monotonic() - began)
        for model in models.by_name.values():
            batcher = model.batcher
            self.metrics.watch("sonant_queue_seconds", lambda b=batcher: b.waiting_seconds, model=model.name)
            self.metrics.watch("sonant_engine_busy_seconds_total", lambda b=batcher: b.busy_seconds, model=model.name)
            self.metrics.watch("sonant_engine_heard_seconds_total", lambda b=batcher: b.heard_seconds, model=model.name)

    @contextmanager
    def place(self) -> Generator[None]:
        """A request's place from before it is read until it is answered; raises `BusyError` where none is free."""
        if self.stopping:
            raise BusyError(STOPPING, 10)
        if self.running >= self.settings.max_requests:
            self.metrics.count("sonant_refused_total", reason="requests")
            raise BusyError(
                f"The server hears at most {self.settings.max_requests} files at a time, and has as many; "
                "try again later.",
                self.wait_seconds(),
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def wait_seconds(self) -> float:
        """About how long it takes until what waits is heard."""
        longest = 0.0
        for model in self.models.by_name.values():
            batcher = model.batcher
            speed = batcher.heard_seconds / batcher.busy_seconds if batcher.busy_seconds else SPEED
            longest = max(longest, batcher.waiting_seconds / (speed * len(batcher.engines)))
        return min(longest + 1, 120)

    async def transcribe(
        self, file: BinaryIO, model: ServedModel, *, protocol: str, watch: Watch | None = None, prompt: str = ""
    ) -> Transcript:
        """What is said in a file, which is likely to have words of `prompt`.

        Gives up what is not yet heard when it is cancelled.

        Raises `AudioError` for what cannot be decoded or lasts too long, and `SlowError`.
        """
        ticket, began = Ticket(), time.monotonic()
        future = self.in_thread(self._transcribe, file, model, ticket, watch, prompt)
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                transcript = await asyncio.shield(future)
        except TimeoutError:
            raise SlowError(
                f"A request may take {self.settings.request_seconds:g} s on this server, but this one took longer; "
                "send it in parts."
            ) from None
        finally:
            model.batcher.leave(ticket)
        self.metrics.observe("sonant_request_seconds", time.monotonic() - began, protocol=protocol)
        self.metrics.count("sonant_audio_seconds_total", transcript.duration, kind="file")
        return transcript

    def in_thread(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run `work` in a thread of the service's; what it raises after nobody waits any more is dropped."""
        future: Future[T] = self._pool.submit(work, *arguments)
        waited = asyncio.wrap_future(future)
        waited.add_done_callback(lambda done: done.cancelled() or done.exception())
        return waited

    def _transcribe(
        self, file: BinaryIO, model: ServedModel, ticket: Ticket, watch: Watch | None, prompt: str
    ) -> Transcript:
        decoder = expecting(model.asr.decoder, prompt)
        asr = model.recognizer(ticket, _WatchedDecoder(decoder, watch) if watch else decoder)
        if ticket.left:
            raise LeftError
        transcript = asr.transcribe(self.decoders.open(file, asr.checkpoint.sample_rate, lambda: ticket.left))
        return replace(transcript, model=model.name)

    def open_stream(self, stream: Live, protocol: str) -> None:
        """Give a stream one of the places; raises `BusyError` where none is free."""
        if self.stopping:
            raise BusyError(STOPPING, 10)
        if len(self.streams) >= self.settings.max_streams:
            self.metrics.count("sonant_refused_total", reason="streams")
            raise BusyError(
                f"The server hears at most {self.settings.max_streams} live streams at a time, and has as many; "
                "try again later.",
                30,
            )
        self.streams.add(stream)
        self.metrics.count("sonant_streams_total", protocol=protocol)

    async def stop(self) -> None:
        """Take nothing new, let streams say their last words and requests finish, within `stop_seconds`."""
        self.stopping = True
        for stream in list(self.streams):
            stream.end()
        deadline = time.monotonic() + self.settings.stop_seconds
        while (self.running or self.streams) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """End threads and processes, once nothing runs."""
        for stream in list(self.streams):
            stream.close()
        self.models.close()
        self.decoders.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


class _WatchedDecoder:
    """A decoder whose states tell a watch what they hear."""

    def __init__(self, decoder: Decoder, watch: Watch) -> None:
        self.name, self.described = decoder.name, decoder.described
        self._decoder, self._watch = decoder, watch

    def start(self, vocabulary: Vocabulary) -> DecoderState:
        return _WatchedState(self._decoder.start(vocabulary), self._watch)


class _WatchedState:
    def __init__(self, state: DecoderState, watch: Watch) -> None:
        self._state, self._watch = state, watch
        self._told = 0

    def feed(self, emissions: Emissions) -> None:
        self._state.feed(emissions)
        if self._watch.emissions:
            self._watch.emissions(emissions)
        if self._watch.words:
            self._tell(getattr(self._state, "stable", ()))

    def finish(self) -> list[Hypothesis]:
        read = self._state.finish()
        self._tell(read[0].words)
        return read

    def _tell(self, words: Sequence[Word]) -> None:
        if self._watch.words and len(words) > self._told:
            self._watch.words(tuple(words[self._told :]))
            self._told = len(words)


async def unless_left(work: Coroutine[Any, Any, T], left: Coroutine[Any, Any, Any]) -> T:
    """The result of `work`; it is cancelled, and `LeftError` raised, once `left` returns."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left)
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise LeftError
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
