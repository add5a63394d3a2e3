"""Moods and voices from the layers of a model, beside statistics of MFCC: one command, clips heard once and kept.

    python benchmarks/identify.py DATA WORK [--model M] [--tasks emotion digits readers voices accents] [--clips 30]

DATA holds the folders emodb (`emotion`: leave one speaker out), fsdd (`digits`: six speakers, recordings 0 to 9 held
out), librispeech-train (`readers`: a fifth of each speaker's chapters held out, or of the utterances of those with one
chapter), librispeech-train-251, librispeech-dev (`voices`) and speechocean762-train (`accents`). WORK keeps what was
heard, and trainings.

Labels: the recipe `classify` as it comes along, but for its steps; for who speaks also the head of
`sonant identify --learn`, learnt from the clips that are not held out, each speaker being the mean of their vectors.
Beside them a linear support vector machine on means and deviations of MFCC. All see the same folds, and no fold chooses
anything on what it is judged by. Verification: the head of `--learn` from librispeech-train and librispeech-train-251,
beside two over MFCC that learn from the same clips: support vector machines that tell those speakers apart, whose
scores are the vector, and the same head as ours; of `accents`, too, each half of the speakers with heads learnt from
the other half. Of each speaker who is judged at most `--clips` are taken, evenly, eight seconds of each.
Written to results/identify.json, pictures to WORK.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
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
from sonant.pooling import Layer, Moments, all_layers
from sonant.train.clusters import mfcc
from sonant.train.labelling import Labelling
from sonant.train.linear import PIECE, learn_voices, statistics_of
from sonant.train.loop import Trainer
from sonant.train.recipe import read_recipe
from sonant.train.recognition import summary, verify
from sonant.train.states import name_of_encoder
from sonant.train.verification import Verification, all_pairs

from machine import describe, write_result  # isort: skip

RATE, SECONDS, FRAME = 16000, 8.0, 0.02
FOLDERS = {
    "emotion": "emodb", "digits": "fsdd", "readers": "librispeech-train", "voices": "librispeech-dev",
    "accents": "speechocean762-train",
}  # fmt: skip
KNOWN = ("librispeech-train", "librispeech-train-251")
"""Whose speakers verification learns from."""
CEPSTRA = Layer("mfcc", 0)
Statistics = dict[Layer, np.ndarray]
"""Means and deviations (N, 2 C) of each layer."""


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


def all_clips(folder: Path) -> list[Clip]:
    """Everything that is said in a folder."""
    rows = map(json.loads, (folder / "manifest.jsonl").open(encoding="utf-8"))
    return [Clip(folder / row["audio_filepath"], row["duration"], row["speaker"], row["speaker"], "") for row in rows]


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
    """Statistics of the layers of clips, and of MFCC, heard once."""

    def __init__(self, model: str, work: Path, threads: int) -> None:
        self.asr = sonant.load(model, lm=False, threads=threads)
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in self.asr.checkpoint.tensors.items()}
        self.name = name_of_encoder(str(self.asr.engine.precision), tensors)
        self.moments = Moments(self.asr.checkpoint, all_layers(self.asr.checkpoint))
        self.work = work
        work.mkdir(parents=True, exist_ok=True)

    def hear(self, clips: list[Clip], piece: float = SECONDS) -> tuple[Statistics, list[int]]:
        """Every `piece` seconds of clips, of 8 s of each unless these are shorter, and of which clip each is."""

        def statistics(samples: np.ndarray) -> list[np.ndarray]:
            return statistics_of(self.asr.hear(self.moments, samples, RATE), self.moments, round(piece / FRAME))

        found, places = self._kept(clips, piece, self.name, statistics)
        return dict(zip(self.moments.layers, found, strict=True)), places

    def cepstra(self, clips: list[Clip], piece: float = SECONDS) -> tuple[Statistics, list[int]]:
        """The same of MFCC."""

        def statistics(samples: np.ndarray) -> list[np.ndarray]:
            rows, length = mfcc(torch.from_numpy(samples)).numpy(), round(piece / FRAME)
            parts = [part for i in range(0, len(rows), length) if len(part := rows[i : i + length]) >= length / 2]
            return [np.stack([np.concatenate([part.mean(0), part.std(0)]) for part in parts or [rows]])]

        (found,), places = self._kept(clips, piece, "mfcc", statistics)
        return {CEPSTRA: found}, places

    def _kept(
        self, clips: list[Clip], piece: float, name: str, hear: Callable[[np.ndarray], list[np.ndarray]]
    ) -> tuple[list[np.ndarray], list[int]]:
        """Arrays (N, 2 C) of what `hear` makes of each clip, and of which clip each row is."""
        path = self.work / f"{clips[0].path.parents[1].name}-{len(clips)}-{piece:g}-{name}.npz"
        if not path.exists():
            found: list[list[np.ndarray]] = []
            for clip in clips:
                samples = audio.read(clip.path, RATE, duration=SECONDS if piece == SECONDS else None)
                found.append(hear(np.pad(samples, (0, max(800 - len(samples), 0)))))
            counts = np.array([len(each[0]) for each in found])
            np.savez(path, *map(np.concatenate, zip(*found, strict=True)), counts=counts)
            print(f"heard {len(clips)} clips: {path.name}", flush=True)
        with np.load(path) as kept:
            counts = kept["counts"].tolist()
            arrays = [kept[f"arr_{i}"] for i in range(len(kept.files) - 1)]
        return arrays, [place for place, count in enumerate(counts) for _ in range(count)]


def folds(clips: list[Clip]) -> Iterator[tuple[list[int], list[int]]]:
    for fold in sorted({clip.fold for clip in clips} - {""}):
        judged = [i for i, clip in enumerate(clips) if clip.fold == fold]
        yield [i for i in range(len(clips)) if clips[i].fold != fold], judged


def ours(clips: list[Clip], heard: Statistics, work: Path, options: argparse.Namespace) -> tuple[list[str], list]:
    """Labels of all judged clips by the classifier, and what each layer counts in each fold."""
    layers = sorted(at for at in heard if at.kind == "layer")
    states = np.stack([np.split(heard[at], 2, axis=1)[0] for at in layers], 1)  # means (N, L, D): labels hang on these
    found, shares = [""] * len(clips), []
    names = [str(clip.path.absolute()) for clip in clips]
    kept = {name: torch.from_numpy(rows.copy()) for name, rows in zip(names, states, strict=True)}
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
            mixed = head.mix([states[i, layer][None] for layer in head.layers])
            found[i] = head.classify([mixed], 0.02).label
        print(f"fold {number}: {np.mean([found[i] == clips[i].label for i in judged]):.1%}", flush=True)
    return found, shares


def enrolled(clips: list[Clip], heard: Statistics) -> list[str]:
    """Speakers of all judged clips: whose mean vector is nearest, by a head that was learnt from the other clips."""
    found = [""] * len(clips)
    for learnt, judged in folds(clips):
        known = np.array([clips[i].speaker for i in learnt])
        vectors = learn_voices({at: rows[learnt] for at, rows in heard.items()}, known.tolist(), learnt).embed(heard)
        names = np.unique(known)
        means = np.stack([vectors[learnt][known == name].mean(0) for name in names])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        for i in judged:
            found[i] = str(names[(means @ vectors[i]).argmax()])
    return found


def convolved(heard: Statistics) -> Statistics:
    """What `sonant identify --learn` looks at."""
    return {at: rows for at, rows in heard.items() if at.kind == "conv"}


def support_vectors(features: np.ndarray, labels: np.ndarray) -> GridSearchCV:
    """Linear support vector machines, one a label; their C is chosen within what is learnt."""
    machine = make_pipeline(StandardScaler(), LinearSVC(class_weight="balanced", max_iter=20_000))
    parts = int(np.clip(np.unique(labels, return_counts=True)[1].min(), 2, 5))
    search = GridSearchCV(machine, {"linearsvc__C": [0.001, 0.01, 0.1, 1.0]}, cv=parts, scoring="recall_macro")
    return search.fit(features, labels)


def plain(clips: list[Clip], cepstra: Statistics) -> list[str]:
    """Labels by a support vector machine on means and deviations of MFCC."""
    features, labels = cepstra[CEPSTRA], np.array([clip.label for clip in clips])
    found = [""] * len(clips)
    for learnt, judged in folds(clips):
        machine = support_vectors(features[learnt], labels[learnt])
        for i, label in zip(judged, machine.predict(features[judged]), strict=True):
            found[i] = str(label)
    return found


def label(task: str, clips: list[Clip], ear: Ear, options: argparse.Namespace) -> dict:
    """All classifiers on the same folds."""
    heard, _ = ear.hear(clips)
    found, shares = ours(clips, heard, options.work / task, options)
    ways = {"classify": found, "mfcc_svm": plain(clips, ear.cepstra(clips)[0])}
    if task != "emotion":
        ways["enrolled"] = enrolled(clips, convolved(heard))
    judged = [i for i, clip in enumerate(clips) if clip.fold]
    said, speakers = [clips[i].label for i in judged], [clips[i].speaker for i in judged]
    all_ways = {name: Labelling(said, [labels[i] for i in judged], speakers) for name, labels in ways.items()}
    mean = np.mean(shares, 0).round(4).tolist() if len({len(s) for s in shares}) == 1 else []
    first = all_ways["classify"]
    for theme in ("light", "dark"):
        table = recognition_figure(first.confusion, first.labels, None, {ear.asr.checkpoint.name: mean}, theme=theme)
        save_figure(table, options.work / f"{task}-{theme}.png")
    told = {name: summary(one) for name, one in all_ways.items()}
    if task != "emotion":
        told = {name: {k: v for k, v in one.items() if k not in ("confusion", "recalls")} for name, one in told.items()}
    for name in ways.keys() - {"mfcc_svm"}:
        changes = zip(("accuracy", "recall"), all_ways["mfcc_svm"].against(all_ways[name]), strict=True)
        told[name]["better_by"] = {measure: asdict(change) for measure, change in changes}
    return {**told, "layer_shares": mean}


def judge(vectors: np.ndarray, clips: list[Clip], chosen: np.ndarray) -> Verification:
    """Pairs of the chosen clips."""
    speakers = [clips[i].speaker for i in chosen]
    pairs = all_pairs(speakers)
    same = [speakers[i] == speakers[j] for i, j in pairs.tolist()]
    return verify(list(vectors[chosen]), pairs, same, speakers)


def vectors_by(
    learnt: Mapping[str, Statistics], speakers: list[str], places: list[int], judged: Mapping[str, Statistics]
) -> dict:
    """The vectors that clips are told apart by, learnt in three ways, and what there is to say of each way."""
    found: dict[str, tuple[np.ndarray, dict]] = {}
    for name, kind in (("learnt", "layers"), ("mfcc_learnt", "mfcc")):
        voice = learn_voices(learnt[kind], speakers, places)
        layers = [str(at) for at in voice.layers]
        found[name] = (
            voice.embed(judged[kind]),
            {"layers": layers, "main": voice.bands.main, "main_share": voice.bands.share, "held_out_eer": voice.eer},
        )
    machine = support_vectors(learnt["mfcc"][CEPSTRA], np.array(speakers))
    scores = machine.decision_function(judged["mfcc"][CEPSTRA])
    scores /= np.linalg.norm(scores, axis=1, keepdims=True)
    found["mfcc_svm"] = scores.astype(np.float32), {"C": machine.best_params_["linearsvc__C"]}
    return found


def compared(found: dict, clips: list[Clip], chosen: np.ndarray) -> tuple[dict[str, Verification], dict]:
    """Equal error rates over pairs of the chosen clips, and by how much those of MFCC are higher than ours."""
    all_ways = {name: judge(vectors, clips, chosen) for name, (vectors, _) in found.items()}
    told = {name: {**summary(one), **found[name][1]} for name, one in all_ways.items()}
    less = {name: asdict(all_ways[name].against(all_ways["learnt"])) for name in ("mfcc_svm", "mfcc_learnt")}
    return all_ways, {**told, "learnt_less": less}


def voices(task: str, clips: list[Clip], ear: Ear, options: argparse.Namespace) -> dict:
    """Equal error rates by heads that were learnt from other speakers."""
    judged = {"layers": convolved(ear.hear(clips)[0]), "mfcc": ear.cepstra(clips)[0]}
    everyone = [clip for name in KNOWN for clip in all_clips(options.data / name)]
    (layers, places), (cepstra, same_places) = ear.hear(everyone, PIECE), ear.cepstra(everyone, PIECE)
    assert places == same_places
    learnt, speakers = {"layers": convolved(layers), "mfcc": cepstra}, [everyone[place].speaker for place in places]
    all_ways, told = compared(vectors_by(learnt, speakers, places, judged), clips, np.arange(len(clips)))
    for theme in ("light", "dark"):
        curves = {name.replace("_", " "): one.curve for name, one in all_ways.items()}
        save_figure(recognition_figure(curves=curves, theme=theme), options.work / f"{task}-{theme}.png")
    result = {"learnt_from": list(KNOWN), "speakers": len(set(speakers)), **told}
    if task == "accents":
        result["halves"] = halves(clips, judged)
    return result


def halves(clips: list[Clip], heard: Mapping[str, Statistics]) -> list[dict]:
    """Each half of the speakers, judged by what was learnt from the other half."""
    names = sorted({clip.speaker for clip in clips})
    first = np.array([names.index(clip.speaker) % 2 == 0 for clip in clips])
    told = []
    for half in (first, ~first):
        places = np.flatnonzero(half).tolist()
        learnt = {kind: {at: rows[half] for at, rows in statistics.items()} for kind, statistics in heard.items()}
        found = vectors_by(learnt, [clips[i].speaker for i in places], places, heard)
        told.append(compared(found, clips, np.flatnonzero(~half))[1])
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
    parser.add_argument("--heard", default=", ".join((*KNOWN, FOLDERS["accents"])), help="whom the encoder heard")
    options = parser.parse_args()
    ear = Ear(options.model, options.work, options.threads)
    result: dict = {
        "machine": describe("torch", "scikit-learn"), "marker": "data", "model": ear.asr.checkpoint.name,
        "heard_in_training": options.heard, "clips_a_speaker": options.clips, "steps": options.steps,
    }  # fmt: skip
    for task in options.tasks:
        clips = clips_of(task, options.data, options.clips)
        result[task] = (voices if task in ("voices", "accents") else label)(task, clips, ear, options)
        brief = {k: v for k, v in result[task].items() if "halves" not in k and "shares" not in k}
        print(json.dumps({task: brief})[:3000], flush=True)
    write_result("identify", result)


if __name__ == "__main__":
    main()
