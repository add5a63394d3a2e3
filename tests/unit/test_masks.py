"""Span masks and negatives: where they may fall, how often, and that a seed decides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sonant.errors import OptionError
from sonant.model.masks import WIDTHS, SpanSpec, masked_frames, sample_negatives, sample_spans

rows = st.lists(st.integers(0, 70), min_size=1, max_size=5).map(torch.tensor)
specs = st.builds(SpanSpec, st.floats(0, 1), st.integers(1, 12), st.integers(0, 4), st.booleans())
seeds = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def runs(row: Tensor) -> list[int]:
    """Lengths of the unbroken stretches that are masked."""
    return [len(part) for part in "".join("x" if m else " " for m in row.tolist()).split()]


@settings(deadline=None, max_examples=150)
@given(lengths=rows, spec=specs, seed=seeds, more=st.integers(0, 9))
def test_spans_are_whole_and_never_in_padding(lengths: Tensor, spec: SpanSpec, seed: int, more: int) -> None:
    width = int(lengths.max()) + more
    mask = sample_spans(lengths, spec, seeded(seed), width)
    assert mask.shape == (len(lengths), width)
    assert mask.dtype == torch.bool
    for row, length in zip(mask, lengths.tolist(), strict=True):
        assert not row[length:].any()
        assert all(run >= spec.length for run in runs(row))
        room = max(length - spec.length + 1, 0)
        most = max(spec.probability * length / spec.length + 1, spec.minimum)
        assert row.sum() <= spec.length * min(most, room)
        if room and spec.minimum and not spec.equal:
            assert row.any()


@settings(deadline=None, max_examples=50)
@given(lengths=rows, spec=specs, seed=seeds)
def test_a_seed_decides_all_draws(lengths: Tensor, spec: SpanSpec, seed: int) -> None:
    one, other = seeded(seed), seeded(seed)
    masks = [sample_spans(lengths, spec, g) for g in (one, other)]
    assert torch.equal(*masks)
    assert torch.equal(*(sample_negatives(m, 5, g) for m, g in zip(masks, (one, other), strict=True)))


@pytest.mark.parametrize(("probability", "share"), [(0.65, 0.49), (0.05, 0.05), (0.5, 0.40)])
def test_the_share_that_is_masked_is_the_papers(probability: float, share: float) -> None:
    lengths = torch.full((100,), 1000)
    mask = sample_spans(lengths, SpanSpec(probability), seeded(0))
    assert mask.float().mean().item() == pytest.approx(share, abs=0.015)  # arXiv:2006.11477: .65 masks 49 %


def test_every_frame_is_masked_equally_often_but_for_the_ends() -> None:
    mask = sample_spans(torch.full((20000,), 40), SpanSpec(0.1, 4, 0), seeded(0)).float().mean(0)
    inner = mask[3:-3]
    assert (inner - inner.mean()).abs().max() < 0.1 * inner.mean()
    assert mask[0] == pytest.approx(inner.mean().item() / 4, rel=0.2)  # one start of four can reach it


def test_the_number_of_spans_is_rounded_by_chance() -> None:
    lengths = torch.full((4000,), 30)  # 0.2 * 30 / 4 = 1.5 spans
    spans = sample_spans(lengths, SpanSpec(0.2, 4, 0), seeded(0)).sum(1)
    assert (spans == 4).float().mean() == pytest.approx(0.5, abs=0.05)
    assert spans.max() == 8


def test_rows_can_get_as_many_spans_as_the_shortest() -> None:
    lengths = torch.tensor([20, 400])
    free, equal = (sample_spans(lengths, SpanSpec(0.5, 1, 1, equal), seeded(0)).sum(1) for equal in (False, True))
    assert free[1] >= 200
    assert equal[0] == equal[1] == free[0]


def test_channels_are_masked_as_rows_without_padding() -> None:
    mask = sample_spans(torch.full((3,), 64), SpanSpec(0.2, 8, 1), seeded(0))
    assert mask.shape == (3, 64)
    assert mask.any(1).all()
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize(
    ("probability", "length", "minimum"), [(1.5, 10, 2), (-0.1, 10, 2), (0.5, 0, 2), (0.5, 10, -1)]
)
def test_impossible_masks_are_refused(probability: float, length: int, minimum: int) -> None:
    with pytest.raises(OptionError, match="must be"):
        SpanSpec(probability, length, minimum)


masks = st.integers(1, 4).flatmap(
    lambda b: st.integers(1, 20).flatmap(
        lambda t: st.lists(st.lists(st.booleans(), min_size=t, max_size=t), min_size=b, max_size=b)
    )
).map(torch.tensor)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(mask=masks, num=st.integers(1, 6), seed=seeds)
def test_negatives_are_other_masked_frames_of_the_same_row(mask: Tensor, num: int, seed: int) -> None:
    negatives = sample_negatives(mask, num, seeded(seed))
    assert negatives.shape[::2] == (len(mask), num)
    assert int(mask.sum(1).max()) <= negatives.shape[1] <= mask.shape[1]
    assert negatives.shape[1] % WIDTHS == 0 or negatives.shape[1] == mask.shape[1]
    places, targets = masked_frames(mask, negatives.shape[1])
    assert places.shape == targets.shape == negatives.shape[:2]
    for b, row in enumerate(mask):
        masked = row.nonzero()[:, 0]
        count = len(masked)
        assert targets[b].sum() == (count if count > 1 else 0)
        assert torch.equal(places[b, :count], masked)
        for i in range(count if count > 1 else 0):
            assert targets[b, i]
            assert i not in negatives[b, i]
            assert row[places[b, negatives[b, i]]].all()
        assert negatives[b].numel() == 0 or 0 <= negatives[b].min() <= negatives[b].max() < max(count, 1)


def test_negatives_are_uniform() -> None:
    mask = torch.ones(1, 11, dtype=torch.bool)
    negatives = sample_negatives(mask, 20000, seeded(0))[0]
    for i, row in enumerate(negatives):
        counts = row.bincount(minlength=11).double()
        assert counts[i] == 0
        others = torch.cat([counts[:i], counts[i + 1 :]])
        assert ((others - 2000) ** 2 / 2000).sum() < 35  # chi square of 9 degrees: once in 16,000 draws
