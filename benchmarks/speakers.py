"""Who says which word of conversations put together from LibriSpeech: told apart, counted, and named by enrolment.

    python benchmarks/speakers.py DATA [MODEL] [EAR] [--conversations 12] [--seconds 120] [--seed 1] [--threads 2]

DATA is a folder of utterances with a manifest.jsonl that has their speakers; MODEL transcribes, EAR tells
voices apart, both the built-in model where none is given.
Each conversation has one to four speakers who take turns of one utterance each, with silences of 0.1 to 0.7 s between
them; each speaker has a loudness of their own. A word is right whose speaker is who speaks at its middle, speakers told
apart being matched one to one to those who there are, as best fits. Enrolled are all speakers but one, by two other
utterances each; that one is right where `unknown`. Written to results/speakers.json, intervals by resampling
conversations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

import sonant
from sonant import audio
from sonant.identify import read_voice_head
from sonant.speakers import UNKNOWN, label_speakers
from sonant.voices import Voices

from machine import describe, write_result  # isort: skip

RATE = 16000


@dataclass
class Conversation:
    samples: np.ndarray
    turns: list[tuple[float, float, str]]
    """Start and end in seconds, and the speaker."""
    enrolment: dict[str, list[np.ndarray]]

    def speaker_at(self, seconds: float) -> str:
        return min(self.turns, key=lambda turn: max(turn[0] - seconds, seconds - turn[1]))[2]


def converse(by_speaker: dict[str, list[Path]], people: int, seconds: float, seed: int) -> Conversation:
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.choice(sorted(by_speaker), people, replace=False)]
    files = {name: [by_speaker[name][i] for i in rng.permutation(len(by_speaker[name]))] for name in names}
    level = {name: 10 ** rng.uniform(-0.3, 0.0) for name in names}
    parts, turns, clock, last = [], [], 0.0, None
    while clock < seconds:
        name = str(rng.choice([one for one in names if one != last] or names))
        samples = level[name] * audio.read(files[name].pop(), RATE)
        silence = np.zeros(int(rng.uniform(0.1, 0.7) * RATE), np.float32)
        turns.append((clock, clock + len(samples) / RATE, name))
        parts += [samples, silence]
        clock += (len(samples) + len(silence)) / RATE
        last = name
    enrolment = {name: [audio.read(files[name].pop(), RATE) for _ in range(2)] for name in names}
    return Conversation(np.concatenate(parts).astype(np.float32), turns, enrolment)


def share_right(talk: sonant.Transcript, truth: Conversation) -> float:
    """The share of words with the right speaker, names matched as best fits."""
    pairs = Counter((word.speaker, truth.speaker_at((word.start + word.end) / 2)) for word in talk.words)
    found, real = (sorted({pair[i] for pair in pairs}) for i in (0, 1))
    short, long = sorted((found, real), key=len)
    best = max(
        sum(pairs[pair if short is found else pair[::-1]] for pair in zip(short, chosen, strict=True))
        for chosen in permutations(long, len(short))
    )
    return best / max(len(talk.words), 1)


def share_named(talk: sonant.Transcript, truth: Conversation, stranger: str) -> tuple[float, float]:
    """The shares of words of those enrolled, and of the stranger, with the right name."""
    right: dict[bool, list[bool]] = defaultdict(list)
    for word in talk.words:
        real = truth.speaker_at((word.start + word.end) / 2)
        right[real == stranger].append(word.speaker == (UNKNOWN if real == stranger else real))
    return tuple(float(np.mean(right[strange])) if right[strange] else 1.0 for strange in (False, True))


def interval(values: list[float]) -> list[float]:
    rng = np.random.default_rng(0)
    means = [np.mean(rng.choice(values, len(values))) for _ in range(2000)]
    return [round(float(np.mean(values)), 4), *(round(float(q), 4) for q in np.quantile(means, (0.025, 0.975)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", nargs="?", default="built-in")
    parser.add_argument("ear", nargs="?", default="built-in")
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--threshold", type=float, help="of names; that of EAR if not given")
    parser.add_argument("--seed", type=int, default=1, help="defaults were chosen on 0")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    by_speaker: dict[str, list[Path]] = defaultdict(list)
    for line in (given.data / "manifest.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        by_speaker[row["speaker"]].append(given.data / row["audio_filepath"])
    asr = sonant.load(given.model, threads=given.threads, lm=False)
    ear = sonant.load(given.ear, threads=given.threads)
    shares: dict[str, list[float]] = defaultdict(list)
    for people in (1, 2, 3, 4):
        for seed in range(given.conversations):
            truth = converse(by_speaker, people, given.seconds, 1000 * given.seed + 100 * people + seed)
            talk = asr.transcribe(truth.samples, RATE)
            auto = label_speakers(talk, truth.samples, ear, RATE)
            shares[f"{people} auto"].append(share_right(auto, truth))
            shares[f"{people} found"].append(len({word.speaker for word in auto.words}))
            told = label_speakers(talk, truth.samples, ear, RATE, speakers=people)
            shares[f"{people} told"].append(share_right(told, truth))
            stranger, *friends = truth.enrolment
            with tempfile.TemporaryDirectory() as folder:
                voices = Voices(read_voice_head(ear.checkpoint).fingerprint)
                for name in friends or [stranger]:
                    for samples in truth.enrolment[name]:
                        voices.add(name, ear.embed(samples, RATE))
                voices.save(Path(folder) / "v.npz")
                store = Path(folder) / "v.npz"
                named = label_speakers(talk, truth.samples, ear, RATE, voices=store, threshold=given.threshold)
            known, strange = share_named(named, truth, stranger if friends else "")
            shares[f"{people} enrolled"].append(known)
            if friends:
                shares[f"{people} stranger"].append(strange)
        print({key: interval(values) for key, values in shares.items() if key.startswith(str(people))}, flush=True)
    result = {"question": __doc__, "machine": describe(), "settings": vars(given) | {"data": given.data.name}}
    result["shares"] = {key: interval(values) for key, values in shares.items()}
    write_result("speakers", result)


if __name__ == "__main__":
    main()
