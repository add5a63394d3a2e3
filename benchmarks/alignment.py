"""How fast and how large is forced alignment? sonant beside torchaudio and ctc-segmentation.

    python benchmarks/alignment.py TEXT [--minutes 10 60 600] [--peer-minutes 10] [--peers-python PATH]

All align the same seeded emissions of sentences from TEXT (`emissions.py`), of up to an hour; longer ones repeat the
hour. Each run has a process of its own: processor seconds of the alignment alone, and the highest memory above what it
had with its inputs loaded. `planted` has sixty words that nobody says in the middle of the text, `torn` lacks sixty
that are said; the score tells whether a narrow search found the likeliest way.
PATH is a Python with torch, torchaudio, ctc-segmentation (whose time holds the searches that it repeats by itself with
a wider window) or ctc-forced-aligner (its compiled search alone). Written to results/alignment.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe, resident, write_result  # isort: skip

FRAMES_A_MINUTE = 3000
SONANT = ("plain exact", "plain fast", "default exact", "default fast")


def prepare(folder: Path, text: Path, minutes: list[int]) -> None:
    """Lay out emissions, words and the first frame of each word, by minutes."""
    from emissions import VOCABULARY, Difficulty, sentences, speak

    stream = [word for line in sentences(text) for word in line]
    generator = np.random.default_rng(1)
    most = min(max(minutes), 60) * FRAMES_A_MINUTE
    pieces: list[np.ndarray] = []
    words: list[str] = []
    ends: list[int] = []  # frames at the end of each word
    frames = 0
    while frames < most:
        spoken = [stream[len(words)]]
        piece = speak(spoken, generator, Difficulty())
        pieces.append(piece)
        words += spoken
        frames += len(piece)
        ends.append(frames)
    hour = np.concatenate(pieces)
    for length in minutes:
        count = int(np.searchsorted(ends, min(length, 60) * FRAMES_A_MINUTE))
        times = max(length // 60, 1)
        np.save(folder / f"{length}.npy", np.tile(hour[: ends[count]], (times, 1)))
        (folder / f"{length}.json").write_text(json.dumps(words[: count + 1] * times))
    letters = [" " if token == "|" else token for token in VOCABULARY.tokens]
    (folder / "letters.json").write_text(json.dumps(letters))


def spoilt(words: list[str], case: str) -> list[str]:
    """A text that does not fit: sixty words too many, or sixty missing, in the middle."""
    middle = len(words) // 2
    if case == "planted":
        return [*words[:middle], *reversed(words[:60]), *words[middle:]]
    return words[:middle] + words[middle + 60 :] if case == "torn" else words


def run_sonant(log_probs: np.ndarray, words: list[str], option: str) -> dict[str, Any]:
    from emissions import FRAME_SECONDS, VOCABULARY
    from sonant import Emissions, align

    mode, speed = option.split()
    plain = {"star": "none", "leave_out": False} if mode == "plain" else {}
    found = align(Emissions(log_probs, FRAME_SECONDS, VOCABULARY), [" ".join(words)], exact=speed == "exact", **plain)
    return {"status": found.status, "score": round(found.score, 2), "unheard": len(found.unheard)}


def run_torchaudio(log_probs: np.ndarray, words: list[str], letters: list[str]) -> dict[str, Any]:
    import torch
    import torchaudio.functional as F

    index = {letter: i for i, letter in enumerate(letters)}
    tokens = [index[c] for c in " ".join(words)]
    values = torch.from_numpy(log_probs)[None]
    paths, scores = F.forced_align(values, torch.tensor([tokens], dtype=torch.int32), blank=0)
    F.merge_tokens(paths[0], scores[0])
    return {"score": round(float(scores.double().sum()), 2)}


def run_segmentation(log_probs: np.ndarray, words: list[str], letters: list[str]) -> dict[str, Any]:
    from ctc_segmentation import CtcSegmentationParameters, ctc_segmentation, determine_utterance_segments, prepare_text

    config = CtcSegmentationParameters(char_list=["" if i == 0 else letter for i, letter in enumerate(letters)])
    config.index_duration, config.space = 0.02, " "
    matrix, begins = prepare_text(config, words)
    timings, probs, _ = ctc_segmentation(config, log_probs, matrix)
    determine_utterance_segments(config, begins, probs, timings, words)
    return {}


def run_forced_aligner(log_probs: np.ndarray, words: list[str], letters: list[str]) -> dict[str, Any]:
    """The compiled core of ctc-forced-aligner alone: its package imports more than it needs."""
    spec = find_spec("ctc_forced_aligner")
    place = Path(spec.submodule_search_locations[0]) / "ctc_aligner.py"
    core = module_from_spec(spec_from_file_location("ctc_aligner", place))
    core.__spec__.loader.exec_module(core)
    index = {letter: i for i, letter in enumerate(letters)}
    tokens = np.array([[index[c] for c in " ".join(words)]], np.int64)
    _, scores = core.align_sequences(log_probs[None], tokens, 0)
    return {"score": round(float(np.asarray(scores, np.float64).sum()), 2)}


def work(folder: Path, name: str, minutes: str, case: str) -> dict[str, Any]:
    """One alignment in this process."""
    log_probs = np.load(folder / f"{minutes}.npy")
    letters = json.loads((folder / "letters.json").read_text())
    words = spoilt(json.loads((folder / f"{minutes}.json").read_text()), case)
    runners = {"torchaudio": run_torchaudio, "ctc-segmentation": run_segmentation,
               "ctc-forced-aligner": run_forced_aligner}  # fmt: skip
    short, few = log_probs[:500], words[:3]
    aligner = name.removeprefix("sonant ")
    call = (lambda x, w: run_sonant(x, w, aligner)) if name.startswith("sonant") else (
        lambda x, w: runners[name](x, w, letters)
    )  # fmt: skip
    call(short, few)  # imports and tables
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory counts from here
    before, began = resident(most=True), time.process_time()
    found = call(log_probs, words)
    spent = time.process_time() - began
    peak = resident(most=True)
    tokens = sum(map(len, words)) + len(words) - 1
    size = {"frames": len(log_probs), "tokens": tokens}
    return {"aligner": name, "minutes": int(minutes), "case": case, **size, "seconds": round(spent, 3),
            "megabytes": round(peak - before, 1), **found}  # fmt: skip


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        print(json.dumps(work(Path(sys.argv[2]), *sys.argv[3:6])))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 60, 600])
    parser.add_argument("--peer-minutes", type=int, nargs="+", default=[10])
    parser.add_argument("--peers-python")
    options = parser.parse_args()
    runs = [(sys.executable, f"sonant {name}", m, "true") for m in options.minutes for name in SONANT]
    runs += [(sys.executable, "sonant plain " + speed, min(options.minutes), case)
             for case in ("planted", "torn") for speed in ("exact", "fast")]  # fmt: skip
    if options.peers_python:
        peers = ("torchaudio", "ctc-segmentation", "ctc-forced-aligner")
        runs += [(options.peers_python, name, m, "true") for m in options.peer_minutes for name in peers]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.text, sorted({*options.minutes, *options.peer_minutes}))
        for python, aligner, minutes, case in runs:
            command = [python, __file__, "--work", str(folder), aligner, str(minutes), case]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
                rows.append({"aligner": aligner, "minutes": minutes, "case": case, "failed": last})
            else:
                rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    write_result("alignment", {"machine": describe(), "rows": rows})


if __name__ == "__main__":
    main()
