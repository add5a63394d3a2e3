"""Moods and speakers from the states of a model, beside MFCC statistics and a linear support vector machine.

    python benchmarks/identify.py DATA WORK [--model M] [--tasks emotion digits readers] [--steps 400] [--threads 2]

DATA holds the folders emodb (`emotion`: leave one speaker out), fsdd (`digits`: six speakers, recordings 0 to 9 held
out) and librispeech-train (`readers`: a fifth of each speaker's chapters held out, or of the utterances of those with
one chapter). The classifier is the recipe `classify` as it comes along, but for its steps; no fold chooses anything on
what it is judged by. Both see the same folds. Written to results/identify.json: accuracy and unweighted average recall
with intervals by resampling speakers, their difference, confusions, and what each layer counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import sonant
from sonant import audio
from sonant.identify import read_classifier
from sonant.train.clusters import mfcc
from sonant.train.loop import Trainer
from sonant.train.recipe import read_recipe

from machine import describe, write_result  # isort: skip

RATE = 16000


@dataclass(frozen=True)
class Clip:
    path: Path
    seconds: float
    label: str
    speaker: str
    fold: str
    """Clips of one fold are judged by what was learnt on the others; empty: never judged."""


def clips_of(task: str, data: Path) -> list[Clip]:
    folder = data / {"emotion": "emodb", "digits": "fsdd", "readers": "librispeech-train"}[task]
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    clips = []
    for row in rows:
        label = row["emotion"] if task == "emotion" else row["speaker"]
        clips.append(Clip(folder / row["audio_filepath"], row["duration"], label, row["speaker"], row["speaker"]))
    if task == "digits":
        late = [int(clip.path.stem.rsplit("_", 1)[1]) >= 10 for clip in clips]
        return [replace(clip, fold="" if learn else "held out") for clip, learn in zip(clips, late, strict=True)]
    return held_chapters(clips, [row["chapter"] for row in rows]) if task == "readers" else clips


def held_chapters(clips: list[Clip], chapters: list[str]) -> list[Clip]:
    """A fifth of each speaker's chapters, one at least, or of the utterances of those with one, are held out."""
    held = []
    for clip, chapter in zip(clips, chapters, strict=True):
        own = sorted({c for c, other in zip(chapters, clips, strict=True) if other.speaker == clip.speaker})
        if len(own) > 1:
            held.append(chapter in own[: max(len(own) // 5, 1)])
        else:
            same = [other.path for other in clips if other.speaker == clip.speaker]
            held.append(clip.path in same[: len(same) // 5])
    return [replace(clip, fold="held out" if is_held else "") for clip, is_held in zip(clips, held, strict=True)]


def folds(clips: list[Clip]) -> Iterator[tuple[list[int], list[int]]]:
    for fold in sorted({clip.fold for clip in clips} - {""}):
        judged = [i for i, clip in enumerate(clips) if clip.fold == fold]
        yield [i for i in range(len(clips)) if clips[i].fold != fold], judged


def ours(clips: list[Clip], work: Path, options: argparse.Namespace) -> tuple[list[str], list[list[float]]]:
    """Labels of all judged clips by the classifier, and what each layer counts in each fold."""
    found, shares, kept = [""] * len(clips), [], {}
    for number, (learnt, judged) in enumerate(folds(clips)):
        run = work / f"fold-{number}"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        lines = [
            {"audio_filepath": str(clips[i].path.absolute()), "duration": clips[i].seconds, "label": clips[i].label}
            for i in learnt
        ]
        (run / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        settings = [
            f"data.train={run / 'train.jsonl'}",
            f"model.start={options.model}",
            f"run.threads={options.threads}",
        ]
        recipe = read_recipe("classify", [*settings, f"schedule.steps={options.steps}", "run.precision=fp32"])
        trainer = Trainer(recipe, run / "run")
        trainer.task.kept = kept  # the encoder is the same in all folds
        trainer.run()
        asr = sonant.load(run / "run" / "model", precision="fp32", threads=options.threads)
        shares.append(read_classifier(asr.checkpoint).shares.tolist())
        for i in judged:
            found[i] = asr.classify(clips[i].path).label
        print(f"fold {number}: {np.mean([found[i] == clips[i].label for i in judged]):.1%}", flush=True)
    return found, shares


def plain(clips: list[Clip]) -> list[str]:
    """Labels by a support vector machine on means and deviations of MFCC; its C is chosen within what is learnt."""
    rows = []
    for clip in clips:
        frames = mfcc(torch.from_numpy(np.pad(audio.read(clip.path, RATE), (0, 400))))
        rows.append(torch.cat([frames.mean(0), frames.std(0)]).numpy())
    features, labels, found = np.stack(rows), np.array([clip.label for clip in clips]), [""] * len(clips)
    for learnt, judged in folds(clips):
        machine = make_pipeline(StandardScaler(), LinearSVC(class_weight="balanced", max_iter=20_000))
        search = GridSearchCV(machine, {"linearsvc__C": [0.001, 0.01, 0.1, 1.0]}, cv=5, scoring="recall_macro")
        search.fit(features[learnt], labels[learnt])
        for i, label in zip(judged, search.predict(features[judged]), strict=True):
            found[i] = str(label)
    return found


def recall(clips: list[Clip], found: list[str], chosen: list[int]) -> float:
    """Unweighted average recall."""
    total = Counter(clips[i].label for i in chosen)
    right = Counter(clips[i].label for i in chosen if found[i] == clips[i].label)
    return float(np.mean([right[label] / total[label] for label in total]))


def judge(clips: list[Clip], first: list[str], second: list[str]) -> dict:
    """Rates of both, and their difference, with intervals over speakers."""
    judged = [i for i, clip in enumerate(clips) if clip.fold]
    speakers = sorted({clips[i].speaker for i in judged})
    own = {speaker: [i for i in judged if clips[i].speaker == speaker] for speaker in speakers}
    random, drawn = np.random.default_rng(0), []
    for _ in range(2000):
        chosen = [i for k in random.integers(len(speakers), size=len(speakers)) for i in own[speakers[k]]]
        rates = [
            value
            for found in (first, second)
            for value in (recall(clips, found, chosen), float(np.mean([found[i] == clips[i].label for i in chosen])))
        ]
        drawn.append([*rates, rates[0] - rates[2], rates[1] - rates[3]])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    result: dict = {"clips": len(judged), "speakers": len(speakers), "labels": len({clips[i].label for i in judged})}
    for k, (name, found) in enumerate((("classify", first), ("mfcc_svm", second))):
        rates = recall(clips, found, judged), float(np.mean([found[i] == clips[i].label for i in judged]))
        result[name] = {
            key: {"value": round(value, 4), "low": round(low[2 * k + j], 4), "high": round(high[2 * k + j], 4)}
            for j, (key, value) in enumerate(zip(("recall", "accuracy"), rates, strict=True))
        }
    result["difference"] = {"recall": [round(low[4], 4), round(high[4], 4)],
                            "accuracy": [round(low[5], 4), round(high[5], 4)]}  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="built-in")
    parser.add_argument("--tasks", nargs="+", default=["emotion", "digits", "readers"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    result: dict = {"machine": describe("torch", "scikit-learn"), "model": Path(options.model).name}
    for task in options.tasks:
        clips = clips_of(task, options.data)
        found, shares = ours(clips, options.work / task, options)
        judged = judge(clips, found, plain(clips))
        pairs = Counter((clip.label, label) for clip, label in zip(clips, found, strict=True) if clip.fold)
        judged["confusions"] = [[*pair, count] for pair, count in sorted(pairs.items())] if task == "emotion" else []
        judged["layer_shares"] = np.mean(shares, 0).round(4).tolist()
        result[task] = judged
        print(json.dumps({task: {key: judged[key] for key in ("classify", "mfcc_svm", "difference")}}, indent=1))
    write_result("identify", result)


if __name__ == "__main__":
    main()
