"""`torchaudio.models`: the model that bundles give, and the decoder."""

from __future__ import annotations

from functools import partial

from sonant.compat.torchaudio.absent import refuse
from sonant.compat.torchaudio.models import decoder
from sonant.compat.torchaudio.models.wav2vec2 import Wav2Vec2Model

__all__ = ["Wav2Vec2Model", "decoder"]

__getattr__ = partial(refuse, __name__)
