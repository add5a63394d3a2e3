"""The engines of a server as replicas of a Ray Serve deployment.

The server itself stays one process: it alone is reached from outside, and it holds what must not be lost, which is
uploads, and what live streams have heard and said. Replicas are given windows of sound and keep nothing, so that one
that dies costs no more than the windows it was hearing, which another hears again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import ray as typed_ray
from ray import serve as typed_serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from sonant import __version__
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.cluster.connection import check_version, fitting_threads, portable
from sonant.engines import Engine, Precision, open_engine
from sonant.errors import ClusterError, EngineError, OptionError, SonantError
from sonant.recognizer import Recognizer, choose_decoder
from sonant.server.models import Models, named_models
from sonant.server.service import BusyError
from sonant.types import FloatArray

ray: Any = typed_ray  # whose types are too incomplete to be checked against
serve: Any = typed_serve
AHEAD = 2
"""Windows that a replica is given at a time: one that it hears, and one that is on its way."""
PATIENCE = 120.0
"""Seconds after which what no replica has heard is given up."""
DEATHS = 4
"""Replicas that may die of the same window before it is blamed."""
PAUSE = 0.2
"""Seconds between two tries."""
SCALING = {"metrics_interval_s": 2.0, "look_back_period_s": 10.0, "upscale_delay_s": 5.0, "downscale_delay_s": 120.0}
"""How soon replicas come and go."""


@dataclass(frozen=True)
class Replicas:
    """How many engines of a model there are on the cluster."""

    fewest: int = 1
    most: int = 1
    """More than `fewest`, they come and go with the work."""

    @classmethod
    def parse(cls, text: str) -> Replicas:
        """From `4`, or `1-8`; raises `OptionError` for anything else."""
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
        fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= fewest <= most:
            raise OptionError(f"--replicas must be like 4 or 1-8, but {text!r} was given; write one of these.")
        return cls(fewest, most)


class Replica:
    """One engine, in a process of its own somewhere in the cluster."""

    def __init__(self, weights: list[Any], options: Mapping[str, Any], version: str) -> None:
        check_version(version)
        self._engine: Engine = open_engine(ray.get(weights[0]), **options)
        self._turn = asyncio.Lock()

    async def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """What the engine emits for each."""
        async with self._turn:
            return await asyncio.to_thread(self._engine.emit, waveforms)

    async def about(self) -> tuple[str, str, Precision]:
        """The engine's name, device and precision."""
        return self._engine.name, self._engine.device, self._engine.precision


class ClusterEngine:
    """The engine that all replicas of a model are together; several threads may call it at a time. It only emits."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.name, self.device, self.precision = cast("tuple[str, str, Precision]", self._ask("about"))

    def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-probabilities (T, V) of each waveform (N,), heard again by another replica where one dies.

        Raises `BusyError` where none answers in time, and `EngineError` for what no replica survives.
        """
        return self._ask("emit", list(waveforms))

    def _ask(self, method: str, *arguments: Any) -> Any:
        deaths, began = 0, time.monotonic()
        while (left := began + PATIENCE - time.monotonic()) > 0:
            try:
                return getattr(self._handle, method).remote(*arguments).result(timeout_s=left)
            except RayTaskError as error:  # its text has a traceback in it
                if isinstance(error.cause, SonantError):
                    raise error.cause from None
                raise
            except TimeoutError:
                break
            except (RayError, RayServeException) as error:
                deaths += 1
                if deaths == DEATHS:
                    raise EngineError(
                        f"A replica was expected to hear this, but {DEATHS} of them died of it; leave it out."
                    ) from error
                time.sleep(PAUSE)
        raise BusyError("No replica of the cluster answers at the moment; try again later.", 30)


@contextmanager
def deployed(
    sources: Iterable[str | None],
    replicas: Replicas,
    port: int,
    settings: Mapping[str, Any],
    notice: Callable[[str], None] = lambda _: None,
) -> Generator[Models]:
    """Models by what `sonant.load` takes, each deployed with so many replicas for as long as the block runs.

    `settings` are those of `load`; `threads` are processor cores of a replica. Weights are sent through Ray, so that
    the machines of the cluster need no copy of a model. Where there is no room for the replicas, `notice` is told, and
    they are waited for. The deployments are called after this machine and `port`, and
    replace those that a server at the same place has left behind.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})  # no door but the server's own
    place = f"sonant-{socket.gethostname()}-{port or os.getpid()}"
    names: list[str] = []

    def open_one(source: str | None, language: str | None) -> tuple[Recognizer, Sequence[Engine]]:
        names.append(f"{place}-{len(names)}")
        return _opened(names[-1], source, language, replicas, settings, notice)

    try:
        yield named_models(sources, open_one)
    finally:
        for name in names:
            with suppress(RayError, RayServeException, RuntimeError):  # the cluster may have gone first
                serve.delete(name)


def _opened(
    name: str,
    source: str | None,
    language: str | None,
    replicas: Replicas,
    settings: Mapping[str, Any],
    notice: Callable[[str], None],
) -> tuple[Recognizer, Sequence[Engine]]:
    """A recogniser whose engine is the cluster's, and that engine once for each window that may be under way."""
    options = dict(settings)
    checkpoint = open_checkpoint(source, language=language, progress=options.pop("progress", False))
    decoder = choose_decoder(checkpoint, options.pop("lm"), options.pop("lexicon"), options.pop("hotwords"))
    engine = cast(Engine, ClusterEngine(_deploy(name, checkpoint, replicas, options, notice)))
    return Recognizer(checkpoint, engine, decoder), [engine] * (AHEAD * replicas.most)


def _deploy(
    name: str, checkpoint: Checkpoint, replicas: Replicas, options: dict[str, Any], notice: Callable[[str], None]
) -> Any:
    on_gpu = options["device"].startswith("cuda")
    options["threads"] = threads = options.get("threads") or fitting_threads()
    count: dict[str, Any] = {"num_replicas": replicas.fewest}
    if replicas.most > replicas.fewest:
        bounds = {"min_replicas": replicas.fewest, "max_replicas": replicas.most, "target_ongoing_requests": 1}
        count = {"autoscaling_config": {**SCALING, **bounds}}
    deployment = serve.deployment(
        Replica,
        name="engine",
        max_ongoing_requests=AHEAD,
        ray_actor_options={"num_cpus": 1 if on_gpu else threads, "num_gpus": int(on_gpu)},
        **count,
    )
    kind, each = ("GPU", 1) if on_gpu else ("CPU", threads)
    if (room := int(ray.available_resources().get(kind, 0)) // each) < replicas.fewest:
        notice(
            f"The cluster has room for {room} of {replicas.fewest} engines of {each} {kind} now; they start, and the "
            "server with them, as soon as there is more."
        )
    weights = [ray.put(portable(checkpoint))]  # in a list it arrives as it is, and is fetched once a machine
    try:
        return serve.run(deployment.bind(weights, options, __version__), name=name, route_prefix=None)
    except RuntimeError as error:
        reason = re.search(r"\w+Error: (.+)", str(error))
        raise ClusterError(
            f"The cluster was expected to start replicas of {checkpoint.name}, but did not "
            f"({reason[1].rstrip('.') if reason else 'its log says why'}); mend that, and try again."
        ) from error
