"""How well and how fast do CTC decoders read? sonant's beam beside flashlight-text, pyctcdecode and fast-ctc-decode.

    python benchmarks/decoding.py TEXT ARPA [--count 200] [--tuning 40] [--rounds 3] [--peers-python PATH]
    python benchmarks/decoding.py DEV.jsonl ARPA --model MODEL [...]

All hear the same seeded emissions of sentences from TEXT (`emissions.py`), which ARPA must not have seen, and use the
words of ARPA as lexicon. Weights are chosen on the first `--tuning` sentences, word error rates are of the others. One
thread; the options take turns, round after round, and speed is audio seconds a second of processor time, the median
round. The peers have an environment of their own (Python 3.11: `pip install numpy flashlight-text==0.0.7 kenlm pygtrie
hypothesis fast-ctc-decode && pip install --no-deps pyctcdecode==0.5.0`); without --peers-python sonant runs alone.
With --model they hear what that model makes of the recordings of a manifest instead.
Written to results/decoding.json (of recordings: decoding-speech.json), with the speed relative to each of flashlight's
points at no higher error rate.
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

WEIGHTS = {
    "synthetic": [(0.5, 1.0), (0.7, 1.0), (0.7, 2.0), (0.9, 2.0)],
    "speech": [(0.5, 0.0), (0.5, 1.0), (0.7, 1.0), (0.9, 2.0)],
}
"""Of the model (natural logarithm) and for each word."""
OURS = {
    "synthetic": [(10, 8, 8), (15, 8, 8), (20, 8, 8), (20, 10, 8), (30, 10, 8), (100, 12, 12)],
    "speech": [(20, 8, 8), (30, 12, 10), (100, 12, 8), (100, 16, 12), (200, 16, 12), (500, 20, 12)],
}
"""Beam, threshold of hypotheses, threshold of tokens: wider for speech, for models heard in training are less sure."""
FLASHLIGHTS = {
    "synthetic": [(10, 10, 25), (20, 10, 25), (50, 10, 25), (100, 5, 16), (100, 10, 25), (200, 5, 16)],
    "speech": [(20, 10, 25), (50, 10, 25), (100, 5, 16), (100, 10, 25), (200, 10, 25), (500, 10, 25)],
}
"""Beam, tokens tried, threshold."""
READY = "given probabilities"
"""What an option's name ends in that need not take log-probabilities to the power of e."""
Decode = Callable[[np.ndarray], str]


def sonant_options(folder: Path) -> Iterator[tuple[str, Decode]]:
    from sonant.decode.beam import BeamDecoder
    from sonant.decode.greedy import GreedyDecoder
    from sonant.decode.lm import open_lm
    from sonant.types import Emissions, Vocabulary

    facts = json.loads((folder / "facts.json").read_text())
    tokens, silent = tuple(facts["tokens"]), frozenset(facts["silent"])
    vocabulary = Vocabulary(tokens, facts["blank"], facts["separator"], facts["unknown"], silent)
    lm = open_lm(folder / "model.arpa")

    def reader(decoder: Any) -> Decode:
        return lambda values: decoder.decode(Emissions(values, facts["frame_seconds"], vocabulary))[0].text

    yield "sonant greedy", reader(GreedyDecoder())
    for size, threshold, token_threshold in OURS[facts["kind"]]:
        for weight, bonus in WEIGHTS[facts["kind"]]:
            limits = {"beam_size": size, "score_threshold": threshold, "token_threshold": token_threshold}
            for kind, penalty in (("", 4.0), (" closed", None)):
                settings = {"lm_weight": weight, "word_bonus": bonus, "unknown_penalty": penalty, **limits}
                decoder = BeamDecoder(vocabulary, lm, **settings)
                yield (
                    f"sonant b{size} threshold {threshold} tokens {token_threshold}{kind}|{weight} {bonus}",
                    reader(decoder),
                )


def peer_options(folder: Path) -> Iterator[tuple[str, Decode]]:
    from fast_ctc_decode import viterbi_search

    facts = json.loads((folder / "facts.json").read_text())
    letters = facts["letters"]
    if facts["blank"] == 0:
        yield "fast-ctc-decode greedy", lambda values: viterbi_search(np.exp(values), letters)[0]
        yield "fast-ctc-decode greedy, " + READY, lambda values: viterbi_search(values, letters)[0]
    yield from flashlight_options(folder, facts)
    yield from pyctcdecode_options(folder, facts)


