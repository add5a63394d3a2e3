"""A language that a tiny model learns in seconds: each letter is a tone of a tenth of a second, words are apart."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np

RATE = 8000
LETTERS = {"a": 500, "b": 1000, "c": 1700, "d": 2600}
"""Hertz of each letter's tone."""
MODEL = {
    "conv_dim": [16, 16, 32],
    "conv_kernel": [16, 8, 4],
    "conv_stride": [8, 5, 4],
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_conv_pos_embeddings": 9,
    "num_conv_pos_embedding_groups": 2,
}
"""An encoder of 50 frames a second that hears them: fields of `EncoderConfig`."""


def sing(text: str, generator: np.random.Generator) -> np.ndarray:
    """The sound of a text, (N,) float32."""
    parts = [np.zeros(RATE // 20)]
    for char in text:
        time = np.arange(RATE // 10) / RATE
        tone = np.sin(2 * np.pi * LETTERS[char] * time + generator.uniform(0, 6)) if char != " " else 0 * time
        parts += [tone * np.hanning(len(time)), np.zeros(RATE // 50)]
    samples = np.concatenate([*parts, np.zeros(RATE // 20)])
    return (0.3 * samples + 0.003 * generator.standard_normal(len(samples))).astype(np.float32)


def write_corpus(folder: Path, count: int, seed: int = 0, longest: int = 6) -> Path:
    """A manifest of so many texts of 2 to `longest` characters, with their sounds."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(count):
        chars = generator.choice([*LETTERS, " "], generator.integers(2, longest + 1), p=[0.22] * 4 + [0.12])
        text = " ".join("".join(chars).split()) or "a"
        samples = sing(text, generator)
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        line = {"audio_filepath": f"{i}.wav", "duration": len(samples) / RATE, "text": text, "speaker": str(i % 3)}
        lines.append(json.dumps(line) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines))
    return folder / "manifest.jsonl"
