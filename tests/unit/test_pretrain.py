"""What pre-training promises beside parity: exact sums, the paper's formulas, the softmax's temperature, learning."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.tiny import HUBERT, LARGE, TINY, random_waveform
from sonant.errors import CheckpointError
from sonant.model.config import PretrainConfig
from sonant.model.encoder import Encoder
from sonant.model.initial import draw_weights
from sonant.model.masks import SpanSpec, sample_negatives, sample_spans
from sonant.model.pretrain import (
    ClusterModel,
    ClusterSpec,
    ContrastiveModel,
    PretrainOutput,
    Quantizer,
    annealed_temperature,
    perplexity,
    usage,
)

SMALL = PretrainConfig(
    num_codevectors_per_group=8, num_codevector_groups=2, codevector_dim=12, proj_codevector_dim=16, num_negatives=7
)
LENGTHS = (16000, 400, 9001, 5003)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def contrastive(pretrain: PretrainConfig = SMALL) -> ContrastiveModel:
    model = ContrastiveModel(TINY, pretrain).eval()
    draw_weights(model, seeded(0))
    return model


def padded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clips of different lengths with garbage behind them, their lengths, a mask and negatives."""
    waveforms = torch.full((len(LENGTHS), max(LENGTHS)), math.nan)
    for i, length in enumerate(LENGTHS):
        waveforms[i, :length] = torch.from_numpy(random_waveform(length, seed=i))
    frames = torch.tensor([TINY.num_frames(length) for length in LENGTHS])
    generator = seeded(0)
    mask = sample_spans(frames, SpanSpec(0.65, 4), generator)
    return waveforms, torch.tensor(LENGTHS), mask, sample_negatives(mask, SMALL.num_negatives, generator)


def numpy_perplexity(distribution: np.ndarray) -> float:
    used = distribution[distribution > 0]
    return float(np.exp(-np.sum(used * np.log(used))))


