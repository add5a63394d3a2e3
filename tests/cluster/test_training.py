"""A shipped recipe trained by two processes, as on two machines: by accelerate's launcher, and by Ray Train."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from flow.conftest import EXAMPLE
from tones import MODEL, RATE, write_corpus

pytestmark = pytest.mark.cluster
RECIPE = "ctc-scratch-small"
SCRIPT = EXAMPLE.parent / "cluster" / "train_on_ray.py"
STEPS = 4


def settings(folder: Path) -> list[str]:
    """What makes the recipe one of seconds."""
    for name, count, seed in (("train", 60, 0), ("dev", 8, 1)):
        write_corpus(folder / name, count, seed)
    model = ", ".join(f"{key} = {json.dumps(value)}" for key, value in MODEL.items())  # TOML writes these alike
    return [
        f"data.train={folder / 'train' / 'manifest.jsonl'}", f"data.dev={folder / 'dev' / 'manifest.jsonl'}",
        f"data.sample_rate={RATE}", f"model.config={{{model}}}", f"schedule.steps={STEPS}", "batches.seconds=6.0",
        "batches.num_lengths=3", "run.device=cpu", "run.precision=fp32", "run.threads=1", "run.check=false",
    ]  # fmt: skip


def check(run: Path) -> None:
    """That two processes came to the end and left a model."""
    state: dict[str, Any] = torch.load(run / "state.pt", weights_only=True)
    assert (state["world"], state["place"][0]) == (2, STEPS)
    assert (run / "model" / "model.safetensors").is_file()


def test_accelerate_launches_it_on_two_machines(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sets = [part for setting in settings(tmp_path) for part in ("--set", setting)]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "2"]
    command += ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    train = ["-m", "sonant", "train", RECIPE, "--output", str(tmp_path / "run"), *sets]
    machines = [
        subprocess.Popen([*command, "--machine_rank", str(rank), *train], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], "".join(said)
    check(tmp_path / "run")


def test_ray_trains_it(cluster: Any, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), RECIPE, str(tmp_path / "run"), "2", *settings(tmp_path)]
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    check(tmp_path / "run")
