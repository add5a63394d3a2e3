"""What a training run does, as frozen values read from TOML; nothing here imports PyTorch.

A recipe may extend one other. Whatever it does not say has the default that stands here.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from sonant.errors import OptionError
from sonant.model.config import EncoderConfig, PretrainConfig
from sonant.train.sections import Augment, Batches, Data, Model, Optim, Pretrain, Run, Schedule, TaskSection

S = TypeVar("S")
FOLDER = Path(__file__).parents[1] / "recipes"
"""The recipes that come with the package."""


@dataclass(frozen=True)
class Recipe:
    """A training run."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    task: TaskSection = field(default_factory=TaskSection)
    pretrain: Pretrain = field(default_factory=Pretrain)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    batches: Batches = field(default_factory=Batches)
    run: Run = field(default_factory=Run)


def read_recipe(source: str | Path, settings: Iterable[str] = ()) -> Recipe:
    """The recipe in a TOML file, or one that comes with the package by its name (`ctc-10h`), changed by `settings`.

    A setting reads `optim.lr=3e-4`. Raises `OptionError` for a file that is no recipe, an unknown name (with the
    nearest known one) or a value of another type.
    """
    values = _read_toml(source)
    base = values.pop("extends", None)
    if base is not None:
        beside = Path(source).parent / str(base)
        below = _read_toml(beside if beside.is_file() else str(base))
        if "extends" in below:
            raise OptionError(f"A recipe extends one other, but {base}, which {source} extends, does so itself.")
        values = _merged(below, values)
    for setting in settings:
        values = _merged(values, _read_setting(setting))
    recipe = _checked(Recipe, values, "")
    _check_bounds(recipe)
    return recipe


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def to_toml(recipe: Recipe) -> str:
    """A recipe with every value, as TOML that `read_recipe` reads back to the same."""
    lines: list[str] = []
    for section, values in asdict(recipe).items():
        lines += [f"[{section}]"]
        tables = {name: value for name, value in values.items() if isinstance(value, dict)}
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if name not in tables]
        for name, table in tables.items():
            lines += ["", f"[{section}.{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
        lines.append("")
    return "\n".join(lines)


def _read_toml(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    if not path.is_file() and path.name == str(source):
        path = FOLDER / f"{source}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        nearest, names = _nearest(str(source), recipe_names()), ", ".join(recipe_names())
        raise OptionError(
            f"There is no recipe {source}{nearest}; name a TOML file or one of those that come along: {names}."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise OptionError(f"A recipe must be a TOML file, but {source} is not ({why}); mend it.") from error


def _read_setting(setting: str) -> dict[str, Any]:
    """`a.b=value` as nested tables; what is no TOML value is a text."""
    name, equals, text = setting.partition("=")
    if not equals or not name.strip():
        raise OptionError(f"A setting must read section.name=value, such as optim.lr=3e-4, but is {setting!r}.")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in reversed(name.strip().split(".")):
        value = {part: value}
    return value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables, `above` where both have a value."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _checked(kind: type[S], values: Mapping[str, Any], place: str) -> S:
    """A dataclass from a table."""
    types = get_type_hints(kind)
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            raise OptionError(f"A recipe has no {place}{name}{_nearest(name, types)}; correct its spelling.")
        if is_dataclass(types[name]) and not isinstance(value, dict):
            _refuse(f"{place}{name}", f"a section with {', '.join(get_type_hints(types[name]))}", value)
        inside = is_dataclass(types[name])
        made[name] = (_checked if inside else _value)(types[name], value, f"{place}{name}" + ("." if inside else ""))
    return kind(**made)


def _value(kind: Any, value: Any, place: str) -> Any:
    """A value of the type that a field has."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in arguments:
            _refuse(place, f"one of {', '.join(map(repr, arguments))}", value)
    elif origin is tuple:
        items = value if isinstance(value, list) else [value]
        return tuple(_value(arguments[0], item, place) for item in items)
    elif origin is dict:
        if not isinstance(value, dict):
            _refuse(place, "a table", value)
        known = {f.name for f in fields(_TABLES[place])}
        for name in value:
            if name not in known:
                raise OptionError(f"A recipe has no {place}.{name}{_nearest(name, known)}; correct its spelling.")
    elif kind is float and type(value) is int:
        return float(value)
    elif type(value) is not kind:
        _refuse(place, {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[kind], value)
    return value


_TABLES = {"model.config": EncoderConfig, "pretrain.config": PretrainConfig}
_AT_LEAST: dict[str, int] = {
    "schedule.steps": 1, "batches.accumulate": 1, "batches.num_lengths": 1, "run.log_steps": 1, "run.evaluate_steps": 1,
    "data.dev_rows": 1, "augment.mask_time_length": 1, "augment.mask_channel_length": 1, "run.memory": 0,
    "pretrain.clusters": 2, "pretrain.teacher_layer": 1, "pretrain.cluster_frames": 2, "run.restarts": 0,
    "run.seed": 0, "run.threads": 0, "run.max_skipped": 0, "run.max_unreadable": 0, "data.sample_rate": 1000,
    "task.mel_weight": 0, "optim.eps": 0, "optim.weight_decay": 0, "optim.clip": 0, "schedule.final": 0,
    "batches.shards": 0, "augment.gain_db": 0, "batches.join_gap": 0, "pretrain.unmasked": 0, "pretrain.penalty": 0,
    "task.tdnn_dim": 1, "task.tdnn_kernel": 1, "task.tdnn_dilation": 1, "task.xvector_output_dim": 1,
    "task.crop_seconds": 0, "run.states": 0,
}  # fmt: skip
_OVER_ZERO = (
    "optim.lr", "batches.seconds", "batches.lengths", "batches.join_seconds", "schedule.initial", "data.max_seconds",
    "run.restart_rate", "pretrain.temperatures",
)  # fmt: skip
_SHARES = (
    "schedule.warmup", "schedule.hold", "augment.clean", "augment.ramp", "augment.noise", "augment.room",
    "augment.band", "augment.speed", "augment.mask_time", "augment.mask_channel", "batches.join", "batches.short_share",
    "pretrain.anneal", "optim.average", "task.mel_share",
)  # fmt: skip


def _check_bounds(recipe: Recipe) -> None:
    """Raise `OptionError` for numbers that no training can have."""
    for section, values in asdict(recipe).items():
        for name, value in values.items():
            place, numbers = f"{section}.{name}", value if isinstance(value, tuple) else (value,)
            if place in _AT_LEAST and not all(number >= _AT_LEAST[place] for number in numbers):
                _refuse(place, f"at least {_AT_LEAST[place]}", value)
            if place in _OVER_ZERO and not all(0 < number < float("inf") for number in numbers):
                _refuse(place, "over 0", value)
            if place in _SHARES and not all(0 <= number <= 1 for number in numbers):
                _refuse(place, "a share from 0 to 1", value)
            if place in ("optim.betas", "augment.noise_db", "pretrain.temperatures") and len(numbers) != 2:
                _refuse(place, "two numbers", value)
            if place == "optim.betas" and not all(0 <= number < 1 for number in numbers):
                _refuse(place, "from 0 to below 1", value)
            if place == "augment.noise_db" and not numbers[0] <= numbers[-1]:
                _refuse(place, "the least, then the greatest", value)
    if recipe.run.shard and recipe.optim.kind == "muon":
        raise OptionError("run.shard needs optim.kind=adamw, since muon needs whole matrices; choose one of the two.")


def _refuse(place: str, expected: str, value: Any) -> NoReturn:
    raise OptionError(f"{place} in a recipe must be {expected}, but is {value!r}; correct it.")


def _nearest(name: str, known: Iterable[str]) -> str:
    """` (the nearest is lr)` for messages, where a known name is near."""
    found = get_close_matches(name, list(known), 1, 0.4)
    return f" (the nearest is {found[0]})" if found else ""


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's numbers, texts and truth values are TOML's, but for DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
