"""Models of Hugging Face's hub: the files that sonant needs, downloaded once into the cache of the hub's library."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from sonant.checkpoints import decoding
from sonant.checkpoints.huggingface import SIDE_FILES, WEIGHT_FILES, shards
from sonant.checkpoints.vocabularies import read_json
from sonant.errors import CheckpointError


def is_name(source: str) -> bool:
    """Whether a text can be a model's name on the hub: `owner/name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source, re.ASCII) is not None


def fetch(name: str, revision: str | None = None, progress: bool = False) -> Path:
    """The folder of the cache that holds a model, downloaded as far as it is not there yet.

    What is in the cache is taken as it is, without asking the network. Raises `CheckpointError` for a model that is not
    on the hub, that needs a token, or that is not in the cache while the network is away.
    """
    repository = _Repository(name)
    config = repository.get("config.json", revision or "main")
    if config is None:
        raise repository.away or CheckpointError(
            f"The model {name} must have a config.json, but has none; name one made for transformers."
        )
    commit = config.parent.name  # the other files must be of the same state
    for file in SIDE_FILES:
        repository.get(file, commit)
    weights = next(filter(None, (repository.get(file, commit, progress) for file in WEIGHT_FILES)), None)
    names = [path.name for path in shards(weights)] if weights and weights.suffix == ".json" else []
    missing = [file for file in names if repository.get(file, commit, progress) is None]
    if missing or not weights:
        wanted = missing[0] if missing else "model.safetensors or pytorch_model.bin"
        raise repository.away or CheckpointError(
            f"The model {name} must have {wanted}, but has none; name another model."
        )
    return config.parent


def cache_folder() -> Path:
    """Where downloaded models lie."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def fetch_file(name: str, commit: str, progress: bool, file: str) -> Path | None:
    """One more file of a model that `fetch` found at this commit; None where the model has none of that name."""
    repository = _Repository(name)
    found = repository.get(file, commit, progress)
    if found is None and repository.away:
        raise repository.away
    return found


def fetch_decoding(name: str, commit: str, progress: bool) -> Path | None:
    """The folder of a model that `fetch` found at this commit, with the language model that it comes with; or None.

    Where the hub is away and the cache does not know of any, there is none. Raises `CheckpointError` where there is
    one, but it cannot be downloaded.
    """
    repository = _Repository(name)
    own = repository.get(f"{decoding.OWN_FOLDER}/{decoding.OWN_FILE}", commit)
    peer = None if own else repository.get(f"{decoding.PEER_FOLDER}/{decoding.PEER_FILE}", commit)
    if own:
        named = [value for key, value in read_json(own).items() if key in ("lm", "lexicon", "known_words")]
        files = [f"{decoding.OWN_FOLDER}/{name}" for name in named if isinstance(name, str)]
    elif peer:
        here = decoding.in_order(peer.parent.iterdir())
        models = here or decoding.in_order(map(Path, repository.list(decoding.PEER_FOLDER, commit)))
        files = [f"{decoding.PEER_FOLDER}/{file.name}" for file in models[:1]]
        files += [f"{decoding.PEER_FOLDER}/{decoding.PEER_WORDS}", decoding.PEER_LABELS]
    else:
        return None
    for file in files:
        if repository.get(file, commit, progress) is None and repository.away:
            raise repository.away
    return (own or peer or Path()).parents[1]


class _Repository:
    """A model's files: from the cache, or else from the hub, which is asked in vain at most once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reached = False
        self.away: CheckpointError | None = None
        """Why the hub cannot be asked, once that is known."""

    def get(self, file: str, revision: str, progress: bool = False) -> Path | None:
        """A file in the cache; None where the model has no such file, or it can only be had from a hub that is away."""
        from huggingface_hub import constants, errors, file_download

        library: Any = file_download  # its types are partly unknown
        try:
            cached = library.try_to_load_from_cache(self.name, file, revision=revision)
            if cached is not None:
                return Path(cached) if isinstance(cached, str) else None
            if self.away:
                return None
            if not self.reached:  # a download in vain would take half a minute of new attempts
                with suppress(errors.EntryNotFoundError):
                    library.get_hf_file_metadata(library.hf_hub_url(self.name, file, revision=revision))
                self.reached = True
            bar = None if progress else _silent_bar()
            return Path(library.hf_hub_download(self.name, file, revision=revision, tqdm_class=bar))
        except Exception as error:  # the library lets through whatever its own libraries raise
            if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
                return None
            if self.reached or isinstance(error, (errors.HfHubHTTPError, errors.HFValidationError)):
                raise CheckpointError(self.explain(error, file, revision)) from error
            self.away = CheckpointError(
                f"The model {self.name} must be downloaded once, but {file} is not in the cache "
                f"{constants.HF_HUB_CACHE} and the hub cannot be reached ({_reason(error)}); "
                "connect to the network, or use the built-in model by naming none."
            )
            return None

    def list(self, folder: str, revision: str) -> list[str]:
        """The paths of a folder's files, which only the hub knows."""
        from huggingface_hub import HfApi, constants

        if self.away:
            raise self.away
        try:
            entries: Any = HfApi(endpoint=constants.ENDPOINT).list_repo_tree(self.name, folder, revision=revision)
            return [str(entry.path) for entry in entries]
        except Exception as error:  # the library lets through whatever its own libraries raise
            raise CheckpointError(self.explain(error, folder, revision)) from error

    def explain(self, error: Exception, file: str, revision: str) -> str:
        """What a user should know of the library's error."""
        from huggingface_hub import constants, errors

        match error:
            case errors.GatedRepoError():
                return (
                    f"The model {self.name} must be asked for, but you are not let in yet; "
                    f"ask at https://huggingface.co/{self.name}, then log in with `hf auth login`."
                )
            case errors.RepositoryNotFoundError():
                return (
                    f"{self.name} must be a model of Hugging Face's hub or a folder, but is neither; "
                    "check its spelling, or log in with `hf auth login` if it is private."
                )
            case errors.RevisionNotFoundError():
                return (
                    f"The model {self.name} must have a revision {revision}, but has none; its page lists those it has."
                )
            case errors.HFValidationError():
                return f"A model must be a folder or a name of the hub, but {self.name} is neither; check its spelling."
            case _:
                return (
                    f"{file} of the model {self.name} could not be downloaded into {constants.HF_HUB_CACHE} "
                    f"({_reason(error)}); try again, or use the built-in model by naming none."
                )


def _reason(error: Exception) -> str:
    """An error of a library in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _silent_bar() -> Any:
    """The library's progress bar, unseen."""
    from huggingface_hub.utils import tqdm

    class SilentBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # pyright: ignore[reportUnknownMemberType]

    return SilentBar
