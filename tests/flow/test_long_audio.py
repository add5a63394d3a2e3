"""Long recordings of real speech: joining windows costs no words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sonant
from sonant import audio
from sonant.text import count_errors
from sonant.types import FloatArray

RATE = 16000


def digit_strings(folder: Path, count: int) -> list[tuple[FloatArray, list[str]]]:
    """Five digits of one speaker each, from recordings 0 to 4, which the model was not trained on."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if int(Path(row["audio_filepath"]).stem.rsplit("_", 1)[1]) < 5]
    speakers = sorted({row["speaker"] for row in rows})
    random, strings = np.random.default_rng(0), []
    for i in range(count):
        own = [row for row in rows if row["speaker"] == speakers[i % len(speakers)]]
        chosen = [own[k] for k in random.integers(len(own), size=5)]
        pause = np.zeros(RATE // 5, np.float32)
        samples = np.concatenate(
            [part for row in chosen for part in (audio.read(folder / row["audio_filepath"]), pause)]
        )
        strings.append((samples / samples.std() * 0.05, [row["text"].upper() for row in chosen]))
    return strings


@pytest.mark.data
def test_ten_minutes_have_the_word_errors_of_their_utterances(asr: sonant.Recognizer, speech_data: Path) -> None:
    """Six recordings, a speaker each: over all of them joining costs less than half a point."""
    strings = digit_strings(speech_data / "fsdd", 120)
    alone = [asr.transcribe(samples, RATE).text.split() for samples, _ in strings]
    random = np.random.default_rng(0)
    said: list[str] = []
    by_one: list[str] = []
    joined: list[str] = []
    for speaker in range(6):
        parts: list[FloatArray] = []
        while sum(map(len, parts)) < 600 * RATE:
            i = int(random.integers(len(strings) // 6)) * 6 + speaker
            parts += [strings[i][0], np.zeros(int(random.uniform(0.2, 1.0) * RATE), np.float32)]
            said += strings[i][1]
            by_one += alone[i]
        joined += asr.transcribe(np.concatenate(parts), RATE).text.split()
    assert count_errors(said, by_one).rate < 0.1
    assert count_errors(said, joined).rate <= count_errors(said, by_one).rate + 0.005
