"""How far are aligned words from where they are said, and which rule of finding their edges is best?

    python benchmarks/word_times.py MANIFEST ALIGNMENTS --model MODEL

MANIFEST names recordings with their texts, ALIGNMENTS is a folder of TextGrids or the like. Every rule aligns the same
way; what it has to learn (offsets, reach) is learnt on every second utterance and judged on the others, and the other
way round. `frames`: whole frames of the first and last letter. `half peak`: where their posteriors cross half of their
highest, which is what `sonant.align` gives. `separator`: half way from there to the separator's own edge. `expected`:
the mean over all ways through the emissions, by the forward-backward algorithm. Then with what is learnt: one offset
for all, one for beginnings and one for ends, offset and reach (shipped). Written to results/word_times.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import sonant
from machine import describe, write_result
from sonant import Emissions, Recognizer, native
from sonant.alignment.spelling import Speller
from sonant.alignment.times import frame_edges
from sonant.data.manifest import read_manifest
from sonant.decode.words import AS_HEARD
from sonant.train.kept import emit_all
from sonant.train.word_times import KnownWords, estimate, held_out, known_words, paired, summary
from sonant.types import Word

RULES = ("frames", "half peak", "separator", "expected")
APART = 100.0


def expected_edges(log_probs: np.ndarray, tokens: np.ndarray, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean frame at which each token (L,) is entered and left, over all ways that spell them."""
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    scores = log_probs[:, states].astype(np.float64)
    skips = np.zeros(len(states), bool)
    skips[3::2] = tokens[1:] != tokens[:-1]

    def forward(scores: np.ndarray, skips: np.ndarray) -> np.ndarray:
        found = np.full(scores.shape, -np.inf)
        found[0, :2] = scores[0, :2]
        for t in range(1, len(scores)):
            last = found[t - 1]
            near = np.logaddexp(last, np.r_[-np.inf, last[:-1]])
            far = np.logaddexp(near, np.r_[-np.inf, -np.inf, last[:-2]])
            found[t] = np.where(skips, far, near) + scores[t]
        return found

    behind = np.r_[False, False, skips[2:][::-1]]  # from the end, it is the state behind that is skipped to
    both = forward(scores, skips) + forward(scores[::-1, ::-1], behind)[::-1, ::-1] - scores
    shares = np.exp(both - np.logaddexp.reduce(both, 1, keepdims=True))
    until = np.cumsum(shares, 1).sum(0)  # frames at this state or one before
    return until[:-1:2], until[1::2]


def word_edges_by(rule: str, emissions: Emissions, tokens: np.ndarray, places: list[slice]) -> np.ndarray:
    """Frames (W, 2) at which words begin and end."""
    log_probs = np.ascontiguousarray(emissions.log_probs)
    blank = emissions.vocabulary.blank
    proof, starts, ends, _, _ = native.align(log_probs, tokens, blank)
    if not proof:
        raise ValueError("no way is possible")
    if rule == "expected":
        first, last = expected_edges(log_probs, tokens, blank)
    elif rule == "frames":
        first, last = starts.astype(float), ends.astype(float)
    else:
        first, last, _ = frame_edges(log_probs, tokens, starts, ends, blank)
    rows = np.array([(first[place.start], last[place.stop - 1]) for place in places])
    if rule == "separator":
        rows[1:, 0] = (rows[1:, 0] + [last[place.start - 1] for place in places[1:]]) / 2
        rows[:-1, 1] = (rows[:-1, 1] + [first[place.stop] for place in places[:-1]]) / 2
    return rows


def known_by(rule: str, asr: Recognizer, utterances: list[Any], heard: list[Any], folder: Path) -> KnownWords:
    """As `align_known`, with the edges of a rule."""
    speller = Speller(asr.vocabulary, asr.checkpoint.language)
    rows, numbers, origins, origin = [], [], [], 0.0
    for number, (utterance, emissions) in enumerate(zip(utterances, heard, strict=True)):
        known = known_words(folder, utterance)
        if emissions is None or known is None:
            continue
        words, tokens, places = speller.spell([utterance.text]), [], []
        for word in words:
            tokens += [asr.vocabulary.separator] * bool(tokens)
            places.append(slice(len(tokens), len(tokens) + len(word.tokens)))
            tokens += word.tokens
        edges = word_edges_by(rule, emissions, np.array(tokens, np.int32), places) * emissions.frame_seconds
        found = [Word(word.text, *each, 1.0) for word, each in zip(words, edges.tolist(), strict=True)]
        rows.append(origin + paired(found, known))
        numbers += [number] * len(found)
        origins += [origin] * len(found)
        origin += emissions.duration + APART
    table = np.concatenate(rows)
    fields = {number: {} for number in numbers}
    return KnownWords(table[:, :2], table[:, 2:], np.array(origins), np.array(numbers), fields)


def shifted(words: KnownWords, together: bool) -> np.ndarray:
    """Errors less their median, which is that of the other half: of both edges together, or of each."""
    odd = words.numbers % 2 == 1
    parts = []
    for half in (odd, ~odd):
        other = words.errors(AS_HEARD, ~half)
        parts.append(words.errors(AS_HEARD, half) - (np.median(other) if together else np.median(other, 0)))
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("alignments", type=Path)
    parser.add_argument("--model")
    options = parser.parse_args()
    asr = sonant.load(options.model, precision="fp32", threads=1)
    utterances = list(read_manifest(options.manifest))
    heard, _ = emit_all(asr, utterances)
    rows: list[dict[str, Any]] = []
    for rule in RULES:
        words = known_by(rule, asr, utterances, heard, options.alignments)
        times = estimate(words)
        learnt = {"nothing": words.errors(AS_HEARD), "one offset": shifted(words, True),
                  "two offsets": shifted(words, False), "offset and reach": held_out(words)}  # fmt: skip
        for name, errors in learnt.items():
            rows.append({"rule": rule, "learnt": name, **summary(errors)})
            print(rows[-1], flush=True)
        rows[-1] |= {"offset_ms": 1000 * times.offset, "reach_ms": 1000 * times.reach}
    model = {"parameters": int(sum(array.size for array in asr.checkpoint.tensors.values()))}
    write_result("word_times", {"machine": describe(), "model": model, "utterances": len(utterances), "rows": rows})


if __name__ == "__main__":
    main()
