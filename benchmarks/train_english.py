"""Train, tune and write the English model that ships in the package: from manifests to its folder, in one command.

    python benchmarks/train_english.py DATA WORK FOLDER [--threads 2] [--set optim.lr=1e-3]... [--run RUN]

DATA holds folders with a manifest.jsonl each (SPEECH below, DEV), and texts for the language model in text/. WORK keeps
the runs: the same command goes on where it stopped. FOLDER, a new one, gets the model with its language model, and a
card with the error rates on DEV: greedily and with the language model, by speaker, and under white noise. RUN takes a
training that is there already, as far as it has come.
"""

from __future__ import annotations

import argparse
import json
import lzma
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from sonant import audio

from pretraining import metrics, scores  # isort: skip  # this folder's script

SPEECH = ("librispeech-train", "librispeech-train-251", "speechocean762-train", "ljspeech", "kokoro-en")
VOICES = SPEECH[:3]
"""Whose speakers voices are learnt from; those of the second are among those of the first's corpus."""
DEV = "librispeech-dev"
UNHEARD = "8226"
"""A speaker whose word times are known: they judge times, so the model must not have heard them."""
TEXTS = ("english-24m.txt.xz", "train-clean-100.txt.gz")
WORDS, ORDER, PRUNE = 90_000, 4, "0,1,2,3"
"""What brings the small language model to 17 MB: the most frequent words; n-grams seen more than so often."""
NOISE_DB = 10.0
NOTE = "The built-in model knows read English, in capitals and without punctuation; pass --model for other speech."
CARD = """---
language: en
license: cc-by-4.0
pipeline_tag: automatic-speech-recognition
---
# The built-in model: read English

A wav2vec 2.0 model of {parameters:.1f} million parameters in Hugging Face's layout, with a 4-gram language model of
{words:,} words: `sonant` works offline from the first minute. It writes capital letters and apostrophes.

| {dev} ({hours:.1f} h, {speakers} speakers never heard) | word errors | letter errors |
|---|---|---|
{rates}

| speaker | greedy | with the language model |
|---|---|---|
{by_speaker}

The weights of the language model were chosen on these very utterances; chosen on one half of them and judged on the
other, word errors are {held_out:.1%}.

**Training.** By CTC from random weights with an auxiliary regression of log-mel bands, {heard:.0f} hours of audio heard
({steps} steps of the recipe `english-small`) of {labelled:.1f} hours: LibriSpeech train-clean-100 (parts; CC BY 4.0),
speechocean762 (children and adults with a Mandarin accent; free for any use), LJ Speech (part; public domain), and
sentences spoken by the synthesiser Kokoro-82M (Apache-2.0). {silent:.0f} minutes of noises, chords and many voices at
once teach it to write nothing there. Speeds, levels, bands, rooms and noise vary. The language model: books in the
public domain, none of those that LibriSpeech's test-clean was read from, and the transcripts of train-clean-100. One
command does it all: `benchmarks/train_english.py`.

| hours of audio heard | letter errors, greedy | word errors, greedy |
|---|---|---|
{curve}

Errors still fell when these weights were taken: more hours would move them next, then more speakers.

**Voices.** A head in closed form tells voices apart (`sonant identify`, `sonant transcribe --speakers`): learnt by
`sonant identify --learn` from {people} speakers of LibriSpeech train-clean-100 and speechocean762, it has an equal
error rate of {eer:.1%} between all utterances of {dev}.

**Limits.** It has heard read sentences close to the microphone, mostly by North American adults. Expect more errors for
conversations, other accents, children, telephones, far microphones, music behind the voice, and names. It has no
digits, no punctuation and no other language.
"""


