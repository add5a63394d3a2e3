"""The training loop: a recipe's steps on any device and number of ranks, resumed bit for bit.

Everything that a step draws hangs on (seed, step, rank, batch), so that no generator's state needs to be kept.
Gradients are added up over batches and ranks, then divided by the number of items in all of them.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonant.data.batches import Batch, Prepared, stream
from sonant.data.plan import Place
from sonant.engines.torch import find_precision
from sonant.errors import TrainingError
from sonant.train import feeds
from sonant.train.guard import Reading
from sonant.train.layout import make_layout, restore, transformers
from sonant.train.metrics import Sums, Totals, add_sums, means, rounded
from sonant.train.optim import WeightAverage, make_optimiser, rate_at, scale_gradients, set_rate
from sonant.train.ranks import open_ranks
from sonant.train.recipe import Recipe
from sonant.train.state import RunFolder, check_state, fingerprint
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
        kind = find_task(recipe)
        self.labelled = kind.labelled
        self.notes: list[str] = []  # what the user should know of the data
        self.utterances = feeds.read_utterances(recipe, recipe.data.train, self.labelled, self.notes.append)
        torch.manual_seed(recipe.run.seed)
        self.task = make_task(recipe, [getattr(u, kind.target) for u in self.utterances])
        self.notes += self.task.notes
        self.model = self.task.model
        self.layout = make_layout(recipe.run, self.ranks, self.model)
        for transformer in transformers(self.model):
            transformer.recompute = recipe.run.checkpoint_layers
        self.parameters = list(self.model.parameters())
        self.optimiser = make_optimiser(self.parameters, recipe.optim, self.ranks.device)
        self.average = WeightAverage(self.model, recipe.optim.average) if recipe.optim.average else None
        self.planner = feeds.make_planner(recipe, self.utterances, self.ranks.world)
        self.depot = feeds.make_depot(folder, self.ranks)
        self.loader = feeds.make_loader(recipe, self.task, self.utterances, self.depot)
        self.place, self.best, self.skipped, self.unreadable = Place(), math.inf, 0, 0
        self.heard = self.elapsed = 0.0
        self.guard, self.restarts, self.candidate = self.task.guard, 0, -1
        self.named: set[str] = set()
        self.dev: feeds.DevSet | None = None

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end; False where `stop` ended it before, with its state saved."""
        self.folder.open()
        with self.ranks.together():
            if not self.resume():
                self.begin()
            while True:
                try:
                    return self._go(stop)
                except CollapseError as collapse:
                    self._restart(str(collapse))

    def begin(self) -> None:
        """What comes before the first step: all ranks begin with the same numbers."""
        self.hold()
        durations = {i: self.utterances[i].duration or 0 for i in self.planner.first()}
        self.task.begin(feeds.clean_rows(self.loader, durations, self.recipe.run.seed))
        self.ranks.share(*self.layout.copies())

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
                saving = self.ranks.main and time.monotonic() - saved >= run.save_minutes * 60
                stopped, due, saving = self.step(next(batches), totals, (stop(), due, saving))
                step, clock = self.place.step, time.monotonic()
                self.elapsed = clock - begun
                if step % run.log_steps == 0 or step == steps or stopped:
                    self.log(totals)
                    totals = Totals()
                if step % run.evaluate_steps == 0 or due or step == steps:
                    self.evaluate()
                    evaluated = time.monotonic()
                if saving or step == steps or stopped:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.depot.close()
            batches.close()
        return not stopped

    def hold(self, epoch: int = 0, group: int = 0) -> None:
        """Have the shards of a group, and let those of the next one come."""
        self.depot.hold(self.planner.near(epoch, group))

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
            hold=self.hold,
        )

    def step(self, prepared: Prepared, totals: Totals, wishes: Sequence[bool] = ()) -> list[bool]:
        """Learn from one step's batches; which wishes any rank has."""
        step = self.place.step
        self.task.set_trainable(step)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        learning = [p for p in self.parameters if p.requires_grad]
        loss = count = 0.0
        metrics: dict[str, tuple[float, float]] = {}
        for k in range(self.layout.rounds(len(prepared.batches))):
            if k >= len(prepared.batches):
                self._keep_pace(step, k)
                continue
            losses = self._losses(prepared.batches[k], step, k)
            if losses.count:
                losses.sum.backward()
            elif self.layout.lockstep:
                (losses.sum * 0).backward()
            loss, count = loss + losses.sum.item(), count + losses.count
            add_sums(metrics, losses.metrics)
            self._note(totals, "no alignment fits", losses.excluded)
        add_sums(totals.metrics, metrics)
        self._note(totals, "unreadable", prepared.failed)
        for parameter in learning:
            if parameter.grad is None:  # of a layer that was dropped
                parameter.grad = torch.zeros_like(parameter)
        watched = [number for name in self.task.watched for number in metrics.get(name, (0.0, 0.0))]
        sums = torch.tensor([loss, count, *map(float, wishes), *watched], dtype=torch.float64)
        sums = sums.to(self.ranks.device) if self.ranks.world > 1 else sums
        self.layout.add(sums, learning)
        loss, count, *rest = sums.tolist()
        wished, watched = [number > 0 for number in rest[: len(wishes)]], rest[len(wishes) :]
        scale_gradients(learning, 1 / max(count, 1.0))
        norm = self.layout.clip(learning, self.recipe.optim.clip).item()
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
        return wished

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
        state = self.state()
        if not self.ranks.main:
            return
        if self.recipe.run.on_collapse == "restart" and self.guard is not None:
            if self.candidate < 0:
                self.folder.save(state)
                self.folder.nominate()
                self.candidate = self.place.step
                return
            if self.place.step - self.candidate >= 4 * self.guard.limits.window:
                self.folder.approve()
                self.candidate = -1
        self.folder.save(state)

    def _restart(self, why: str) -> None:
        """Go back to the last good state with a lower rate; `TrainingError` where the recipe or its absence forbids."""
        run, self.restarts = self.recipe.run, self.restarts + 1
        if run.on_collapse != "restart" or self.restarts > run.restarts or not self.folder.good_path.exists():
            raise TrainingError(why)
        restarts, step = self.restarts, self.place.step
        self.resume(good=True)
        self.restarts, self.candidate, self.guard = restarts, -1, self.guard and self.guard.fresh()
        state = self.state()
        if self.ranks.main:
            self._tell({"step": self.place.step, "event": f"{why} Back from step {step}, at a lower rate."})
            self.folder.save(state)

    def _rate(self, step: int) -> float:
        run = self.recipe.run
        return self.recipe.optim.lr * rate_at(step, self.recipe.schedule) * run.restart_rate**self.restarts

    def _losses(self, batch: Batch, step: int, k: int) -> Losses:
        seeds = np.random.SeedSequence([self.recipe.run.seed, step, self.ranks.rank, k]).generate_state(2, np.uint64)
        torch.manual_seed(int(seeds[0]))  # of dropout and LayerDrop
        generator = torch.Generator().manual_seed(int(seeds[1]))
        if self.recipe.run.shard:
            seed = np.random.SeedSequence([self.recipe.run.seed, step, k]).generate_state(1, np.uint64)[0]
            for transformer in transformers(self.model):
                transformer.drops = torch.Generator().manual_seed(int(seed))  # ranks gather the same layers

        def work() -> tuple[Tensor, Losses]:
            losses = self.task.loss(feeds.placed(batch, self.ranks.device), generator, step)
            return losses.sum, losses

        with self.autocast():
            return self.layout.run(work)[1]

    def _keep_pace(self, step: int, k: int) -> None:
        """A pass that counts nothing, where other ranks have more batches: sharded layers are gathered by all."""
        kept = [buffer.clone() for buffer in self.model.buffers()]  # norms over batches would learn from it
        (self._losses(feeds.quiet_batch(self.task), step, k).sum * 0).backward()
        for buffer, before in zip(self.model.buffers(), kept, strict=True):
            buffer.copy_(before)

    def autocast(self) -> torch.autocast:
        """The arithmetic that the recipe asks for."""
        run, enabled = self.recipe.run, self.precision == "bf16"
        keep = not (run.shard or run.checkpoint_layers)  # what is let go must not stay as a copy in bfloat16
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=enabled, cache_enabled=keep)

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
        new = [name for name in dict.fromkeys(names) if name not in self.named]
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
        with self.average.instead(self.model) if self.average else nullcontext():
            if self.recipe.data.dev:
                score = self._score()
            better = self.task.better if score else None
            if score and self.ranks.main:
                self._tell({"step": self.place.step, **rounded(score)})
            best = better is None or score[better] < self.best or not self.folder.model_path.exists()
            if self.ranks.agree(best):
                self.best = score[better] if better else self.best
                weights = self.layout.whole(self.model.state_dict())
                if self.ranks.main:
                    self.folder.publish(self.task, weights, score, self.place.step)

    def _score(self) -> dict[str, float]:
        """All ranks' scores together: each hears its share of the development set."""
        self.model.eval()
        self.dev = self.dev or feeds.DevSet(self.recipe, self.task, self.ranks)
        batches, device = self.dev.batches(), self.ranks.device
        idle = self.layout.rounds(len(self.dev.steps)) - len(self.dev.steps)

        def work() -> Sums:
            found = self.task.score(feeds.placed(batch, device) for batch in batches)
            for _ in range(idle):  # counts nothing, but other ranks have more batches
                self.task.score([feeds.placed(feeds.quiet_batch(self.task), device)])
            return found

        with self.autocast():
            found = self.layout.run(work)
        everywhere: dict[str, tuple[float, float]] = {}
        for sums in self.ranks.gather(dict(found)):
            add_sums(everywhere, sums)
        return means(everywhere)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on; whole on the first rank."""
        return {
            **self.layout.whole(
                {
                    "model": self.model.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "average": self.average.weights if self.average else {},
                }
            ),
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
        state = self.layout.spread(lambda: self.folder.load(good))
        if state is None:
            if self.ranks.main:
                self.folder.rewind(-1)  # of a run that was killed before its first state
            return False
        check_state(state, self.folder.folder, fingerprint(self.utterances), self.ranks.world)
        restore(state, self.layout, self.model, self.optimiser, self.average)
        self.place = Place(*state["place"])
        self.best, self.skipped, self.unreadable = state["best"], state["skipped"], state["unreadable"]
        self.named, self.heard, self.elapsed = set(state["named"]), state["heard"], state["elapsed"]
        self.restarts = state["restarts"]
        if self.ranks.main:
            self.folder.rewind(self.place.step)
        return True
