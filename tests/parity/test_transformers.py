"""The encoder against transformers, rung by rung: convolutions, projection, positions, each layer, logits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from parity.tiny import VARIANTS, random_model, random_waveform
from sonant.model import config as published
from sonant.model.config import EncoderConfig
from sonant.model.encoder import Encoder, count_parameters, distance_buckets
from sonant.model.heads import CtcModel

TOLERANCE = 1e-5
PARTS = r"feature_extractor\.conv_layers\.\d|feature_projection|encoder\.pos_conv_embed|encoder\.layers\.\d(\..*norm)?"
PUBLISHED: dict[str, tuple[Callable[[], EncoderConfig], int]] = {
    "wav2vec2-base": (published.wav2vec2_base, 94_371_712),
    "wav2vec2-large": (published.wav2vec2_large, 315_428_992),
    "wav2vec2-large-lv60": (published.wav2vec2_large_lv60, 315_438_720),
    "xls-r-1b": (published.xls_r_1b, 962_497_408),
    "xls-r-2b": (published.xls_r_2b, 2_159_259_648),
    "mms-1b": (published.mms_1b, 964_648_576),
    "hubert-base": (published.hubert_base, 94_371_712),
    "hubert-large": (published.hubert_large, 315_438_720),
    "hubert-xlarge": (published.hubert_xlarge, 962_497_408),
    "wavlm-base": (published.wavlm_base, 94_381_936),
    "wavlm-large": (published.wavlm_large, 315_453_120),
    "data2vec-audio-base": (published.data2vec_audio_base, 93_164_288),
    "data2vec-audio-large": (published.data2vec_audio_large, 313_276_416),
}


def theirs(config: EncoderConfig, kind: str) -> nn.Module:
    """transformers' model of a configuration; no clip is masked, dropped or batched, so that it is deterministic."""
    values = config.to_dict()
    name = values["architectures"][0].removesuffix("ForCTC").removesuffix("Model")
    built = getattr(transformers, name + "Config")(**values)
    return getattr(transformers, name + kind)(built).eval()


def random_weights(config: EncoderConfig, quiet: bool) -> CtcModel:
    """A random model; a quiet one leaves every norm so little variance that its epsilon shows."""
    model = random_model(config)
    if quiet:
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                later = re.search(r"conv_layers\.[1-6]\.conv\.weight", name)  # else nothing would be left of the signal
                if tensor.is_floating_point() and not later:
                    tensor *= 1e-5 if name.endswith("running_var") else 0.1
    return model


def their_rungs(model: CtcModel, waveforms: Tensor) -> dict[str, Tensor]:
    """The same of transformers with the weights of ours."""
    bare, whole = theirs(model.config, "Model"), theirs(model.config, "ForCTC")
    bare.load_state_dict(model.backbone.state_dict())
    whole.load_state_dict(model.state_dict())
    found = watched(bare, lambda: bare(waveforms, output_hidden_states=True))
    encoded = found.pop("encoded")
    # where a norm ends the encoder, the last of transformers 5's hidden states is the one before it
    for i, state in enumerate((*encoded.hidden_states[:-1], encoded.last_hidden_state)):
        found[f"state {i}"] = state
    for name in found:
        if name.startswith("feature_extractor"):
            found[name] = found[name].transpose(1, 2)
    return found | {"logits": whole(waveforms).logits}


def our_rungs(model: CtcModel, waveforms: Tensor) -> dict[str, Tensor]:
    """What the parts of our model give on the way from samples to logits."""
    backbone = model.backbone
    found = watched(backbone, lambda: backbone(waveforms, all_states=True))
    for i, state in enumerate(found.pop("encoded").states):
        found[f"state {i}"] = state
    return found | {"logits": model(waveforms).logits}


