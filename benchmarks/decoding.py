"""How well and how fast do CTC decoders read? sonant's beam beside flashlight-text, pyctcdecode and fast-ctc-decode.

    python benchmarks/decoding.py TEXT ARPA [--count 200] [--tuning 40] [--rounds 3] [--peers-python PATH]

All hear the same seeded emissions of sentences from TEXT (`emissions.py`), which ARPA must not have seen, and use the
words of ARPA as lexicon. Weights are chosen on the first `--tuning` sentences, word error rates are of the others. One
thread; the options take turns, round after round, and speed is audio seconds a second of processor time, the median
round. The peers have an environment of their own (Python 3.11: `pip install numpy flashlight-text==0.0.7 kenlm pygtrie
hypothesis fast-ctc-decode && pip install --no-deps pyctcdecode==0.5.0`); without --peers-python sonant runs alone.
Written to results/decoding.json, with the speed relative to each of flashlight's points at no higher error rate.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

BLANK, SEPARATOR = 0, 4
WEIGHTS = [(0.5, 1.0), (0.7, 1.0), (0.7, 2.0), (0.9, 2.0)]
"""Of the model (natural logarithm) and for each word."""
Decode = Callable[[np.ndarray], str]


def sonant_options(folder: Path) -> Iterator[tuple[str, Decode]]:
    from emissions import FRAME_SECONDS, VOCABULARY
    from sonant.decode.beam import BeamDecoder
    from sonant.decode.greedy import GreedyDecoder
    from sonant.decode.lm import open_lm
    from sonant.types import Emissions

    lm = open_lm(folder / "model.arpa")

    def reader(decoder: Any) -> Decode:
        return lambda values: decoder.decode(Emissions(values, FRAME_SECONDS, VOCABULARY))[0].text

    yield "sonant greedy", reader(GreedyDecoder())
    for size, threshold, tokens in [(10, 8, 8), (15, 8, 8), (20, 8, 8), (20, 10, 8), (30, 10, 8), (100, 12, 12)]:
        for weight, bonus in WEIGHTS:
            limits = {"beam_size": size, "score_threshold": threshold, "token_threshold": tokens}
            decoder = BeamDecoder(VOCABULARY, lm, lm_weight=weight, word_bonus=bonus, **limits)
            yield f"sonant b{size} threshold {threshold}|{weight} {bonus}", reader(decoder)


def peer_options(folder: Path) -> Iterator[tuple[str, Decode]]:
    from fast_ctc_decode import viterbi_search

    facts = json.loads((folder / "facts.json").read_text())
    letters, words = facts["letters"], facts["words"]
    yield "fast-ctc-decode greedy", lambda values: viterbi_search(np.exp(values), letters)[0]
    yield from flashlight_options(folder, letters, words)
    yield from pyctcdecode_options(folder, letters, words)


def flashlight_options(folder: Path, letters: list[str], words: list[str]) -> Iterator[tuple[str, Decode]]:
    from flashlight.lib.text import decoder as fl
    from flashlight.lib.text.dictionary import Dictionary

    listed = Dictionary()
    for word in [*words, "<unk>"]:
        listed.add_entry(word)
    lm = fl.KenLM(str(folder / "model.arpa"), listed)
    trie, start = fl.Trie(len(letters), SEPARATOR), lm.start(False)
    index = {letter: i for i, letter in enumerate(letters)}
    for i, word in enumerate(words):
        trie.insert([*(index[c] for c in word), SEPARATOR], i, lm.score(start, i)[1])
    trie.smear(fl.SmearingMode.MAX)
    unknown = len(words)
    for size, tokens, threshold in [
        (10, 10, 25),
        (20, 10, 25),
        (50, 10, 25),
        (100, 5, 16),
        (100, 10, 25),
        (200, 5, 16),
    ]:
        for weight, bonus in WEIGHTS:
            base_10 = weight * np.log(10)
            options = fl.LexiconDecoderOptions(
                size, tokens, threshold, base_10, bonus, -np.inf, 0.0, False, fl.CriterionType.CTC
            )
            search = fl.LexiconDecoder(options, trie, lm, SEPARATOR, BLANK, unknown, [], False)

            def decode(values: np.ndarray, search: Any = search) -> str:
                best = search.decode(values.ctypes.data, *values.shape)[0]
                return " ".join(words[i] for i in best.words if 0 <= i < unknown)

            yield f"flashlight b{size} tokens {tokens} threshold {threshold}|{weight} {bonus}", decode


def pyctcdecode_options(folder: Path, letters: list[str], words: list[str]) -> Iterator[tuple[str, Decode]]:
    import logging

    import kenlm
    from pyctcdecode.alphabet import Alphabet
    from pyctcdecode.decoder import BeamSearchDecoderCTC
    from pyctcdecode.language_model import LanguageModel

    logging.disable()
    alphabet = Alphabet.build_alphabet(["" if i == BLANK else c for i, c in enumerate(letters)])
    for weight, bonus in WEIGHTS:
        model = LanguageModel(kenlm.Model(str(folder / "model.arpa")), words, alpha=weight, beta=bonus)
        decoder = BeamSearchDecoderCTC(alphabet, model)

        def decode(values: np.ndarray, decoder: Any = decoder) -> str:
            return decoder.decode(values, beam_width=20, beam_prune_logp=-25, token_min_logp=-10)

        yield f"pyctcdecode b20|{weight} {bonus}", decode


def serve(folder: Path, options: Callable[[Path], Iterator[tuple[str, Decode]]]) -> None:
    """Answers lines of `[option, first, last]` with `[texts, processor seconds]`; says its options first."""
    arrays = np.load(folder / "emissions.npz")
    many = [arrays[name] for name in arrays.files]
    known = dict(options(folder))
    print(json.dumps(list(known)), flush=True)
    for line in sys.stdin:
        name, first, last = json.loads(line)
        began = time.process_time()
        texts = [known[name](values) for values in many[first:last]]
        print(json.dumps([texts, time.process_time() - began]), flush=True)


class Worker:
    """One environment's decoders, all loaded."""

    def __init__(self, python: str, kind: str, folder: Path) -> None:
        command = [python, __file__, "--serve", kind, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.options: list[str] = self._read()

    def _read(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def run(self, option: str, first: int, last: int) -> tuple[list[str], float]:
        assert self.process.stdin
        print(json.dumps([option, first, last]), file=self.process.stdin, flush=True)
        texts, seconds = self._read()
        return texts, seconds


def prepare(folder: Path, text: Path, arpa: Path, count: int) -> tuple[list[str], list[float]]:
    """Lay out what the workers read; the sentences and their seconds."""
    from emissions import VOCABULARY, utterances
    from sonant.decode.lexicon import letters_lexicon
    from sonant.decode.lm import open_lm

    made = list(utterances(text, count))
    np.savez(folder / "emissions.npz", **{f"e{i:05d}": emissions.log_probs for i, (_, emissions) in enumerate(made)})
    (folder / "model.arpa").symlink_to(arpa.resolve())
    letters = [
        " " if i == SEPARATOR else t if len(t) == 1 else chr(0xE000 + i) for i, t in enumerate(VOCABULARY.tokens)
    ]
    words = letters_lexicon(open_lm(arpa).words(), VOCABULARY)[0].words
    (folder / "facts.json").write_text(json.dumps({"letters": letters, "words": words}))
    return [" ".join(words) for words, _ in made], [emissions.duration for _, emissions in made]


def measure(workers: list[Worker], spoken: list[str], seconds: list[float], tuning: int, rounds: int) -> list[Any]:
    """Each option with its best weights: word error rate and speed on what was not tuned on."""
    from sonant.text import Errors, word_errors

    def rate(worker: Worker, option: str, first: int, last: int) -> tuple[float, float]:
        texts, spent = worker.run(option, first, last)
        errors = sum((word_errors(a, b) for a, b in zip(spoken[first:last], texts, strict=True)), Errors())
        return 100 * errors.rate, spent

    chosen: dict[str, tuple[float, Worker, str]] = {}
    for worker in workers:
        for option in worker.options:
            name, error = option.split("|")[0], rate(worker, option, 0, tuning)[0]
            if name not in chosen or error < chosen[name][0]:
                chosen[name] = (error, worker, option)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, (_, worker, option) in chosen.items():
            found[name].append(rate(worker, option, tuning, len(spoken)))
    total = sum(seconds[tuning:])
    return [
        {
            "decoder": name,
            "weights": chosen[name][2].partition("|")[2],
            "wer": round(runs[0][0], 2),
            "speed": round(total / max(median(spent for _, spent in runs), 1e-9)),
        }
        for name, runs in found.items()
    ]


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[3]), {"sonant": sonant_options, "peers": peer_options}[sys.argv[2]])
        return
    from machine import describe, write_result

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("arpa", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--tuning", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers-python")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spoken, seconds = prepare(folder, options.text, options.arpa, options.count)
        workers = [Worker(sys.executable, "sonant", folder)]
        if options.peers_python:
            workers.append(Worker(options.peers_python, "peers", folder))
        rows = measure(workers, spoken, seconds, options.tuning, options.rounds)
        for worker in workers:
            worker.process.kill()
    peers = [row for row in rows if row["decoder"].startswith("flashlight")]
    for row in rows:
        equal = [peer["speed"] for peer in peers if peer["wer"] <= row["wer"]]
        if row["decoder"].startswith("sonant b") and equal:
            row["times_flashlight"] = round(row["speed"] / max(equal), 1)
        print(row, flush=True)
    write_result("decoding", {"machine": describe(), "sentences": options.count, "rows": rows})


if __name__ == "__main__":
    main()
