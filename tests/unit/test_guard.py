"""The collapse guard: every planted sickness is named in time, and no healthy history is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from parity.tiny import TINY, random_waveform
from sonant.model.config import PretrainConfig
from sonant.model.initial import draw_weights
from sonant.model.masks import SpanSpec, sample_negatives, sample_spans
from sonant.model.pretrain import ContrastiveModel, perplexity
from sonant.train.guard import CollapseGuard, Limits, Reading, Verdict


def healthy(steps: int, seed: int = 0, start: int = 0) -> Iterator[Reading]:
    """A run as published logs of wav2vec 2.0 show it: few codes early, odd batches, a gradient that jumps at times."""
    noise = random.Random(seed)
    for step in range(start, start + steps):
        done = 1 - math.exp(-step / 800)
        used = 60 * math.exp(-step / 60) + 4 + 9 * done + step / 1000
        yield Reading(
            loss=4.9 - 2.4 * done + noise.gauss(0, 0.15),
            gradient_norm=math.exp(noise.gauss(1.5 - done, 0.4)) * (25 if noise.random() < 0.02 else 1),
            accuracy=min(max(0.01 + 0.45 * done + noise.gauss(0, 0.03), 0), 1),
            perplexity=max(used * math.exp(noise.gauss(0, 0.15)), 1),
            clashes=min(max(0.25 * math.exp(-step / 2000) + noise.gauss(0, 0.05), 0), 1),
            positive_cosine=0.1 + 0.5 * done + noise.gauss(0, 0.02),
            negative_cosine=0.1 + 0.1 * done + noise.gauss(0, 0.02),
            feature_scale=0.4 * math.exp(-step / 500) + 0.03,
        )


def verdicts(guard: CollapseGuard, readings: Iterator[Reading]) -> list[Verdict]:
    return [verdict for reading in readings if (verdict := guard.watch(reading))]


@pytest.mark.parametrize(("seed", "steps"), [(0, 5500), (1, 1000), (2, 1000), (3, 1000)])
def test_a_healthy_run_hears_nothing(seed: int, steps: int) -> None:
    assert verdicts(CollapseGuard(100), healthy(steps, seed)) == []


@pytest.mark.parametrize("seed", range(2))
def test_a_healthy_run_goes_on_from_a_checkpoint_in_silence(seed: int) -> None:
    assert verdicts(CollapseGuard(100), healthy(500, seed, start=50_000)) == []


def test_an_objective_without_codes_hears_nothing() -> None:
    limits = Limits(patience=100)
    readings = (Reading(4.0, r.gradient_norm, 0.01, feature_scale=r.feature_scale) for r in healthy(1000))
    assert verdicts(CollapseGuard(limits=limits), readings) == []
    readings = (Reading(1e-3, r.gradient_norm, 1.0) for r in healthy(100))  # a few clips learnt by heart
    assert verdicts(CollapseGuard(), readings) == []


SICK: dict[str, Callable[[Reading, int], Reading]] = {
    "codes collapsed": lambda r, t: replace(r, loss=0.1, perplexity=1.0 + 50 * math.exp(-t / 10)),
    "codes collapsed: within an utterance": lambda r, t: replace(r, clashes=0.97),
    "loss too good": lambda r, t: replace(r, loss=0.0013),
    "targets alike": lambda r, t: replace(r, positive_cosine=0.991, negative_cosine=0.989),
    "gradient exploded": lambda r, t: replace(r, gradient_norm=r.gradient_norm * 1e3),
    "gradient vanished": lambda r, t: replace(r, gradient_norm=8e-19),
    "not finite": lambda r, t: replace(r, loss=math.nan) if t % 3 == 0 else r,
    "not finite: gradient": lambda r, t: replace(r, gradient_norm=math.inf),
    "features vanished": lambda r, t: replace(r, feature_scale=0.4 * math.exp(-t / 8)),
    "unlearnt": lambda r, t: replace(r, loss=r.loss + 3),
}


@pytest.mark.parametrize("start", [300, 1000, 20_000])
@pytest.mark.parametrize("sickness", SICK)
def test_a_planted_sickness_stops_the_run_within_200_steps(sickness: str, start: int) -> None:
    guard = CollapseGuard(100)
    assert verdicts(guard, healthy(min(start, 400), start=start)) == []
    for t, reading in enumerate(healthy(200, seed=1, start=start + 400)):
        verdict = guard.watch(SICK[sickness](reading, t))
        if verdict and verdict.stop:
            assert verdict.kind == sickness.partition(":")[0]
            assert verdict.message.endswith(".")
            assert ";" in verdict.message  # what is wrong; what to do
            return
    pytest.fail(f"{sickness} went unnoticed")


@pytest.mark.parametrize("sickness", ["codes collapsed", "not finite", "loss too good"])
def test_a_run_that_is_sick_from_the_first_step_is_stopped(sickness: str) -> None:
    readings = (SICK[sickness](reading, t + 100) for t, reading in enumerate(healthy(100)))
    assert verdicts(CollapseGuard(100), readings)[-1].stop


def test_single_bad_steps_are_warned_of_once() -> None:
    guard = CollapseGuard(100)
    bad = {60, 61, 300}
    readings = (replace(r, loss=math.inf) if t in bad else r for t, r in enumerate(healthy(400)))
    found = verdicts(guard, readings)
    assert [(verdict.kind, verdict.stop) for verdict in found] == [("not finite", False)] * 2


def test_one_warning_does_not_hide_another() -> None:
    found = verdicts(CollapseGuard(100), (replace(r, perplexity=2.0) for r in healthy(60)))
    assert [(verdict.kind, verdict.stop) for verdict in found] == [("few codes", False)]
    readings = (replace(r, perplexity=2.0, feature_scale=500.0) for r in healthy(60))
    assert [verdict.kind for verdict in verdicts(CollapseGuard(100), readings)] == ["few codes", "features grow"]


def test_a_model_that_only_guesses_is_named_after_a_while() -> None:
    guard = CollapseGuard(100, Limits(patience=300))
    guessing = (replace(r, loss=4.7, accuracy=0.011) for r in healthy(400))
    found = verdicts(guard, guessing)
    assert [(verdict.kind, verdict.stop) for verdict in found] == [("chance", False)]


def real_run(collapsing: bool, steps: int) -> Iterator[Reading]:
    """A tiny model that learns for some steps, and then, if so asked, to use as few codes as it can."""
    pretrain = PretrainConfig(num_codevectors_per_group=16, codevector_dim=12, proj_codevector_dim=16)
    model = ContrastiveModel(TINY, pretrain).train()
    generator = torch.Generator().manual_seed(0)
    draw_weights(model, generator)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    waveforms = torch.from_numpy(random_waveform(2 * 5000)).view(2, 5000)
    for step in range(steps):
        mask = sample_spans(torch.tensor([15, 15]), SpanSpec(0.65, 4), generator)
        out = model(waveforms, None, mask, sample_negatives(mask, 10, generator), generator)
        optimiser.zero_grad()
        (-10 * out.losses["diversity"].value if collapsing and step > 30 else out.loss).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf).item()
        optimiser.step()
        assert out.code_counts is not None
        watched = ("accuracy", "clashes", "positive_cosine", "negative_cosine")
        yield Reading(
            out.losses["contrastive"].value.item(),
            norm,
            perplexity=perplexity(out.code_counts).mean().item(),
            feature_scale=out.losses["feature_penalty"].value.sqrt().item(),
            **{name: out.metrics[name].value.item() for name in watched},
        )


def test_a_real_model_that_learns_hears_nothing() -> None:
    assert verdicts(CollapseGuard(10), real_run(collapsing=False, steps=80)) == []


def test_a_real_collapse_is_stopped_within_200_steps() -> None:
    guard = CollapseGuard(10)
    stops = (verdict for reading in real_run(True, 230) if (verdict := guard.watch(reading)) and verdict.stop)
    assert next(stops).kind == "codes collapsed"
    assert guard.steps > 30