def watched(backbone: nn.Module, encode: Callable[[], Any]) -> dict[str, Any]:
    """What `encode` gives, and the outputs on the way to it of the parts that both implementations call alike."""
    found: dict[str, Any] = {}

    def keep(name: str, output: Tensor | tuple[Tensor, ...]) -> None:
        found[name] = output if isinstance(output, Tensor) else output[0]

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, module in backbone.named_modules()
        if re.fullmatch(PARTS, name)
    ]
    found["encoded"] = encode()
    for hook in hooks:
        hook.remove()
    return found


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, float]:
    assert a.keys() == b.keys()
    return {name: (a[name] - b[name]).abs().max().item() for name in a}


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_rung_equals_transformers(variant: str, quiet: bool) -> None:
    model = random_weights(VARIANTS[variant], quiet)
    waveforms = torch.from_numpy(random_waveform(16000))[None]
    with torch.no_grad():
        found, expected = our_rungs(model, waveforms), their_rungs(model, waveforms)
    assert len(found) >= 7 + 1 + 1 + 3 * 3 + (1 + 3) + 1  # and the norms of adapters
    assert max(difference(found, expected).values()) <= TOLERANCE, difference(found, expected)


@pytest.mark.parametrize(
    "variant", ["wav2vec2-base", "wav2vec2-large", "mms", "hubert-batch-norm", "wavlm-large", "data2vec-audio"]
)
def test_the_ladder_tells_one_epsilon_from_another(variant: str) -> None:
    model = random_weights(VARIANTS[variant], quiet=True)
    waveforms = torch.from_numpy(random_waveform(4000))[None]
    norms = {name: module for name, module in model.named_modules() if hasattr(module, "eps")}
    if variant == "data2vec-audio":  # its positional convolutions end in a norm without weights, so this one hears 1
        del norms["data2vec_audio.encoder.layer_norm"]
    assert len(norms) > 1 + 2 * 3  # projection, two in each layer, and more
    with torch.no_grad():
        expected = their_rungs(model, waveforms)
        assert max(difference(our_rungs(model, waveforms), expected).values()) <= TOLERANCE
        for name, norm in norms.items():
            right = norm.eps
            for wrong in (1e-6, 1e-12):
                norm.eps = wrong
                seen = max(difference(our_rungs(model, waveforms), expected).values())
                assert seen > TOLERANCE, f"{name} with an epsilon of {wrong} went unnoticed ({seen:.1e})"
            norm.eps = right


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_equal_those_of_transformers(variant: str) -> None:
    model, reference = random_model(VARIANTS[variant]), theirs(VARIANTS[variant], "ForCTC")
    reference.load_state_dict(model.state_dict())
    waveforms = torch.from_numpy(random_waveform(4000))[None]
    weights = torch.randn(model(waveforms).logits.shape, generator=torch.Generator().manual_seed(0))
    for each in (model, reference):
        (each(waveforms).logits * weights).sum().backward()
    expected = dict(reference.named_parameters())
    for name, parameter in model.named_parameters():
        if name.endswith("masked_spec_embed"):
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        scale = max(1.0, expected[name].grad.abs().max().item())
        torch.testing.assert_close(parameter.grad / scale, expected[name].grad / scale, atol=2e-5, rtol=0)


def test_wavlm_buckets_equal_those_of_transformers() -> None:
    reference = transformers.models.wavlm.modeling_wavlm.WavLMAttention(16, 2, num_buckets=320, max_distance=800)
    distance = torch.arange(-4000, 4001)
    assert torch.equal(distance_buckets(distance, 320, 800), reference._relative_positions_bucket(distance))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_architectures_have_the_published_parameters(name: str) -> None:
    config, count = PUBLISHED[name][0](), PUBLISHED[name][1]
    with torch.device("meta"):
        model, reference = Encoder(config), theirs(config, "Model")
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert shapes == {key: tuple(tensor.shape) for key, tensor in reference.state_dict().items()}
    assert count_parameters(model.parameters()) == count


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_configuration_survives_transformers(variant: str) -> None:
    config = replace(VARIANTS[variant], hidden_dropout=0.25, layerdrop=0.0)
    assert EncoderConfig.from_dict(config.to_dict()) == config
    name = type(theirs(config, "Model")).__name__.replace("Model", "Config")
    assert EncoderConfig.from_dict(getattr(transformers, name)(**config.to_dict()).to_dict()) == config
    sparse = getattr(transformers, name)(**config.to_dict()).to_diff_dict()  # what save_pretrained writes
    assert EncoderConfig.from_dict(sparse) == config
