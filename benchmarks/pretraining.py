"""What is pre-training worth? The same fine-tuning from random weights and after each objective, at equal audio heard.

    python benchmarks/pretraining.py SPEECH.jsonl LABELLED.jsonl DEV.jsonl WORK [--steps 7000] [--fine 3000]
                                     [--threads 2] [--only contrastive clusters scratch]

SPEECH is heard without its transcripts by `pretrain-small` and `hubert-small`; LABELLED is then learnt by the recipe
`ctc-scratch-small`, from nothing or from what came out, its convolutions learning too. WORK keeps the runs: the same
command goes on where it stopped. Written to results/pretraining.json: how pre-training went (hours heard against
accuracy and perplexity), and word and character error rates on DEV over the hours of fine-tuning.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from machine import describe, write_result  # isort: skip

OBJECTIVES = {"contrastive": "pretrain-small", "clusters": "hubert-small"}
WATCHED = ("contrastive", "masked", "accuracy", "masked_accuracy", "perplexity", "codes_used")


def train(recipe: str, run: Path, settings: list[str]) -> None:
    """Train, or go on; a run that came to its end is left as it is."""
    if (run / "metrics.jsonl").exists() and [line for line in metrics(run) if line.get("minutes_left") == 0]:
        return
    command = [sys.executable, "-m", "sonant", "train", recipe, "--output", str(run)]
    subprocess.run([*command, *(part for setting in settings for part in ("--set", setting))], check=True)


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]


def curve(run: Path, names: tuple[str, ...], count: int = 25) -> list[dict]:
    """Means of the metrics over `count` equal parts of the run."""
    lines = [line for line in metrics(run) if "hours" in line]
    parts = [lines[len(lines) * i // count : len(lines) * (i + 1) // count] for i in range(count)]
    return [
        {"hours": round(part[-1]["hours"], 2), "minutes": round(part[-1]["minutes"], 1)}
        | {name: round(sum(line[name] for line in part) / len(part), 4) for name in names if name in part[0]}
        for part in parts
        if part
    ]


def scores(run: Path) -> list[dict]:
    lines = metrics(run)
    hours = {line["step"]: line["hours"] for line in lines if "hours" in line}
    return [
        {"hours": round(hours.get(line["step"], 0), 2)} | {name: line[name] for name in ("wer", "cer", "dev_loss")}
        for line in lines
        if "wer" in line
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("speech", "labelled", "dev", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--fine", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=["contrastive", "clusters", "scratch"])
    options = parser.parse_args()
    common = [f"data.dev={options.dev}", "run.check=false", f"run.threads={options.threads}", "run.memory=4.0"]
    result: dict = {"machine": describe("torch"), "threads": options.threads, "pretraining": {}, "fine_tuning": {}}
    for kind in options.only:
        settings = [*common, f"data.train={options.labelled}", f"schedule.steps={options.fine}"]
        if kind in OBJECTIVES:
            speech = [f"data.train={options.speech}", "data.dev_rows=100", f"schedule.steps={options.steps}"]
            train(OBJECTIVES[kind], options.work / kind, [*common, *speech])
            result["pretraining"][kind] = curve(options.work / kind, WATCHED)
            settings += [f"model.start={options.work / kind / 'model'}", "task.freeze_convolutions=false"]
        run = options.work / f"{kind}-fine"
        train("ctc-scratch-small", run, settings)
        result["fine_tuning"][kind] = {"best": min(scores(run), key=lambda score: score["wer"]), "curve": scores(run)}
    print(json.dumps(result["fine_tuning"], indent=1))
    write_result("pretraining", result)


if __name__ == "__main__":
    main()
