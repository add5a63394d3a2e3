"""A cluster of two machines in this one, small and without a dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """One machine to begin with; a test adds others by `add_node`."""
    pytest.importorskip("ray", reason="Ray has no wheel for this Python")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        yield cluster
    finally:
        cluster.shutdown()
