"""The labels of HuBERT's objective: k-means of frames, at first of MFCC, then of a layer's states.

Shapes: N samples, T frames, D features of a frame, L clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sonant.errors import OptionError

WINDOW, STEP = 400, 160
"""Samples of an MFCC window and between two, at 16 kHz; every second window is a frame of the encoder."""
CHUNK = 16384
"""Frames whose distances are computed at a time, so that they take little memory."""
FFT_SIZE, MEL_BANDS, CEPSTRA, LIFTER = 512, 23, 13, 22


def mfcc(waveform: Tensor) -> Tensor:
    """Describe (N,) samples at 16 kHz by (T, 39) cepstra with their first and second differences, as HuBERT does.

    Computed every 10 ms as Kaldi computes them, without dither, and kept every 20 ms: row t sees exactly the samples
    that frame t of an encoder with a hop of 320 and a receptive field of 400 sees. N is 400 at least.
    """
    windows = waveform.double().unfold(0, WINDOW, STEP)
    windows = windows - windows.mean(1, keepdim=True)
    before = torch.cat([windows[:, :1], windows[:, :-1]], 1)
    windows = (windows - 0.97 * before) * torch.hann_window(WINDOW, periodic=False, dtype=torch.float64) ** 0.85
    power = torch.fft.rfft(windows, FFT_SIZE).abs().square()
    bands = (power @ _mel_triangles()).clamp(min=torch.finfo(torch.float32).eps).log()
    cepstra = bands @ _lifted_cosines()
    first = differences(cepstra)
    return torch.cat([cepstra, first, differences(first)], 1)[::2].float()


def differences(x: Tensor) -> Tensor:
    """The slope of each feature of (T, D) over five frames, by regression; the first and the last row are repeated."""
    padded = F.pad(x.T, (2, 2), mode="replicate").T
    return (padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10


@cache
def _mel_triangles() -> Tensor:
    """Power at FFT_SIZE / 2 + 1 frequencies to bands evenly spaced on the mel scale from 20 Hz on."""
    hertz = torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64)[:, None] * 16000 / FFT_SIZE
    mel = 1127 * torch.log1p(hertz / 700)
    ends = [1127 * math.log1p(hertz / 700) for hertz in (20, 8000)]
    edges = torch.linspace(ends[0], ends[1], MEL_BANDS + 2, dtype=torch.float64)
    rise, fall = (mel - edges[:-2]) / edges.diff()[:-1], (edges[2:] - mel) / edges.diff()[1:]
    return torch.minimum(rise, fall).clamp(min=0)


@cache
def _lifted_cosines() -> Tensor:
    """(MEL_BANDS, CEPSTRA): an orthonormal cosine transform, the higher cepstra raised to the size of the lower."""
    order = torch.arange(CEPSTRA, dtype=torch.float64)
    place = torch.arange(MEL_BANDS, dtype=torch.float64)[:, None] + 0.5
    cosines = torch.cos(math.pi / MEL_BANDS * place * order) * math.sqrt(2 / MEL_BANDS)
    cosines[:, 0] = math.sqrt(1 / MEL_BANDS)
    return cosines * (1 + LIFTER / 2 * torch.sin(math.pi * order / LIFTER))


def fit_kmeans(
    features: Iterable[Tensor],
    num_clusters: int,
    generator: torch.Generator,
    max_frames: int = 200_000,
    max_rounds: int = 100,
) -> Tensor:
    """The centres (L, D) of clusters of frames, from (T, D) features of one utterance after the other.

    `features` is read once; of more than `max_frames` frames a uniform sample is kept. Starts by k-means++
    (Arthur and Vassilvitskii, 2007), then Lloyd's rounds until they gain less than a ten-thousandth. One seed, one
    result. Raises `OptionError` for fewer different frames than clusters.
    """
    frames = _sample_frames(features, max_frames, generator)
    centres = _spread_centres(frames, num_clusters, generator)
    before = math.inf
    for _ in range(max_rounds):
        labels, distances = _nearest(frames, centres)
        total = distances.sum().item()
        if total >= before * (1 - 1e-4):
            break
        before = total
        centres = _mean_centres(frames, labels, distances, num_clusters)
    return centres


def assign_clusters(features: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each frame, (T, D) and (L, D) to (T,)."""
    return _nearest(features.float(), centres)[0]


def _sample_frames(features: Iterable[Tensor], most: int, generator: torch.Generator) -> Tensor:
    """All frames, or a uniform sample of them: those that drew the highest numbers."""
    kept: list[Tensor] = []
    lots: list[Tensor] = []

    def trim() -> None:
        drawn, best = torch.cat(lots).topk(min(most, sum(map(len, lots))), sorted=False)
        kept[:], lots[:] = [torch.cat(kept)[best]], [drawn]

    for rows in features:
        kept.append(rows.detach().float().cpu())
        lots.append(torch.rand(len(rows), generator=generator, dtype=torch.float64))
        if sum(map(len, lots)) > 2 * most:
            trim()
    if sum(map(len, lots)) > most:
        trim()
    if not kept:
        raise OptionError("k-means needs the features of some speech, but got none; pass a manifest that is not empty.")
    return torch.cat(kept)


def _spread_centres(frames: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Frames far from each other: each drawn by its squared distance to the nearest before it."""
    chosen = [int(torch.randint(len(frames), (), generator=generator))]
    distances = torch.full((len(frames),), math.inf, dtype=torch.float64)
    while len(chosen) < number:
        new = [(rows - frames[chosen[-1]]).square().sum(1) for rows in frames.split(CHUNK)]
        distances = distances.minimum(torch.cat(new).double())
        heights = distances.cumsum(0)
        if heights[-1] == 0:
            raise OptionError(
                f"k-means needs at least {number} different frames, but got {len(chosen)}; pass more speech, "
                "or ask for fewer clusters."
            )
        lot = torch.rand((), generator=generator, dtype=torch.float64) * heights[-1]
        chosen.append(int(torch.searchsorted(heights, lot, right=True).clamp(max=len(frames) - 1)))
    return frames[chosen]


def _nearest(frames: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Each frame's nearest centre and its squared distance, (T,) and (T,)."""
    found = []
    with torch.autocast(frames.device.type, enabled=False):  # bfloat16 would choose other centres
        for rows in frames.split(CHUNK):
            closeness = rows @ centres.T - 0.5 * centres.square().sum(1)
            best, label = closeness.max(1)
            found.append((label, (rows.square().sum(1) - 2 * best).clamp(min=0)))
    labels, distances = zip(*found, strict=True)
    return torch.cat(labels), torch.cat(distances)


def _mean_centres(frames: Tensor, labels: Tensor, distances: Tensor, number: int) -> Tensor:
    """The mean of each cluster's frames; an empty cluster moves to one of the frames farthest from their centre."""
    sums = torch.zeros(number, frames.shape[1], dtype=torch.float64).index_add_(0, labels, frames.double())
    counts = labels.bincount(minlength=number)
    centres = (sums / counts.clamp(min=1)[:, None]).float()
    empty = (counts == 0).nonzero()[:, 0]
    centres[empty] = frames[distances.topk(len(empty)).indices]
    return centres
