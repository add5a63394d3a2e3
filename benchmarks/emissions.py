"""Emissions as a model of middling quality would make them of real sentences, seeded: `utterances(TEXT, count)`.

A frame is 20 ms. Two of three frames are blank, the mean probability of the best token is about .95, and greedy
decoding has a word error rate of about 20 %. Some words are mumbled: many of their letters are confused with others
that sound alike, or nearly missed, and some of their blanks hold a letter that was not said.
`python benchmarks/emissions.py TEXT` says what
the figures are.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonant.decode.greedy import GreedyDecoder
from sonant.types import Emissions, Vocabulary

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
VOCABULARY = Vocabulary(
    ("<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS), 0, separator=4, unknown=3, silent=frozenset({0, 1, 2})
)
FRAME_SECONDS = 0.02
ALIKE = ["AEIOUY", "BPDTVG", "CKGQ", "SZXC", "MN", "FVTH", "LRW", "JGYZ", "IEY", "DT", "KG", "PB", "UOW", "HF", "'S"]


@dataclass(frozen=True)
class Difficulty:
    """How badly the model hears."""

    mumbled: float = 0.15
    """Share of words that are badly heard; greedy decoding gets most of them wrong."""
    confused: tuple[float, float] = (0.012, 0.50)
    """Share of letters that sound like another one, more or less, in clear and in mumbled words."""
    missed: tuple[float, float] = (0.002, 0.12)
    """Share of letters that are nearly blank."""
    added: tuple[float, float] = (0.001, 0.03)
    """Share of blank frames that hold some letter."""


def sentences(path: Path) -> list[list[str]]:
    """The lines of a text as words of the vocabulary's letters; other words are left out."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().upper().splitlines()
    known = set(LETTERS)
    return [words for line in lines if (words := [word for word in line.split() if set(word) <= known])]


def utterances(
    path: Path, count: int, *, words: int = 26, skip: int = 0, seed: int = 1, difficulty: Difficulty | None = None
) -> Iterator[tuple[list[str], Emissions]]:
    """Sentences of `words` words, about ten seconds, with their emissions; `skip` leaves out the first lines."""
    generator = np.random.default_rng(seed)
    stream = [word for line in sentences(path)[skip:] for word in line]
    for i in range(count):
        spoken = stream[i * words : (i + 1) * words]
        if len(spoken) < words:
            return
        yield spoken, Emissions(speak(spoken, generator, difficulty or Difficulty()), FRAME_SECONDS, VOCABULARY)


def speak(words: list[str], generator: np.random.Generator, difficulty: Difficulty) -> np.ndarray:
    """(T, V) log-probabilities of words."""
    alike = confusions()
    rows: list[np.ndarray] = []

    def emit(masses: dict[int, float]) -> None:
        unsure = 1e-5 if masses.get(0) == 1.0 else 2e-3
        row = generator.gamma(0.3, size=len(VOCABULARY)) * generator.lognormal(0, 1) * unsure + 1e-8
        row[1:4] *= 0.01  # marks
        for token, mass in masses.items():
            row[token] += mass
        rows.append(np.log(row / row.sum()))

    def pause(mean: float, added: float) -> None:
        for _ in range(generator.poisson(mean)):
            share = generator.beta(2, 2.5) if generator.random() < added else 0.0
            emit({0: 1 - share, int(generator.integers(4, len(VOCABULARY))): share})

    pause(5, difficulty.added[0])
    for word in words:
        mumbled = int(generator.random() < difficulty.mumbled)
        for letter in [*(VOCABULARY.index[c] for c in word), VOCABULARY.separator or 0]:
            fate = generator.random() - difficulty.confused[mumbled]
            other, share = 0, generator.beta(1, 9)  # an edge between letter and blank
            if fate < 0 and letter in alike:
                other, share = int(generator.choice(alike[letter])), generator.beta(2.0, 2.2)
            elif fate < difficulty.missed[mumbled]:
                share = generator.beta(2.0, 2.0)
            for _ in range(1 + int(generator.random() < 0.25)):
                emit({letter: 1 - share, other: share})
            pause(2.3, difficulty.added[mumbled])
    pause(5, difficulty.added[0])
    return np.asarray(rows, np.float32)


def confusions() -> dict[int, np.ndarray]:
    """From a letter to those that sound like it."""
    found: dict[int, set[int]] = {}
    for group in ALIKE:
        for letter in group:
            found.setdefault(VOCABULARY.index[letter], set()).update(VOCABULARY.index[c] for c in group if c != letter)
    return {letter: np.array(sorted(others)) for letter, others in found.items()}


def main() -> None:
    from sonant.text import word_errors

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    errors, tops, blanks, frames = None, 0.0, 0, 0
    for spoken, emissions in utterances(options.text, options.count):
        found = word_errors(" ".join(spoken), GreedyDecoder().decode(emissions)[0].text)
        errors = found if errors is None else errors + found
        tops += float(np.exp(emissions.log_probs.max(1)).sum())
        blanks += int((emissions.log_probs.argmax(1) == 0).sum())
        frames += len(emissions)
    rate = errors.rate if errors else 0.0
    shares = f"blank {blanks / frames:.3f}, top {tops / frames:.3f}"
    print(f"frames {frames / options.count:.0f} each, {shares}, WER {rate:.3f}")


if __name__ == "__main__":
    main()