def test_perplexity_and_usage_follow_the_formula() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (3, 20)).astype(np.float32)
    expected = [numpy_perplexity(row / row.sum()) for row in counts.astype(np.float64)]
    np.testing.assert_allclose(perplexity(torch.from_numpy(counts)).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(usage(torch.from_numpy(counts)).numpy(), (counts > 0).mean(1), rtol=1e-6)
    assert perplexity(torch.ones(5)).item() == pytest.approx(5)
    assert perplexity(torch.tensor([0.0, 3.0, 0.0])).item() == pytest.approx(1)


def test_the_diversity_loss_follows_the_formula_over_masked_frames_alone() -> None:
    model = contrastive()
    waveforms, lengths, mask, negatives = padded()
    mask[1] = False  # its one frame would count for nothing
    out = model(waveforms, lengths, mask, negatives)
    with torch.no_grad():
        features = model.backbone(waveforms, lengths, mask).features
        logits = model.quantizer.weight_proj(features)[mask].numpy().astype(np.float64)
    logits = logits.reshape(-1, *model.quantizer.shape)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    mean = shares.mean(0)  # (G, V)
    hard = np.stack([np.bincount(codes, minlength=8) for codes in logits.argmax(-1).T])
    assert out.losses["diversity"].count == len(logits)
    expected = (mean.size - sum(numpy_perplexity(row) for row in mean)) / mean.size
    assert out.losses["diversity"].value.item() == pytest.approx(expected, abs=1e-5)
    assert out.code_probabilities is not None
    np.testing.assert_allclose(out.code_probabilities.numpy(), shares.sum(0), rtol=1e-4, atol=1e-6)
    assert out.code_counts is not None
    np.testing.assert_array_equal(out.code_counts.numpy(), hard)


def test_unused_codes_leave_gradients_finite() -> None:
    model = contrastive()
    with torch.no_grad():
        model.quantizer.weight_proj.bias[0] = 1e4  # every other entry of its codebook has probability 0
    waveforms, lengths, mask, negatives = padded()
    out = model(waveforms, lengths, mask, negatives)
    out.loss.backward()
    assert out.code_counts is not None
    assert perplexity(out.code_counts)[0] == 1
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def alone(i: int, mask: Tensor, negatives: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    """The arguments of one row of `padded`, without its padding."""
    mask = mask[i : i + 1, : TINY.num_frames(LENGTHS[i])]
    return torch.from_numpy(random_waveform(LENGTHS[i], seed=i))[None], None, mask, negatives[i : i + 1, : mask.sum()]


def test_a_padded_batch_is_the_sum_of_its_rows() -> None:
    model = contrastive()
    waveforms, lengths, mask, negatives = padded()
    together = model(waveforms, lengths, mask, negatives)
    apart = [model(*alone(i, mask, negatives)) for i in range(len(LENGTHS))]
    assert together.losses["contrastive"].count == mask.sum() > 0
    for part in ("losses", "metrics"):
        for name, mean in getattr(together, part).items():
            if name == "diversity":  # of a batch's shares of codes, which have no parts
                continue
            rows = [getattr(out, part)[name] for out in apart]
            torch.testing.assert_close(mean.sum, sum(r.sum for r in rows), atol=1e-4, rtol=1e-5, msg=name)
            assert mean.count == sum(int(r.count) for r in rows)
    assert together.code_counts is not None
    assert torch.equal(together.code_counts, sum(out.code_counts for out in apart))
    torch.testing.assert_close(together.code_probabilities, sum(out.code_probabilities for out in apart))


def test_the_feature_penalty_is_the_mean_square_before_the_norm() -> None:
    model = contrastive()
    waveform = torch.from_numpy(random_waveform(8000))[None]
    mask = torch.ones(1, 24, dtype=torch.bool)
    out = model(waveform, None, mask, sample_negatives(mask, 3, seeded(0)))
    features, _ = model.backbone.feature_extractor(waveform, torch.tensor([8000]))
    assert out.losses["feature_penalty"].value.item() == pytest.approx(features.square().mean().item(), rel=1e-5)
    parts = {name: mean.value.item() for name, mean in out.losses.items()}
    whole = parts["contrastive"] + 0.1 * parts["diversity"] + 10 * parts["feature_penalty"]
    assert out.loss.item() == pytest.approx(whole, rel=1e-6)


def test_frames_with_nothing_to_be_told_from_are_neither_right_nor_costly() -> None:
    model = contrastive()
    with torch.no_grad():
        for group in range(2):
            model.quantizer.weight_proj.bias[8 * group] = 1e4  # one code for everything
    waveforms, lengths, mask, negatives = padded()
    out = model(waveforms, lengths, mask, negatives)
    assert out.losses["contrastive"].sum == 0  # the loss alone would look like a triumph
    assert out.metrics["accuracy"].value == 0
    assert out.metrics["clashes"].value == 1


def test_rows_with_one_masked_frame_or_none_count_for_nothing() -> None:
    model = contrastive()
    waveforms, lengths, mask, _ = padded()
    mask[:] = False
    mask[0, 3] = True
    out = model(waveforms, lengths, mask, sample_negatives(mask, 4, seeded(0)))
    out.loss.backward()
    assert out.losses["contrastive"].count == 0
    assert out.losses["contrastive"].value == out.losses["diversity"].value == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def quantizer(temperature: float) -> tuple[Quantizer, Tensor]:
    chooser = Quantizer(TINY, replace(SMALL, num_codevectors_per_group=4, num_codevector_groups=1)).train()
    chooser.temperature = temperature
    with torch.no_grad():
        chooser.weight_proj.weight.zero_()
        chooser.weight_proj.bias.copy_(torch.tensor([0.4, 0.3, 0.2, 0.1]).log())
    return chooser, torch.zeros(20000, TINY.conv_dim[-1])


@pytest.mark.parametrize("temperature", [2.0, 0.1])
def test_choices_are_hard_and_as_frequent_as_their_probability_at_any_temperature(temperature: float) -> None:
    chooser, features = quantizer(temperature)
    out = chooser(features, seeded(0))
    shares = out.codes.flatten().bincount(minlength=4) / 20000
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.3, 0.2, 0.1]), atol=0.01, rtol=0)
    torch.testing.assert_close(out.probabilities.mean(0)[0], torch.tensor([0.4, 0.3, 0.2, 0.1]))
    assert torch.equal(out.vectors, chooser.codevectors[0][out.codes.flatten()])  # exactly: no soft remainder
    assert torch.equal(chooser(features, seeded(0)).codes, out.codes)
    assert not torch.equal(chooser(features, seeded(1)).codes, out.codes)
    chooser.eval()
    assert (chooser(features).codes == 0).all()


def test_gradients_reach_the_choice_and_fade_as_the_temperature_falls() -> None:
    sizes = []
    for temperature in (2.0, 0.5, 0.01):
        chooser, features = quantizer(temperature)
        torch.manual_seed(0)
        with torch.no_grad():
            chooser.codevectors.copy_(torch.eye(4, 12))
        chooser(features, seeded(0)).vectors[:, 0].sum().backward()
        assert chooser.weight_proj.bias.grad is not None
        sizes.append(temperature * chooser.weight_proj.bias.grad.abs().max().item())
    assert sizes[0] > 1.3 * sizes[1] > 1.3**2 * sizes[2] > 0


def test_the_temperature_is_annealed_to_its_end() -> None:
    assert annealed_temperature(0) == 2.0
    assert annealed_temperature(0.5, 4.0, 1.0) == pytest.approx(2.0)
    assert annealed_temperature(1) == annealed_temperature(7) == pytest.approx(0.5)


@pytest.mark.parametrize("field", ["num_codevectors_per_group", "codevector_dim", "num_negatives"])
def test_configurations_that_cannot_be_built_are_refused(field: str) -> None:
    for value in (-1, "many"):
        with pytest.raises(CheckpointError, match=field):
            PretrainConfig.from_dict({field: value})
    with pytest.raises(CheckpointError, match="num_codevector_groups"):
        PretrainConfig(codevector_dim=10, num_codevector_groups=3)


