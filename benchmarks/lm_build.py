"""How long does `sonant lm build` take, and how much memory? Beside KenLM's lmplz, where that is on the path.

    python benchmarks/lm_build.py --text english.txt.xz [--words 6,12,24] [--zipf 100] [--prune 0,0,1,2] [--folder DIR]

Sizes are millions of words: of the text's beginning, and of one drawn by Zipf's law, word by word, whose 4-grams hardly
ever come twice, so that it is harder than any real one. Each run is a process of its own, both programs write an ARPA
file, and may take `--memory` for buffers. Written to results/lm_build.json: seconds of the wall clock and of the
processors, and the peak resident set in MB.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe, write_result  # isort: skip

OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
MILLION = 1_000_000
ZIPF_TYPES = 500_000


def first_words(path: Path, num_words: int) -> Iterator[bytes]:
    """Lines of a text until they hold so many words."""
    with OPENERS.get(path.suffix, open)(path, "rb") as file:
        for line in file:
            yield line
            num_words -= len(line.split())
            if num_words <= 0:
                return


def zipf_words(num_words: int, seed: int = 0) -> Iterator[bytes]:
    """Sentences of 20 words, each drawn with a probability of one over its rank."""
    generator = np.random.default_rng(seed)
    limits = np.cumsum(1 / np.arange(1, ZIPF_TYPES + 1))
    words = [f"w{rank:x}".encode() for rank in range(ZIPF_TYPES)]
    for start in range(0, num_words, MILLION):
        count = min(MILLION, num_words - start)
        ranks = np.searchsorted(limits, generator.random(count) * limits[-1]).tolist()
        drawn = [words[rank] for rank in ranks]
        yield b"".join(b" ".join(drawn[i : i + 20]) + b"\n" for i in range(0, count, 20))


def measure(command: list[str]) -> dict[str, float]:
    """Run a command to its end."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def commands(text: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """What is compared, by name."""
    arpa, folder = str(text.with_suffix(".arpa")), str(text.parent)
    ours = [sys.executable, "-m", "sonant", "lm", "build", str(text), "--order", options.order, "--temp", folder]
    ours += ["--prune", options.prune, "--memory", options.memory]
    found = {"sonant": [*ours, "--arpa", arpa], "sonant, own format": [*ours, "--output", str(text.with_suffix(".lm"))]}
    if lmplz := shutil.which("lmplz"):
        theirs = [lmplz, "-o", options.order, "-S", options.memory, "-T", folder, "--text", str(text), "--arpa", arpa]
        # ours falls back by itself; lmplz refuses a text whose words all come often
        found["lmplz"] = [*theirs, "--discount_fallback", "--prune", *options.prune.split(",")]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="real text, plain or packed")
    parser.add_argument("--words", default="6,12,24", help="millions of its words")
    parser.add_argument("--zipf", default="100", help="millions of words by Zipf's law; 0 for none")
    parser.add_argument("--order", default="4")
    parser.add_argument("--prune", default="0,0,1,2")
    parser.add_argument("--memory", default="1G")
    parser.add_argument("--folder", type=Path, help="where texts and temporary files go")
    parser.add_argument("--name", default="lm_build", help="name of the result")
    options = parser.parse_args()
    sizes = [("text", float(size)) for size in options.words.split(",")] if options.text else []
    sizes += [("zipf", float(size)) for size in options.zipf.split(",") if float(size)]
    rows: list[dict[str, Any]] = []
    for kind, size in sizes:
        num_words = int(size * MILLION)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            text = Path(folder) / "text.txt"
            with text.open("wb") as file:
                file.writelines(first_words(options.text, num_words) if kind == "text" else zipf_words(num_words))
            for name, command in commands(text, options).items():
                rows.append({"text": kind, "million_words": size, "program": name, **measure(command)})
                print(rows[-1], flush=True)
    settings = {"order": options.order, "prune": options.prune, "memory": options.memory}
    write_result(options.name, {"machine": describe(), **settings, "rows": rows})


if __name__ == "__main__":
    main()
