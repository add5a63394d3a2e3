"""Models of Hugging Face's hub: the files that sonant needs, downloaded once into the cache of the hub's library."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sonant.checkpoints.huggingface import SIDE_FILES, WEIGHT_FILES, shards
from sonant.errors import CheckpointError


def is_name(source: str) -> bool:
    """Whether a text can be a model's name on the hub: `owner/name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source, re.ASCII) is not None


def fetch(name: str, revision: str | None = None, progress: bool = False) -> Path:
    """The folder of the cache that holds a model, downloaded as far as it is not there yet.

    What is in the cache is taken as it is, without asking the network. Raises `CheckpointError` for a model that is not
    on the hub, that needs a token, or that is not in the cache while the network is away.
    """
    config = _fetch_file(name, "config.json", revision or "main", progress=False)
    if config is None:
        raise CheckpointError(
            f"The model {name} must have a config.json, but has none; name one made for transformers."
        )
    commit = config.parent.name  # the other files must be of the same state
    away: _AwayError | None = None

    def get(file: str, bar: bool = False) -> Path | None:
        nonlocal away
        try:
            return _fetch_file(name, file, commit, bar, online=away is None)
        except _AwayError as error:
            away = error  # one wait for the network is enough; the rest of the cache may do
            return None

    for file in SIDE_FILES:
        get(file)
    weights = next(filter(None, (get(file, progress) for file in WEIGHT_FILES)), None)
    names = [path.name for path in shards(weights)] if weights and weights.suffix == ".json" else []
    missing = [file for file in names if get(file, progress) is None]
    if away and (missing or not weights):
        raise away
    if missing or not weights:
        wanted = missing[0] if missing else " or ".join(WEIGHT_FILES[::2])
        raise CheckpointError(f"The model {name} must have {wanted}, but the hub has no such file; name another model.")
    return config.parent


class _AwayError(CheckpointError):
    """A file is not in the cache, and the network cannot be asked."""


def _fetch_file(name: str, file: str, revision: str, progress: bool, online: bool = True) -> Path | None:
    """A file in the cache, downloaded if need be; None where the model has no such file."""
    from huggingface_hub import constants, errors, file_download

    try:
        cached = file_download.try_to_load_from_cache(name, file, revision=revision)
        if cached is not None:
            return Path(cached) if isinstance(cached, str) else None
        if not online:
            raise errors.LocalEntryNotFoundError(file)
        bar = None if progress else _silent_bar()
        return Path(file_download.hf_hub_download(name, file, revision=revision, tqdm_class=bar))  # pyright: ignore[reportUnknownMemberType]
    except errors.LocalEntryNotFoundError as error:
        raise _AwayError(
            f"The model {name} must be downloaded once, but {file} is not in the cache {constants.HF_HUB_CACHE} and "
            "the hub cannot be reached; connect to the network, or use the built-in model by naming none."
        ) from error
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"The model {name} must be asked for at https://huggingface.co/{name}; then log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"There must be a model {name} on Hugging Face's hub or a folder of that name here, but there is neither; "
            "check its spelling, or log in with `hf auth login` if it is private."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"The model {name} must have the revision asked for, but has no {revision}.") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"The file {file} of the model {name} could not be downloaded into {constants.HF_HUB_CACHE} ({reason}); "
            "try again, or use the built-in model by naming none."
        ) from error


def _silent_bar() -> Any:
    """The library's progress bar, unseen."""
    from huggingface_hub.utils import tqdm

    class SilentBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # pyright: ignore[reportUnknownMemberType]

    return SilentBar
