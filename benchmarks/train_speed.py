"""How fast is a training step? sonant's models against transformers', same weights, in one loop.

    python benchmarks/train_speed.py [--models widening even base] [--tasks ctc frozen contrastive] [--threads 2]
                                     [--batch-seconds 80] [--rounds 5] [--steps 4] [--device cpu] [--name train_speed]

A step is forward, backward, clipping and AdamW (fused, which is the default of transformers' Trainer too), in bfloat16
where the processor has it. Clips are noise whose lengths are distributed as LibriSpeech's. Two comparisons:

- `same batches`: both learn from the batches of sonant's plan, with the same masks and negatives, drawn beforehand.
- `own practice`: sonant learns from its plan, step by step; transformers from as many seconds with their padding, in
  random order, padded to the longest, as its Trainer does by default. Either draws masks and negatives in the step.

`ctc` lets all weights learn, `frozen` all but the convolutions (the usual fine-tuning), `contrastive` is pre-training.
Each option is a process of its own; they take turns, round after round, so that a busy machine troubles all alike, and
ratios are medians of the rounds' ratios. Written to results/NAME.json: seconds of audio (without padding) a second of
the wall clock, ratios by wall clock and by processor time, peak memory (of the process, or of the GPU), padding (of the
measured steps, and `epoch_padding` of sonant's whole plan), and how far the losses of one clip by the two are apart.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from statistics import median
from typing import Any

from machine import describe, resident, write_result  # isort: skip
from train_options import MASKED, MODELS, RATE, Job, first_row, make_batches, make_model, make_planner  # isort: skip
from train_options import sonant_option, transformers_option  # isort: skip

WAYS = {"same batches": ("sonant", "transformers"), "own practice": ("sonant-own", "transformers-own")}


# A worker: it steps when it is told to.


def work(job: Job) -> None:
    """Warm up, then answer each line of stdin with what a round of steps took."""
    import torch

    from sonant.engines.torch import find_precision
    from sonant.train.optim import clip_gradients, make_optimiser
    from sonant.train.sections import Optim

    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    option = (sonant_option if job.option.startswith("sonant") else transformers_option)(job)
    learning = [p for p in option.model.parameters() if p.requires_grad]
    optimiser = make_optimiser(learning, Optim(lr=1e-5), job.device)
    precision = find_precision("auto", job.device)
    autocast = torch.autocast(job.device.partition(":")[0], torch.bfloat16, precision == "bf16")

    def step(inputs: tuple[Any, ...]) -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast:
            loss = option.loss(*inputs)
        loss.backward()
        clip_gradients(learning, 1.0)
        optimiser.step()
        loss.item()  # waits for a GPU
        if job.device.startswith("cuda"):
            torch.cuda.synchronize()

    warming, batches = make_batches(job)
    option.model.eval()
    with torch.no_grad():
        expected = option.loss(*option.prepare(first_row(warming[0]))).item()
    option.model.train()
    for batch in warming:
        step(option.prepare(batch))
    print(json.dumps({"ready": job.option, "loss": expected, "precision": precision}), flush=True)
    for _ in sys.stdin:
        chosen = list(itertools.islice(batches, job.steps))
        ready = [option.prepare(batch) for batch in chosen] if not job.own else None
        used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for i, batch in enumerate(chosen):
            step(ready[i] if ready else option.prepare(batch))
        wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cuda = job.device.startswith("cuda")
        answer = {
            "wall": wall,
            "cpu": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
            "heard": sum(batch.lengths.sum().item() for batch in chosen) / RATE,
            "padded": sum(batch.waveforms.numel() for batch in chosen) / RATE,
            "peak_mb": torch.cuda.max_memory_allocated() // 2**20 if cuda else round(resident(most=True)),
        }
        print(json.dumps(answer), flush=True)


class Worker:
    """An option in a process of its own."""

    def __init__(self, job: Job) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(job.threads), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", json.dumps(asdict(job))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1,
        )  # fmt: skip
        self.ready = self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries print too
                return json.loads(line)
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")

    def measure(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(way: str, workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    """A row of the result, from rounds in which both take their turn."""
    turns = [{name: worker.measure() for name, worker in workers.items()} for _ in range(rounds)]
    ours, theirs = WAYS[way]
    row: dict[str, Any] = {"way": way, "precision": workers[ours].ready["precision"]}
    for clock in ("wall", "cpu"):
        speeds = {name: [turn[name]["heard"] / turn[name][clock] for turn in turns] for name in workers}
        ratios = [a / b for a, b in zip(speeds[ours], speeds[theirs], strict=True)]
        row[f"{clock}_ratio"] = round(median(ratios), 3)
        row[f"{clock}_ratio_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
        if clock == "wall":
            row |= {f"{name.removesuffix('-own')}_speed": round(median(s), 2) for name, s in speeds.items()}
    for name in workers:
        plain, last = name.removesuffix("-own"), turns[-1][name]
        row[f"{plain}_peak_mb"] = last["peak_mb"]
        heard, padded = (sum(turn[name][part] for turn in turns) for part in ("heard", "padded"))
        row[f"{plain}_padding"] = round(1 - heard / padded, 4)
    losses = [worker.ready["loss"] for worker in workers.values()]
    if way == "same batches":
        row["loss"], row["loss_apart"] = round(losses[0], 5), float(f"{abs(losses[0] - losses[1]):.2g}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["widening", "even"])
    parser.add_argument("--tasks", nargs="+", choices=MASKED, default=list(MASKED))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch-seconds", type=float, default=80.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of a round")
    parser.add_argument("--name", default="train_speed", help="name of the result")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(Job(**json.loads(options.work)))
        return
    told = {"device": options.device, "threads": options.threads, "batch_seconds": options.batch_seconds,
            "steps_a_round": options.steps, "rounds": options.rounds}  # fmt: skip
    told["epoch_padding"] = round(make_planner(options.batch_seconds).padding(), 4)
    result: dict[str, Any] = {"machine": describe("torch", "transformers"), **told, "rows": []}
    for name, task, way in itertools.product(options.models, options.tasks, options.ways):
        with tempfile.TemporaryDirectory() as folder:
            make_model(name, task, folder)
            jobs = [
                Job(option, task, folder, options.device, options.threads, options.batch_seconds, options.steps)
                for option in WAYS[way]
            ]
            workers = {job.option: Worker(job) for job in jobs}
            row = {"model": name, "task": task, **compare(way, workers, options.rounds)}
            for worker in workers.values():
                worker.close()
        result["rows"].append(row)
        print(json.dumps(row), flush=True)
        write_result(options.name, result)


if __name__ == "__main__":
    main()
