"""From no weights to spoken digits on a processor: how good in how many minutes.

    python benchmarks/train_fsdd.py FSDD WORK [--threads 2] [--set schedule.steps=4500]...

FSDD is a folder with the free spoken digit dataset and its manifest.jsonl; WORK keeps the run, and the same command
goes on with it. The recipe is `ctc-scratch-small` as it comes along, every row a string of one speaker's digits.
Recordings 0 to 4 of each speaker and digit are held out: 60 strings of five, each recording once, say how good the
model is; recordings 5 and 6 choose it. Written to results/train_fsdd.json: word error rates of the strings and of the
single digits, and the curve over the minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np

import sonant
from sonant import audio
from sonant.text import count_errors

from machine import describe, write_result  # isort: skip

RATE = 16000


def recording(row: dict) -> int:
    return int(Path(row["audio_filepath"]).stem.rsplit("_", 1)[1])


def write_strings(rows: list[dict], folder: Path, name: str) -> list[dict]:
    """Strings of five digits by one speaker, each recording once, with up to 0.35 s between two digits."""
    random, made = np.random.default_rng(0), []
    for speaker in sorted({row["speaker"] for row in rows}):
        own = [row for row in rows if row["speaker"] == speaker]
        order = random.permutation(len(own)).tolist()
        for k in range(0, len(own), 5):
            chosen = [own[i] for i in order[k : k + 5]]
            gaps = [np.zeros(int(random.uniform(0, 0.35) * RATE), np.float32) for _ in chosen]
            samples = np.concatenate([x for row, gap in zip(chosen, gaps, strict=True) for x in (row["samples"], gap)])
            path = folder / f"{name}-{len(made):03d}.wav"
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
            text = " ".join(row["text"] for row in chosen)
            made.append(
                {"audio_filepath": str(path), "duration": len(samples) / RATE, "text": text, "speaker": speaker}
            )
    return made


def write_manifests(fsdd: Path, work: Path) -> None:
    rows = [json.loads(line) for line in (fsdd / "manifest.jsonl").open(encoding="utf-8")]
    for row in rows:
        row["audio_filepath"] = str((fsdd / row["audio_filepath"]).absolute())
        if recording(row) < 7:
            row["samples"] = audio.read(row["audio_filepath"], RATE)
    (work / "strings").mkdir(parents=True, exist_ok=True)
    sets = {
        "train": [row for row in rows if recording(row) >= 7],
        "dev": write_strings([row for row in rows if recording(row) in (5, 6)], work / "strings", "dev"),
        "test": write_strings([row for row in rows if recording(row) < 5], work / "strings", "test"),
        "single": [{k: v for k, v in row.items() if k != "samples"} for row in rows if recording(row) < 5],
    }
    for name, chosen in sets.items():
        text = "".join(json.dumps(row) + "\n" for row in chosen)
        (work / f"{name}.jsonl").write_text(text, encoding="utf-8")


def word_errors(model: Path, manifest: Path) -> float:
    asr = sonant.load(model)
    errors = None
    for row in map(json.loads, manifest.open(encoding="utf-8")):
        found = count_errors(row["text"].split(), asr.transcribe(row["audio_filepath"]).text.split())
        errors = found if errors is None else errors + found
    assert errors is not None
    return round(errors.rate, 4)


def measure(fsdd: Path, work: Path, threads: int = 2, settings: tuple[str, ...] = ()) -> dict:
    """Train, or go on, and score."""
    if not (work / "single.jsonl").exists():
        write_manifests(fsdd, work)
    run = work / "run"
    every = [
        f"data.train={work / 'train.jsonl'}", f"data.dev={work / 'dev.jsonl'}", "run.check=false",
        f"run.threads={threads}", "batches.join=1.0", *settings,
    ]  # fmt: skip
    command = [sys.executable, "-m", "sonant", "train", "ctc-scratch-small", "--output", str(run)]
    subprocess.run([*command, *(part for setting in every for part in ("--set", setting))], check=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
    times = {line["step"]: line for line in lines if "minutes" in line}
    return {
        "threads": threads,
        "settings": settings,
        "minutes": round(max(line["minutes"] for line in times.values()), 2),
        "hours_heard": round(max(line["hours"] for line in times.values()), 2),
        "strings_wer": word_errors(run / "model", work / "test.jsonl"),
        "single_wer": word_errors(run / "model", work / "single.jsonl"),
        "dev": [
            {"minutes": round(times[line["step"]]["minutes"], 2), "wer": line["wer"], "cer": line["cer"]}
            for line in lines
            if "wer" in line and line["step"] in times
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fsdd", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    result = measure(options.fsdd, options.work, options.threads, tuple(options.set))
    print(json.dumps(result, indent=1))
    write_result("train_fsdd", {"machine": describe("torch"), **result})


if __name__ == "__main__":
    main()
