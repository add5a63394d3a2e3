"""What do hotwords, lists of readings and length cost the beam search?

    python benchmarks/beam.py TEXT ARPA [--count 40] [--rounds 5]

Heard are the seeded emissions of `emissions.py`. Hotwords are words of the text in any order, each with a boost of 3.
The options take turns; `cost` is the median over rounds of processor time relative to the same round's time without.
Then `--count` sentences follow each other over and over, as one recording that comes in pieces of ten seconds: each
length in a process of its own, with its processor time and by how much its peak resident set (of Linux) grew.
Written to results/beam.json.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from sonant.decode.beam import BeamDecoder
from sonant.decode.lm import open_lm
from sonant.types import Emissions

from emissions import VOCABULARY, utterances  # isort: skip
from machine import describe, resident, write_result  # isort: skip

HOTWORDS = (100, 300, 1000)
BOOST = 3.0
READINGS = 5
LENGTHS = (36, 360, 3600)
"""Seconds."""
BEAMS: dict[str, dict[str, float]] = {
    "default": {},
    "fast": {"beam_size": 20, "score_threshold": 8, "token_threshold": 8},
}
WEIGHTS = {"lm_weight": 0.5, "word_bonus": 1.0}


def seconds_of(decoder: BeamDecoder, many: list[Emissions]) -> float:
    began = time.process_time()
    for emissions in many:
        decoder.decode(emissions)
    return time.process_time() - began


def costs(many: list[Emissions], words: list[str], arpa: Path, rounds: int) -> list[dict[str, Any]]:
    """Speed of each beam, and what more it is asked for costs."""
    found: list[dict[str, Any]] = []
    lm = open_lm(arpa)
    for name, settings in BEAMS.items():
        given = {**WEIGHTS, **settings}
        decoders = {"plain": BeamDecoder(VOCABULARY, lm, **given)}
        for count in HOTWORDS:
            hotwords = dict.fromkeys(words[:count], BOOST)
            decoders[f"{len(hotwords)} hotwords"] = BeamDecoder(VOCABULARY, lm, hotwords=hotwords, **given)
        decoders[f"{READINGS} readings"] = BeamDecoder(VOCABULARY, lm, nbest=READINGS, **given)
        times = [{asked: seconds_of(decoder, many) for asked, decoder in decoders.items()} for _ in range(rounds)]
        audio = sum(emissions.duration for emissions in many)
        for asked in decoders:
            spent = median(turn[asked] for turn in times)
            cost = median(turn[asked] / turn["plain"] for turn in times) - 1
            found.append({"beam": name, "asked": asked, "speed": round(audio / spent), "cost": round(cost, 3)})
            print(found[-1], flush=True)
    return found


def long(many: list[Emissions], arpa: Path, beam: str, seconds: int) -> dict[str, Any]:
    """One recording of so many seconds in this process."""
    decoder = BeamDecoder(VOCABULARY, open_lm(arpa), **WEIGHTS, **BEAMS[beam])
    decoder.decode_many(many)  # the pages of the model that are needed are in memory then
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = resident(), time.process_time()
    state, frames, wanted = decoder.start(VOCABULARY), 0, round(seconds / many[0].frame_seconds)
    for emissions in cycle(many):
        piece = emissions.log_probs[: wanted - frames]
        state.feed(Emissions(piece, emissions.frame_seconds, VOCABULARY, frames))
        frames += len(piece)
        if frames == wanted:
            break
    [best] = state.finish()
    spent = time.process_time() - began
    return {
        "beam": beam, "seconds": seconds, "words": len(best.words),
        "processor_seconds": round(spent, 3), "peak_grew_mb": round(resident(most=True) - before, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("arpa", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    made = list(utterances(options.text, options.count))
    many = [emissions for _, emissions in made]
    if options.long:
        print(json.dumps(long(many, options.arpa, options.long[0], int(options.long[1]))))
        return
    words = sorted({word for spoken, _ in utterances(options.text, 10 * options.count) for word in spoken})
    random.Random(1).shuffle(words)
    result = {"machine": describe(), "asked": costs(many, words, options.arpa, options.rounds), "lengths": []}
    command = [sys.executable, __file__, str(options.text), str(options.arpa), "--count", str(options.count), "--long"]
    for beam in BEAMS:
        for length in LENGTHS:
            done = subprocess.run([*command, beam, str(length)], check=True, capture_output=True, text=True)
            result["lengths"].append(json.loads(done.stdout))
            print(result["lengths"][-1], flush=True)
    write_result("beam", result)


if __name__ == "__main__":
    main()
