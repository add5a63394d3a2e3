"""Train by a recipe on a Ray cluster: `python train_on_ray.py RECIPE FOLDER PROCESSES [section.name=value ...]`.

FOLDER and the data must be in the same place on every machine. Where a machine goes, all begin again on those that are
left, from the last state in FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(job: dict[str, Any]) -> None:
    from sonant.train.loop import Trainer
    from sonant.train.recipe import read_recipe

    Trainer(read_recipe(job["recipe"], job["settings"]), Path(job["folder"])).run()


def main(recipe: str, folder: str, processes: str, *settings: str) -> None:
    place = Path(folder).absolute()
    on_gpu = "run.device=cpu" not in settings
    TorchTrainer(
        train,
        train_loop_config={"recipe": recipe, "folder": str(place), "settings": list(settings)},
        scaling_config=ScalingConfig(num_workers=int(processes), use_gpu=on_gpu),
        run_config=RunConfig(name="ray", storage_path=str(place.parent), failure_config=FailureConfig(max_failures=3)),
    ).fit()


if __name__ == "__main__":
    main(*sys.argv[1:])