@pytest.mark.parametrize("config", [TINY, LARGE, replace(HUBERT, conv_pos_batch_norm=True)])
def test_fresh_weights_keep_the_signal_alive_and_follow_the_seed(config: object) -> None:
    model = Encoder(config).eval()  # type: ignore[arg-type]
    draw_weights(model, seeded(0))
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scale = model(torch.from_numpy(random_waveform(16000))[None]).convolved.square().mean().sqrt()
    assert 0.03 < scale < 3
    draw_weights(model, seeded(1))
    assert any(not torch.equal(tensor, first[name]) for name, tensor in model.state_dict().items())
    draw_weights(model, seeded(0))
    assert all(torch.equal(tensor, first[name]) for name, tensor in model.state_dict().items())
    weight = model.get_submodule("encoder.pos_conv_embed.conv").weight
    assert isinstance(weight, Tensor)
    expected = 2 * (config.num_conv_pos_embeddings * config.hidden_size) ** -0.5  # type: ignore[attr-defined]
    assert weight.std().item() == pytest.approx(expected, rel=0.1)


def clusters(**settings: float) -> tuple[ClusterModel, Tensor]:
    spec = replace(ClusterSpec(num_clusters=5, width=16), **settings)  # type: ignore[arg-type]
    model = ClusterModel(HUBERT, spec).eval()
    draw_weights(model, seeded(0))
    labels = torch.randint(5, (len(LENGTHS), TINY.num_frames(max(LENGTHS))), generator=seeded(2))
    return model, labels


def test_clusters_cost_what_the_formula_says() -> None:
    model, labels = clusters(unmasked_weight=0.5)
    waveform, _, mask, _ = alone(0, *padded()[2:])
    out = model(waveform, None, mask, labels[:1])
    with torch.no_grad():
        frames = model.final_proj(model.backbone(waveform, None, mask).last)[0].numpy().astype(np.float64)
    vectors = model.label_embs_concat.detach().numpy().astype(np.float64)
    cosines = frames @ vectors.T / np.linalg.norm(frames, axis=1)[:, None] / np.linalg.norm(vectors, axis=1)
    logits = cosines / 0.1
    true = labels[0].numpy()
    costs = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(true)), true]
    for name, part in (("masked", mask[0].numpy()), ("unmasked", ~mask[0].numpy())):
        assert out.losses[name].sum.item() == pytest.approx(costs[part].sum(), rel=1e-5)
        assert out.losses[name].count == part.sum()
        assert out.metrics[f"{name}_accuracy"].sum == (logits.argmax(1) == true)[part].sum()
    penalty = 10 * out.losses["feature_penalty"].value.item()
    assert out.loss.item() == pytest.approx(costs[mask[0]].mean() + 0.5 * costs[~mask[0]].mean() + penalty, rel=1e-5)


def test_clusters_of_a_padded_batch_are_the_sum_of_its_rows() -> None:
    model, labels = clusters()
    waveforms, lengths, mask, negatives = padded()
    labels[2, 7:] = -1
    together = model(waveforms, lengths, mask, labels)
    apart = []
    for i in range(len(LENGTHS)):
        waveform, _, row, _ = alone(i, mask, negatives)
        apart.append(model(waveform, None, row, labels[i : i + 1, : row.shape[1]]))
    assert together.losses["masked"].count + together.losses["unmasked"].count == 49 + 1 + 7 + 15
    for part in ("losses", "metrics"):
        for name, mean in getattr(together, part).items():
            rows = [getattr(out, part)[name] for out in apart]
            torch.testing.assert_close(mean.sum, sum(r.sum for r in rows), atol=1e-4, rtol=1e-5, msg=name)
            assert mean.count == sum(int(r.count) for r in rows)


def test_a_few_steps_on_a_few_clips_learn_their_clusters() -> None:
    model, labels = clusters(feature_penalty_weight=0.0)
    waveforms, lengths, mask, _ = padded()
    outs = fit(model, 40, lambda: model(waveforms, lengths, mask, labels))
    assert outs[0].losses["masked"].value > 1.2
    assert outs[-1].losses["masked"].value < 0.3
    assert outs[-1].metrics["masked_accuracy"].value > 0.95


def test_a_few_steps_on_a_few_clips_learn_to_tell_frames_apart() -> None:
    model = contrastive(replace(SMALL, feature_penalty_weight=0.0)).train()
    waveforms, lengths, mask, negatives = padded()
    noise = seeded(0)
    outs = fit(model, 60, lambda: model(waveforms, lengths, mask, negatives, noise))
    assert outs[-1].losses["contrastive"].value < 0.7 * outs[0].losses["contrastive"].value
    assert outs[-1].metrics["accuracy"].value > outs[0].metrics["accuracy"].value + 0.2
    assert outs[-1].metrics["positive_cosine"].value > outs[-1].metrics["negative_cosine"].value + 0.1


def fit(model: torch.nn.Module, steps: int, loss: object) -> list[PretrainOutput]:
    """What some steps of Adam on one batch give."""
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    outs = []
    for _ in range(steps):
        outs.append(loss())  # type: ignore[operator]
        optimiser.zero_grad()
        outs[-1].loss.backward()
        optimiser.step()
    return outs
