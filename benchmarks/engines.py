"""How fast is an encoder? sonant's engines against transformers, a stock OpenVINO export and torchaudio, same weights.

    python benchmarks/engines.py [--sizes base large] [--seconds 5 12 30] [--threads 1 2] [--rounds 5] [--options ...]
                                 [--torchaudio-python PATH]

Weights are random (seed 0) and clips are noise: speed does not depend on either, agreement of argmax does (trained
models agree more often). Each option is a process of its own, all loaded at once; they take turns, round after round,
so that a busy machine troubles all alike, and ratios are medians of the rounds' ratios. Where the options do not fit
into memory together, name fewer. torchaudio needs an environment of its own, since transformers cannot be imported
beside it; without CUDA's libraries, remove the folder `torchaudio/lib` there. Written to results/engines.json:
seconds of wall clock and of processor, speedups over transformers' default and over the stock export, peak memory,
and how many frames have the argmax of transformers, by size, threads and length.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from machine import describe, resident, write_result  # isort: skip

RATE = 16000
VOCABULARY = 32
Emit = Callable[[np.ndarray], np.ndarray]


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)


# The options: each loads the model of a folder and returns what turns a clip (N,) into scores (T, V).


def sonant_engine(engine: str, precision: str, folder: Path, threads: int) -> Emit:
    from sonant.checkpoints import open_checkpoint
    from sonant.engines import open_engine

    opened = open_engine(open_checkpoint(folder), engine=engine, device="cpu", precision=precision, threads=threads)
    return lambda clip: opened.emit([clip])[0]


def stock_export(precision: str, folder: Path, threads: int) -> Emit:
    from openvino import Core

    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = Core().compile_model(folder / "stock.xml", "CPU", options | {"ENABLE_CPU_PINNING": False})
    request = compiled.create_infer_request()

    def emit(clip: np.ndarray) -> np.ndarray:
        request.infer([clip[None]], share_inputs=True)
        return request.get_output_tensor().data[0].copy()

    return emit


def transformers_model(attention: str, dtype: str, folder: Path, threads: int) -> Emit:
    import torch
    from transformers import Wav2Vec2ForCTC

    torch.set_num_threads(threads)
    model = Wav2Vec2ForCTC.from_pretrained(folder, attn_implementation=attention, dtype=getattr(torch, dtype)).eval()

    def emit(clip: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(clip)[None].to(model.dtype)).logits[0].float().numpy()

    return emit


TORCHAUDIO_NAMES = (
    (r"^wav2vec2\.(?=feature_extractor\.)", ""),
    (r"^wav2vec2\.(?=feature_projection\.)", "encoder."),
    (r"^wav2vec2\.encoder\.", "encoder.transformer."),
    (r"^lm_head\.", "aux."),
)


def torchaudio_model(folder: Path, threads: int) -> Emit:
    import torch
    import torchaudio.models

    torch.set_num_threads(threads)
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    build = torchaudio.models.wav2vec2_base if width == 768 else torchaudio.models.wav2vec2_large_lv60k
    model = build(aux_num_out=VOCABULARY).eval()
    state = {}
    for name, array in np.load(folder / "weights.npz").items():
        for old, new in TORCHAUDIO_NAMES:
            if re.search(old, name):
                state[re.sub(old, new, name)] = torch.from_numpy(array)
    model.load_state_dict(state)

    def emit(clip: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(clip)[None])[0][0].numpy()

    return emit


REFERENCE = "transformers-eager"
OPTIONS: dict[str, Callable[[Path, int], Emit]] = {
    REFERENCE: partial(transformers_model, "eager", "float32"),
    "transformers-sdpa": partial(transformers_model, "sdpa", "float32"),
    "transformers-sdpa-bf16": partial(transformers_model, "sdpa", "bfloat16"),
    "torchaudio": torchaudio_model,
    "stock-openvino-fp32": partial(stock_export, "f32"),
    "stock-openvino-bf16": partial(stock_export, "bf16"),
    "sonant-torch-fp32": partial(sonant_engine, "torch", "fp32"),
    "sonant-torch-bf16": partial(sonant_engine, "torch", "bf16"),
    "sonant-openvino-fp32": partial(sonant_engine, "openvino", "fp32"),
    "sonant-openvino-bf16": partial(sonant_engine, "openvino", "bf16"),
}


def make_model(size: str, folder: Path) -> None:
    """Write one random model as a Hugging Face folder, as plain arrays and as a stock OpenVINO export."""
    import openvino
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    from sonant.model import config as architectures

    config = {"base": architectures.wav2vec2_base, "large": architectures.wav2vec2_large_lv60}[size]().to_dict()
    torch.manual_seed(0)
    del config["architectures"]
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**config, vocab_size=VOCABULARY, attn_implementation="eager")).eval()
    model.save_pretrained(folder)
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    np.savez(folder / "weights.npz", **{name: tensor.numpy() for name, tensor in model.state_dict().items()})
    export = openvino.convert_model(model, example_input=torch.zeros(1, 2 * RATE))
    openvino.save_model(export, folder / "stock.xml", compress_to_fp16=False)


def work(option: str, folder: Path, threads: int) -> None:
    """Load an option, then answer each line of stdin, a number of seconds, with a measurement of one clip."""
    emit = OPTIONS[option](folder, threads)
    print(json.dumps({"ready": option}), flush=True)
    for line in sys.stdin:
        clip = noise(float(line))
        used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        scores = emit(clip)
        wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        answer = {"wall": wall, "cpu": cpu, "peak_mb": round(resident(most=True)), "tokens": scores.argmax(-1).tolist()}
        print(json.dumps(answer), flush=True)


class Worker:
    """An option in a process of its own."""

    def __init__(self, python: str, option: str, folder: Path, threads: int) -> None:
        command = [python, __file__, "--work", option, str(folder), str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
        )
        self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries print too
                return json.loads(line)
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")

    def measure(self, seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(workers: dict[str, Worker], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """A row an option, from rounds in which all take their turn."""
    first = {name: worker.measure(seconds) for name, worker in workers.items()}  # new lengths are slower: not counted
    turns = [{name: worker.measure(seconds) for name, worker in workers.items()} for _ in range(rounds)]
    rows = []
    for name in workers:
        row: dict[str, Any] = {"option": name, "seconds": seconds}
        for clock in ("wall", "cpu"):
            row[clock] = round(median(turn[name][clock] for turn in turns), 4)
        precision = name.rpartition("-")[2] if name.endswith(("fp32", "bf16")) else "fp32"
        for label, other in (("transformers", REFERENCE), ("stock", f"stock-openvino-{precision}")):
            for clock in ("wall", "cpu") if other in workers else ():
                ratios = [turn[other][clock] / turn[name][clock] for turn in turns]
                row[f"{clock}_speedup_over_{label}"] = round(median(ratios), 3)
        row["first_wall"] = round(first[name]["wall"], 4)
        row["peak_mb"] = turns[-1][name]["peak_mb"]
        expected = first[REFERENCE if REFERENCE in workers else next(iter(workers))]["tokens"]
        row["argmax_agreement"] = round(float(np.mean(np.array(first[name]["tokens"]) == np.array(expected))), 4)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=("base", "large"), default=["base"])
    parser.add_argument("--seconds", nargs="+", type=float, default=[5, 12, 30])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--torchaudio-python", help="interpreter of an environment with torch and torchaudio")
    parser.add_argument("--name", default="engines", help="name of the result")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], Path(options.work[1]), int(options.work[2]))
        return
    names = [name for name in options.options if name != "torchaudio" or options.torchaudio_python]
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            make_model(size, Path(folder))
            for threads in options.threads:
                pythons = {
                    name: options.torchaudio_python if name == "torchaudio" else sys.executable for name in names
                }
                workers = {name: Worker(python, name, Path(folder), threads) for name, python in pythons.items()}
                for seconds in sorted(options.seconds):  # ascending: peak memory only grows
                    for row in compare(workers, seconds, options.rounds):
                        rows.append({"size": size, "threads": threads, **row})
                        print(rows[-1], flush=True)
                for worker in workers.values():
                    worker.close()
    machine = describe("torch", "transformers")
    write_result(options.name, {"machine": machine, "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
