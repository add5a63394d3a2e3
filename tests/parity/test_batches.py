"""A clip's result never depends on its neighbours: each row alone against the same row in a padded batch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from parity.tiny import VARIANTS, random_model, random_waveform
from sonant.model.heads import CtcModel

TOLERANCE = 1e-5
LENGTHS = (16000, 400, 5003, 719)
"""Samples: 49, 1, 15 and 1 frames; 400 is the shortest clip there is, 719 ends one sample before its second frame."""


def padded(garbage: float) -> tuple[Tensor, Tensor]:
    """Clips of very different lengths in one tensor, with garbage after them, and their lengths."""
    noise = torch.from_numpy(random_waveform(len(LENGTHS) * max(LENGTHS), seed=1)).view(len(LENGTHS), -1)
    batch = torch.full_like(noise, garbage) if math.isnan(garbage) else noise * garbage
    for i, length in enumerate(LENGTHS):
        batch[i, :length] = torch.from_numpy(random_waveform(length, seed=i))
    return batch, torch.tensor(LENGTHS)


@pytest.mark.parametrize("garbage", [50.0, float("nan")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_alone_equals_the_row_in_a_batch(variant: str, garbage: float) -> None:
    config, model = VARIANTS[variant], random_model(VARIANTS[variant])
    assert config.receptive_field in LENGTHS
    batch, lengths = padded(garbage)
    with torch.no_grad():
        together = model(batch, lengths, all_states=True)
        for i, length in enumerate(LENGTHS):
            alone = model(batch[i : i + 1, :length], all_states=True)
            frames = config.num_frames(length)
            assert together.lengths[i] == alone.lengths[0] == alone.logits.shape[1] == frames
            pairs = [(together.logits, alone.logits), *zip(together.states, alone.states, strict=True)]
            assert len(pairs) == 1 + 1 + config.num_hidden_layers
            for seen, expected in pairs:
                torch.testing.assert_close(seen[i, :frames], expected[0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_a_batch_are_the_sum_of_its_rows(variant: str) -> None:
    model = random_model(VARIANTS[variant])
    batch, lengths = padded(50.0)
    rows = [(batch[i : i + 1, :length], None) for i, length in enumerate(LENGTHS)]
    together, apart = gradients(model, [(batch, lengths)]), gradients(model, rows)
    assert together.keys() == apart.keys() == {n for n, _ in model.named_parameters() if "masked_spec_embed" not in n}
    for name, gradient in together.items():
        assert gradient.isfinite().all(), name
        scale = max(1.0, apart[name].abs().max().item())
        torch.testing.assert_close(gradient / scale, apart[name] / scale, atol=TOLERANCE, rtol=0)


def gradients(model: CtcModel, batches: list[tuple[Tensor, Tensor | None]]) -> dict[str, Tensor]:
    """Summed gradients of a loss over the real frames of some batches, by parameter."""
    model.zero_grad()
    for waveforms, lengths in batches:
        out = model(waveforms, lengths)
        for row, frames in zip(out.logits, out.lengths.tolist(), strict=True):
            (row[:frames].log_softmax(-1)[:, 0] * torch.linspace(-1, 1, frames)).sum().backward(retain_graph=True)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
