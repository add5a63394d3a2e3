"""Learning rates against their formulas, parameter groups, clipping and the running mean."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sonant.train.optim import WeightAverage, clip_gradients, make_optimiser, rate_at, scale_gradients, set_rate
from sonant.train.sections import Optim, Schedule


def test_three_stages_rise_hold_and_fall() -> None:
    schedule = Schedule("tri-stage", steps=1000, warmup=0.1, hold=0.4, initial=0.01, final=0.05)
    rates = [rate_at(step, schedule) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[50] == pytest.approx(0.01 + 0.99 * 0.5)
    assert set(rates[100:501]) == {1.0}
    assert rates[750] == pytest.approx(math.exp(math.log(0.05) / 2))
    assert rates[1000] == pytest.approx(0.05)


def test_the_other_schedules_meet_their_ends() -> None:
    cosine = Schedule("cosine", steps=100, warmup=0.2, initial=0.1, final=0.2)
    assert [rate_at(step, cosine) for step in (0, 20, 60, 100)] == pytest.approx([0.1, 1.0, 0.6, 0.2])
    linear = Schedule("linear", steps=100, warmup=0.08)
    assert [rate_at(step, linear) for step in (8, 54, 100)] == pytest.approx([1.0, 0.5, 0.0])
    inverse = Schedule("inverse", steps=100, warmup=0.04)
    assert [rate_at(step, inverse) for step in (4, 16, 64)] == pytest.approx([1.0, 0.5, 0.25])
    constant = Schedule("constant", steps=100, warmup=0.0)
    assert {rate_at(step, constant) for step in range(101)} == {1.0}


@pytest.mark.parametrize("kind", ["constant", "tri-stage", "cosine", "linear", "inverse"])
def test_every_schedule_stays_between_0_and_its_peak(kind: str) -> None:
    for warmup in (0.0, 0.3, 1.0):
        schedule = Schedule(kind, steps=7, warmup=warmup)  # type: ignore[arg-type]
        assert all(0 <= rate_at(step, schedule) <= 1 for step in range(20))


def test_norms_and_biases_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    optimiser = make_optimiser(model.parameters(), Optim(lr=0.1, weight_decay=0.5), "cpu")
    by_decay = {group["weight_decay"]: {id(p) for p in group["params"]} for group in optimiser.param_groups}
    assert by_decay[0.5] == {id(model[0].weight)}
    assert by_decay[0.0] == {id(model[0].bias), id(model[1].weight), id(model[1].bias)}
    set_rate(optimiser, 0.25)
    assert {group["lr"] for group in optimiser.param_groups} == {0.25}


def test_a_step_is_that_of_the_papers_formula() -> None:
    weight = nn.Parameter(torch.tensor([[2.0]]))
    optimiser = make_optimiser([weight], Optim(lr=0.1, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.5), "cpu")
    weight.grad = torch.tensor([[3.0]])
    optimiser.step()
    # arXiv:1711.05101, algorithm 2: the first step is lr * sign(gradient), after a decay of lr * 0.5
    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)


def test_muon_takes_the_library_s_steps() -> None:
    torch.manual_seed(0)
    wide, tall = torch.randn(48, 96), torch.randn(96, 48)
    weights = [nn.Parameter(wide.clone()), nn.Parameter(tall.clone()), nn.Parameter(wide.clone())]
    optimiser = make_optimiser(weights, Optim("muon", lr=0.1, weight_decay=0.5), "cpu")
    references = [nn.Parameter(weight.detach().clone()) for weight in weights]
    library = torch.optim.Muon(references, lr=0.1, weight_decay=0.5, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for weight, reference in zip(weights, references, strict=True):
            weight.grad = torch.randn_like(weight)
            reference.grad = weight.grad.clone()
        optimiser.step()
        library.step()
    for weight, reference, start in zip(weights, references, (wide, tall, wide), strict=True):
        assert (weight - reference).norm() < 0.02 * (weight - start).norm()  # both round to bfloat16 on the way


def test_muon_makes_kernels_orthogonal_and_leaves_the_rest_to_adamw() -> None:
    kernel = nn.Parameter(torch.zeros(64, 48, 1, 3).to(memory_format=torch.channels_last))
    others = [nn.Parameter(torch.zeros(32, 64)), nn.Parameter(torch.zeros(48, 1, 1, 10)), nn.Parameter(torch.zeros(64))]
    alone = [nn.Parameter(weight.detach().clone()) for weight in others]
    optimiser = make_optimiser([kernel, *others], Optim("muon", lr=0.1), "cpu")
    adamw = make_optimiser(alone, Optim(lr=0.1), "cpu")
    kernel.grad = torch.randn(64, 48, 1, 3)
    for weight, reference in zip(others, alone, strict=True):
        weight.grad = torch.randn_like(weight)
        reference.grad = weight.grad.clone()
    optimiser.step()
    adamw.step()
    stretch = torch.linalg.svdvals(kernel.detach().flatten(1)) / (0.1 * 0.2 * 12)  # 12: the root of 48 * 3 columns
    assert 0.6 < stretch.min() < stretch.max() < 1.3  # as the coefficients leave them
    assert all(torch.equal(weight, reference) for weight, reference in zip(others, alone, strict=True))


def test_muon_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(64, 64) for _ in range(4)]

    def steps(weight: nn.Parameter, optimiser: torch.optim.Optimizer, part: list[torch.Tensor]) -> None:
        for gradient in part:
            weight.grad = gradient.clone()
            optimiser.step()

    whole, first = nn.Parameter(torch.zeros(64, 64)), nn.Parameter(torch.zeros(64, 64))
    steps(whole, make_optimiser([whole], Optim("muon"), "cpu"), gradients)
    before = make_optimiser([first], Optim("muon"), "cpu")
    steps(first, before, gradients[:2])
    second = nn.Parameter(first.detach().clone())
    after = make_optimiser([second], Optim("muon"), "cpu")
    after.load_state_dict(before.state_dict())
    steps(second, after, gradients[2:])
    assert torch.equal(second, whole)


def test_gradients_are_scaled_and_clipped() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    weights[0].grad = torch.tensor([6.0, 8.0])
    scale_gradients(weights, 0.5)
    assert weights[0].grad.tolist() == [3.0, 4.0]
    assert clip_gradients(weights, 1.0).item() == pytest.approx(5.0)
    assert weights[0].grad.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert clip_gradients(weights, 0.0).item() == pytest.approx(1.0, abs=1e-5)
    assert weights[0].grad.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_the_running_mean_follows_and_forgets_the_first_steps() -> None:
    model = nn.Linear(1, 1)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(4.0)
    average.update(model, 1)
    before = average.weights["weight"].item()
    assert before != 4.0
    with torch.no_grad():
        model.weight.fill_(8.0)
    average.update(model, 1000)
    assert average.weights["weight"].item() == pytest.approx(0.5 * before + 4.0)
