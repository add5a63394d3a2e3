"""The workers of this machine: processes, each with a model of its own, that are given one task at a time.

A worker that is heard with many windows of a long file asks who has nothing to do, and shares them with those; every
window is computed alone, so that it does not matter where. Messages are tuples whose first part is their kind:

    to a worker     ("task", Task)  ("helpers", n)  ("windows", [samples])  ("emitted", share, [log_probs] or None)
    from a worker   ("ready", identity)  ("unfit", error)  ("outcome", Outcome)  ("ask", n)  ("shares", [[samples]])
                    ("collect",)  ("emitted", [log_probs] or None)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from sonant.engines import Engine, Precision
from sonant.errors import EngineError, SonantError
from sonant.jobs.dispatch import HEARTBEAT, TRIES, Dispatcher
from sonant.jobs.stages import Workbench
from sonant.jobs.tasks import Setup, Task
from sonant.recognizer import Recognizer
from sonant.types import FloatArray

WINDOWS_A_WORKER = 4
"""Windows of a long file that a worker is given at a time, where all work on it."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Message = tuple[Any, ...]


@dataclass(eq=False)
class _Worker:
    """A process as its driver sees it."""

    process: BaseProcess
    pipe: Connection
    task: Task | None = None
    lead: _Worker | None = None
    """Whose windows it computes, or is to."""
    share: int = -1
    """Which of the lead's shares they are; below zero until they came."""
    ready: bool = False
    mail: list[Message] | None = field(default_factory=list[Message])
    """What its helpers computed, until it collects; None once it does."""

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None and self.lead is None


class ProcessPool(Dispatcher):
    """Processes of this machine; `sonant.jobs.tasks.Workers` says what its methods promise."""

    def __init__(self, setup: Setup, size: int, open_bench: Callable[[Setup], Workbench] = Workbench) -> None:
        """Starts `size` processes, which load the model while the inputs are listed."""
        super().__init__()
        self.setup, self.size, self.open_bench = setup, size, open_bench
        self._context = multiprocessing.get_context("spawn")  # a fork would take locks of other threads along
        self._workers: list[_Worker] = []
        self._unready = 0
        """Workers in a row that died before they were ready."""
        for number in range(size):
            self._start(identify=number == 0)

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.process.close()
            worker.pipe.close()
        self._workers.clear()

    def _start(self, identify: bool = False) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(self.open_bench, self.setup, theirs, identify, self.size),
            name="sonant-worker",
            daemon=True,
        )
        with _environment(dict.fromkeys(_ONE_THREAD, "1")), _uninterrupted():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))

    def _is_free(self) -> bool:
        return any(worker.idle for worker in self._workers)

    def _is_busy(self) -> bool:
        return any(worker.task for worker in self._workers)

    def _hand_out(self) -> None:
        for worker in self._workers:
            if self._waiting and worker.idle:
                worker.task = self._waiting.popleft()
                self._send(worker, ("task", worker.task))

    def _send(self, worker: _Worker, message: Message) -> None:
        with suppress(OSError):  # its death is noticed when it is listened to
            worker.pipe.send(message)

    def _listen(self) -> None:
        pipes = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(pipes), HEARTBEAT):
            worker = pipes[pipe]  # pyright: ignore[reportArgumentType]
            try:
                message: Message = worker.pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
            else:
                self._take(worker, message)

    def _take(self, worker: _Worker, message: Message) -> None:
        kind, *rest = message
        if kind == "ready":
            worker.ready, self._unready = True, 0
            self._identity = rest[0] or self._identity
        elif kind == "unfit":
            raise rest[0]
        elif kind == "outcome":
            worker.task = None
            self._finish(rest[0])
        elif kind == "ask":
            helpers = [other for other in self._workers if other.idle][: rest[0] - 1]
            for helper in helpers:
                helper.lead = worker
            worker.mail = []
            self._send(worker, ("helpers", len(helpers)))
        elif kind == "shares":
            helpers = [other for other in self._workers if other.lead is worker]
            for share, windows in enumerate(rest[0]):
                if share < len(helpers):
                    helpers[share].share = share
                    self._send(helpers[share], ("windows", windows))
                else:  # it died since
                    self._mail(worker, ("emitted", share, None))
        elif kind == "collect":
            mail, worker.mail = worker.mail or [], None
            for letter in mail:
                self._send(worker, letter)
        else:
            self._bring(worker, rest[0])

    def _bring(self, helper: _Worker, emitted: list[FloatArray] | None) -> None:
        """Give a lead what its helper computed, or the news that it did not."""
        lead, share = helper.lead, helper.share
        helper.lead, helper.share = None, -1
        if lead is not None and lead in self._workers and share >= 0:
            self._mail(lead, ("emitted", share, emitted))

    def _mail(self, lead: _Worker, message: Message) -> None:
        """For a lead that may still compute: a pipe that nobody reads would hold the driver."""
        if lead.mail is None:
            self._send(lead, message)
        else:
            lead.mail.append(message)

    def _bury(self, worker: _Worker) -> None:
        """Put another process in the place of one that died; its task is tried again, or set aside."""
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        worker.process.close()
        worker.pipe.close()
        self._workers.remove(worker)
        self._bring(worker, None)
        for helper in self._workers:
            if helper.lead is worker and helper.share < 0:  # of a lead that never sent what it asked help for
                helper.lead = None
        if not worker.ready:
            self._unready += 1
            if self._unready > TRIES:
                raise EngineError(
                    f"Workers must load the model, but {self._unready} in a row died of it ({how}); free memory, "
                    "or take fewer by --workers."
                )
        if worker.task:
            self._mourn(worker.task, how)
        self._start(identify=self._identity is None)


