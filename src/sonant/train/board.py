"""A training's metrics as TensorBoard's event files, beside its own: the only module that writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonant.errors import MissingExtraError, OutputError

Listener = Callable[[Mapping[str, Any]], None]
PLACES = ("step", "epoch")
"""What says where a line stands, and is no quantity."""


class Board:
    """A listener of a training that writes what it is told to the folder `tensorboard` of the run.

    It shows what the run's metrics show: when a run goes on from an earlier state, TensorBoard forgets the points after
    it. Raises `MissingExtraError` without TensorBoard, `OutputError` where a line cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "run.tensorboard needs TensorBoard, which is not installed: pip install 'sonant[tensorboard]'"
            ) from error
        self.folder, self.open_writer = folder, SummaryWriter
        self.writer: SummaryWriter | None = None
        self.step = 0

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Write a line that the metrics already hold."""
        try:
            if self.writer is None or line["step"] < self.step:  # a run that begins, goes on, or went back
                self.close()
                kept = last_step(self.folder / "metrics.jsonl")
                purged = kept + 1 if kept <= line["step"] else line["step"]  # a run that left no state begins again
                self.writer = self.open_writer(str(self.folder / "tensorboard"), purge_step=purged)
            self.step = line["step"]
            if "event" in line:
                names = "".join(f"\n- {name}" for name in line.get("names", ()))
                self.writer.add_text("events", f"{line['event']}\n{names}", self.step)
            part = "train" if "loss" in line else "dev"
            for name, value in line.items():
                if isinstance(value, int | float) and name not in PLACES:
                    self.writer.add_scalar(f"{part}/{name.removeprefix('dev_')}", value, self.step)
            self.writer.flush()
        except OSError as error:
            raise OutputError(
                f"{self.folder / 'tensorboard'} could not be written ({error.strerror or error}); make room, or set "
                "run.tensorboard=false: the run goes on from the last state."
            ) from error

    def close(self) -> None:
        """Let the file go."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


@contextmanager
def boarding(folder: Path, listener: Listener) -> Iterator[Listener]:
    """A listener that tells `listener` and TensorBoard's files."""
    board = Board(folder)

    def tell(line: Mapping[str, Any]) -> None:
        listener(line)
        board(line)

    try:
        yield tell
    finally:
        board.close()


def last_step(metrics: Path) -> int:
    """The greatest step of all lines but the last, which is being told; -1 where there is none."""
    found = -1
    for line in metrics.read_text(encoding="utf-8").splitlines()[:-1]:
        try:
            found = max(found, json.loads(line).get("step", -1))
        except ValueError:  # the half line of a process that was killed
            continue
    return found