def sonant(*arguments: str | Path) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "sonant", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def rows_of(folder: Path) -> list[dict]:
    """A manifest's rows, with whole paths and speakers that no other folder has."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    for row in rows:
        row["audio_filepath"] = str((folder / row["audio_filepath"]).resolve())
    return [row | {"speaker": f"{folder.name}/{row['speaker']}"} for row in rows if row["speaker"] != UNHEARD]


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def noisy(rows: list[dict], folder: Path) -> list[dict]:
    """The same utterances under white noise, always the same."""
    folder.mkdir(exist_ok=True)
    made = []
    for number, row in enumerate(rows):
        path = folder / f"{number}.flac"
        if not path.exists():
            samples = audio.read(row["audio_filepath"])
            noise = np.random.default_rng(number).standard_normal(len(samples), dtype=np.float32)
            noise *= np.sqrt(np.mean(samples**2)) * 10 ** (-NOISE_DB / 20)
            soundfile.write(path, np.clip(samples + noise, -1, 1), 16000)
        made.append(row | {"audio_filepath": str(path)})
    return made


def nothing_said(rows: list[dict], folder: Path, count: int = 400) -> list[dict]:
    """Clips of noises, hum, chords and many voices at once, with nothing to write: what a model must keep silent at.

    They get the names of speakers, so that they are joined with what these say.
    """
    folder.mkdir(exist_ok=True)
    made = []
    for number in range(count):
        random = np.random.default_rng([7, number])
        path, seconds = folder / f"{number}.flac", float(random.uniform(2, 10))
        if not path.exists():
            sound = (voices(rows, seconds, random) if number % 5 < 2 else noise(seconds, random)).astype(np.float32)
            level = 10 ** (random.uniform(-50, -20) / 20) / max(float(sound.std()), 1e-9)
            soundfile.write(path, np.clip(sound * level, -1, 1), 16000)
        speaker = rows[int(random.integers(len(rows)))]["speaker"]
        made.append({"audio_filepath": str(path), "duration": seconds, "text": "", "speaker": speaker})
    return made


def voices(rows: list[dict], seconds: float, random: np.random.Generator) -> np.ndarray:
    """So many people talking at once that nobody is understood."""
    sound = np.zeros(round(seconds * 16000))
    for _ in range(int(random.integers(4, 15))):
        said = audio.read(rows[int(random.integers(len(rows)))]["audio_filepath"])
        gain = 10 ** (random.uniform(-4, 4) / 20) / max(float(said.std()), 1e-6)
        sound += gain * np.resize(np.roll(said, int(random.integers(len(said)))), len(sound))
    return sound


def noise(seconds: float, random: np.random.Generator) -> np.ndarray:
    """White, pink or brown noise, a hum with its overtones, chords with or without a beat, or silence."""
    length = round(seconds * 16000)
    clock, white = np.arange(length) / 16000, random.standard_normal(length)
    kind = int(random.integers(8))
    if kind < 3:  # power falls by 0, 3 or 6 dB an octave
        steep = np.maximum(np.fft.rfftfreq(length, 1 / 16000), random.uniform(10, 60)) ** (-kind / 2)
        return np.fft.irfft(np.fft.rfft(white) * steep, length)
    if kind == 3:
        base = random.choice([50, 60, random.uniform(80, 400)])
        return sum(random.uniform(0, 1) * np.sin(2 * np.pi * base * k * clock) for k in range(1, 8)) + 0.01 * white
    if kind == 4:
        return white * (random.random() < 0.5)
    beat = random.uniform(0.25, 1.0)
    sound = (random.random() < 0.5) * 0.3 * white * np.exp(-(clock % (beat / 2)) * 60)
    root = random.uniform(90, 300)
    for bar in range(int(seconds / (2 * beat)) + 1):
        played = (clock // (2 * beat)).astype(int) == bar
        for step in random.choice([0, 2, 3, 4, 5, 7, 9, 10, 12, 14, 16], int(random.integers(1, 5)), replace=False):
            pitch = root * 2 ** (step / 12)
            for k in range(1, int(random.integers(2, 9))):
                sound = sound + played * np.sin(2 * np.pi * pitch * k * clock) / k ** random.uniform(0.7, 2)
    return sound * (np.exp(-(clock % beat) * random.uniform(0, 6)) if random.random() < 0.7 else 1.0)


def build_lm(texts: Path, work: Path) -> Path:
    model, words = work / "english.lm", work / "words.txt"
    if not model.exists():
        counts: Counter[str] = Counter()
        with lzma.open(texts / TEXTS[0], "rt", encoding="utf-8") as lines:
            for line in lines:
                counts.update(line.split())
        words.write_text("\n".join(sorted(word for word, _ in counts.most_common(WORDS))) + "\n", encoding="utf-8")
        sonant("lm", "build", *(texts / name for name in TEXTS), "--output", model, "--order", str(ORDER),
               "--prune", PRUNE, "--vocabulary", words, "--small")  # fmt: skip
    return model


def evaluated(manifest: Path, model: Path, *options: str) -> dict:
    return json.loads(sonant("evaluate", manifest, "--model", model, "--format", "json", "--by", "speaker", *options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "work", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    rows = [row for name in SPEECH for row in rows_of(options.data / name)]
    dev_rows = rows_of(options.data / DEV)
    rows += nothing_said(rows, work / "nothing")
    train, dev = write_rows(work / "train.jsonl", rows), write_rows(work / "dev.jsonl", dev_rows)
    run = options.run or work / "run"
    if not options.run:
        settings = [f"data.train={train}", f"data.dev={dev}", f"run.threads={options.threads}", *options.set]
        sonant("train", "english-small", "--output", run, *(part for each in settings for part in ("--set", each)))
    lm = build_lm(options.data / "text", work)
    people = [row for name in VOICES for row in rows_of(options.data / name)]
    people = [row | {"speaker": row["speaker"].replace("train-251/", "train/")} for row in people]
    text, voiced = work / "text", work / "voiced"
    if not voiced.exists():
        sonant("convert", run, text)
        sonant("identify", "--learn", write_rows(work / "people.jsonl", people), "--model", text, "--output", voiced,
               "--precision", "fp32", "--threads", str(options.threads))  # fmt: skip
    sonant("convert", voiced, options.folder, "--dtype", "float16")
    config = json.loads((options.folder / "config.json").read_text(encoding="utf-8"))
    config["sonant"] = config.get("sonant", {}) | {"note": NOTE, "language": "en"}
    (options.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tuned = json.loads(sonant("lm", "tune", dev, "--model", options.folder, "--lm", lm, "--format", "json"))
    hard = write_rows(work / "noisy.jsonl", noisy(dev_rows, work / "noisy"))
    found = {
        (name, way): evaluated(manifest, options.folder, *(["--greedy"] if way == "greedy" else []))
        for name, manifest in (("clean", dev), (f"white noise, {NOISE_DB:g} dB", hard))
        for way in ("greedy", "with the language model")
    }
    judged = json.loads(sonant("evaluate", dev, "--model", options.folder, "--task", "speaker", "--format", "json"))
    known = {"people": len({row["speaker"] for row in people}), "eer": judged["eer"]["value"]}
    write_card(options.folder, run, found, tuned["held_out"], rows, dev_rows, known)


def curve(run: Path, points: int = 7) -> list[dict]:
    """Error rates after so many hours heard, each time about half as much more than the time before."""
    found = scores(run)
    hours = [score["hours"] for score in found]
    places = np.searchsorted(hours, hours[-1] / 1.5 ** np.arange(points)[::-1])
    return [found[i] for i in sorted(set(places.tolist()))]


def write_card(
    folder: Path,
    run: Path,
    found: dict[tuple[str, str], dict],
    held_out: float,
    rows: list[dict],
    dev_rows: list[dict],
    voices: dict,
) -> None:
    from sonant.checkpoints import open_checkpoint

    last = [line for line in metrics(run) if "hours" in line][-1]
    greedy, helped = (found["clean", way]["by"]["speaker"] for way in ("greedy", "with the language model"))
    card = CARD.format(
        **voices,
        parameters=sum(tensor.size for name, tensor in open_checkpoint(folder).tensors.items() if "voice." not in name)
        / 1e6,
        words=WORDS,
        dev=DEV,
        hours=sum(row["duration"] for row in dev_rows) / 3600,
        speakers=len(greedy),
        rates="\n".join(
            f"| {name}, {way} | {rates['wer']['value']:.1%} | {rates['cer']['value']:.1%} |"
            for (name, way), rates in found.items()
        ),
        by_speaker="\n".join(
            f"| {name.rsplit('/')[-1]} | {greedy[name]['wer']['value']:.1%} | {helped[name]['wer']['value']:.1%} |"
            for name in sorted(greedy)
        ),
        held_out=held_out,
        curve="\n".join(f"| {at['hours']:.0f} | {at['cer']:.1%} | {at['wer']:.1%} |" for at in curve(run)),
        heard=last["hours"],
        steps=last["step"],
        labelled=sum(row["duration"] for row in rows if row["text"]) / 3600,
        silent=sum(row["duration"] for row in rows if not row["text"]) / 60,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
