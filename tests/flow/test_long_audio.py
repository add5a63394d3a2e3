"""Long recordings of real speech: joining windows costs no words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sonant
from sonant import audio
from sonant.text import count_errors

RATE = 16000


@pytest.mark.data
@pytest.mark.parametrize("seed", range(3))
def test_ten_minutes_have_the_word_errors_of_their_utterances(
    asr: sonant.Recognizer, speech_data: Path, seed: int
) -> None:
    folder = speech_data / "an4"
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    rows = [row for row in rows if row["split"] == "test"]
    utterances = [audio.read(folder / row["audio_filepath"]) for row in rows]
    alone = [asr.transcribe(samples, RATE).text.split() for samples in utterances]
    random = np.random.default_rng(seed)
    order: list[int] = []
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < 600 * RATE:
        order.append(int(random.integers(len(rows))))
        parts += [utterances[order[-1]], np.zeros(int(random.uniform(0.2, 1.0) * RATE), np.float32)]
    said = [word for i in order for word in rows[i]["text"].upper().split()]
    by_one = count_errors(said, [word for i in order for word in alone[i]]).rate
    joined = count_errors(said, asr.transcribe(np.concatenate(parts), RATE).text.split()).rate
    assert joined <= by_one + 0.005
