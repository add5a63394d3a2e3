"""The training loop: a recipe's steps on any device and number of ranks, resumed bit for bit.

Everything that a step draws hangs on (seed, step, rank, batch), so that no generator's state needs to be kept.
Gradients are added up over batches and ranks, then divided by the number of items in all of them.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonant.data.batches import Batch, BatchSpec, Place, Planner, Prepared, stream
from sonant.data.manifest import Utterance
from sonant.engines.torch import find_precision
from sonant.errors import DataError, OptionError, TrainingError
from sonant.train.feeds import batch_spec, clean_rows, make_loader, read_utterances
from sonant.train.guard import Reading
from sonant.train.metrics import Totals, add_sums, means, rounded
from sonant.train.optim import WeightAverage, clip_gradients, make_optimiser, rate_at, scale_gradients, set_rate
from sonant.train.ranks import open_ranks
from sonant.train.recipe import Recipe
from sonant.train.state import RunFolder, fingerprint
from sonant.train.task import Losses, hardship
from sonant.train.tasks import find_task, make_task

Listener = Callable[[Mapping[str, Any]], None]
"""Told every line of the metrics."""


class CollapseError(Exception):
    """A run is lost, in a sentence."""


class Trainer:
    """A run: made from a recipe and a folder, it goes on where the folder's state stands.

    Raises `DataError` for manifests that cannot be trained on, `OptionError` for a recipe that contradicts itself or
    the folder, `TrainingError` where numbers, data or state do not let the run go on.
    """

    def __init__(self, recipe: Recipe, folder: Path, listener: Listener = lambda _: None) -> None:
        self.recipe, self.listener = recipe, listener
        self.ranks = open_ranks(recipe.run)
        self.precision = find_precision(recipe.run.precision, self.ranks.device.type)
        if recipe.run.threads:
            torch.set_num_threads(recipe.run.threads)
        self.folder = RunFolder(folder, recipe, self.ranks.main)
        self.labelled = find_task(recipe).labelled
        self.utterances = read_utterances(recipe, recipe.data.train, self.labelled)
        torch.manual_seed(recipe.run.seed)
        self.task = make_task(recipe, [u.text for u in self.utterances])
        self.model = self.task.model.to(self.ranks.device)
        self.parameters = list(self.model.parameters())
        self.optimiser = make_optimiser(self.parameters, recipe.optim, self.ranks.device)
        self.average = WeightAverage(self.model, recipe.optim.average) if recipe.optim.average else None
        spec = batch_spec(recipe, self.ranks.world)
        self.planner = Planner([u.duration or 0 for u in self.utterances], [u.speaker for u in self.utterances], spec)
        self.loader = make_loader(recipe, self.task, self.utterances, spoils=True)
        self.place, self.best, self.skipped, self.unreadable = Place(), math.inf, 0, 0
        self.heard = self.elapsed = 0.0
        self.guard, self.restarts, self.candidate = self.task.guard, 0, -1
        self.named: set[str] = set()
        self.dev: list[Utterance] | None = None

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end; False where `stop` ended it before, with its state saved."""
        self.folder.open()
        if not self.resume():
            self.begin()
        while True:
            try:
                return self._go(stop)
            except CollapseError as collapse:
                self._restart(str(collapse))

    def begin(self) -> None:
        """What comes before the first step: all ranks begin with the same numbers."""
        durations = [u.duration or 0 for u in self.utterances]
        self.task.begin(clean_rows(self.loader, durations, self.recipe.run.seed))
        self.ranks.share(*self.model.state_dict().values())

    def _go(self, stop: Callable[[], bool]) -> bool:
        run, steps = self.recipe.run, self.recipe.schedule.steps
        if self.place.step >= steps:
            return True
        clock = saved = evaluated = time.monotonic()
        begun, stopped, totals = clock - self.elapsed, False, Totals()
        batches = self.stream()
        try:
            while self.place.step < steps and not stopped:
                due = run.evaluate_minutes > 0 and clock - evaluated > run.evaluate_minutes * 60
                stopped, due = self.step(next(batches), totals, stop(), due)
                step, clock = self.place.step, time.monotonic()
                self.elapsed = clock - begun
                if step % run.log_steps == 0 or step == steps or stopped:
                    self.log(totals)
                    totals = Totals()
                if step % run.evaluate_steps == 0 or due or step == steps:
                    self.evaluate()
                    evaluated = time.monotonic()
                if self.ranks.main and (clock - saved > run.save_minutes * 60 or step == steps or stopped):
                    self.save()
                    saved = time.monotonic()
        finally:
            batches.close()
        return not stopped

    def stream(self) -> Any:
        """This rank's batches from where the run is."""
        steps, batches = self.recipe.schedule.steps, self.recipe.batches
        return stream(
            self.planner,
            self.loader,
            self.place,
            rank=self.ranks.rank,
            workers=batches.workers,
            ahead=batches.ahead,
            longest=lambda step: batches.short_seconds if step < batches.short_share * steps else 0.0,
            hardship=lambda step: hardship(self.recipe, step),
        )

    def step(self, prepared: Prepared, totals: Totals, stop: bool = False, due: bool = False) -> tuple[bool, bool]:
        """Learn from one step's batches; whether any rank wants to stop, and whether any is due to evaluate."""
        step = self.place.step
        self.task.set_trainable(step)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        learning = [p for p in self.parameters if p.requires_grad]
        loss = count = 0.0
        metrics: dict[str, tuple[float, float]] = {}
        for k, batch in enumerate(prepared.batches):
            losses = self._losses(batch, step, k)
            if losses.count:
                losses.sum.backward()
            loss, count = loss + losses.sum.item(), count + losses.count
            add_sums(metrics, losses.metrics)
            self._note(totals, "no alignment fits", losses.excluded)
        add_sums(totals.metrics, metrics)
        self._note(totals, "unreadable", prepared.failed)
        for parameter in learning:
            if parameter.grad is None:  # a layer that was dropped, on this rank
                parameter.grad = torch.zeros_like(parameter)
        watched = [number for name in self.task.watched for number in metrics.get(name, (0.0, 0.0))]
        sums = torch.tensor([loss, count, float(stop), float(due), *watched], dtype=torch.float64)
        sums = sums.to(self.ranks.device) if self.ranks.world > 1 else sums
        self.ranks.add(sums, *(p.grad for p in learning if p.grad is not None))
        loss, count, stops, dues, *watched = sums.tolist()
        scale_gradients(learning, 1 / max(count, 1.0))
        norm = clip_gradients(learning, self.recipe.optim.clip).item()
        if math.isfinite(norm) and math.isfinite(loss):
            set_rate(self.optimiser, self._rate(step))
            self.optimiser.step()
            if self.average:
                self.average.update(self.model, step + 1)
            self.skipped = 0
            totals.loss, totals.count = totals.loss + loss, totals.count + count
            totals.norm, totals.steps = totals.norm + norm, totals.steps + 1
        else:
            self._skip(totals, prepared)
        totals.heard, totals.padded = totals.heard + prepared.heard, totals.padded + prepared.padded
        self.heard += prepared.heard
        self.place = prepared.place
        if self.guard is not None and count:
            pairs = zip(self.task.watched, zip(watched[::2], watched[1::2], strict=True), strict=True)
            self._watch(means(dict(pairs)), norm, totals)
        return stops > 0, dues > 0

    def _watch(self, found: Mapping[str, float], norm: float, totals: Totals) -> None:
        """Let the guard see a step; it warns, or ends the run."""
        assert self.guard is not None
        verdict = self.guard.watch(Reading.of(found, self.task.watched[0], norm))
        if verdict is None:
            return
        if verdict.stop:
            self.log(totals)
            raise CollapseError(verdict.message)
        if self.ranks.main:
            totals.events.append({"event": verdict.message})
        self.candidate = -1  # no state of now is a good one

    def save(self) -> None:
        """Write the state. One that is found good, when enough steps after it went well, is kept beside the last."""
        if self.recipe.run.on_collapse == "restart" and self.guard is not None:
            if self.candidate < 0:
                self.folder.save(self.state())
                self.folder.nominate()
                self.candidate = self.place.step
                return
            if self.place.step - self.candidate >= 4 * self.guard.limits.window:
                self.folder.approve()
                self.candidate = -1
        self.folder.save(self.state())

    def _restart(self, why: str) -> None:
        """Go back to the last good state with a lower rate; `TrainingError` where the recipe or its absence forbids."""
        run, self.restarts = self.recipe.run, self.restarts + 1
        if run.on_collapse != "restart" or self.restarts > run.restarts or not self.folder.good_path.exists():
            raise TrainingError(why)
        restarts, step = self.restarts, self.place.step
        self.resume(good=True)
        self.restarts, self.candidate, self.guard = restarts, -1, self.guard and self.guard.fresh()
        if self.ranks.main:
            self._tell({"step": self.place.step, "event": f"{why} Back from step {step}, at a lower rate."})
            self.folder.save(self.state())

    def _rate(self, step: int) -> float:
        run = self.recipe.run
        return self.recipe.optim.lr * rate_at(step, self.recipe.schedule) * run.restart_rate**self.restarts

    def _losses(self, batch: Batch, step: int, k: int) -> Losses:
        seeds = np.random.SeedSequence([self.recipe.run.seed, step, self.ranks.rank, k]).generate_state(2, np.uint64)
        torch.manual_seed(int(seeds[0]))  # of dropout and LayerDrop
        generator = torch.Generator().manual_seed(int(seeds[1]))
        with self.autocast():
            return self.task.loss(self._placed(batch), generator, step)

    def _placed(self, batch: Batch) -> Batch:
        device = self.ranks.device
        clean = None if batch.clean is None else batch.clean.to(device, non_blocking=True)
        return replace(batch, waveforms=batch.waveforms.to(device, non_blocking=True), clean=clean)

    def autocast(self) -> torch.autocast:
        """The arithmetic that the recipe asks for."""
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _skip(self, totals: Totals, prepared: Prepared) -> None:
        """Leave a step out, but not too many in a row."""
        self.skipped += 1
        totals.skipped += 1
        names = [name for batch in prepared.batches for name in batch.names]
        totals.events.append({"event": "step left out: gradients are not finite", "names": names[:8]})
        if self.skipped > self.recipe.run.max_skipped:
            raise TrainingError(
                f"Gradients must be finite, but those of {self.skipped} steps in a row up to step {self.place.step} "
                "were not; lower optim.lr, raise schedule.warmup, or look at the files that metrics.jsonl names."
            )

    def _note(self, totals: Totals, what: str, names: tuple[str, ...]) -> None:
        """Name rows that were left out, each once."""
        new = [name for name in names if name not in self.named]
        self.named.update(new)
        if new:
            totals.events.append({"event": what, "names": new})
        self.unreadable += len(new) if what == "unreadable" else 0
        if self.unreadable > self.recipe.run.max_unreadable:
            raise TrainingError(
                f"At most {self.recipe.run.max_unreadable} rows may be unreadable, but {self.unreadable} are, the last "
                f"because of this: {names[-1]}"
            )

    def log(self, totals: Totals) -> None:
        """One line of metrics over the steps since the last, and one an event."""
        gathered = self.ranks.gather((totals.metrics, totals.events))
        if not self.ranks.main:
            return
        step = self.place.step
        everywhere: dict[str, tuple[float, float]] = {}
        for metrics, _ in gathered:
            add_sums(everywhere, metrics)
        for event in itertools.chain.from_iterable(events for _, events in gathered):
            self._tell({"step": step, **event})
        line: dict[str, Any] = {
            "step": step,
            "epoch": self.place.epoch,
            "loss": totals.loss / max(totals.count, 1.0),
            **means(everywhere),
            "lr": self._rate(step - 1),
            **totals.numbers(),
            "hours": self.heard / 3600,
            "minutes": self.elapsed / 60,
            "minutes_left": (self.recipe.schedule.steps - step) * totals.seconds_a_step() / 60,
        }
        self._tell(rounded(line))

    def _tell(self, line: Mapping[str, Any]) -> None:
        self.folder.log(line)
        self.listener(line)

    def evaluate(self) -> None:
        """Score the model on the development set, and publish it where it is the best so far or nothing says so."""
        score: dict[str, float] = {}
        with self._averaged():
            if self.recipe.data.dev:
                score = self._score()
            better = self.task.better if score else None
            if not self.ranks.main:
                return
            if score:
                self._tell({"step": self.place.step, **rounded(score)})
            if better is None or score[better] < self.best or not self.folder.model_path.exists():
                self.best = score[better] if better else self.best
                self.folder.publish(self.task, self.model.state_dict(), score, self.place.step)

    def _score(self) -> dict[str, float]:
        """All ranks' scores together: each hears its share of the development set."""
        self.model.eval()
        with self.autocast():
            found = self.task.score(self._placed(batch) for batch in self.dev_batches())
        everywhere: dict[str, tuple[float, float]] = {}
        for sums in self.ranks.gather(dict(found)):
            add_sums(everywhere, sums)
        return means(everywhere)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The running mean in the place of the model's weights, if there is one."""
        if self.average is None:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.weights)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def dev_batches(self) -> Iterator[Batch]:
        """This rank's share of the development set (`data.dev_rows` utterances spread over it at most) in batches."""
        if self.dev is None:
            every = read_utterances(self.recipe, self.recipe.data.dev, self.labelled)
            chosen = np.linspace(0, len(every) - 1, min(self.recipe.data.dev_rows, len(every))).astype(int)
            self.dev = [every[i] for i in chosen]
        spec = BatchSpec(seconds=self.recipe.batches.seconds, num_lengths=self.recipe.batches.num_lengths)
        planner = Planner([u.duration or 0 for u in self.dev], [None] * len(self.dev), spec)
        loader = make_loader(self.recipe, self.task, self.dev, spoils=False)
        for step in planner.steps(0)[self.ranks.rank :: self.ranks.world]:
            batch, failed = loader.batch(step.rows, step.seconds, 0, 0.0)
            if failed:
                raise DataError(f"Every file of the development set must be readable, but: {failed[0]}")
            yield batch

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.weights if self.average else {},
            "place": [self.place.step, self.place.epoch, self.place.index, self.place.longest],
            "best": self.best,
            "skipped": self.skipped,
            "unreadable": self.unreadable,
            "named": sorted(self.named),
            "heard": self.heard,
            "elapsed": self.elapsed,
            "restarts": self.restarts,
            "world": self.ranks.world,
            "data": fingerprint(self.utterances),
        }

    def resume(self, good: bool = False) -> bool:
        """Take up the last state that the folder holds, or the last good one; False where there is none."""
        state = self.folder.load(good)
        if state is None:
            if self.ranks.main:
                self.folder.rewind(-1)  # of a run that was killed before its first state
            return False
        if state["data"] != fingerprint(self.utterances):
            raise TrainingError(
                f"{self.folder.folder} must go on with the data it began with, but the manifests have changed; "
                "put them back, or begin in another folder."
            )
        if state["world"] != self.ranks.world:
            raise OptionError(
                f"{self.folder.folder} was begun by {state['world']} processes, but {self.ranks.world} go on; "
                "start as many, or begin in another folder."
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average:
            self.average.weights = {name: t.to(self.ranks.device) for name, t in state["average"].items()}
        self.place = Place(*state["place"])
        self.best, self.skipped, self.unreadable = state["best"], state["skipped"], state["unreadable"]
        self.named, self.heard, self.elapsed = set(state["named"]), state["heard"], state["elapsed"]
        self.restarts = state["restarts"]
        if self.ranks.main:
            self.folder.rewind(self.place.step)
        return True
