"""What is pre-training worth? The same fine-tuning from random weights and after each objective, by minutes of labels.

    python benchmarks/pretraining.py SPEECH.jsonl LABELLED.jsonl DEV.jsonl WORK [--steps 7000] [--fine 3000]
        [--labels 10 60 all] [--only contrastive clusters scratch] [--lm FILE] [--rate 3e-3]
        [--threads 2]

SPEECH is heard without its transcripts by `pretrain-small` and `hubert-small`. So many minutes of LABELLED, chosen
once, are then learnt by the recipe `ctc-scratch-small`, from nothing or from what came out, its convolutions learning
too. WORK keeps the runs: the same command goes on where it stopped. Written to results/pretraining.json: how
pre-training went (hours heard against accuracy and perplexity), and for every number of minutes word and character
error rates on DEV over the hours of fine-tuning, with the language model's help too where there is one.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
from pathlib import Path

from sonant.plots.figures import library, save_figure
from sonant.plots.themes import find_theme, styled

from machine import RESULTS, describe, write_result  # isort: skip

COLOURS = {"scratch": "#1c1f24", "clusters": "#0072B2", "contrastive": "#E69F00"}
OBJECTIVES = {"contrastive": "pretrain-small", "clusters": "hubert-small"}
WATCHED = ("contrastive", "masked", "accuracy", "masked_accuracy", "perplexity", "codes_used")


def sonant(*arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "sonant", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train(recipe: str, run: Path, settings: list[str]) -> None:
    """Train, or go on; a run that came to its end is left as it is."""
    if not (run / "metrics.jsonl").exists() or not any(line.get("minutes_left") == 0 for line in metrics(run)):
        sonant("train", recipe, "--output", str(run), *(part for each in settings for part in ("--set", each)))


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


def part_of(manifest: Path, minutes: str, work: Path) -> Path:
    """A manifest of so many minutes of another, the same ones each time; a longer part holds the shorter ones."""
    if minutes == "all":
        return manifest
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    seconds, kept = 0.0, []
    for line in lines:
        if seconds < 60 * float(minutes):
            kept.append(line)
            seconds += json.loads(line)["duration"]
    part = work / f"{minutes}min.jsonl"
    part.write_text("".join(kept), encoding="utf-8")
    return part


def with_lm(run: Path, dev: Path, lm: Path) -> dict:
    """Error rates on DEV with a beam of 100 and weights chosen on every sixth of its utterances."""
    few, tuned = run / "tuning.jsonl", run / "tuned"
    few.write_text("".join(dev.read_text(encoding="utf-8").splitlines(keepends=True)[::6]), encoding="utf-8")
    shutil.rmtree(tuned, ignore_errors=True)
    sonant("lm", "tune", str(few), "--model", str(run / "model"), "--lm", str(lm), "--output", str(tuned),
           "--beam", "100", "--trials", "24")  # fmt: skip
    found = json.loads(sonant("evaluate", str(dev), "--model", str(tuned), "--format", "json"))
    return {name: found[name] for name in ("wer", "cer")}


def rate_of(cell: dict, name: str) -> float:
    """Per cent: `cer` greedily, `wer` with the language model; NaN, which is not drawn, where it was not measured."""
    if name == "cer":
        return 100 * cell["best"]["cer"] if cell else math.nan
    return 100 * cell["with_lm"]["wer"]["value"] if "with_lm" in cell else math.nan


def draw(cells: dict[str, dict[str, dict]], labelled: float, path: Path) -> None:
    """Error rates over minutes of transcripts (of all of them, `labelled`): a line for each way to begin."""
    theme = find_theme("light")
    minutes = [labelled if each == "all" else float(each) for each in cells]
    with styled(theme):
        figure = library("matplotlib.figure").Figure(figsize=(7.2, 2.8), dpi=150, layout="constrained")
        for axis, name, title in zip(
            figure.subplots(1, 2),
            ("cer", "wer"),
            ("letter errors, greedy", "word errors, with the language model"),
            strict=True,
        ):
            for kind, colour in COLOURS.items():
                rates = [rate_of(kinds.get(kind, {}), name) for kinds in cells.values()]
                axis.plot(minutes, rates, "o-", color=colour, label=kind, markersize=3)
            axis.set_xscale("log")
            axis.set_xticks(minutes, [f"{each:.0f}" for each in minutes], minor=False)
            axis.set_xticks([], minor=True)
            axis.set(xlabel="minutes of transcripts", ylabel="%", title=title)
            axis.spines[["top", "right"]].set_visible(False)
            axis.legend(frameon=False, labelcolor=theme.ink)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("speech", "labelled", "dev", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--fine", type=int, default=3000)
    parser.add_argument("--labels", nargs="+", default=["all"])
    parser.add_argument("--only", nargs="+", default=["contrastive", "clusters", "scratch"])
    parser.add_argument("--lm", type=Path)
    parser.add_argument("--rate", type=float, default=3e-3, help="of fine-tuning what was pre-trained")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    common = [f"data.dev={options.dev}", "run.check=false", f"run.threads={options.threads}", "run.memory=4.0"]
    result: dict = {"machine": describe("torch"), "threads": options.threads, "pretraining": {}, "fine_tuning": {}}
    for kind in options.only:
        start: list[str] = []
        if kind in OBJECTIVES:
            speech = [f"data.train={options.speech}", "data.dev_rows=100", f"schedule.steps={options.steps}"]
            train(OBJECTIVES[kind], options.work / kind, [*common, *speech])
            result["pretraining"][kind] = curve(options.work / kind, WATCHED)
            start = [f"model.start={options.work / kind / 'model'}", "task.freeze_convolutions=false",
                     f"optim.lr={options.rate}"]  # fmt: skip
        for minutes in options.labels:
            run = options.work / f"{kind}-{minutes}"
            labelled = part_of(options.labelled, minutes, options.work)
            learn = [f"data.train={labelled}", f"schedule.steps={options.fine}"]
            train("ctc-scratch-small", run, [*common, *learn, *start])
            cell = {"best": min(scores(run), key=lambda score: score["cer"]), "curve": scores(run)}
            if options.lm:
                cell["with_lm"] = with_lm(run, options.dev, options.lm)
            result["fine_tuning"].setdefault(minutes, {})[kind] = cell
    print(json.dumps(result["fine_tuning"], indent=1))
    write_result("pretraining", result)
    rows = map(json.loads, options.labelled.open(encoding="utf-8"))
    draw(result["fine_tuning"], sum(row["duration"] for row in rows) / 60, RESULTS / "pretraining.svg")


if __name__ == "__main__":
    main()