def flashlight_options(folder: Path, facts: dict[str, Any]) -> Iterator[tuple[str, Decode]]:
    from flashlight.lib.text import decoder as fl
    from flashlight.lib.text.dictionary import Dictionary

    letters, words, blank, separator = (facts[name] for name in ("letters", "words", "blank", "separator"))
    listed = Dictionary()
    for word in [*words, "<unk>"]:
        listed.add_entry(word)
    lm = fl.KenLM(str(folder / "model.arpa"), listed)
    trie, start = fl.Trie(len(letters), separator), lm.start(False)
    index = {letter: i for i, letter in enumerate(letters)}
    for i, word in enumerate(words):
        trie.insert([*(index[c] for c in word), separator], i, lm.score(start, i)[1])
    trie.smear(fl.SmearingMode.MAX)
    unknown = len(words)
    for size, tokens, threshold in FLASHLIGHTS[facts["kind"]]:
        for weight, bonus in WEIGHTS[facts["kind"]]:
            base_10 = weight * np.log(10)
            options = fl.LexiconDecoderOptions(
                size, tokens, threshold, base_10, bonus, -np.inf, 0.0, False, fl.CriterionType.CTC
            )
            search = fl.LexiconDecoder(options, trie, lm, separator, blank, unknown, [], False)

            def decode(values: np.ndarray, search: Any = search) -> str:
                best = search.decode(values.ctypes.data, *values.shape)[0]
                return " ".join(words[i] for i in best.words if 0 <= i < unknown)

            yield f"flashlight b{size} tokens {tokens} threshold {threshold}|{weight} {bonus}", decode


def pyctcdecode_options(folder: Path, facts: dict[str, Any]) -> Iterator[tuple[str, Decode]]:
    import logging

    import kenlm
    from pyctcdecode.alphabet import Alphabet
    from pyctcdecode.decoder import BeamSearchDecoderCTC
    from pyctcdecode.language_model import LanguageModel

    logging.disable()
    words = facts["words"]
    alphabet = Alphabet.build_alphabet(["" if i == facts["blank"] else c for i, c in enumerate(facts["letters"])])
    for weight, bonus in WEIGHTS[facts["kind"]]:
        model = LanguageModel(kenlm.Model(str(folder / "model.arpa")), words, alpha=weight, beta=bonus)
        decoder = BeamSearchDecoderCTC(alphabet, model)

        def decode(values: np.ndarray, decoder: Any = decoder) -> str:
            return decoder.decode(values, beam_width=20, beam_prune_logp=-25, token_min_logp=-10)

        yield f"pyctcdecode b20|{weight} {bonus}", decode


def serve(folder: Path, options: Callable[[Path], Iterator[tuple[str, Decode]]]) -> None:
    """Answers lines of `[option, first, last]` with `[texts, processor seconds]`; says its options first."""
    arrays = np.load(folder / "emissions.npz")
    many = [arrays[name] for name in arrays.files]
    probabilities = [np.exp(values) for values in many]
    known = dict(options(folder))
    print(json.dumps(list(known)), flush=True)
    for line in sys.stdin:
        name, first, last = json.loads(line)
        heard = (probabilities if name.endswith(READY) else many)[first:last]
        began = time.process_time()
        texts = [known[name](values) for values in heard]
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


def hear(manifest: Path, model: str, count: int) -> Iterator[tuple[list[str], Any]]:
    """Words and emissions of a manifest's recordings, spread over it."""
    import sonant
    from sonant.data.manifest import read_manifest, read_utterance

    asr = sonant.load(model, lm=False)
    rate, in_case = asr.checkpoint.sample_rate, str.upper if "A" in asr.vocabulary.index else str.lower
    rows = list(read_manifest(manifest))
    count = min(count, len(rows))
    for row in (rows[i * len(rows) // count] for i in range(count)):
        samples = read_utterance(row, rate)
        yield in_case(row.text).split(), asr.emissions(samples, sample_rate=rate)


def prepare(folder: Path, made: list[tuple[list[str], Any]], arpa: Path, kind: str) -> tuple[list[str], list[float]]:
    """Lay out what the workers read; the sentences and their seconds."""
    from sonant.decode.lexicon import letters_lexicon
    from sonant.decode.lm import open_lm

    vocabulary, frame_seconds = made[0][1].vocabulary, made[0][1].frame_seconds
    np.savez(folder / "emissions.npz", **{f"e{i:05d}": emissions.log_probs for i, (_, emissions) in enumerate(made)})
    (folder / "model.arpa").symlink_to(arpa.resolve())
    facts = {name: getattr(vocabulary, name) for name in ("tokens", "blank", "separator", "unknown")}
    facts["kind"] = kind
    facts["silent"] = sorted(vocabulary.silent)
    facts["letters"] = [
        " " if i == vocabulary.separator else t if len(t) == 1 else chr(0xE000 + i)
        for i, t in enumerate(vocabulary.tokens)
    ]
    facts["words"] = letters_lexicon(open_lm(arpa).words(), vocabulary)[0].words
    (folder / "facts.json").write_text(json.dumps(facts | {"frame_seconds": frame_seconds}))
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
    from emissions import utterances
    from machine import describe, write_result

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("arpa", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--tuning", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers-python")
    parser.add_argument("--model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heard = hear(options.text, options.model, options.count) if options.model else None
        made, kind = list(heard or utterances(options.text, options.count)), "speech" if heard else "synthetic"
        spoken, seconds = prepare(folder, made, options.arpa, kind)
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
    facts = {
        "machine": describe(),
        "model": options.model and Path(options.model).name,
        "sentences": len(spoken),
        "rows": rows,
    }
    write_result("decoding-speech" if options.model else "decoding", facts)


if __name__ == "__main__":
    main()
