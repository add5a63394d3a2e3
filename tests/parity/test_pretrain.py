"""Contrastive pre-training against transformers' `Wav2Vec2ForPreTraining`, with the same masks, negatives and noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from parity.tiny import LARGE, TINY, random_waveform
from sonant.checkpoints import open_checkpoint
from sonant.model.config import EncoderConfig, PretrainConfig
from sonant.model.heads import load_weights
from sonant.model.masks import SpanSpec, sample_negatives, sample_spans
from sonant.model.pretrain import ContrastiveModel, gumbel_noise, perplexity

TOLERANCE = 1e-5
SMALL = PretrainConfig(
    num_codevectors_per_group=24, num_codevector_groups=2, codevector_dim=12, proj_codevector_dim=16,
    num_negatives=7, feature_penalty_weight=0.0, diversity_loss_weight=0.3,
)  # fmt: skip
VARIANTS = {
    "base": (TINY, SMALL),
    "large": (LARGE, SMALL),
    "three-codebooks": (TINY, replace(SMALL, num_codevector_groups=3, contrastive_logits_temperature=0.5)),
    "two-codes": (TINY, replace(SMALL, num_codevectors_per_group=2)),  # most negatives are the positive itself
}


def theirs(config: EncoderConfig, pretrain: PretrainConfig) -> transformers.Wav2Vec2ForPreTraining:
    built = transformers.Wav2Vec2Config(**(config.to_dict() | pretrain.to_dict()))
    return transformers.Wav2Vec2ForPreTraining(built).eval()


def pair(config: EncoderConfig, pretrain: PretrainConfig) -> tuple[ContrastiveModel, transformers.PreTrainedModel]:
    """Ours and theirs with the same random weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, reference = ContrastiveModel(config, pretrain).eval(), theirs(config, pretrain)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    reference.load_state_dict(model.state_dict())
    return model, reference


def row(pretrain: PretrainConfig, num_samples: int = 16000) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A clip, its mask, our negatives, and the same negatives as transformers counts them: among all frames."""
    generator = torch.Generator().manual_seed(0)
    mask = sample_spans(torch.tensor([TINY.num_frames(num_samples)]), SpanSpec(), generator)
    negatives = sample_negatives(mask, pretrain.num_negatives, generator)[:, : int(mask.sum())]
    places = mask[0].nonzero()[:, 0]
    expected = torch.zeros(1, mask.shape[1], pretrain.num_negatives, dtype=torch.long)
    expected[0, places] = places[negatives[0]]
    return torch.from_numpy(random_waveform(num_samples))[None], mask, negatives, expected


def with_noise(noise: Tensor, mask: Tensor, groups: int) -> object:
    """`F.gumbel_softmax` with given noise at masked frames, in the form that is exactly hard."""

    def gumbel_softmax(logits: Tensor, tau: float, hard: bool) -> Tensor:
        assert hard
        all_noise = torch.zeros_like(logits).unflatten(0, (*mask.shape, groups))
        all_noise[mask] = noise
        soft = ((logits + all_noise.flatten(0, 2)) / tau).softmax(-1)
        return F.one_hot(soft.argmax(-1), logits.shape[-1]) + (soft - soft.detach())

    return gumbel_softmax


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_shapes_are_those_of_transformers(variant: str) -> None:
    model, reference = pair(*VARIANTS[variant])
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in reference.state_dict().items()
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_equal_transformers_when_choices_are_hard(variant: str) -> None:
    model, reference = pair(*VARIANTS[variant])
    waveform, mask, negatives, expected_negatives = row(model.pretrain)
    out = model(waveform, None, mask, negatives)
    expected = reference(waveform, mask_time_indices=mask, sampled_negative_indices=expected_negatives)
    count = mask.sum()
    assert out.losses["contrastive"].count == count
    assert out.code_counts is not None
    torch.testing.assert_close(perplexity(out.code_counts).sum(), expected.codevector_perplexity)
    cost = out.losses["contrastive"].sum
    torch.testing.assert_close(cost / count, expected.contrastive_loss / count, atol=TOLERANCE, rtol=0)
    cost.div(count).backward()
    expected.contrastive_loss.div(count).backward()
    compare_gradients(model, reference)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_losses_and_gradients_equal_transformers_in_training(
    variant: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, reference = pair(*VARIANTS[variant])
    waveform, mask, negatives, expected_negatives = row(model.pretrain)
    model.train()
    reference.train()
    model.quantizer.temperature = reference.quantizer.temperature = temperature
    count, shape = mask.sum(), model.quantizer.shape
    noise = gumbel_noise(torch.empty(1, int(count), *shape), torch.Generator().manual_seed(5))[0]
    monkeypatch.setattr(F, "gumbel_softmax", with_noise(noise, mask, shape[0]))
    expected = reference(waveform, mask_time_indices=mask, sampled_negative_indices=expected_negatives)
    out = model(waveform, None, mask, negatives, torch.Generator().manual_seed(5))

    assert out.code_probabilities is not None
    torch.testing.assert_close(perplexity(out.code_probabilities).sum(), expected.codevector_perplexity)
    for ours, theirs_ in (("contrastive", expected.contrastive_loss), ("diversity", expected.diversity_loss)):
        torch.testing.assert_close(out.losses[ours].value, theirs_ / count, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out.loss, expected.loss / count, atol=TOLERANCE, rtol=0)
    out.loss.backward()
    expected.loss.div(count).backward()
    compare_gradients(model, reference)


def compare_gradients(model: torch.nn.Module, reference: torch.nn.Module) -> None:
    """Those of one are those of the other, relative to each parameter's largest where that is over 1."""
    theirs_ = dict(reference.named_parameters())
    reached = 0
    for name, parameter in model.named_parameters():
        expected = theirs_[name].grad
        if expected is None:
            assert parameter.grad is None or not parameter.grad.any(), name
            continue
        assert parameter.grad is not None, name
        reached += bool(expected.any())
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(parameter.grad / scale, expected / scale, atol=TOLERANCE, rtol=0, msg=name)
    assert reached > 50


def test_a_pretrained_checkpoint_goes_on_where_it_stopped(tmp_path: Path) -> None:
    model, reference = pair(TINY, SMALL)
    reference.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    with torch.device("meta"):
        again = ContrastiveModel(checkpoint.config, SMALL)
    load_weights(again, checkpoint)
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_configuration_survives_transformers() -> None:
    odd = replace(SMALL, feat_quantizer_dropout=0.25)
    written = transformers.Wav2Vec2Config(**(TINY.to_dict() | odd.to_dict())).to_diff_dict()
    assert PretrainConfig.from_dict(written) == odd
    silent = transformers.Wav2Vec2Config().to_diff_dict()
    assert PretrainConfig.from_dict(silent) == PretrainConfig()
    assert PretrainConfig.from_dict(transformers.Wav2Vec2Config().to_dict()) == PretrainConfig()
