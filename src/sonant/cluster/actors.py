"""The processes of a job on a cluster: engines that hear windows, and hands that do all the rest of a task.

A hand reads and decodes media, has windows heard, searches what comes back for words, and writes. Many hands keep a GPU
at work; on processors each has an engine of its own, and no window of a short file leaves its process. Those of a long
file go to several engines at a time. Neither kind starts anew by itself: the driver (`sonant.cluster.jobs`) replaces
what died, and knows whom to blame.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Role:
    """What a process is to be."""

    setup: Setup | None
    """The job that a hand does; None makes an engine alone."""
    about: About | None
    """The engines that a hand uses; None makes one inside."""
    precision: str = "auto"
    """Of the engine that is made."""
    folder: str = ""
    """Where a hand's relative paths begin, if there is such a folder."""


class Hearer:
    """An engine, its weights loaded once."""

    def __init__(self, parcel: Parcel, precision: str) -> None:
        options: dict[str, Any] = {key: parcel.options[key] for key in ENGINE if key in parcel.options}
        options["precision"] = precision
        self._engine: Engine = open_engine(parcel.checkpoint, **options)
        self._batcher = Batcher([self._engine], parcel.checkpoint.sample_rate)
        self._turn = threading.Lock()
        self.about = About(self._engine.name, self._engine.device, self._engine.precision)

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


class Ready(NamedTuple):
    """What a process is, once it can work."""

    node: str
    about: About
    """Of its engine, or of the one it has been told of."""
    identity: Mapping[str, Any] | None = None
    """On what results depend, where that was asked for."""


class Worker:
    """A process of a job: an engine, a hand, or both."""

    def __init__(self, parcel: list[Any], role: Role, version: str) -> None:
        self._unfit: SonantError | None = None
        try:
            check_version(version)
            sent: Parcel = ray.get(parcel[0])
            own = Hearer(sent, role.precision) if role.about is None else None
            self._own, self._about = own, role.about or cast(Hearer, own).about
            if role.setup is not None:
                self._begin(role.setup, role.folder, sent)
        except SonantError as error:
            self._unfit = error

    def _begin(self, setup: Setup, folder: str, sent: Parcel) -> None:
        """Be a hand."""
        if Path(folder).is_dir():
            os.chdir(folder)  # where relative paths begin
        checkpoint, decoder, named = sent.unpack()
        self._engine = FarEngine(self._about, self._own)
        asr = Recognizer(checkpoint, cast(Engine, self._engine), decoder, sure=sent.options.get("sure", SURE))
        self._bench = Workbench(replace(setup, model={**setup.model, **named}), asr)

    def ready(self, identify: bool) -> Ready | SonantError:
        """What it is, or why it cannot be."""
        return self._unfit or Ready(node(), self._about, self._bench.identity() if identify else None)

    def stay(self) -> None:
        """Never returns: whoever waits for it learns of the end of this process."""
        threading.Event().wait()

    def hear(self, method: str, call: tuple[Any, ...]) -> Any:
        """What the engine's method gives."""
        return getattr(self._own, method)(*call)

    def do(self, tasks: list[Task], hearers: list[Any]) -> list[Outcome]:
        """The tasks' outcomes, heard with other processes as well; those until there was no engine left."""
        self._engine.hearers = hearers
        at_once = WINDOWS_AN_ENGINE if self._engine.device == "cpu" else WINDOWS_AT_ONCE
        self._bench.asr.group = at_once * self._engine.size
        outcomes: list[Outcome] = []
        for task in tasks:
            try:
                outcomes.append(self._bench(task))
            except LostError:
                break
        return outcomes


class LostError(BaseException):
    """No engine is left; no `Exception`, which would become a sentence about the input."""


class FarEngine:
    """An engine that is several: perhaps one in this process, and those of others."""

    def __init__(self, about: About, own: Hearer | None) -> None:
        self.name, self.device, self.precision = about
        self.hearers: list[Any] = []
        """Processes with engines; those found dead are taken out."""
        self._own = own

    @property
    def size(self) -> int:
        """How many engines there are."""
        return len(self.hearers) + (self._own is not None)

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
        begun = [self._begin(method, call, place) for place, call in enumerate(calls)]
        return [self._end(method, call, *at) for call, at in zip(calls, begun, strict=True)]

    def _begin(self, method: str, call: tuple[Any, ...], place: int) -> tuple[Any, Any]:
        """The process that is asked, and its answer to come; None is this one, which answers when it is waited for."""
        while self.size:
            if (turn := place % self.size) == len(self.hearers) or (place == 0 and self._own is not None):
                return None, None
            try:
                return self.hearers[turn], self.hearers[turn].hear.remote(method, call)
            except (ObjectStoreFullError, OutOfDiskError):  # others will have been heard soon
                time.sleep(PAUSE)
        raise LostError

    def _end(self, method: str, call: tuple[Any, ...], hearer: Any, answer: Any) -> Any:
        while hearer is not None:
            try:
                return ray.get(answer)
            except RayTaskError as error:  # its text has a traceback in it
                raise error.cause if isinstance(error.cause, SonantError) else error from None
            except (ObjectStoreFullError, OutOfDiskError):
                time.sleep(PAUSE)
            except RayError:
                self.hearers = [other for other in self.hearers if other is not hearer]
            hearer, answer = self._begin(method, call, 0)
        return getattr(self._own, method)(*call)


def node() -> str:
    """What this machine is called in a job's progress."""
    return f"{socket.gethostname()}-{ray.get_runtime_context().get_node_id()[:6]}"
