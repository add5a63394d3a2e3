"""What an encoder that stays as it is made of clips, kept on disk: it is computed once, whatever is learnt over it.

Files are named by the encoder and by the samples that were heard, so none is ever taken for another; they appear whole
or not at all. The folder grows to a bound; then what was used longest ago, before this run, makes room.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sonant.errors import OutputError
from sonant.files import cache_folder, open_output
from sonant.types import FloatArray


class StateStore:
    """Arrays of an encoder by clips, in the cache folder's `states`."""

    def __init__(self, encoder: str, most: float, folder: Path | None = None) -> None:
        """`most` bytes may lie there, of all encoders together."""
        self.root = folder or cache_folder() / "states"
        self.folder = self.root / encoder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            found = [(path.stat().st_atime, path, path.stat().st_size) for path in self.root.glob("*/*.npy")]
        except OSError:  # a cache that cannot be written keeps nothing
            found, most = [], 0.0
        self.old = sorted(found, reverse=True)
        """Files of other runs, the one to go first at the end."""
        self.used: set[Path] = set()
        self.room = most - sum(size for _, _, size in found)

    def get(self, key: str) -> NDArray[np.floating] | None:
        """What was kept under a key, mapped into memory; None where there is nothing."""
        path = self.folder / f"{key}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):  # none there, or damaged
            return None
        self.used.add(path)
        return array

    def put(self, key: str, array: NDArray[np.floating]) -> bool:
        """Keep an array, where there is room for it; whether it is kept."""
        size, path = array.nbytes + 128, self.folder / f"{key}.npy"
        while self.room < size and self.old:
            _, oldest, freed = self.old.pop()
            if oldest not in self.used:
                oldest.unlink(missing_ok=True)
                self.room += freed
        if self.room < size:
            return False
        try:
            with open_output(path) as file:
                np.save(file, array, allow_pickle=False)
        except OutputError:  # a full disk
            return False
        self.room -= size
        self.used.add(path)
        return True


def name_of_encoder(described: str, tensors: Mapping[str, Tensor]) -> str:
    """A short name for an encoder's weights and whatever else decides what it makes of samples."""
    digest = hashlib.sha256(described.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def name_of_clip(samples: FloatArray) -> str:
    """A short name for samples."""
    return hashlib.sha256(np.ascontiguousarray(samples).data).hexdigest()[:32]
