"""The processes of a job on a cluster: engines that hear windows, and hands that do all the rest of a task.

A hand reads and decodes media, sends windows to engines, searches what comes back for words, and writes; so a few hands
keep an engine at work. Windows of a long file go to several engines at a time. Neither kind starts anew by itself: the
driver (`sonant.cluster.jobs`) replaces what died, and knows whom to blame.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import ray as typed_ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError, RayTaskError

from sonant.checkpoints import Checkpoint
from sonant.cluster.connection import check_version
from sonant.cluster.parcel import ENGINE, Parcel
from sonant.decode.sieve import SURE
from sonant.engines import Engine, Precision, open_engine
from sonant.errors import SonantError
from sonant.jobs.stages import Workbench
from sonant.jobs.tasks import Outcome, Setup, Task
from sonant.recognizer import WINDOWS_AT_ONCE, Recognizer
from sonant.server.batcher import Batcher, Ticket
from sonant.types import FloatArray

ray: Any = typed_ray  # whose types are too incomplete to be checked against
WINDOWS_AN_ENGINE = 2
"""Windows of a long file that an engine on a processor is given at a time."""
CALLS_AT_ONCE = 64
"""That an engine takes in, so that a GPU finds windows to put together."""
PAUSE = 1.0
"""Seconds to wait where the object store is full."""


class About(NamedTuple):
    """What an engine is."""

    name: str
    device: str
    precision: Precision


class Hearer:
    """An engine, its weights loaded once."""

    def __init__(self, parcel: list[Any], precision: str, version: str) -> None:
        self._unfit: SonantError | None = None
        try:
            check_version(version)
            sent: Parcel = ray.get(parcel[0])
            options: dict[str, Any] = {key: sent.options[key] for key in ENGINE if key in sent.options}
            options["precision"] = precision
            self._engine: Engine = open_engine(sent.checkpoint, **options)
            self._batcher = Batcher([self._engine], sent.checkpoint.sample_rate)
        except SonantError as error:
            self._unfit = error
        self._turn = threading.Lock()

    def ready(self) -> tuple[str, About] | SonantError:
        """Where it is and what it is, or why it cannot be."""
        return self._unfit or (node(), About(self._engine.name, self._engine.device, self._engine.precision))

    def stay(self) -> None:
        """Never returns: whoever waits for it learns of the end of this process."""
        threading.Event().wait()

    def emit(self, waveform: FloatArray) -> FloatArray:
        """Log-probabilities (T, V) of a waveform (N,)."""
        return self._batcher.emit(Ticket(), [waveform])[0]

    def states(self, waveform: FloatArray, layers: Sequence[int] | None) -> list[FloatArray]:
        """As `Engine.states`."""
        with self._turn:
            return self._engine.states(waveform, layers)

    def convolved(self, waveform: FloatArray) -> FloatArray:
        """As `Engine.convolved`."""
        with self._turn:
            return self._engine.convolved(waveform)


class Hand:
    """Does tasks, one at a time, with the engines it is told of."""

    def __init__(self, setup: Setup, parcel: list[Any], about: About, folder: str, version: str) -> None:
        self._unfit: SonantError | None = None
        try:
            check_version(version)
            if Path(folder).is_dir():
                os.chdir(folder)  # where relative paths begin
            sent: Parcel = ray.get(parcel[0])
            checkpoint, decoder, named = sent.unpack()
            self._engine = FarEngine(about)
            asr = Recognizer(checkpoint, cast(Engine, self._engine), decoder, sure=sent.options.get("sure", SURE))
            self._bench = Workbench(replace(setup, model={**setup.model, **named}), asr)
        except SonantError as error:
            self._unfit = error

    def ready(self, identify: bool) -> tuple[str, Mapping[str, Any] | None] | SonantError:
        """Where it is, and on what results depend if that is asked for; or why it cannot be."""
        return self._unfit or (node(), self._bench.identity() if identify else None)

    def do(self, task: Task, hearers: list[Any]) -> Outcome | None:
        """A task's outcome; None where all the engines have died."""
        self._engine.hearers = hearers
        at_once = WINDOWS_AN_ENGINE if self._engine.device == "cpu" else WINDOWS_AT_ONCE
        self._bench.asr.group = at_once * len(hearers)
        try:
            return self._bench(task)
        except LostError:
            return None


class LostError(BaseException):
    """No engine is left; no `Exception`, which would become a sentence about the input."""


class FarEngine:
    """An engine that is several, in processes of their own."""

    def __init__(self, about: About) -> None:
        self.name, self.device, self.precision = about
        self.hearers: list[Any] = []
        """The first is used most; those found dead are taken out."""

    def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-probabilities (T, V) of each waveform (N,), each computed wherever there is an engine."""
        return self._spread("emit", [(waveform,) for waveform in waveforms])

    def states(self, waveform: FloatArray, layers: Sequence[int] | None = None) -> list[FloatArray]:
        """As `Engine.states`."""
        return self._spread("states", [(waveform, layers)])[0]

    def convolved(self, waveform: FloatArray) -> FloatArray:
        """As `Engine.convolved`."""
        return self._spread("convolved", [(waveform,)])[0]

    def adapt(self, checkpoint: Checkpoint) -> None:
        """A job has one language, so that nobody asks for another."""
        raise NotImplementedError(checkpoint.name)

    def _spread(self, method: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        under_way = [self._begin(method, call, place) for place, call in enumerate(calls)]
        return [self._end(method, call, *begun) for call, begun in zip(calls, under_way, strict=True)]

    def _begin(self, method: str, call: tuple[Any, ...], place: int) -> tuple[Any, Any]:
        """The engine that is asked, and its answer to come."""
        while self.hearers:
            hearer = self.hearers[place % len(self.hearers)]
            try:
                return hearer, getattr(hearer, method).remote(*call)
            except (ObjectStoreFullError, OutOfDiskError):  # others will have been heard soon
                time.sleep(PAUSE)
        raise LostError

    def _end(self, method: str, call: tuple[Any, ...], hearer: Any, answer: Any) -> Any:
        while True:
            try:
                return ray.get(answer)
            except RayTaskError as error:  # its text has a traceback in it
                raise error.cause if isinstance(error.cause, SonantError) else error from None
            except (ObjectStoreFullError, OutOfDiskError):
                time.sleep(PAUSE)
            except RayError:
                self.hearers = [other for other in self.hearers if other is not hearer]
            hearer, answer = self._begin(method, call, 0)


def node() -> str:
    """What this machine is called in a job's progress."""
    return f"{socket.gethostname()}-{ray.get_runtime_context().get_node_id()[:6]}"
