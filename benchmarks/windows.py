"""Which window and margin? Word errors of long recordings against those of the same utterances one by one.

    python benchmarks/windows.py FOLDER [--split test] [--model MODEL]

Utterances of a manifest are put together into recordings of ten minutes, with pauses drawn between them: of one
speaker and at one level (`plain`), or speakers in turn, each at a level of its own, with long stretches of near
silence (`uneven`). Written to results/windows.json: word error rates and audio seconds a CPU second, by window and
margin.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import sonant
from sonant import audio, windows
from sonant.text import count_errors

from machine import describe, write_result  # isort: skip

RATE = 16000
GRID = [(10, 2), (20, 0), (20, 1), (20, 2), (30, 2), (60, 2)]


def read_utterances(folder: Path, split: str | None) -> list[tuple[np.ndarray, str, str]]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    return [
        (levelled(audio.read(folder / row["audio_filepath"])), row["text"].upper(), row["speaker"])
        for row in rows
        if split in (None, row.get("split"))
    ]


def levelled(samples: np.ndarray) -> np.ndarray:
    return samples * np.float32(0.05 / samples.std())


def put_together(utterances, minutes: float, seed: int, uneven: bool) -> tuple[np.ndarray, list[int]]:
    """A recording of about so many minutes, and which utterances are in it."""
    random = np.random.default_rng(seed)
    speakers = sorted({speaker for *_, speaker in utterances})
    chosen = [i for i, u in enumerate(utterances) if uneven or u[2] == speakers[seed % len(speakers)]]
    parts, order, total = [], [], 0.0
    while total < minutes * 60:
        for i in random.permutation(chosen):
            pause = random.uniform(0.2, 1.0)
            if uneven and random.random() < 0.1:
                pause = random.uniform(10, 40)
            gain = 10 ** random.uniform(-1, 0.3) if uneven else 1.0
            noise = random.standard_normal(int(pause * RATE)).astype(np.float32) * 1e-4
            samples = utterances[i][0] * np.float32(gain)
            parts += [noise, samples]
            order.append(int(i))
            total += pause + len(samples) / RATE
            if total >= minutes * 60:
                break
    return np.concatenate(parts), order


def word_errors(said: list[str], heard: list[str]) -> float:
    """Per cent of words, over all recordings."""
    counts = [count_errors(one.split(), other.split()) for one, other in zip(said, heard, strict=True)]
    wrong = sum(count.substitutions + count.deletions + count.insertions for count in counts)
    return round(100 * wrong / sum(len(one.split()) for one in said), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder with manifest.jsonl")
    parser.add_argument("--split", help="only rows of this split")
    parser.add_argument("--model", help="a folder or name; the built-in model where not given")
    parser.add_argument("--recordings", type=int, default=6)
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    utterances = read_utterances(options.folder, options.split)
    asr = sonant.load(options.model, precision=options.precision)
    alone = [asr.transcribe(samples, RATE).text for samples, *_ in utterances]
    results = []
    for kind in ("plain", "uneven"):
        made = [put_together(utterances, 10, seed, kind == "uneven") for seed in range(options.recordings)]
        said = [" ".join(utterances[i][1] for i in order) for _, order in made]
        by_one = [" ".join(alone[i] for i in order) for _, order in made]
        row = {"recordings": kind, "window": None, "margin": None, "wer": word_errors(said, by_one)}
        print(row)
        results.append(row)
        for seconds, margin in GRID:
            asr.window = windows.WindowSpec(seconds, margin)
            began = time.process_time()
            heard = [asr.transcribe(samples, RATE).text for samples, _ in made]
            spent = time.process_time() - began
            row = {
                "recordings": kind,
                "window": seconds,
                "margin": margin,
                "wer": word_errors(said, heard),
                "wer_to_one_by_one": word_errors(by_one, heard),
                "seconds_per_cpu_second": round(sum(len(x) for x, _ in made) / RATE / spent, 1),
            }
            print(row, flush=True)
            results.append(row)
    write_result(
        "windows", {"machine": describe(), "data": options.folder.name, "model": asr.checkpoint.name, "rows": results}
    )


if __name__ == "__main__":
    main()
