"""What the encoder promises beside parity: memory layout, bfloat16, the meta device, masks, dropped layers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from parity.tiny import TINY, VARIANTS, random_model, random_waveform
from sonant.model.convolutions import ConvLayer, GroupedConv
from sonant.model.encoder import Encoder
from sonant.model.heads import CtcModel


def clip(num_samples: int = 8000) -> Tensor:
    return torch.from_numpy(random_waveform(num_samples))[None]


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_stays_near_float32_forward_and_backward(variant: str) -> None:
    model = random_model(VARIANTS[variant])
    weights = torch.randn(model(clip()).logits.shape, generator=torch.Generator().manual_seed(0))
    logits, gradients = [], []
    for bf16 in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(clip()).logits.float()
        (out * weights).sum().backward()
        logits.append(out.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert relative_error(logits[1], logits[0]) < 0.05
    for name in ("encoder.pos_conv_embed", "feature_projection.projection", "encoder.layers.2.feed_forward"):
        exact, rough = (torch.cat([g.flatten() for n, g in part.items() if name in n]) for part in gradients)
        assert relative_error(rough, exact) < 0.2, name


def relative_error(seen: Tensor, expected: Tensor) -> float:
    return ((seen - expected).norm() / expected.norm()).item()


# the first three shapes come out as nonsense of oneDNN 3.12 with AMX, were they left to it
@pytest.mark.parametrize(
    ("width", "groups", "kernel"), [(32, 4, 16), (192, 16, 64), (24, 2, 8), (64, 4, 16), (96, 2, 128)]
)
def test_grouped_convolutions_are_right_in_bfloat16(width: int, groups: int, kernel: int) -> None:
    config = replace(TINY, hidden_size=width, num_conv_pos_embedding_groups=groups, num_attention_heads=1)
    torch.manual_seed(0)
    convolution, x = GroupedConv(config, kernel), torch.randn(2, width, 49)
    expected = convolution(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert relative_error(convolution(x).float(), expected) < 0.02
        assert relative_error(convolution(x.bfloat16()).float(), expected) < 0.02


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("variant", ["wav2vec2-base", "wav2vec2-large"])
def test_convolutions_stay_channels_last_forward_and_backward(variant: str, bf16: bool) -> None:
    # a layout that changes between layers costs a copy of the largest tensors there are, and half the training speed
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        seen.append(output[0])
        output[0].register_hook(seen.append)

    model = random_model(VARIANTS[variant])
    for module in model.modules():
        if isinstance(module, ConvLayer):
            module.register_forward_hook(keep)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(clip().repeat(2, 1), torch.tensor([8000, 5000])).logits.float().sum()
    loss.backward()
    assert len(seen) == 2 * 7
    assert all(tensor.is_contiguous() for tensor in seen)
    assert {tensor.dtype for tensor in seen} == {torch.bfloat16 if bf16 else torch.float32}


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_are_known_on_the_meta_device(variant: str) -> None:
    config = VARIANTS[variant]
    with torch.device("meta"):
        model = CtcModel(config)
        waveforms = torch.empty(2, 16000)
    for lengths in (None, torch.tensor([16000, 400])):
        out = model(waveforms, lengths, all_states=True)
        assert out.logits.shape == (2, 49, config.vocab_size)
        assert [state.shape for state in out.states] == [(2, 49, config.hidden_size)] * 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_mask_is_learnt_and_replaces_frames(variant: str) -> None:
    model = random_model(VARIANTS[variant])
    mask = torch.zeros(1, 24, dtype=torch.bool)
    mask[:, 5:15] = True
    model(clip(), mask=mask).logits.sum().backward()
    gradient = model.backbone.masked_spec_embed.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    everything = torch.ones(1, 24, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(model(clip(), mask=everything).logits, model(clip() * 0.5 + 0.1, mask=everything).logits)


def test_dropped_layers_and_dropout_act_in_training_alone() -> None:
    config = replace(TINY, layerdrop=1.0)
    model = Encoder(config)
    model.train()
    states = model(clip(), all_states=True).states
    assert len(states) == 4
    assert all(torch.equal(state, states[0]) for state in states)
    model.eval()
    states = model(clip(), all_states=True).states
    assert not torch.equal(states[1], states[0])


@pytest.mark.parametrize("variant", ["wav2vec2-base", "wavlm-large"])
def test_layers_computed_anew_give_the_same_gradients(variant: str) -> None:
    config = replace(VARIANTS[variant], layerdrop=0.3, hidden_dropout=0.1, attention_dropout=0.1)
    model, calls = random_model(config).train(), 0
    transformer = model.backbone.encoder

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for layer in transformer.layers:
        layer.register_forward_pre_hook(count)
    found: list[dict[str, Tensor | None]] = []
    for transformer.recompute in (False, True):
        model.zero_grad()
        torch.manual_seed(4)
        model(clip()).logits.sin().sum().backward()
        found.append({name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()})
    ran = sum(found[0][f"{model.config.prefix}.encoder.layers.{i}.layer_norm.bias"] is not None for i in range(3))
    assert 0 < ran < 3
    assert calls == 3 * ran
    for name, gradient in found[0].items():
        again = found[1][name]
        assert (gradient is None) == (again is None), name
        assert gradient is None or torch.equal(gradient, again), name  # type: ignore[arg-type]


def test_dropped_layers_can_be_drawn_apart_from_dropout() -> None:
    model = Encoder(replace(TINY, layerdrop=0.5, hidden_dropout=0.1)).train()
    seen: list[list[bool]] = []
    for seed in range(8):
        torch.manual_seed(seed)
        model.encoder.drops = torch.Generator().manual_seed(seed % 2)
        states = model(clip(), all_states=True).states
        seen.append([torch.equal(a, b) for a, b in itertools.pairwise(states[:-1])])
    assert all(dropped == seen[i % 2] for i, dropped in enumerate(seen))
    assert seen[0] != seen[1]
