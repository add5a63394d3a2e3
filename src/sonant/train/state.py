"""A run's folder: its recipe, the state it goes on from, its metrics, and the model that comes out.

recipe.toml     every setting of the run
state.pt        all that the next step depends on, replaced in one step
metrics.jsonl   a JSON object a line
model/          the best model so far, in Hugging Face's layout
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sonant.data.manifest import Utterance
from sonant.errors import OptionError, OutputError, TrainingError
from sonant.files import open_output, write_text
from sonant.train.card import model_card
from sonant.train.recipe import Recipe, read_recipe, to_toml
from sonant.train.task import Task


class RunFolder:
    """The files of a run; only the first rank writes."""

    def __init__(self, folder: Path, recipe: Recipe, main: bool = True) -> None:
        """Begin a run or open one; `OptionError` where it was begun with another recipe."""
        self.folder, self.recipe, self.main = folder, recipe, main
        self.state_path = folder / "state.pt"
        self.metrics_path = folder / "metrics.jsonl"
        self.model_path, self.old_path = folder / "model", folder / "model.old"
        self.candidate_path, self.good_path = folder / "candidate.pt", folder / "good.pt"

    def open(self) -> None:
        """Make the folder, or check that it holds a run of this recipe and mend what a crash left."""
        told = self.folder / "recipe.toml"
        if told.exists():
            _check_same(read_recipe(told), self.recipe, self.folder)
        if not self.main:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for partial in self.folder.glob(".sonant-*.tmp"):  # a process that was killed cleans nothing up
                partial.unlink()
            for partial in self.folder.glob(".*.partial"):
                shutil.rmtree(partial)
            if self.old_path.exists() and not self.model_path.exists():  # killed between two renames
                self.old_path.rename(self.model_path)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be made ({error.strerror}); name another folder.") from error
        write_text(told, to_toml(self.recipe))

    def load(self, good: bool = False) -> dict[str, Any] | None:
        """The state that was saved last, or the last good one; None where there is none."""
        path = self.good_path if good else self.state_path
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes of torch.load
            raise TrainingError(
                f"{path} must be the state of a run, but cannot be read ({type(error).__name__}); "
                "take a copy of it back, or begin in another folder."
            ) from error

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state in one step; `OutputError` where it cannot be written, and the last one stays."""
        try:
            with open_output(self.state_path) as file:
                torch.save(dict(state), file)
        except RuntimeError as error:  # what PyTorch makes of a write that failed
            raise OutputError(
                f"{self.state_path} could not be written ({error}); make room: the run goes on from the last state."
            ) from error

    def nominate(self) -> None:
        """Keep the state that was just saved, until it is known to be a good one."""
        self.candidate_path.unlink(missing_ok=True)
        try:
            self.candidate_path.hardlink_to(self.state_path)  # the next state gets a file of its own
        except OSError:  # a file system without links
            shutil.copyfile(self.state_path, self.candidate_path)

    def approve(self) -> None:
        """The state that was kept is a good one."""
        self.candidate_path.replace(self.good_path)

    def log(self, line: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        try:
            with self.metrics_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.metrics_path} could not be written ({error.strerror}); make room: "
                "the run goes on from the last state."
            ) from error

    def rewind(self, step: int) -> None:
        """Take back the metrics of steps after `step`, which will be done again."""
        if not self.metrics_path.exists():
            return
        kept: list[str] = []
        for line in self.metrics_path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line).get("step", 0) <= step:
                    kept.append(line + "\n")
            except (ValueError, AttributeError):  # half a line, of a process that was killed
                continue
        write_text(self.metrics_path, "".join(kept))

    def publish(self, task: Task, weights: Mapping[str, Tensor], score: Mapping[str, float], step: int) -> None:
        """Put a model, with its card, in the place of the last one."""
        new, old = self.folder / "model.new", self.old_path
        try:
            for left in (new, old):
                if left.exists():
                    shutil.rmtree(left)
            task.save(new, weights, self.recipe.run.store)
            write_text(new / "README.md", model_card(self.recipe, score, step))
            if self.model_path.exists():
                self.model_path.rename(old)
            new.rename(self.model_path)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{self.model_path} could not be written ({error.strerror}); make room.") from error


def fingerprint(utterances: Iterable[Utterance]) -> str:
    """A number for what is heard and read, by which a resumed run knows its data again."""
    digest = hashlib.sha256()
    for u in utterances:
        label = "" if u.label is None else f"\0{u.label}"
        digest.update(f"{u.audio}\0{u.offset}\0{u.duration}\0{u.text}\0{u.speaker}{label}\n".encode(errors="replace"))
    return digest.hexdigest()


def check_state(state: Mapping[str, Any], folder: Path, data: str, world: int) -> None:
    """Raise where a state belongs to other data (of this fingerprint) or to another number of processes."""
    if not {"data", "world"} <= state.keys():
        raise TrainingError(f"{folder / 'state.pt'} must be the state of a run, but is another file; begin elsewhere.")
    if state["data"] != data:
        raise TrainingError(
            f"{folder} must go on with the data it began with, but the manifests have changed; "
            "put them back, or begin in another folder."
        )
    if state["world"] != world:
        raise OptionError(
            f"{folder} was begun by {state['world']} processes, but {world} go on; "
            "start as many, or begin in another folder."
        )


def _check_same(told: Recipe, asked: Recipe, folder: Path) -> None:
    """Raise `OptionError` where two recipes would not give the same weights."""
    before, now = asdict(told), asdict(asked)
    for section, values in before.items():
        for name, value in values.items():
            if (section != "run" or name == "seed") and now[section][name] != value:
                raise OptionError(
                    f"{folder} was begun with {section}.{name} = {value!r}, but {now[section][name]!r} is asked for; "
                    "ask for the same to go on, or name another folder."
                )
