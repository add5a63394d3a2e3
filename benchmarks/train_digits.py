"""Train the small digits-and-letters model that the tests hear with, on a CPU.

    python benchmarks/train_digits.py FSDD SPOKEN RUN
    python benchmarks/train_digits.py FSDD SPOKEN RUN --ship FOLDER

FSDD is a folder with the free spoken digit dataset, SPOKEN one with the sentences of `digit_sentences.py` as a speech
synthesiser spoke them; each has a manifest.jsonl. RUN keeps the state: the same command goes on where it stopped. Rows
are made on the fly: random strings of one speaker's digits, and sentences one after the other, at other speeds, levels,
bands and distances. Held out are FSDD's recordings 0 to 4 of each speaker and digit, and the sentences marked `test`.

What got it going: a spectrum taught to the convolutions first (an auxiliary regression of log-mel bands), clean and
short rows first, small batches, few distinct lengths (oneDNN prepares a primitive a shape).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
import torch.nn.functional as F

from sonant import audio
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.model.config import EncoderConfig
from sonant.model.heads import CtcModel
from sonant.types import Vocabulary

RATE = 16000
TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
INDEX = {token: i for i, token in enumerate(TOKENS)}
CONFIG = EncoderConfig(
    conv_dim=(48, 64, 96, 128, 192, 256, 256),
    conv_bias=True,
    feat_extract_norm="layer",
    hidden_size=192,
    num_hidden_layers=6,
    num_attention_heads=3,
    intermediate_size=768,
    num_conv_pos_embeddings=64,
    do_stable_layer_norm=True,
    vocab_size=len(TOKENS),
)
LENGTHS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 18.0)
"""Seconds of a row; a batch has one of them."""
BATCH_SECONDS = 16.0
"""Seconds of a batch; small ones leave the plateau of blanks sooner, by steps rather than by hours."""
NOTE = (
    "This model knows spoken English digits, some spelled letters and commands, and nothing else; "
    "pass --model for other speech."
)


@dataclass(frozen=True)
class Clip:
    samples: np.ndarray
    text: str
    speaker: str


def read_clips(folder: Path, keep) -> list[Clip]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    return [Clip(audio.read(folder / r["audio_filepath"]), r["text"].upper(), r["speaker"]) for r in rows if keep(r)]


def held_out(row: dict) -> bool:
    """FSDD's recordings 0 to 4, and rows of the split `test`."""
    if "split" in row:
        return row["split"] != "train"
    return int(Path(row["audio_filepath"]).stem.rsplit("_", 1)[1]) < 5


class Rows:
    """Endless training rows."""

    def __init__(self, digits: list[Clip], utterances: list[Clip], generator: np.random.Generator) -> None:
        self.digits: dict[str, list[Clip]] = {}
        for clip in digits:
            self.digits.setdefault(clip.speaker, []).append(clip)
        self.speakers = sorted(self.digits)
        self.utterances = utterances
        self.random = generator
        self.hardship = 0.0
        """Share of rows that are spoilt: the clean ones teach letters first."""

    def row(self, seconds: float) -> tuple[np.ndarray, str]:
        """Samples of at most so many seconds, and what is said in them."""
        r, size = self.random, int(seconds * RATE)
        parts: list[np.ndarray] = []
        texts: list[str] = []
        room = size
        strings = r.random() < 0.3
        clips = self.digits[self.speakers[r.integers(len(self.speakers))]] if strings else self.utterances
        speed = math.exp(r.uniform(-0.18, 0.18))
        for _ in range(40):
            clip = clips[r.integers(len(clips))]
            samples = soxr.resample(clip.samples, speed, 1.0, quality="QQ").astype(np.float32)
            gap = np.zeros(int(r.uniform(0.0, 0.35 if strings else 1.0) * RATE), np.float32)
            if len(samples) + len(gap) > room:
                if texts or len(samples) > size:
                    if texts:
                        break
                    continue
                gap = gap[:0]
            level = 10 ** r.uniform(-0.35, 0.35)  # speakers take turns, near and far
            parts += [gap, samples * level]
            texts.append(clip.text)
            room -= len(samples) + len(gap)
        if not texts:
            return self.row(seconds)
        x = np.concatenate(parts)
        return self.spoil(x) if r.random() < self.hardship else x, " ".join(texts)

    def spoil(self, x: np.ndarray) -> np.ndarray:
        """Another room, band, noise and level."""
        r = self.random
        if r.random() < 0.3:
            decay = np.exp(-np.arange(int(0.3 * RATE)) / (RATE * r.uniform(0.01, 0.08)))
            room = r.standard_normal(len(decay)) * decay * r.uniform(0.02, 0.2)
            room[0] = 1.0
            size = len(x) + len(room) - 1
            x = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(room, size), size)[: len(x)]
        if r.random() < 0.4:
            spectrum = np.fft.rfft(x)
            hertz = np.linspace(0, RATE / 2, len(spectrum))
            high, low = r.uniform(2800, 7800), r.uniform(0, 300)
            tilt = (np.maximum(hertz, 50) / 1000) ** r.uniform(-0.4, 0.4)
            x = np.fft.irfft(
                spectrum * tilt / (1 + (hertz / high) ** 16) / (1 + (low / np.maximum(hertz, 1)) ** 8), len(x)
            )
        x = x / (x.std() + 1e-6)
        if r.random() < 0.7:
            noise = r.standard_normal(len(x))
            if r.random() < 0.5:
                noise = np.convolve(noise, np.exp(-np.arange(64) / r.uniform(1, 20)), "same")
            x = x + noise / noise.std() * 10 ** (-r.uniform(8, 40) / 20)
        return x.astype(np.float32)


