"""A way into a Ray cluster, and models brought to its machines once."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

from sonant import __version__
from sonant.checkpoints import Checkpoint
from sonant.errors import ClusterError, MissingExtraError

MOST_THREADS = 4
"""Processor cores that an engine takes where nobody says."""


def require_ray() -> None:
    """Raise `MissingExtraError` where Ray is not installed."""
    if find_spec("ray") is None:
        raise MissingExtraError("A cluster needs Ray: pip install 'sonant[cluster]'")


@contextmanager
def connected(address: str) -> Generator[None]:
    """Ray's cluster at an address, for as long as the block runs.

    `auto` is the one that runs on this machine or that RAY_ADDRESS names, `HOST:PORT` one that this machine belongs to,
    `ray://HOST:PORT` any. Raises `ClusterError` where there is none, `MissingExtraError` without Ray.
    """
    require_ray()
    import ray as typed_ray

    ray: Any = typed_ray  # whose types are too incomplete to be checked against
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address, namespace="sonant", logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise ClusterError(
                f"A Ray cluster was expected at {address}, but could not be reached ({reason}); start one by "
                "`ray start --head`, or name another."
            ) from error
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def portable(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint with its weights in memory, which another machine can be given: it needs none of this one's files.

    It stays in its language, and no longer finds what it says of decoding.
    """
    tensors = {name: np.asarray(checkpoint.tensors[name]) for name in checkpoint.tensors}
    return replace(checkpoint, tensors=tensors, settings=dict(checkpoint.settings), reopen=None, find_folder=None)


def fitting_threads() -> int:
    """Cores for one engine: a few, but no more than the largest machine of the cluster has."""
    import ray

    nodes = cast("list[dict[str, Any]]", ray.nodes())
    most = max((node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]), default=1.0)
    return max(1, min(MOST_THREADS, int(most)))


def check_version(version: str) -> None:
    """Raise `ClusterError`, on a machine of the cluster, where it has another sonant than the one that sends work."""
    if version != __version__:
        raise ClusterError(
            f"Every machine of the cluster must have sonant {version}, but one has {__version__}; install the same."
        )
