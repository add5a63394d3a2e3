"""Replicas of a server come with the work."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import processes
from flow.conftest import EXAMPLE
from flow.serving import post, serving, wav
from sonant import audio

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes as Linux does"),
]


def test_replicas_come_with_the_work(cluster: Any) -> None:
    """From one to two: the files last longer than it takes to see that one does not suffice."""
    long = wav(np.tile(audio.read(EXAMPLE), 100))

    def ask() -> None:
        with suppress(OSError):  # the server is killed before it answers
            post(server, long)

    with serving("--cluster", cluster.address, "--replicas", "1-2") as server:
        assert len(processes.find("ServeReplica")) == 1
        asking = [threading.Thread(target=ask) for _ in range(6)]
        for thread in asking:
            thread.start()
        deadline = time.monotonic() + 100
        while len(processes.find("ServeReplica")) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(processes.find("ServeReplica")) == 2
        server.process.kill()
        for thread in asking:
            thread.join()