class SharedEngine:
    """A worker's engine that has many windows computed by others as well, where these have nothing else to do."""

    def __init__(self, engine: Engine, pipe: Connection) -> None:
        self.name, self.device = engine.name, engine.device
        self.precision: Precision = engine.precision
        self.states, self.moments = engine.states, engine.moments
        self.adapt, self.convolved = engine.adapt, engine.convolved
        self._engine, self._pipe = engine, pipe

    def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-probabilities (T, V) of each waveform (N,), each computed alone."""
        num_helpers = self._ask(len(waveforms))
        if not num_helpers:
            return self.alone(waveforms)
        shares: list[list[FloatArray]] = [list(waveforms[first :: num_helpers + 1]) for first in range(num_helpers + 1)]
        self._pipe.send(("shares", shares[1:]))
        emitted = {0: self.alone(shares[0])}
        self._pipe.send(("collect",))
        for _ in range(num_helpers):
            share, came = cast("tuple[int, list[FloatArray] | None]", self._pipe.recv()[1:])
            emitted[share + 1] = self.alone(shares[share + 1]) if came is None else came
        return [emitted[i % (num_helpers + 1)][i // (num_helpers + 1)] for i in range(len(waveforms))]

    def alone(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """The same by this process, window by window."""
        return [self._engine.emit([waveform])[0] for waveform in waveforms]

    def _ask(self, num_windows: int) -> int:
        """How many others wait for their share."""
        if num_windows < 2:
            return 0
        self._pipe.send(("ask", num_windows))
        return self._pipe.recv()[1]


def share_windows(asr: Recognizer, pipe: Connection, num_workers: int) -> None:
    """Let a recogniser share the windows of long files with the others of a pool; GPUs keep theirs."""
    if num_workers > 1 and asr.engine.device == "cpu":
        asr.engine = SharedEngine(asr.engine, pipe)
        asr.group = WINDOWS_A_WORKER * num_workers


def _work(
    open_bench: Callable[[Setup], Workbench], setup: Setup, pipe: Connection, identify: bool, num_workers: int
) -> None:
    """The life of a worker."""
    threading.Thread(target=_die_with_driver, daemon=True).start()
    try:
        bench = open_bench(setup)
        share_windows(bench.asr, pipe, num_workers)
        identity = bench.identity() if identify else None
    except SonantError as error:
        pipe.send(("unfit", error))
        return
    pipe.send(("ready", identity))
    while True:
        try:
            kind, value = pipe.recv()
            if kind == "task":
                pipe.send(("outcome", bench(value)))
            else:
                pipe.send(("emitted", _emit(bench.asr.engine, value)))
        except (EOFError, OSError):  # the driver has gone
            return


def _emit(engine: Engine, windows: Sequence[FloatArray]) -> list[FloatArray] | None:
    """What another's windows give; None where that fails, so that their owner meets the error itself."""
    try:
        return engine.alone(windows) if isinstance(engine, SharedEngine) else engine.emit(windows)
    except SonantError:
        return None


def _die_with_driver() -> None:
    """End this process once the driver has ended, whatever is under way: its outcome would reach nobody."""
    if (driver := multiprocessing.parent_process()) is not None:
        wait([driver.sentinel])
        os._exit(1)


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Processes started meanwhile take no notice of Ctrl+C, which a terminal sends to all: their driver ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """Variables that processes started meanwhile find, as far as nobody has set them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
