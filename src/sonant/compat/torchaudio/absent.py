"""What torchaudio had and this package does not, and what to take instead."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

from sonant.errors import SonantError

REPLACEMENTS = {
    "MelSpectrogram": "librosa.feature.melspectrogram",
    "MFCC": "librosa.feature.mfcc",
    "Spectrogram": "torch.stft",
    "CTCDecoderLM": "a KenLM or ARPA file",
    "CTCDecoderLMState": "a KenLM or ARPA file",
    "cuda_ctc_decoder": "ctc_decoder",
    "compliance": "the package kaldi-native-fbank",
    "datasets": "Hugging Face's datasets",
    "io": "PyAV",
    "sox_effects": "the sox command",
    "kaldi_io": "kaldiio",
}
"""By name; for all others, the older torchaudio in an environment of its own."""


class NotOfferedError(SonantError, AttributeError):
    """A part of torchaudio that has no stand-in."""


class NotOfferedModuleError(SonantError, ModuleNotFoundError):
    """A module of torchaudio that has no stand-in."""


def refuse(module: str, name: str) -> NoReturn:
    """Raise `NotOfferedError` for a name of a module, which the module's `__getattr__` hands on.

    Names between underscores are questions of the interpreter, answered by a bare `AttributeError`.
    """
    if name.startswith("__"):
        raise AttributeError(name)
    raise NotOfferedError(_message(f"{module.removeprefix('sonant.compat.')}.{name}", name))


class Refuser:
    """The last finder of modules: it refuses those of a torchaudio that is ours."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise `NotOfferedModuleError` for `torchaudio.compliance` and the like."""
        del path, target
        parent, _, name = fullname.partition(".")
        if parent == "torchaudio" and name and sys.modules.get(parent) is sys.modules.get("sonant.compat.torchaudio"):
            raise NotOfferedModuleError(_message(fullname, name.partition(".")[0]), name=fullname)
        return None


def _message(place: str, name: str) -> str:
    instead = REPLACEMENTS.get(name, "torchaudio 2.8 in an environment of its own")
    return f"{place} was asked for, but sonant does not stand in for it; use {instead}."
