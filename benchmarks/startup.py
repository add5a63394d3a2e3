"""How long until something happens? Wall-clock seconds of whole processes, the median of rounds that alternate.

    python benchmarks/startup.py [--rounds 11] [--model FOLDER]

Written to results/startup.json: a bare interpreter, `import sonant`, the help of the command and of a verb, and a clip
of five seconds from the start of the process to its transcript. The first round, which fills the page cache, is thrown
away.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

from machine import describe, write_result
from sonant import audio

EXAMPLE = Path(__file__).parent.parent / "examples" / "forest.ogg"
RATE = 16000
CLIP_SECONDS = 5


def write_clip(path: Path) -> None:
    """Five seconds of the example recording, repeated where it is shorter."""
    samples = np.resize(audio.read(EXAMPLE), CLIP_SECONDS * RATE)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((samples * 32767).astype("<i2").tobytes())


def seconds(command: list[str]) -> float:
    """Wall clock of one process, which must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--model", help="a folder or name; the built-in model where not given")
    parser.add_argument("--name", default="startup", help="name of the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        write_clip(clip)
        sonant = [sys.executable, "-m", "sonant"]
        model = ["--model", options.model] if options.model else []
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "import sonant": [sys.executable, "-c", "import sonant"],
            "sonant --help": [*sonant, "--help"],
            "sonant transcribe --help": [*sonant, "transcribe", "--help"],
            f"sonant transcribe, {CLIP_SECONDS} s clip": [*sonant, "transcribe", str(clip), *model],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(options.rounds + 1):
            for name, command in commands.items():
                elapsed = seconds(command)
                if number:
                    times[name].append(elapsed)
    rows = [
        {"what": what, "median_s": round(statistics.median(found), 3), "least_s": round(min(found), 3)}
        for what, found in times.items()
    ]
    for row in rows:
        print(row)
    result = {
        "machine": describe("typer"),
        "rounds": options.rounds,
        "model": Path(options.model).name if options.model else "built-in",
        "rows": rows,
    }
    write_result(options.name, result)


if __name__ == "__main__":
    main()