def normalise(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-7)


def make_batch(rows: Rows, longest: float) -> tuple[torch.Tensor, torch.Tensor, list[str], torch.Tensor]:
    seconds = float(rows.random.choice([s for s in LENGTHS if s <= longest]))
    made = [rows.row(seconds) for _ in range(max(1, round(BATCH_SECONDS / seconds)))]
    x = np.zeros((len(made), int(seconds * RATE)), np.float32)
    for i, (samples, _) in enumerate(made):
        x[i, : len(samples)] = normalise(samples)
    lengths = torch.tensor([len(samples) for samples, _ in made])
    num_frames = torch.tensor([CONFIG.num_frames(n) for n in lengths.tolist()])
    mask = span_mask(num_frames, CONFIG.num_frames(x.shape[1]), rows.random)
    return torch.from_numpy(x), lengths, [text for _, text in made], mask


def mel_bands(bands: int = 80, size: int = 512) -> torch.Tensor:
    """Triangles on the mel scale, (size // 2 + 1, bands)."""
    mels = np.linspace(0, 2595 * math.log10(1 + 7600 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, size // 2 + 1)[:, None]
    rise, fall = (hertz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hertz) / np.diff(edges)[1:]
    return torch.from_numpy(np.maximum(0, np.minimum(rise, fall)).astype(np.float32))


def log_mel(x: torch.Tensor, bands: torch.Tensor) -> torch.Tensor:
    """(B, N) to (B, T, 80) on the encoder's frames."""
    power = torch.fft.rfft(x.unfold(1, 400, 320) * torch.hann_window(400), 512).abs().square()
    return (power @ bands + 1e-3).log()


def span_mask(lengths: torch.Tensor, num_frames: int, random: np.random.Generator) -> torch.Tensor:
    mask = np.zeros((len(lengths), num_frames), bool)
    for row, length in zip(mask, lengths.tolist(), strict=True):
        for start in random.integers(0, length, round(length * 0.03)):
            row[start : start + random.integers(2, 9)] = True
    return torch.from_numpy(mask)


def greedy(model: CtcModel, x: np.ndarray) -> str:
    with torch.inference_mode():
        best = model(torch.from_numpy(normalise(x))[None]).logits[0].argmax(-1).numpy()
    kept = best[np.flatnonzero(np.diff(best, prepend=-1))]
    return " ".join("".join(TOKENS[i] for i in kept if i > 3).replace("|", " ").split())


def errors(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def word_error_rate(model: CtcModel, clips: list[Clip]) -> float:
    wrong = sum(errors(clip.text.split(), greedy(model, clip.samples).split()) for clip in clips)
    return wrong / sum(len(clip.text.split()) for clip in clips)


def digit_strings(clips: list[Clip], count: int = 60) -> list[Clip]:
    """Strings of five held-out digits of one speaker each."""
    random = np.random.default_rng(1)
    by: dict[str, list[Clip]] = {}
    for clip in clips:
        by.setdefault(clip.speaker, []).append(clip)
    gap, made = np.zeros(RATE // 5, np.float32), []
    for i in range(count):
        own = by[sorted(by)[i % len(by)]]
        chosen = [own[k] for k in random.integers(len(own), size=5)]
        samples = np.concatenate([part for clip in chosen for part in (gap, clip.samples)] + [gap])
        made.append(Clip(samples, " ".join(clip.text for clip in chosen), chosen[0].speaker))
    return made


def train(fsdd: Path, spoken: Path, run: Path, hours: float, rate: float) -> None:
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = CtcModel(CONFIG)
    to_mel = torch.nn.Linear(CONFIG.conv_dim[-1], 80)
    average = copy.deepcopy(model)
    parameters = [*model.parameters(), *to_mel.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    seen, step, began = 0.0, 0, 0.0
    if (run / "state.pt").exists():
        state = torch.load(run / "state.pt", weights_only=True)
        for part, name in ((model, "model"), (to_mel, "to_mel"), (average, "average"), (optimiser, "optimiser")):
            part.load_state_dict(state[name])
        seen, step, began = state["seen"], state["step"], state["elapsed"]
    corpora = {"fsdd": fsdd, "spoken": spoken}
    clips = {name: read_clips(folder, lambda row: not held_out(row)) for name, folder in corpora.items()}
    test = {name: read_clips(folder, held_out) for name, folder in corpora.items()}
    test["fsdd"] = digit_strings(test["fsdd"])
    rows = Rows(clips["fsdd"], clips["spoken"], np.random.default_rng(step))
    bands = mel_bands()
    started, reported, saved = time.monotonic() - began, time.monotonic(), time.monotonic()
    losses: list[float] = []
    ahead = ThreadPoolExecutor(1)  # the next batch is made beside the step

    def next_batch(done: float) -> Future:
        rows.hardship = min(1.0, max(0.0, (done - 0.2) / 0.3))
        return ahead.submit(make_batch, rows, 3.0 if done < 0.15 else LENGTHS[-1])

    coming = next_batch(seen / 3600 / hours)
    while seen < hours * 3600:
        done = seen / 3600 / hours
        x, lengths, texts, mask = coming.result()
        coming = next_batch(done)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, step / 300) * (0.5 + 0.5 * math.cos(math.pi * done))
        labels = [[INDEX["|" if c == " " else c] for c in text] for text in texts]
        with torch.autocast("cpu", torch.bfloat16):
            out = model.backbone(x, lengths, mask if done > 0.35 else None)
            log_probs = model.lm_head(out.last).float().log_softmax(-1)
            guess = to_mel(out.features)
        ctc = F.ctc_loss(
            log_probs.transpose(0, 1), torch.tensor([i for text in labels for i in text]), out.lengths,
            torch.tensor([len(t) for t in labels]),
            reduction="sum", zero_infinity=True,
        ) / sum(map(len, labels))  # fmt: skip
        weight = 2.0 * max(0.0, 1 - done / 0.35)
        loss = ctc
        if weight:
            loss = loss + weight * F.l1_loss(guess.float(), log_mel(x, bands)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step, seen = step + 1, seen + x.numel() / RATE
        with torch.no_grad():
            keep = min(0.999, step / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        losses.append(ctc.item())
        now = time.monotonic()
        if now - reported > 60 or seen >= hours * 3600:
            scores = {name: word_error_rate(average, part[:60]) for name, part in test.items()}
            line = {
                "hours": round(seen / 3600, 2),
                "minutes": round((now - started) / 60, 1),
                "step": step,
                "loss": round(float(np.mean(losses)), 3),
                **{f"wer_{name}": round(score, 4) for name, score in scores.items()},
            }
            print(json.dumps(line), flush=True)
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            reported, losses = time.monotonic(), []
        if now - saved > 120 or seen >= hours * 3600:
            state = {
                "model": model.state_dict(),
                "to_mel": to_mel.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "seen": seen,
                "step": step,
                "elapsed": now - started,
            }
            torch.save(state, run / "state.tmp")
            (run / "state.tmp").replace(run / "state.pt")
            saved = now
    print(json.dumps({name: round(word_error_rate(average, part), 4) for name, part in test.items()}))


def ship(run: Path, folder: Path) -> None:
    state = torch.load(run / "state.pt", weights_only=True)
    tensors = {name: tensor.numpy() for name, tensor in state["average"].items()}
    vocabulary = Vocabulary(TOKENS, blank=0, separator=4, unknown=3, silent=frozenset((1, 2, 3)))
    save_checkpoint(
        folder, CONFIG, tensors, vocabulary, sample_rate=RATE, normalize=True, dtype="float16", note=NOTE, language="en"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fsdd", type=Path)
    parser.add_argument("spoken", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--hours", type=float, default=52.0, help="hours of audio to see")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ship", type=Path, help="write the model of RUN as a Hugging Face folder and stop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.ship:
        ship(options.run, options.ship)
    else:
        train(options.fsdd, options.spoken, options.run, options.hours, options.rate)
