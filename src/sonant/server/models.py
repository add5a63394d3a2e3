"""The models of a server: what each is called, and its engines with the queue before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from sonant.decode import Decoder
from sonant.engines import Engine, open_engine
from sonant.errors import OptionError
from sonant.recognizer import Recognizer, load
from sonant.server.batcher import Batcher, SharedEngine, Ticket
from sonant.server.settings import cores
from sonant.text import language_code

FOREIGN = re.compile(r"whisper|gpt-|nova|enhanced|base$|general|default|distil|large|tiny|small|medium")
"""Names of other services' models, which their clients send whatever they talk to: the first model answers."""


class UnknownModelError(OptionError):
    """A model that this server does not have."""


@dataclass(frozen=True)
class ServedModel:
    """One model in one language."""

    name: str
    """What clients call it; no path of this machine."""
    asr: Recognizer
    batcher: Batcher

    def recognizer(self, ticket: Ticket, decoder: Decoder | None = None) -> Recognizer:
        """One whose engine waits for its turn."""
        engine = cast(Engine, SharedEngine(self.batcher, ticket))
        return Recognizer(self.asr.checkpoint, engine, decoder or self.asr.decoder, self.asr.window, self.asr.sure)

    @property
    def language(self) -> str | None:
        return self.asr.checkpoint.language


class Models:
    """All models of a server; the first is the one for those who name none."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self.by_name = {model.name: model for model in models}
        self.first = next(iter(self.by_name.values()))

    def find(self, name: str | None, language: str | None = None) -> ServedModel:
        """The model of that name; the one that hears the language (`en`, `en-US`, `eng`) where several may be meant."""
        if name and name in self.by_name:
            return self.by_name[name]
        named = [model for own, model in self.by_name.items() if own.partition("@")[0] == name]
        if name and not named and not FOREIGN.match(name.lower()):
            raise UnknownModelError(
                f"A model of this server was expected ({', '.join(self.by_name)}), but {name[:80]!r} came; "
                "name one of them, or none."
            )
        meant = named or list(self.by_name.values())
        spoken = language_code(language) if language else None
        return next((model for model in meant if model.language and language_code(model.language) == spoken), meant[0])

    def close(self) -> None:
        """Let what is queued be heard, and end the engines' threads."""
        for model in self.by_name.values():
            model.batcher.close()


def load_models(
    sources: Iterable[str | None], *, workers: int | None = None, settings: Mapping[str, Any] | None = None
) -> Models:
    """Open models by what `sonant.load` takes, each with so many engines.

    A source may end in `@LANGUAGE`, for MMS models. None is the built-in model. On a processor each of `workers`
    engines (by default one for four cores) has its share of the cores; on a GPU there is one engine.
    """
    options = dict(settings or {})
    count = workers or max(1, cores() // 4)
    threads = max(1, (options.pop("threads", None) or cores()) // count)

    def open_here(source: str | None, language: str | None) -> tuple[Recognizer, Sequence[Engine]]:
        asr = load(source, language=language, threads=threads, **options)
        others = count - 1 if asr.engine.device == "cpu" else 0
        return asr, [asr.engine, *(_another(asr, threads) for _ in range(others))]

    return named_models(sources, open_here)


def named_models(
    sources: Iterable[str | None],
    open_one: Callable[[str | None, str | None], tuple[Recognizer, Sequence[Engine]]],
) -> Models:
    """The models that `open_one` gives for each source and language, with the engines of each, under their names."""
    opened: dict[str, ServedModel] = {}
    for source in sources:
        place, _, language = (source or "").partition("@")
        asr, engines = open_one(place or None, language or None)
        name = _name(place or asr.checkpoint.name, language, set(opened))
        opened[name] = ServedModel(name, asr, Batcher(engines, asr.checkpoint.sample_rate))
    return Models(opened.values())


def _another(asr: Recognizer, threads: int) -> Engine:
    engine = asr.engine
    return open_engine(
        asr.checkpoint, engine=engine.name, device=engine.device, precision=engine.precision, threads=threads
    )


def _name(place: str, language: str, taken: set[str]) -> str:
    """A hub's name as it is; of a folder or a file only the last part."""
    short = Path(place).name if Path(place).exists() else place
    name = short + (f"@{language}" if language else "")
    number = 2
    while name in taken:
        name, number = f"{short}-{number}", number + 1
    return name


def named(model: ServedModel, transcript: Any) -> Any:
    """A transcript that names its model as clients do."""
    return replace(transcript, model=model.name)
