"""`torchaudio.transforms`, as far as speech recognition uses it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from sonant.compat.torchaudio.absent import refuse
from sonant.compat.torchaudio.functional import resampled

__all__ = ["Resample"]

__getattr__ = partial(refuse, __name__)


class Resample(nn.Module):
    """`functional.resample` as a module, its filter computed in `dtype` where one is given."""

    def __init__(
        self,
        orig_freq: int = 16000,
        new_freq: int = 16000,
        resampling_method: str = "sinc_interp_hann",
        lowpass_filter_width: int = 6,
        rolloff: float = 0.99,
        beta: float | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.orig_freq, self.new_freq = orig_freq, new_freq
        self.resampling_method, self.beta = resampling_method, beta
        self.lowpass_filter_width, self.rolloff = lowpass_filter_width, rolloff
        self.dtype = dtype

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., N) samples to (..., N * new_freq / orig_freq)."""
        return resampled(
            waveform,
            self.orig_freq,
            self.new_freq,
            self.lowpass_filter_width,
            self.rolloff,
            self.resampling_method,
            self.beta,
            self.dtype,
        )
