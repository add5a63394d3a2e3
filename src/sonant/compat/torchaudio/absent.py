"""What torchaudio had and this package does not, and what to take instead."""

from __future__ import annotations

from typing import NoReturn

from sonant.errors import SonantError

REPLACEMENTS = {
    "MelSpectrogram": "librosa.feature.melspectrogram",
    "MFCC": "librosa.feature.mfcc",
    "Spectrogram": "torch.stft",
    "datasets": "Hugging Face's datasets",
    "sox_effects": "the sox command",
    "kaldi_io": "kaldiio",
}
"""By name; for all others, the older torchaudio in an environment of its own."""


class NotOfferedError(SonantError, AttributeError):
    """A part of torchaudio that has no stand-in."""


def refuse(module: str, name: str) -> NoReturn:
    """Raise `NotOfferedError` for a name of a module, which the module's `__getattr__` hands on.

    Names between underscores are questions of the interpreter, answered by a bare `AttributeError`.
    """
    if name.startswith("__"):
        raise AttributeError(name)
    place = module.removeprefix("sonant.compat.")
    instead = REPLACEMENTS.get(name, "torchaudio 2.8 in an environment of its own")
    raise NotOfferedError(f"{place}.{name} was asked for, but sonant does not stand in for it; use {instead}.")
