"""MMS: one model for a thousand languages, each with adapters and a head in a file of its own (arXiv:2305.13516)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from sonant.checkpoints import of_language
from sonant.checkpoints.arrays import StoredArray
from sonant.checkpoints.vocabularies import read_json, read_languages
from sonant.errors import CheckpointError

_FILES = ("adapter.{}.safetensors", "adapter.{}.bin")


def adapted(
    folder: Path,
    name: str,
    arrays: Mapping[str, StoredArray],
    prefix: str,
    language: str,
    find: Callable[[str], Path | None] | None,
) -> dict[str, StoredArray]:
    """A model's tensors with those of one language in place of what it has for another.

    Raises `CheckpointError` for a language that the model does not have, with the nearest names.
    """
    languages = read_languages(folder)
    if language not in languages or not re.fullmatch(r"[\w-]{1,100}", language, re.ASCII):
        near = get_close_matches(language.lower(), languages, n=3, cutoff=0.5) or languages[:3]
        raise CheckpointError(
            f"The language of {name} must be one of the {len(languages)} that it has, but is {language!r}; "
            f"the nearest names are {', '.join(near)}."
        )
    find = find or (lambda file: folder / file if (folder / file).exists() else None)
    path = next((path for file in _FILES if (path := find(file.format(language)))), None)
    if path is not None:
        from sonant.checkpoints.huggingface import read_arrays, standard_names

        stored = read_arrays(path)
        own = {new: stored[old] for old, new in standard_names(stored, prefix).items() if of_language(new)}
        return {key: array for key, array in arrays.items() if not of_language(key)} | own
    if read_json(folder / "tokenizer_config.json").get("target_lang") == language:  # the model's own weights
        return dict(arrays)
    raise CheckpointError(
        f"{name} must have the file {_FILES[0].format(language)} to be asked for this language, but has none; fetch it."
    )
