"""Moods and voices from the states of a model, beside statistics of MFCC: one command, states heard once and kept.

    python benchmarks/identify.py DATA WORK [--model M] [--tasks emotion digits readers voices accents] [--clips 30]

DATA holds the folders emodb (`emotion`: leave one speaker out), fsdd (`digits`: six speakers, recordings 0 to 9 held
out), librispeech-train (`readers`: a fifth of each speaker's chapters held out, or of the utterances of those with one
chapter), librispeech-dev (`voices`) and speechocean762-train (`accents`). WORK keeps states and trainings.

Labels: the recipe `classify` as it comes along, but for its steps, beside a linear support vector machine on means
and deviations of MFCC; both see the same folds, and no fold chooses anything on what it is judged by. Verification: the
head of `sonant identify --learn`, learnt from librispeech-train alone, beside the same head over MFCC, and the mean of
a layer as it stands; of `accents`, too, each half of the speakers with a head learnt from the other half. Of each
speaker of librispeech and speechocean762 at most `--clips` are taken, evenly, eight seconds of each.
Written to results/identify.json, pictures to WORK.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import sonant
from sonant import audio
from sonant.identify import ClipHead, read_classifier
from sonant.plots import recognition_figure, save_figure
from sonant.train.clusters import mfcc
from sonant.train.labelling import Labelling
from sonant.train.linear import LinearVoice, learn_voices
from sonant.train.loop import Trainer
from sonant.train.recipe import read_recipe
from sonant.train.recognition import summary, verify
from sonant.train.states import name_of_encoder
from sonant.train.verification import Verification, all_pairs, eer

from machine import describe, write_result  # isort: skip

RATE, SECONDS = 16000, 8.0
FOLDERS = {
    "emotion": "emodb", "digits": "fsdd", "readers": "librispeech-train", "voices": "librispeech-dev",
    "accents": "speechocean762-train",
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    path: Path
    seconds: float
    label: str
    speaker: str
    fold: str
    """Clips of one fold are judged by what was learnt on the others; empty: never judged."""


def clips_of(task: str, data: Path, most: int) -> list[Clip]:
    folder = data / FOLDERS[task]
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    if task not in ("emotion", "digits"):
        own: dict[str, list[dict]] = defaultdict(list)
        for row in rows:
            own[row["speaker"]].append(row)
        rows = [r[i] for r in own.values() for i in np.unique(np.linspace(0, len(r) - 1, most).astype(int))]
    held = {
        "emotion": lambda: [row["speaker"] for row in rows],
        "digits": lambda: ["" if int(Path(r["audio_filepath"]).stem.rsplit("_", 1)[1]) >= 10 else "held" for r in rows],
        "readers": lambda: held_chapters(rows),
    }.get(task, lambda: [""] * len(rows))()
    key = "emotion" if task == "emotion" else "speaker"
    return [
        Clip(folder / row["audio_filepath"], min(row["duration"], SECONDS), row[key], row["speaker"], fold)
        for row, fold in zip(rows, held, strict=True)
    ]


def held_chapters(rows: list[dict]) -> list[str]:
    """A fifth of each speaker's chapters, one at least, or of the utterances of those with one, are held out."""
    held = []
    for row in rows:
        same = [other for other in rows if other["speaker"] == row["speaker"]]
        own = sorted({other["chapter"] for other in same})
        late = row["chapter"] in own[: max(len(own) // 5, 1)] if len(own) > 1 else row in same[: len(same) // 5]
        held.append("held" if late else "")
    return held


class Ear:
    """Statistics (N, L, 2, D) of clips' states, and of MFCC, heard once."""

    def __init__(self, model: str, work: Path, threads: int) -> None:
        self.asr = sonant.load(model, lm=False, threads=threads)
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in self.asr.checkpoint.tensors.items()}
        self.name = name_of_encoder(str(self.asr.engine.precision), tensors)
        self.work = work
        work.mkdir(parents=True, exist_ok=True)

    def states(self, clips: list[Clip]) -> np.ndarray:
        return self._kept(clips, self.name, lambda samples: self.asr.features(samples, RATE))

    def cepstra(self, clips: list[Clip]) -> np.ndarray:
        return self._kept(clips, "mfcc", lambda samples: [mfcc(torch.from_numpy(samples)).numpy()])

    def _kept(self, clips: list[Clip], name: str, hear) -> np.ndarray:
        path = self.work / f"{clips[0].path.parents[1].name}-{len(clips)}-{name}.npy"
        if not path.exists():
            found = []
            for clip in clips:
                samples = audio.read(clip.path, RATE, duration=SECONDS)
                layers = hear(np.pad(samples, (0, max(800 - len(samples), 0))))
                found.append([[layer.mean(0), layer.std(0, ddof=1)] for layer in layers])
            np.save(path, np.array(found, np.float32))
            print(f"heard {len(clips)} clips: {path.name}", flush=True)
        return np.load(path)


def folds(clips: list[Clip]) -> Iterator[tuple[list[int], list[int]]]:
    for fold in sorted({clip.fold for clip in clips} - {""}):
        judged = [i for i, clip in enumerate(clips) if clip.fold == fold]
        yield [i for i in range(len(clips)) if clips[i].fold != fold], judged


def ours(clips: list[Clip], states: np.ndarray, work: Path, options: argparse.Namespace) -> tuple[list[str], list]:
    """Labels of all judged clips by the classifier, and what each layer counts in each fold."""
    found, shares = [""] * len(clips), []
    names = [str(clip.path.absolute()) for clip in clips]
    kept = {name: torch.from_numpy(rows[:, 0].copy()) for name, rows in zip(names, states, strict=True)}
    for number, (learnt, judged) in enumerate(folds(clips)):
        run = work / f"fold-{number}"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        lines = [
            {"audio_filepath": names[i], "duration": clips[i].seconds, "offset": 0.0, "label": clips[i].label}
            for i in learnt
        ]
        (run / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        settings = [
            f"data.train={run / 'train.jsonl'}",
            f"model.start={options.model}",
            "data.min_seconds=0.05",
            "batches.seconds=80",
        ]
        settings += [f"run.threads={options.threads}", f"schedule.steps={options.steps}", "run.precision=fp32"]
        trainer = Trainer(read_recipe("classify", settings), run / "run")
        trainer.task.kept = {f"{name} at 0 s": means for name, means in kept.items()}  # by the names of its rows
        trainer.run()
        head = read_classifier(sonant.load(run / "run" / "model").checkpoint)
        assert isinstance(head, ClipHead)
        shares.append([float(share) for share in head.shares])
        for i in judged:
            mixed = head.mix([states[i, layer, :1] for layer in head.layers])  # labels hang on the mean alone
            found[i] = head.classify([mixed], 0.02).label
        print(f"fold {number}: {np.mean([found[i] == clips[i].label for i in judged]):.1%}", flush=True)
    return found, shares


def plain(clips: list[Clip], cepstra: np.ndarray) -> list[str]:
    """Labels by a support vector machine on means and deviations of MFCC; its C is chosen within what is learnt."""
    features, labels = cepstra.reshape(len(clips), -1), np.array([clip.label for clip in clips])
    found = [""] * len(clips)
    for learnt, judged in folds(clips):
        machine = make_pipeline(StandardScaler(), LinearSVC(class_weight="balanced", max_iter=20_000))
        parts = int(np.clip(np.unique(labels[learnt], return_counts=True)[1].min(), 2, 5))
        search = GridSearchCV(machine, {"linearsvc__C": [0.001, 0.01, 0.1, 1.0]}, cv=parts, scoring="recall_macro")
        search.fit(features[learnt], labels[learnt])
        for i, label in zip(judged, search.predict(features[judged]), strict=True):
            found[i] = str(label)
    return found


def label(task: str, clips: list[Clip], ear: Ear, options: argparse.Namespace) -> dict:
    """Both classifiers on the same folds."""
    found, shares = ours(clips, ear.states(clips), options.work / task, options)
    judged = [i for i, clip in enumerate(clips) if clip.fold]
    said, speakers = [clips[i].label for i in judged], [clips[i].speaker for i in judged]
    both = [Labelling(said, [f[i] for i in judged], speakers) for f in (found, plain(clips, ear.cepstra(clips)))]
    mean = np.mean(shares, 0).round(4).tolist() if len({len(s) for s in shares}) == 1 else []
    for theme in ("light", "dark"):
        table = recognition_figure(
            both[0].confusion, both[0].labels, None, {ear.asr.checkpoint.name: mean}, theme=theme
        )
        save_figure(table, options.work / f"{task}-{theme}.png")
    changes = zip(("accuracy", "recall"), both[1].against(both[0]), strict=True)
    told = {name: summary(one) for name, one in zip(("classify", "mfcc_svm"), both, strict=True)}
    if task != "emotion":
        told = {name: {k: v for k, v in one.items() if k not in ("confusion", "recalls")} for name, one in told.items()}
    return {**told, "better_by": {name: asdict(change) for name, change in changes}, "layer_shares": mean}


def judge(vectors: np.ndarray, clips: list[Clip], chosen: np.ndarray) -> Verification:
    """Pairs of the chosen clips."""
    speakers = [clips[i].speaker for i in chosen]
    pairs = all_pairs(speakers)
    same = [speakers[i] == speakers[j] for i, j in pairs.tolist()]
    return verify(list(vectors[chosen]), pairs, same, speakers)


def mean_layer(states: np.ndarray, speakers: list[str]) -> LinearVoice:
    """The layer whose mean, less that of all, tells the speakers of training apart best."""
    best = (2.0, LinearVoice(0, np.zeros(0, np.float32), np.zeros((0, 0), np.float32)))
    size = states.shape[-1]
    matrix = np.concatenate([np.eye(size), np.zeros((size, size))]).astype(np.float32)
    pairs = all_pairs(speakers, most=20_000)
    same = [speakers[i] == speakers[j] for i, j in pairs.tolist()]
    for layer in range(states.shape[1]):
        voice = LinearVoice(layer, states[:, layer].reshape(len(states), -1).mean(0), matrix)
        rate = eer(*verify(list(voice.embed(states)), pairs, same, speakers).curve)
        best = min(best, (rate, voice), key=lambda found: found[0])
    return best[1]


def voices(task: str, clips: list[Clip], ear: Ear, options: argparse.Namespace) -> dict:
    """Equal error rates by heads that were learnt from other speakers."""
    readers = clips_of("readers", options.data, options.clips)
    known = [clip.speaker for clip in readers]
    everyone = np.arange(len(clips))
    states, cepstra = (ear.states(readers), ear.states(clips)), (ear.cepstra(readers), ear.cepstra(clips))
    ways = {"mean_of_layer": mean_layer, "learnt": learn_voices, "mfcc_learnt": learn_voices}
    found, told = {}, {}
    for name, learn in ways.items():
        learnt, judged = cepstra if name.startswith("mfcc") else states
        voice = learn(learnt, known)
        found[name] = judge(voice.embed(judged), clips, everyone)
        told[name] = {**summary(found[name]), "layer": voice.layer, "width": voice.matrix.shape[1]}
    result = {"learnt_from": "librispeech-train", **told}
    result["learnt_less_mfcc"] = asdict(found["mfcc_learnt"].against(found["learnt"]))
    for theme in ("light", "dark"):
        curves = {name.replace("_", " "): one.curve for name, one in found.items()}
        save_figure(recognition_figure(curves=curves, theme=theme), options.work / f"{task}-{theme}.png")
    if task == "accents":
        result["halves"] = halves(clips, states[1], cepstra[1])
    return result


def halves(clips: list[Clip], states: np.ndarray, cepstra: np.ndarray) -> list[dict]:
    """Each half of the speakers, judged by what was learnt from the other half."""
    names = sorted({clip.speaker for clip in clips})
    first = np.array([names.index(clip.speaker) % 2 == 0 for clip in clips])
    told = []
    for learnt in (first, ~first):
        known = [clip.speaker for clip, is_known in zip(clips, learnt, strict=True) if is_known]
        both = [
            judge(learn_voices(rows[learnt], known).embed(rows), clips, np.flatnonzero(~learnt))
            for rows in (states, cepstra)
        ]
        rates = {name: summary(one)["eer"] for name, one in zip(("learnt", "mfcc_learnt"), both, strict=True)}
        told.append({**rates, "learnt_less_mfcc": asdict(both[1].against(both[0]))})
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="built-in")
    parser.add_argument("--tasks", nargs="+", default=list(FOLDERS), choices=FOLDERS)
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--heard", default="librispeech-train", help="whom the encoder heard while it learnt")
    options = parser.parse_args()
    ear = Ear(options.model, options.work, options.threads)
    result: dict = {
        "machine": describe("torch", "scikit-learn"), "marker": "data", "model": ear.asr.checkpoint.name,
        "heard_in_training": options.heard, "clips_a_speaker": options.clips, "steps": options.steps,
    }  # fmt: skip
    for task in options.tasks:
        clips = clips_of(task, options.data, options.clips)
        result[task] = (voices if task in ("voices", "accents") else label)(task, clips, ear, options)
        print(json.dumps({task: {k: v for k, v in result[task].items() if "by" in k or "less" in k}}), flush=True)
    write_result("identify", result)


if __name__ == "__main__":
    main()
