"""Does memory grow with the length of a file? Peak memory of `sonant transcribe` and other verbs, from ten seconds on.

    python benchmarks/memory.py [--what features --name memory-features] [--hours 1] [--model FOLDER]
    python benchmarks/memory.py --files 10 100 1000 --name memory-files

Each length is a file of its own and a process of its own. A recording of the examples is repeated, with pauses.
`features` writes the states of all layers; `align` and `segment` get the text that is said, a line a repetition.
With `--files`, so many short files in one process, of 2 to 17 seconds, no two of one length.
Written to results/memory.json, or the name that is given: the peak resident set in MB and audio seconds a second of the
wall clock, by length.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

from sonant import audio

from machine import describe, write_result  # isort: skip

RATE = 16000
EXAMPLE = Path(__file__).parent.parent / "examples" / "forest.ogg"
SAID = "seven three nine one five eight"
VERBS = {"transcribe": ["transcribe"], "features": ["features"], "align": ["align"], "segment": ["data", "segment"]}


def write_wave(path: Path, seconds: float) -> float:
    """A file of so many seconds, written piece by piece; how often the example is in it."""
    piece = np.concatenate([audio.read(EXAMPLE), np.zeros(RATE // 2, np.float32)])
    pcm = (piece * 32767).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        left = int(seconds * RATE)
        while left > 0:
            out.writeframes(pcm[:left].tobytes())
            left -= len(pcm)
    return seconds * RATE / len(pcm)


def peak_memory(command: list[str]) -> tuple[float, float]:
    """Run a command to its end: peak resident set in MB, and seconds."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024, time.perf_counter() - began


def many(numbers: list[int]) -> list[dict]:
    """What so many files take in one process."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.wav" for i in range(max(numbers))]
        for i, path in enumerate(paths):
            write_wave(path, 2 + 15 * (i * 0.6180339887498949 % 1))
        for number in numbers:
            command = [sys.executable, "-m", "sonant", "transcribe", *map(str, paths[:number])]
            rows.append({"files": number, "peak_mb": round(peak_memory(command)[0])})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=VERBS, default="transcribe", help="the verb to measure")
    parser.add_argument("--hours", type=float, default=1.0, help="the longest file")
    parser.add_argument("--model", help="a folder or name; the built-in model where not given")
    parser.add_argument("--name", default="memory", help="name of the result")
    parser.add_argument("--files", type=int, nargs="+", help="transcribe so many short files instead")
    options = parser.parse_args()
    if options.files:
        write_result(options.name, {"machine": describe(), "rows": many(options.files)})
        return
    lengths = [s for s in (10, 60, 600, 3600, 36000) if s <= options.hours * 3600]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            path = Path(folder) / "talk.wav"
            repetitions = int(write_wave(path, seconds))
            command = [sys.executable, "-m", "sonant", *VERBS[options.what], str(path)]
            if options.what in ("align", "segment"):
                path.with_suffix(".txt").write_text(f"{SAID}\n" * max(1, repetitions))
            if options.what in ("features", "segment"):
                command += ["--output", f"{folder}/{options.what}-{seconds}"]
            if options.model:
                command += ["--model", options.model]
            megabytes, elapsed = peak_memory(command)
            rows.append({"seconds": seconds, "peak_mb": round(megabytes), "speed": round(seconds / elapsed, 1)})
            print(rows[-1], flush=True)
    model = Path(options.model).name if options.model else "built-in"
    write_result(options.name, {"machine": describe(), "what": options.what, "model": model, "rows": rows})


if __name__ == "__main__":
    main()
