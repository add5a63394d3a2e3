"""`sonant batch --cluster` as a user starts it, killed in its midst and started again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonant
from cluster import processes
from flow.conftest import EXAMPLE, SAID
from flow.serving import SERVE, wav
from sonant import audio

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes as Linux does"),
]


def test_a_killed_driver_loses_nothing(cluster: Any, tmp_path: Path) -> None:
    source, dest = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    samples = audio.read(EXAMPLE)
    for i in range(8):
        (source / f"{i}.wav").write_bytes(wav(np.tile(samples, 5)))
    command = [sys.executable, "-c", SERVE, "batch", str(source), "--output", str(dest), "--each", "srt"]
    command += ["--cluster", cluster.address, "--workers", "1", "--precision", "fp32", "--debug"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not any(dest.glob("files/*.srt")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("sonant: ") for line in done.stderr.splitlines()), done.stderr
    assert "8 done" in done.stderr
    [part] = dest.glob("part-*.jsonl")
    records = [json.loads(line) for line in part.read_text().splitlines()]
    assert sorted(record["source"] for record in records) == sorted(str(path) for path in source.iterdir())
    assert {record["text"] for record in records} == {" ".join([SAID] * 5)}
    alone = sonant.load(precision="fp32", threads=1).transcribe(source / "0.wav")
    alone.save(tmp_path / "alone.srt")
    subtitles = {path.read_bytes() for path in dest.glob("files/*.srt")}
    assert subtitles == {(tmp_path / "alone.srt").read_bytes()}
    assert not processes.find("Worker")
