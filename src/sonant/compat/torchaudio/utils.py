"""`torchaudio.utils`: assets that are on this machine."""

from __future__ import annotations

import hashlib
from functools import partial
from os import PathLike
from pathlib import Path

import torch

from sonant.compat.torchaudio.absent import refuse
from sonant.errors import AudioError

__all__ = ["download_asset"]

__getattr__ = partial(refuse, __name__)


def download_asset(key: str, hash: str = "", path: str | PathLike[str] = "", *, progress: bool = True) -> str:
    """The path of an asset: `path`, or where torchaudio keeps its own, `TORCH_HOME/hub/torchaudio/KEY`.

    Nothing is downloaded. Raises `AudioError` where there is no such file, or where its SHA-256 is not `hash`.
    """
    del progress
    place = Path(path) if path else Path(torch.hub.get_dir()) / "torchaudio" / key
    if not place.is_file():
        raise AudioError(
            f"The asset {key} was expected at {place}, but is not there; download "
            f"https://download.pytorch.org/torchaudio/{key} to it."
        )
    if hash and hashlib.sha256(place.read_bytes()).hexdigest() != hash:
        raise AudioError(f"The file {place} must have the SHA-256 {hash}, but has another; download it again.")
    return str(place)
