"""`torchaudio.functional`, as far as speech recognition uses it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from sonant.compat.torchaudio.absent import refuse
from sonant.compat.torchaudio.alignment import TokenSpan, forced_align, merge_tokens
from sonant.errors import OptionError

__all__ = ["TokenSpan", "edit_distance", "forced_align", "merge_tokens", "resample"]

__getattr__ = partial(refuse, __name__)


def resample(
    waveform: Tensor,
    orig_freq: int,
    new_freq: int,
    lowpass_filter_width: int = 6,
    rolloff: float = 0.99,
    resampling_method: str = "sinc_interp_hann",
    beta: float | None = None,
) -> Tensor:
    """(..., N) samples at another rate, (..., ceil(N * new_freq / orig_freq)), by a windowed sinc as torchaudio does.

    The filter is computed in the samples' own type. Raises `OptionError` for rates that are no positive whole numbers
    and for unknown methods.
    """
    return resampled(
        waveform, orig_freq, new_freq, lowpass_filter_width, rolloff, resampling_method, beta, waveform.dtype
    )


def resampled(
    waveform: Tensor,
    orig_freq: int,
    new_freq: int,
    lowpass_filter_width: int,
    rolloff: float,
    resampling_method: str,
    beta: float | None,
    kernel_dtype: torch.dtype | None,
) -> Tensor:
    """`resample` with its filter computed in `kernel_dtype`; None mixes the types as torchaudio's module does."""
    if orig_freq <= 0 or new_freq <= 0 or orig_freq % 1 or new_freq % 1:
        raise OptionError(
            f"Rates must be positive whole numbers of hertz, but {orig_freq} and {new_freq} came; round them."
        )
    if resampling_method not in ("sinc_interp_hann", "sinc_interp_kaiser") or lowpass_filter_width <= 0:
        raise OptionError(
            "Resampling is by sinc_interp_hann or sinc_interp_kaiser with a filter width above 0, but "
            f"{resampling_method!r} and {lowpass_filter_width} came; leave both out."
        )
    divisor = math.gcd(int(orig_freq), int(new_freq))
    old, new = int(orig_freq) // divisor, int(new_freq) // divisor
    if old == new:
        return waveform
    kaiser = (14.769656459379492 if beta is None else beta) if resampling_method == "sinc_interp_kaiser" else None
    kernel, width = _kernel(old, new, lowpass_filter_width, rolloff, kaiser, kernel_dtype)
    rows = F.pad(waveform.reshape(-1, 1, waveform.shape[-1]), (width, width + old))
    phases = F.conv1d(rows, kernel.to(waveform), stride=old)  # (rows, new, steps)
    num_samples = math.ceil(new * waveform.shape[-1] / old)
    return phases.transpose(1, 2).flatten(1)[:, :num_samples].reshape(*waveform.shape[:-1], num_samples)


def _kernel(
    old: int, new: int, zeros: int, rolloff: float, kaiser: float | None, dtype: torch.dtype | None
) -> tuple[Tensor, int]:
    """One filter for each of `new` phases, (new, 1, 2 * width + old), and its width."""
    cutoff = min(old, new) * rolloff
    width = math.ceil(zeros * old / cutoff)
    taps = torch.arange(-width, width + old, dtype=dtype or torch.float64) / old
    phases = torch.arange(new, dtype=dtype)[:, None] / new  # without a type these are float32, as there
    t = ((taps - phases) * cutoff).clamp(-zeros, zeros)
    if kaiser is None:
        window = torch.cos(t * math.pi / zeros / 2) ** 2
    else:
        shape = torch.tensor(kaiser)  # float32, as there
        window = torch.i0(shape * (1 - (t / zeros) ** 2).sqrt()) / torch.i0(shape)
    angle = t * math.pi  # torch.sinc rounds float32 otherwise than torchaudio
    sinc = torch.where(angle == 0, 1.0, angle.sin() / angle)
    return (sinc * (window * (cutoff / old)))[:, None], width


def edit_distance(seq1: Sequence[object], seq2: Sequence[object]) -> int:
    """Fewest insertions, deletions and substitutions that make one sequence the other."""
    row = list(range(len(seq2) + 1))
    for i, left in enumerate(seq1, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(seq2, 1):
            diagonal, row[j] = row[j], min(diagonal + (left != right), row[j] + 1, row[j - 1] + 1)
    return row[-1]
