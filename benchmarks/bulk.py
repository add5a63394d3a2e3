"""What does a bulk job cost beside the work itself, do two workers do twice as much, and does its driver grow?

    python benchmarks/bulk.py [--clips 1000] [--model FOLDER] [--repeat 3] [--workers 1 2] [--inputs 1000 10000000]

A bare loop over `transcribe` and jobs of so many workers take turns over the same clips of 5 s, one engine thread each;
loading the model counts in neither. Both are told in seconds of the wall clock and of the processor. Drivers of so
many inputs, each a process of its own, have workers that do nothing: what is told of them is the peak resident set in
MB and how many inputs go through in a second. Written to results/bulk.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import sonant
from sonant.jobs import Outcome, Setup, Task, run_job
from sonant.jobs.pool import ProcessPool

from machine import describe, resident, write_result  # isort: skip

RATE, SECONDS = 16_000, 5
EXAMPLE = Path(__file__).parent.parent / "examples" / "forest.ogg"
TICKS = os.sysconf("SC_CLK_TCK")


def write_clips(folder: Path, count: int) -> None:
    """Clips of 5 s, no two of them alike."""
    spoken = np.resize(sonant.audio.read(EXAMPLE), 2 * SECONDS * RATE)
    for number in range(count):
        first = number * 7919 % (SECONDS * RATE)
        with wave.open(str(folder / f"{number:06}.wav"), "wb") as out:
            out.setparams((1, 2, RATE, 0, "NONE", ""))
            out.writeframes((spoken[first : first + SECONDS * RATE] * 32767).astype("<i2").tobytes())


def processor_seconds(pid: int) -> float:
    """What a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def time_loop(asr: sonant.Recognizer, clips: list[Path]) -> tuple[float, float]:
    """Wall and processor seconds of a loop that does what must be done."""
    asr.transcribe(clips[0])
    wall, cpu = time.perf_counter(), time.process_time()
    for clip in clips:
        asr.transcribe(clip)
    return time.perf_counter() - wall, time.process_time() - cpu


def time_job(folder: Path, dest: Path, model: dict[str, Any], num_workers: int) -> tuple[float, float]:
    """The same of a job, from its listing of the inputs to its last file; its workers have all loaded the model."""
    setup = Setup(str(dest), model=model)
    warm = folder.parent / "warm"
    with closing(ProcessPool(setup, num_workers)) as pool:
        while not all(worker.ready for worker in pool._workers):  # noqa: SLF001  # only a benchmark wants to know
            run_job([str(warm)], Setup(f"{dest}-warm"), pool, again=True)
        pids = [os.getpid(), *(worker.process.pid for worker in pool._workers)]  # noqa: SLF001
        wall, cpu = time.perf_counter(), sum(map(processor_seconds, pids))
        tally = run_job([str(folder)], setup, pool)
        assert not tally.failed
        return time.perf_counter() - wall, sum(map(processor_seconds, pids)) - cpu


class NoWork:
    """Workers that know every answer."""

    def identity(self) -> Mapping[str, Any]:
        return {"task": "none"}

    def map(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        for task in tasks:
            record = {"id": task.id, "source": task.source, "text": "seven three nine one five eight"}
            yield Outcome(task.id, json.dumps(record).encode(), seconds=5.0)

    def close(self) -> None:
        pass


def drive(count: int) -> None:
    """A job of simulated inputs, in this process; prints what it took."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "list.jsonl"
        with manifest.open("w") as out:
            for n in range(count):
                out.write(json.dumps({"audio_filepath": f"speech/{n // 1000}/{n}.flac", "duration": 5}) + "\n")
        wall = time.perf_counter()
        tally = run_job([str(manifest)], Setup(f"{folder}/out"), NoWork())
        assert tally.done == count
        seconds = time.perf_counter() - wall
        again = time.perf_counter()
        assert run_job([str(manifest)], Setup(f"{folder}/out"), NoWork()).kept == count
        found = {"inputs": count, "peak_mb": round(resident(most=True))}
        found |= {"inputs_per_second": round(count / seconds), "resume_seconds": round(time.perf_counter() - again, 1)}
        print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000, help="clips of 5 s")
    parser.add_argument("--model", help="a folder or name; the built-in model where not given")
    parser.add_argument("--repeat", type=int, default=3, help="turns, of which the median counts")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="workers of the jobs")
    parser.add_argument("--inputs", type=int, nargs="*", default=[1_000, 100_000, 10_000_000], help="simulated inputs")
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--name", default="bulk", help="name of the result")
    options = parser.parse_args()
    if options.drive:
        drive(options.drive)
        return
    model = {"source": options.model, "threads": 1}
    speed: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, count in (("clips", options.clips), ("warm", 2 * max(options.workers, default=1))):
            (folder / part).mkdir()
            write_clips(folder / part, count)
        asr = sonant.load(**model)
        clips = sorted((folder / "clips").iterdir())
        for turn in range(options.repeat):
            speed.setdefault("loop", []).append(time_loop(asr, clips))
            for num in options.workers:
                took = time_job(folder / "clips", folder / f"out-{num}-{turn}", model, num)
                speed.setdefault(f"{num} workers", []).append(took)
            print({way: [round(wall, 2) for wall, _ in took] for way, took in speed.items()}, flush=True)
    rows = []
    for way, took in speed.items():
        row = {"way": way, "wall": round(median(wall for wall, _ in took), 2)}
        row |= {"processor": round(median(cpu for _, cpu in took), 2)}
        ratios = [[one / of for one, of in zip(a, b, strict=True)] for a, b in zip(took, speed["loop"], strict=True)]
        row |= {"wall_to_loop": round(median(r[0] for r in ratios), 3)}
        rows.append(row | {"processor_to_loop": round(median(r[1] for r in ratios), 3)})
        print(rows[-1], flush=True)
    drivers = []
    for count in options.inputs:
        command = [sys.executable, __file__, "--drive", str(count)]
        drivers.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(drivers[-1], flush=True)
    shown = Path(options.model).name if options.model else "built-in"
    result = {"machine": describe(), "model": shown, "clips": options.clips, "clip_seconds": SECONDS}
    write_result(options.name, {**result, "speed": rows, "drivers": drivers})


if __name__ == "__main__":
    main()
