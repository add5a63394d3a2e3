"""Who is heard next: many requests and live streams take turns at a few engines.

A request's long file is heard in windows, each a turn of its own. Live streams go first, but never keep files waiting
for more than a few turns; among each, who has had least of the engines goes next. On a CPU clips are computed one at a
time, on a GPU those that wait together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from sonant.engines import Engine, Precision
from sonant.errors import EngineError, SonantError
from sonant.types import FloatArray

LIVE_TURNS = 4
"""Turns of live streams in a row while a file waits."""
CLIPS_AT_ONCE = 16
"""That a GPU is given together."""


class LeftError(Exception):
    """Nobody waits for this any more."""


@dataclass(eq=False)
class Ticket:
    """One request or stream in the queue."""

    live: bool = False
    used: float = 0.0
    """Seconds of sound it has had heard, or would have had at its fair share."""
    left: bool = False
    """Whether its client has gone: what it still wants raises `LeftError`."""


@dataclass(eq=False)
class _Clip:
    ticket: Ticket
    samples: FloatArray
    done: Future[FloatArray] = field(default_factory=Future[FloatArray])


class Batcher:
    """A queue before engines that hold the same model, each with a thread of its own."""

    def __init__(self, engines: Sequence[Engine], sample_rate: int) -> None:
        self.engines = engines
        self.sample_rate = sample_rate
        self.busy_seconds = 0.0
        """Seconds that engines have computed, added up."""
        self.heard_seconds = 0.0
        """Seconds of sound that they have heard."""
        self._waiting: list[_Clip] = []
        self._changed = threading.Condition()
        self._clock = {True: 0.0, False: 0.0}  # what the last served, live or not, had used: newcomers start there
        self._live_turns = 0
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, args=(engine,), daemon=True) for engine in engines]
        for thread in self._threads:
            thread.start()

    def emit(self, ticket: Ticket, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """What an engine emits for each, once it is their turn; waits for it. Raises what the engine raises."""
        clips = [_Clip(ticket, samples) for samples in waveforms]
        with self._changed:
            if self._closed:
                raise EngineError("The server is stopping and takes no more audio; try again later.")
            ticket.used = max(ticket.used, self._clock[ticket.live])
            self._waiting += clips
            self._changed.notify_all()
        return [clip.done.result() for clip in clips]

    @property
    def waiting_seconds(self) -> float:
        """Seconds of sound in the queue."""
        with self._changed:
            return sum(len(clip.samples) for clip in self._waiting) / self.sample_rate

    def leave(self, ticket: Ticket) -> None:
        """Take what a ticket waits for out of the queue: nobody wants it any more."""
        with self._changed:
            ticket.left = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more; what waits is still heard."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, engine: Engine) -> None:
        most = 1 if engine.device == "cpu" else CLIPS_AT_ONCE
        while clips := self._next(most):
            began = time.monotonic()
            _hear(engine, clips)
            with self._changed:
                self.busy_seconds += time.monotonic() - began
                self.heard_seconds += sum(len(clip.samples) for clip in clips) / self.sample_rate

    def _next(self, most: int) -> list[_Clip]:
        """Waits for clips and takes those whose turn it is; none once the queue is closed and empty."""
        with self._changed:
            while True:
                for clip in [clip for clip in self._waiting if clip.ticket.left]:
                    self._waiting.remove(clip)
                    clip.done.set_exception(LeftError())
                if self._waiting:
                    return [self._choose() for _ in range(min(most, len(self._waiting)))]
                if self._closed:
                    return []
                self._changed.wait()

    def _choose(self) -> _Clip:
        kinds = {clip.ticket.live for clip in self._waiting}
        live = kinds == {True} or (True in kinds and self._live_turns < LIVE_TURNS)
        self._live_turns = self._live_turns + 1 if live and False in kinds else 0
        clip = min((c for c in self._waiting if c.ticket.live == live), key=lambda c: c.ticket.used)
        self._waiting.remove(clip)
        self._clock[live] = clip.ticket.used
        clip.ticket.used += len(clip.samples) / self.sample_rate
        return clip


def _hear(engine: Engine, clips: Sequence[_Clip]) -> None:
    """Give each clip what the engine emits for it; where one spoils a batch, the others are heard without it."""
    try:
        emitted = engine.emit([clip.samples for clip in clips])
    except Exception as error:  # noqa: BLE001  # it belongs to whoever waits
        expected = isinstance(error, SonantError) and not isinstance(error, EngineError)  # no clip's fault
        if len(clips) > 1 and not expected:
            for clip in clips:
                _hear(engine, [clip])
            return
        for clip in clips:
            clip.done.set_exception(error)
    else:
        for clip, log_probs in zip(clips, emitted, strict=True):
            clip.done.set_result(log_probs)


class SharedEngine:
    """An engine of one ticket, computed by all of a batcher; it only emits."""

    def __init__(self, batcher: Batcher, ticket: Ticket) -> None:
        first = batcher.engines[0]
        self.name, self.device = first.name, first.device
        self.precision: Precision = first.precision
        self._batcher, self._ticket = batcher, ticket

    def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-probabilities (T, V) of each waveform (N,); raises `LeftError` once its client has gone."""
        return self._batcher.emit(self._ticket, waveforms)
