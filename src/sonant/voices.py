"""The voices of people who agreed to be known: a file of vectors, of one model, without any audio.

Voices are biometric data. The file is its owner's alone (mode 600 where the system has such), and a person's vector can
be taken out of it by name.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonant.errors import OptionError, OutputError
from sonant.files import open_output
from sonant.types import FloatArray

FORMAT = 1


@dataclass
class Voices:
    """Names with what is known of their voices, and the model that hears them so."""

    fingerprint: str
    """Of the model: vectors of another mean nothing to it."""
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict[str, NDArray[np.float64]])
    """For each name the sum of the vectors (E,) of its recordings."""
    counts: dict[str, int] = field(default_factory=dict[str, int])
    """Of recordings."""
    impostors: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """(M, E): the vectors of recordings of others, whom nobody names."""

    @property
    def names(self) -> list[str]:
        """Everyone who is known, in the order of the alphabet."""
        return sorted(self.sums)

    def add(self, name: str, vector: FloatArray) -> None:
        """Take in one more recording's vector (E,) of a person; `OptionError` for a name that cannot be."""
        if not name.strip() or not name.isprintable():
            raise OptionError(f"A voice must have a name that can be read, but {name!r} came; choose another.")
        self.sums[name] = self.sums.get(name, np.zeros(len(vector))) + vector
        self.counts[name] = self.counts.get(name, 0) + 1

    def forget(self, name: str) -> None:
        """Take a person out; `OptionError` where nobody has that name."""
        if name not in self.sums:
            known = ", ".join(self.names) or "nobody"
            raise OptionError(f"There is no voice of {name} to forget; known are {known}.")
        del self.sums[name], self.counts[name]

    def scores(self, vector: FloatArray) -> list[tuple[str, float]]:
        """How near a vector (E,) of length 1 is to everyone, -1 to 1, the nearest first."""
        near = {name: float(vector @ total / max(np.linalg.norm(total), 1e-12)) for name, total in self.sums.items()}
        return sorted(near.items(), key=lambda item: -item[1])

    def threshold(self, rate: float) -> float:
        """The score from which a voice counts as known, so that a stranger is known with a probability of `rate`.

        It stands just above the kth highest of the scores that the M impostors have with whoever they are nearest to,
        k being the whole part of `rate` times (M + 1): of M + 1 strangers alike, one taken by chance is among the k
        highest with a probability of k / (M + 1). Raises `OptionError` where M is too few for any k, or nobody is
        enrolled.
        """
        if not self.sums:
            raise OptionError("Strangers are told from those who are enrolled, but nobody is; enrol somebody.")
        count = len(self.impostors)
        place = math.floor(rate * (count + 1) + 1e-9)
        if place < 1:
            raise OptionError(
                f"A false-accept rate of {rate:g} is known from {math.ceil(1 / rate) - 1} other voices or more, but "
                f"the store has {count}; give it more by --impostors or ask for {math.ceil(1e3 / (count + 1)) / 1e3:g}."
                if count
                else "A false-accept rate is known from other people's voices, but the store has none; "
                "give it some by --impostors FOLDER."
            )
        nearest = np.sort([self.scores(vector)[0][1] for vector in self.impostors])
        return float(np.nextafter(nearest[-place], math.inf))

    def save(self, path: str | PathLike[str]) -> None:
        """Write to `path`, readable by its owner alone, whole or not at all."""
        names = self.names
        arrays = {
            "format": np.array(FORMAT),
            "fingerprint": np.array(self.fingerprint),
            "names": np.array(names, dtype=np.str_),
            "sums": np.stack([self.sums[name] for name in names]) if names else np.zeros((0, 0)),
            "counts": np.array([self.counts[name] for name in names], np.int64),
            "impostors": self.impostors,
        }
        with open_output(path, private=True) as file:
            np.savez(file, allow_pickle=False, **arrays)  # stored, not packed

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Voices:
        """What `save` wrote; `OptionError` for a file that is missing, damaged or something else."""
        try:
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("its members are packed")  # so that what is read is no larger than the file
            with np.load(path, allow_pickle=False) as arrays:
                if int(arrays["format"]) != FORMAT:
                    raise ValueError(f"its format is {int(arrays['format'])}, not {FORMAT}")
                names = [str(name) for name in arrays["names"]]
                sums, counts, others = arrays["sums"], arrays["counts"], arrays["impostors"]
                fingerprint = str(arrays["fingerprint"])
            if sums.ndim != 2 or sums.dtype != np.float64 or not len(names) == len(sums) == len(counts):
                raise ValueError("its arrays do not belong together")
            if others.ndim != 2 or others.dtype != np.float64 or (others.size and others.shape[1] != sums.shape[1] > 0):
                raise ValueError("its impostors are no vectors")
            if not (np.isfinite(sums).all() and np.isfinite(others).all()):
                raise ValueError("its numbers are not finite")
        except FileNotFoundError:
            raise OptionError(f"There are no voices at {path}; enrol some by sonant identify --enroll.") from None
        except OSError as error:
            raise OptionError(f"{path} cannot be read ({error.strerror or error}); check its rights.") from error
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise OptionError(f"{path} must be a file of voices, but is damaged or another ({reason}).") from error
        counted = dict(zip(names, map(int, counts), strict=True))
        return cls(fingerprint, dict(zip(names, sums, strict=True)), counted, others)

    @classmethod
    def of_model(cls, path: str | PathLike[str], fingerprint: str, model: str) -> Voices:
        """The voices of a file; `OptionError` where they are those of another model."""
        voices = cls.read(path)
        if voices.fingerprint != fingerprint:
            raise OptionError(
                f"The voices in {path} must be heard by {model}, but were enrolled with another model; "
                "name that one by --model, or enrol them anew."
            )
        return voices


def check_store(path: Path) -> None:
    """Raise `OutputError`, before any work, where voices cannot be kept."""
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path} cannot be written, because its folder does not exist; create that first.")
