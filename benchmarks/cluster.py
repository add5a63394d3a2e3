"""What does Ray cost a bulk job, and what bounds a job of thousands of hours: media, windows on their way, the driver?

    python benchmarks/cluster.py [--clips 200] [--model FOLDER] [--repeat 3] [--minutes 10]

A cluster of one machine is started here. `job`: a bare loop over `transcribe` and a job with one engine take turns over
the same clips of 5 s, one engine thread; seconds of the wall clock, and of the processor by all of Ray's processes and
this one; loading counts in neither; `driver_ms_a_task` is the driver's own part. `media`: processor seconds that an
hour of sound takes to be decoded to 16 kHz, by kind of file. `windows`: processor and wall seconds of a window of 20 s
that is sent to another process and comes back as emissions of 32 tokens, for the 225 of an hour. `tasks`: tasks a
second that a driver hands out to two processes which do nothing. Written to results/cluster.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import ray

import sonant
from bulk import EXAMPLE, RATE, processor_seconds, time_loop, write_clips
from sonant.cluster.jobs import workers_on
from sonant.jobs import Setup, run_job

from machine import describe, write_result  # isort: skip

KINDS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac"}
WINDOW = 20 * RATE


def ray_seconds() -> float:
    """What this process and all of Ray's have computed so far."""
    found = time.process_time()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = place.read_bytes()
            if int(place.parent.name) != os.getpid() and (b"ray::" in title[:8] or b"/ray/" in title):
                found += processor_seconds(int(place.parent.name))
        except OSError:  # it has ended
            continue
    return found


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), ray_seconds()
    work()
    return time.perf_counter() - wall, ray_seconds() - cpu


def measure_job(address: str, model: dict[str, Any], count: int, repeat: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, number in (("clips", count), ("warm", 4)):
            (folder / part).mkdir()
            write_clips(folder / part, number)
        asr, clips = sonant.load(**model), sorted((folder / "clips").iterdir())
        took: dict[str, list[tuple[float, float]]] = {"loop": [], "ray": []}
        with workers_on(address, Setup(str(folder / "out"), model=model), 1) as workers:
            run_job([str(folder / "warm")], Setup(str(folder / "first"), model=model), workers)
            own = 0.0
            for turn in range(repeat):
                setup = Setup(str(folder / f"out-{turn}"), model=model)
                took["loop"].append(time_loop(asr, clips))
                own -= time.process_time()
                took["ray"].append(timed(lambda setup=setup: run_job([str(folder / "clips")], setup, workers)))
                own += time.process_time()
        found = {way: [round(median(column), 3) for column in zip(*turns, strict=True)] for way, turns in took.items()}
        ratios = [b / a for a, b in zip(found["loop"], found["ray"], strict=True)]
        found |= {"wall_ratio": round(ratios[0], 3), "cpu_ratio": round(ratios[1], 3)}
        return {"clips": count, **found, "driver_ms_a_task": round(1000 * own / repeat / count, 2)}


def measure_media(minutes: int) -> dict[str, float]:
    """Processor seconds for an hour of sound."""
    samples = np.resize(sonant.audio.read(EXAMPLE), minutes * 60 * RATE)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in KINDS.items():
            place = f"{folder}/sound.{suffix}"
            write_sound(place, codec, samples)
            before = time.process_time()
            with sonant.audio.open_audio(place, RATE) as stream:
                heard = sum(map(len, stream))
            assert abs(heard - len(samples)) < RATE
            found[suffix] = round((time.process_time() - before) * 60 / minutes, 2)
    return found


def write_sound(place: str, codec: str, samples: np.ndarray) -> None:
    """A file of one kind, in mono at 48 kHz, as recorders write it."""
    with av.open(place, "w") as file:
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        resampler = av.AudioResampler(stream.format, "mono", 48_000, frame_size=stream.frame_size or 4096)
        for first in range(0, len(samples), RATE):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + RATE], "flt", "mono")
            frame.sample_rate = RATE
            for ready in resampler.resample(frame):
                file.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            file.mux(stream.encode(ready))
        file.mux(stream.encode(None))


class Echo:
    def hear(self, window: np.ndarray) -> np.ndarray:
        return np.zeros((len(window) // 320, 32), np.float32)

    def nothing(self) -> None:
        pass


def measure_ray(repeat: int) -> dict[str, Any]:
    """Windows on their way, and tasks of nothing."""
    echoes = [ray.remote(Echo).options(num_cpus=0.1).remote() for _ in range(2)]
    ray.get([echo.nothing.remote() for echo in echoes])
    window = np.zeros(WINDOW, np.float32)
    windows = [timed(lambda: [ray.get(echoes[0].hear.remote(window)) for _ in range(225)]) for _ in range(repeat)]

    def hand_out(count: int = 2000) -> None:
        waiting = [echo.nothing.remote() for echo in echoes]
        for _ in range(count):
            [done], waiting = ray.wait(waiting)
            ray.get(done)
            waiting.append(echoes[0].nothing.remote())
        ray.get(waiting)

    tasks = [timed(hand_out) for _ in range(repeat)]
    [wall, cpu] = [round(median(column), 3) for column in zip(*windows, strict=True)]
    rate = round(2000 / median(wall for wall, _ in tasks))
    return {"windows": {"of_an_hour_wall": wall, "of_an_hour_cpu": cpu}, "tasks_per_second": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=200, help="clips of 5 s")
    parser.add_argument("--model", help="a folder or name; the built-in model where not given")
    parser.add_argument("--repeat", type=int, default=3, help="turns, of which the median counts")
    parser.add_argument("--minutes", type=int, default=10, help="of sound in a file of each kind")
    parser.add_argument("--name", default="cluster", help="name of the result")
    options = parser.parse_args()
    model = {"source": options.model, "threads": 1}
    started = ray.init(num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
    try:
        result = {"machine": describe("ray", "av"), "model": Path(options.model or "built-in").name}
        result["media_seconds_an_hour"] = measure_media(options.minutes)
        print(result, flush=True)
        result |= measure_ray(options.repeat)
        print(result, flush=True)
        result["job"] = measure_job(started.address_info["gcs_address"], model, options.clips, options.repeat)
        print(result["job"])
    finally:
        ray.shutdown()
    write_result(options.name, result)


if __name__ == "__main__":
    main()
