"""How fast language models open, and how fast they score beside KenLM.

    python benchmarks/lm.py [--ngrams MILLIONS] [--arpa FILE --text FILE]

A made-up 4-gram model of so many million n-grams is converted and opened: seconds of the clock until the first score.
Then two processes score with it at once: how much of the mapped file each has in memory, and how much of that is its
own. With `--arpa` and a text of one sentence a
line, that model scores the text sentence by sentence here and in KenLM (`pip install kenlm`; it reads the ARPA file
into hash tables), in turns: CPU time of a list of words' scores, from a string. Written to results/lm.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from sonant.decode.lm import LanguageModel, convert_lm, open_lm

from machine import describe, write_result  # isort: skip

SHARES = (0.002, 0.2, 0.35, 0.448)
"""Of the n-grams, by order."""
TURNS = 7


def made_up(millions: float) -> Iterator[str]:
    """Lines of an ARPA file: every n-gram goes on from one of one word less, all alike often."""
    counts = [max(64, int(millions * 1e6 * share)) for share in SHARES]
    num_words = counts[0]
    yield "\\data\\\n" + "".join(f"ngram {n}={count}\n" for n, count in enumerate(counts, 1))
    words = [*("<unk>", "<s>", "</s>"), *(f"word{i}" for i in range(3, num_words))]
    grams = np.arange(num_words)[:, None]
    for n, count in enumerate(counts, 1):
        yield f"\n\\{n}-grams:\n"
        if n > 1:
            number = np.arange(count)
            context = number % len(grams)
            # one context meets another word at each turn
            last = (context * 7919 + number // len(grams) * 104_729 + 17) % num_words
            grams = np.concatenate([grams[context], last[:, None]], 1)
        backoff = "\t-0.25\n" if n < len(counts) else "\n"
        for start in range(0, count, 100_000):
            rows = grams[start : start + 100_000].tolist()
            yield "".join(
                f"-{1 + row[-1] % 977 / 500:.3f}\t{' '.join([words[i] for i in row])}{backoff}" for row in rows
            )
    yield "\n\\end\\\n"


def opening(millions: float, folder: Path) -> dict[str, Any]:
    """Seconds of making and of opening a model, and its size."""
    arpa = folder / "made-up.arpa"
    with arpa.open("w", encoding="utf-8") as file:
        file.writelines(made_up(millions))
    began = time.process_time()
    model = convert_lm(arpa, folder / "made-up.lm")
    converting = time.process_time() - began
    times: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        again = LanguageModel(model.path)
        again.score("word3 word4")
        times.append(time.perf_counter() - began)
    return {
        "ngrams": sum(model.counts),
        "file_bytes": model.path.stat().st_size,
        "convert_cpu_seconds": converting,
        "open_milliseconds_first": times[0] * 1e3,
        "open_milliseconds_median": float(np.median(times)) * 1e3,
        "two_processes_mb": sharing(model.path),
    }


def share(path: Path, both: Any, found: Any) -> None:
    """Score at random, wait for the other process, and say what of the file is in memory, in MB."""
    model, generator = LanguageModel(path), np.random.default_rng(0)
    for row in generator.integers(3, model.native.num_words, (50_000, 8)).tolist():
        model.score([f"word{number}" for number in row])
    both.wait()
    lines = Path("/proc/self/smaps").read_text().split(str(path), 1)[1].splitlines()[1:25]
    sizes = {name: int(size.split()[0]) / 1024 for name, size in (line.split(":", 1) for line in lines[:12])}
    found.put({name: sizes[name] for name in ("Rss", "Shared_Clean", "Private_Clean", "Private_Dirty")})
    both.wait()


def sharing(path: Path) -> list[dict[str, float]]:
    """What `share` finds in each of two processes."""
    context = get_context("spawn")
    both, found = context.Barrier(2), context.Queue()
    processes = [context.Process(target=share, args=(path, both, found)) for _ in range(2)]
    for process in processes:
        process.start()
    return [found.get() for _ in processes]


def scoring(arpa: Path, text: Path, num_sentences: int) -> dict[str, float]:
    """Nanoseconds a word, here and in KenLM, and how far the scores are apart."""
    import kenlm

    sentences = [line.strip() for line in text.open(encoding="utf-8") if line.strip()][:num_sentences]
    ours, theirs = open_lm(arpa), kenlm.Model(str(arpa))

    def score_here() -> list[float]:
        return [sum(ours.native.score(sentence.encode().split())[0]) for sentence in sentences]

    def score_there() -> list[float]:
        return [sum(score for score, _, _ in theirs.full_scores(each)) * float(np.log(10)) for each in sentences]

    times: dict[str, list[float]] = {"sonant": [], "kenlm": []}
    for _ in range(TURNS):
        for name, score in (("sonant", score_here), ("kenlm", score_there)):
            began = time.process_time()
            score()
            times[name].append(time.process_time() - began)
    num_words = sum(len(sentence.split()) + 1 for sentence in sentences)
    apart = max(abs(a - b) for a, b in zip(score_here(), score_there(), strict=True))
    nanoseconds = {name: min(taken) / num_words * 1e9 for name, taken in times.items()}
    return {"words": num_words, "largest_difference_of_a_sentence": apart, **nanoseconds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ngrams", type=float, default=5.0, help="millions")
    parser.add_argument("--arpa", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--sentences", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {"machine": describe("kenlm"), "opening": opening(options.ngrams, Path(folder))}
    if options.arpa and options.text:
        result["nanoseconds_a_word"] = scoring(options.arpa, options.text, options.sentences)
    write_result("lm", result)


if __name__ == "__main__":
    main()
