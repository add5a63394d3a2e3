"""A model with all that it decodes by, sent to other machines as one value: these need no file of the sender's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.checkpoints.decoding import OWN_FOLDER, PEER_FOLDER, PEER_LABELS
from sonant.cluster.connection import portable
from sonant.decode import Decoder
from sonant.errors import LanguageModelError
from sonant.files import cache_folder, open_output
from sonant.recognizer import choose_decoder

NAMED = ("lm", "lexicon")
"""Settings of `load` that name files."""
OWN = "own"
"""The folder of what comes with the model."""
ENGINE = ("engine", "device", "precision", "threads")
"""Settings of `load` that are the engine's."""


@dataclass(frozen=True)
class Parcel:
    """What Ray is given once, and every machine fetches once."""

    checkpoint: Checkpoint
    options: Mapping[str, Any]
    """What `load` was told, but for what names a file."""
    files: Mapping[str, NDArray[np.uint8]]
    """Bytes by relative names: `lm/4gram.arpa`, `lexicon/words.txt`, `own/decoding/sonant.json`."""
    digest: str
    """What tells its files from others."""

    def unpack(self) -> tuple[Checkpoint, Decoder, dict[str, str]]:
        """Model, decoder, and the paths here of what NAMED named; files are written into the cache, once a machine."""
        folder = cache_folder() / "cluster" / self.digest
        for name, data in self.files.items():
            place = folder / name
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                with open_output(place) as file:
                    file.write(cast(memoryview, data))
        named = {name.partition("/")[0]: str(folder / name) for name in self.files if not name.startswith(OWN)}
        checkpoint = replace(self.checkpoint, find_folder=lambda: folder / OWN)
        given = {name: self.options.get(name) for name in (*NAMED, "hotwords", "beam")}
        return checkpoint, choose_decoder(checkpoint, **cast("dict[str, Any]", given | named)), named


def pack(options: Mapping[str, Any]) -> Parcel:
    """The model that `load(**options)` would open; `SonantError` where it or one of its files cannot be read."""
    opened = open_checkpoint(
        options.get("source"),
        language=options.get("language"),
        revision=options.get("revision"),
        progress=bool(options.get("progress")),
    )
    files = {f"{name}/{place.name}": _read(place) for name, place in _places(opened, options)}
    digest = blake2b(digest_size=16)
    for name, data in files.items():
        digest.update(f"{name} {len(data)} ".encode())
        digest.update(cast(memoryview, data))
    rest = {key: value for key, value in options.items() if key not in NAMED or not isinstance(value, str | Path)}
    return Parcel(portable(opened), rest, files, digest.hexdigest())


def _places(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Folders in the parcel, with the files that go there."""
    for name in NAMED:
        if isinstance(given := options.get(name), str | Path):
            yield name, Path(given)
    folder = checkpoint.find_folder() if checkpoint.find_folder and options.get("lm") is None else None
    if folder is not None:
        for part in (PEER_LABELS, OWN_FOLDER, PEER_FOLDER):
            for place in sorted([folder / part, *(folder / part).rglob("*")]):
                if place.is_file():
                    yield f"{OWN}/{place.parent.relative_to(folder)}".removesuffix("/."), place


def _read(place: Path) -> NDArray[np.uint8]:
    try:
        return np.fromfile(place, np.uint8)
    except OSError as error:
        raise LanguageModelError(f"{place} cannot be read ({error.strerror or error}); check its name.") from error
