"""The workers of a bulk job on a Ray cluster: `sonant.jobs.tasks.Workers` by engines and hands on its machines.

Plain actors with one call each under way, no more tasks taken than hands are free: that is the back-pressure. A call
is one task, or as many short ones as make up for what it costs. It is `sonant.jobs` that knows what is done and what is
left, so that neither a driver nor a machine that ends loses anything.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import ray as typed_ray
from ray.exceptions import RayActorError, RayError

from sonant import __version__
from sonant.cluster.actors import CALLS_AT_ONCE, About, Ready, Role, Worker
from sonant.cluster.connection import connected
from sonant.cluster.parcel import pack
from sonant.errors import ClusterError, SonantError
from sonant.jobs.dispatch import HEARTBEAT, TRIES, Dispatcher
from sonant.jobs.tasks import Outcome, Setup, Task

ray: Any = typed_ray  # whose types are too incomplete to be checked against
HANDS_A_GPU = 16
"""At most; a GPU hears faster than a core decodes."""
ENGINES_A_TASK = 16
"""That a hand is told of."""
CALL_SECONDS = 0.5
"""What a call is to take, which costs some ten milliseconds by itself."""
TASKS_A_CALL = 32
"""At most."""
DIED = "its process died"


@dataclass(eq=False)
class _Actor:
    """A process as its driver sees it."""

    handle: Any
    node: str = ""
    """Where it is; empty until it is ready."""
    load: int = 0
    """Of an engine: hands that use it first."""
    tasks: list[Task] = field(default_factory=list[Task])
    """Of a hand: what it does."""
    began: float = 0.0
    """When it was given them."""
    home: _Actor | None = None
    """Of a hand with tasks: the engine it uses first, which may be its own."""


@contextmanager
def workers_on(address: str, setup: Setup, count: int | None = None) -> Generator[ClusterWorkers]:
    """Workers on the cluster at an address, for as long as the block runs; `count` engines, all that fit where None.

    Raises `ClusterError` where there is no cluster, or none that can do it.
    """
    with connected(address):
        workers = ClusterWorkers(setup, count)
        try:
            yield workers
        finally:
            workers.close()


class ClusterWorkers(Dispatcher):
    """Engines and hands on a cluster; `sonant.jobs.tasks.Workers` says what its methods promise."""

    def __init__(self, setup: Setup, count: int | None = None, *, apart: bool | None = None) -> None:
        """`apart` says whether hands have no engines of their own; where None, they have none on GPUs."""
        super().__init__()
        self.setup = setup
        self._parcel = [ray.put(pack(setup.model))]  # in a list it arrives as it is, and is fetched once a machine
        self._on_gpu = str(setup.model.get("device", "auto")).startswith("cuda")
        self._apart = self._on_gpu if apart is None else apart
        self._size, self._num_hands = _room(self._on_gpu, self._apart, count)
        self._about: About | None = None
        self._engines: set[_Actor] = set()
        self._hands: set[_Actor] = set()
        self._refs: dict[Any, _Actor] = {}
        """What is awaited of each: that it is ready, an outcome, its end."""
        self._unready = 0
        """Processes in a row that died before they were ready."""
        self._pace = inf
        """Seconds that a task has taken lately."""
        self._suspects: set[str] = set()
        """Tasks that were done with others when their process died: which of them it was shows when each is alone."""
        self._start(engine=True)  # whose precision all others take

    def close(self) -> None:
        for actor in (*self._hands, *self._engines):
            with suppress(RayError, RuntimeError):  # the cluster may have gone first
                ray.kill(actor.handle)
        self._refs.clear()

    def _start(self, *, engine: bool) -> None:
        """Start an engine or a hand, which are one where they are not apart."""
        both = engine and not self._apart
        setup = self.setup if both or not engine else None
        precision = self._about.precision if self._about else str(self.setup.model.get("precision", "auto"))
        role = Role(setup, None if engine else self._about, precision, str(Path.cwd()))
        kind = ray.remote(Worker).options(
            num_cpus=int(setup is not None),  # an engine apart must never wait for a core that a hand has taken
            num_gpus=int(engine and self._on_gpu),
            max_concurrency=CALLS_AT_ONCE,
            scheduling_strategy="SPREAD",
        )
        actor = _Actor(kind.remote(self._parcel, role, __version__))
        identify = setup is not None and self._identity is None and not self._hands
        if engine:
            self._engines.add(actor)
        if setup is not None:
            self._hands.add(actor)
        self._refs[actor.handle.ready.remote(identify)] = actor

    def _is_free(self) -> bool:
        return bool(self._free())

    def _is_busy(self) -> bool:
        return any(hand.tasks for hand in self._hands)

    def _appetite(self) -> int:
        return min(max(int(CALL_SECONDS / self._pace), 1), TASKS_A_CALL)

    def _free(self) -> list[_Actor]:
        """Hands with nothing to do, where there is an engine to use."""
        if not any(engine.node for engine in self._engines):
            return []
        return [hand for hand in self._hands if hand.node and not hand.tasks]

    def _hand_out(self) -> None:
        for hand in self._free():
            if not self._waiting:
                return
            engines = [engine for engine in self._engines if engine.node]
            home = hand if hand in self._engines else min(engines, key=lambda e: (e.load, e.node != hand.node))
            others = [engine for engine in engines if engine is not home]
            told = random.sample(others, min(len(others), ENGINES_A_TASK - 1))
            told = told if home is hand else [home, *told]
            hand.tasks, hand.home, hand.began = self._take_waiting(), home, time.monotonic()
            home.load += 1
            self._refs[hand.handle.do.remote(hand.tasks, [engine.handle for engine in told])] = hand

    def _take_waiting(self) -> list[Task]:
        """The next tasks of a call."""
        tasks = [self._waiting.popleft()]
        while (
            self._waiting and len(tasks) < self._appetite() and not self._suspects & {tasks[0].id, self._waiting[0].id}
        ):
            tasks.append(self._waiting.popleft())
        return tasks

    def _listen(self) -> None:
        known = list(self._refs)
        came, _ = ray.wait(known, num_returns=1, timeout=HEARTBEAT)
        if came:
            came, _ = ray.wait(known, num_returns=len(known), timeout=0)
        for ref in came:
            actor = self._refs.pop(ref, None)
            if actor is None:  # it has been buried
                continue
            try:
                answer = ray.get(ref)
            except RayActorError:
                self._bury(actor)
            else:
                self._take(actor, answer)

    def _take(self, actor: _Actor, answer: Ready | SonantError | list[Outcome]) -> None:
        if isinstance(answer, SonantError):
            raise answer
        if not isinstance(answer, Ready):
            tasks, home = self._release(actor)
            self._waiting.extend(tasks[len(answer) :])  # it had no engine to do them with
            for outcome in answer:
                self._suspects.discard(outcome.id)
                self._finish(replace(outcome, node=home.node))
            if answer:
                self._pace = (time.monotonic() - actor.began) / len(answer)
            return
        actor.node = answer.node
        self._unready = 0
        self._identity = answer.identity or self._identity
        self._refs[actor.handle.stay.remote()] = actor
        if self._about is None:
            self._about = answer.about
            for number in range(1, self._size + self._num_hands):
                self._start(engine=number < self._size)

    def _release(self, hand: _Actor) -> tuple[list[Task], _Actor]:
        """Take a hand's tasks from it; these, and the engine it used first."""
        tasks, home = hand.tasks, hand.home
        assert home is not None
        hand.tasks, hand.home = [], None
        home.load -= 1
        return tasks, home

    def _bury(self, actor: _Actor) -> None:
        """Put another process in the place of one that died; its tasks are tried again, or set aside."""
        if not actor.node:
            self._unready += 1
            if self._unready > TRIES + len(self._engines) + len(self._hands):
                raise ClusterError(
                    f"Workers must load the model, but {self._unready} in a row died of it; see Ray's logs, and give "
                    "them more memory."
                )
        self._refs = {ref: other for ref, other in self._refs.items() if other is not actor}
        engine = actor in self._engines
        self._engines.discard(actor)
        self._hands.discard(actor)
        self._start(engine=engine)
        if not actor.tasks:
            return
        tasks, _ = self._release(actor)
        if not _is_alive(actor.node):
            self._waiting.extend(tasks)
        elif len(tasks) == 1:  # it may have killed it
            self._mourn(tasks[0], DIED)
        else:
            self._suspects.update(task.id for task in tasks)
            self._waiting.extend(tasks)


def _room(on_gpu: bool, apart: bool, count: int | None) -> tuple[int, int]:
    """How many engines, and hands without one, there are to be; `ClusterError` where no machine can have an engine."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = sum(int(node.get("CPU", 0)) for node in alive)
    most = sum(int(node.get("GPU", 0)) for node in alive) if on_gpu else cores
    if not most:
        raise ClusterError(
            f"The machines of the cluster must have {'GPUs' if on_gpu else 'processor cores'} for Ray, but have none; "
            "start it with some."
        )
    engines = min(count or most, most)
    return engines, max(1, min(HANDS_A_GPU * engines, cores)) if apart else 0


def _is_alive(name: str) -> bool:
    """Whether a machine, as `sonant.cluster.actors.node` calls it, still belongs to the cluster."""
    return any(node["Alive"] and node["NodeID"][:6] == name.rpartition("-")[2] for node in ray.nodes())
