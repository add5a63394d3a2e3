"""Tasks by the names that recipes call them."""

from __future__ import annotations

from collections.abc import Sequence

from sonant.errors import OptionError
from sonant.train.classify import ClassifyTask
from sonant.train.ctc import CtcTask
from sonant.train.pretraining import ClusterTask, ContrastiveTask
from sonant.train.recipe import Recipe
from sonant.train.task import Task
from sonant.train.xvector import XvectorTask

TASKS = {
    "ctc": CtcTask,
    "contrastive": ContrastiveTask,
    "clusters": ClusterTask,
    "classify": ClassifyTask,
    "xvector": XvectorTask,
}


def find_task(recipe: Recipe) -> type[CtcTask | ContrastiveTask | ClusterTask | ClassifyTask | XvectorTask]:
    """The kind of task that a recipe names; `OptionError` where there is none of that name."""
    if recipe.task.name not in TASKS:
        raise OptionError(f"task.name must be one of {', '.join(TASKS)}, but is {recipe.task.name!r}; choose one.")
    return TASKS[recipe.task.name]


def make_task(recipe: Recipe, texts: Sequence[str | None]) -> Task:
    """The task of a recipe over transcripts or labels; weights from scratch are drawn from PyTorch's generator."""
    return find_task(recipe)(recipe, texts)
