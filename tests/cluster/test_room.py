"""A cluster that has no room yet for what a server wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flow.conftest import EXAMPLE, SAID

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes as Linux does"),
]


def test_want_of_room_is_told_and_waited_out(cluster: Any) -> None:
    import ray

    from sonant.cluster.connection import connected
    from sonant.cluster.serving import Replicas, deployed

    class Guest:  # in here, so that it travels as it is: its machine knows no tests
        """Somebody else's work."""

        def ready(self) -> None:
            pass

    settings = {"device": "cpu", "precision": "fp32", "threads": 2, "lm": None, "lexicon": None, "hotwords": None}
    told: list[str] = []
    with connected(cluster.address):
        guest = ray.remote(Guest).options(num_cpus=1).remote()
        ray.get(guest.ready.remote())

        def notice(sentence: str) -> None:
            told.append(sentence)
            ray.kill(guest)

        with deployed([None], Replicas(1, 1), 0, settings, notice) as models:
            said = models.first.asr.transcribe(EXAMPLE).text
    assert len(told) == 1
    assert "room for 0 of 1 engines of 2 CPU" in told[0]
    assert said == SAID
