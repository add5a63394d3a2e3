"""The published models of the family, and the short names they go by; the facts are in `catalogue.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from sonant.errors import CheckpointError
from sonant.model import config
from sonant.model.config import EncoderConfig

_NEAREST = 3
"""Names that a message about an unknown one suggests."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One model that its authors have published."""

    name: str
    """Its short name: what `load` and `--model` take, as they do `hub` and `bundle`."""
    architecture: str
    """The function of `sonant.model.config` that builds its shape."""
    parameters: int
    """Millions, with the head where there is one, counted in the shapes that its `config.json` gives."""
    labels: int | None
    """Outputs of its head: 0 where it gives none (pre-trained only, or vectors), None where they differ by language."""
    source: str
    """Where these facts come from."""
    task: str = "text"
    """`text`; `pre-training` alone; labels of `emotion`, `keywords`, `speakers` (those it was trained on) or
    `languages`; `voices` as vectors; who speaks when, of two: `turns`."""
    hub: str | None = None
    """Its name on Hugging Face's hub; None for models that are not there."""
    bundle: str | None = None
    """Its name among torchaudio's pipelines."""
    file: str | None = None
    """Where it can be downloaded, if it is not on the hub."""
    sample_rate: int = 16_000
    """Hertz."""
    licence: str | None = None
    languages: str | None = None
    """A language's code, or how many there are."""
    hours: float | None = None
    """Of the speech that it was pre-trained on."""
    transcribed_hours: float | None = None
    """Of the speech that it was fine-tuned on."""
    wer: tuple[float, ...] = ()
    """Published word error rates in per cent on LibriSpeech test-clean and test-other, without a language model."""
    wer_source: str | None = None

    @property
    def config(self) -> EncoderConfig:
        """Its architecture; of models with many languages, with the head of English."""
        shape: EncoderConfig = getattr(config, self.architecture)()
        return shape if self.labels is None else replace(shape, vocab_size=self._tokens or None)

    @property
    def _tokens(self) -> int | None:
        return self.labels if self.task == "text" else 0

    @property
    def family(self) -> str:
        """`wav2vec2`, `hubert`, `wavlm` or `data2vec-audio`."""
        return self.config.model_type


def models() -> tuple[PublishedModel, ...]:
    """Every published model that sonant knows by a short name, family by family; nothing is downloaded."""
    return _catalogue()


def find_model(name: str) -> PublishedModel | None:
    """The published model of that name (short, of the hub or of torchaudio, in any letter case); None for others."""
    return _by_name().get(_key(name))


def published_name(name: str) -> str | None:
    """The hub's name of a model that the catalogue knows, None for names it does not.

    Raises `CheckpointError` for one that is not on the hub.
    """
    model = find_model(name)
    if model is None:
        return None
    if model.hub is None:
        raise CheckpointError(
            f"A model on Hugging Face's hub was expected, but {model.name} was published as a file of torchaudio only; "
            f"download {model.file} and pass the file."
        )
    return model.hub


def nearest_names(name: str) -> list[str]:
    """The short names that a misspelt one may have meant, the likeliest first; at least one."""
    table = _by_name()
    close = get_close_matches(_key(name), table, n=3 * _NEAREST, cutoff=0.5)
    return list(dict.fromkeys(table[key].name for key in close))[:_NEAREST] or ["base-960h"]


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-")


@cache
def _catalogue() -> tuple[PublishedModel, ...]:
    rows: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["model"]
    for row in rows:
        row["wer"] = tuple(row.get("wer", ()))
        row.setdefault("task", "text" if row["labels"] else "pre-training")
        row["labels"] = None if row["labels"] < 0 else row["labels"]
    return tuple(PublishedModel(**row) for row in rows)


@cache
def _by_name() -> dict[str, PublishedModel]:
    table: dict[str, PublishedModel] = {}
    for model in _catalogue():
        for name in (model.name, model.hub, model.hub and model.hub.partition("/")[2], model.bundle):
            if name:
                table.setdefault(_key(name), model)
    return table
