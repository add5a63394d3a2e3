"""The OpenVINO engine computes what the PyTorch encoder computes, for every family and variant."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch
from openvino import Core

from parity.tiny import VARIANTS, checkpoint_of, random_model, random_waveform
from sonant.engines.openvino import OpenVinoEngine
from sonant.engines.torch import TorchEngine
from sonant.model.heads import CtcModel
from sonant.types import FloatArray

SHORTEST = VARIANTS["wav2vec2-base"].receptive_field
LENGTHS = (SHORTEST, SHORTEST + 1, 3217, 16000)


@cache
def engine_of(variant: str, precision: Literal["fp32", "bf16"]) -> OpenVinoEngine:
    """One engine for all tests of a variant: they ask for clips of every length, in any order."""
    return OpenVinoEngine(checkpoint_of(random_model(VARIANTS[variant])), precision, threads=1)


def in_torch(model: CtcModel, waveform: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
    """Log-probabilities (T, V) and states (T, D) of one clip."""
    with torch.inference_mode():
        output = model(torch.from_numpy(waveform)[None], all_states=True)
    return output.logits[0].log_softmax(-1).numpy(), [state[0].numpy() for state in output.states]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_equals_torch(variant: str) -> None:
    model = random_model(VARIANTS[variant])
    engine = engine_of(variant, "fp32")
    waveforms = [random_waveform(num_samples, seed=num_samples) for num_samples in LENGTHS]
    emitted = engine.emit(waveforms)
    for waveform, log_probs in zip(waveforms, emitted, strict=True):
        expected, expected_states = in_torch(model, waveform)
        assert log_probs.shape == expected.shape
        np.testing.assert_allclose(log_probs, expected, rtol=0, atol=5e-5)
        states = engine.states(waveform)
        assert len(states) == len(expected_states)
        for state, expected_state in zip(states, expected_states, strict=True):
            np.testing.assert_allclose(state, expected_state, rtol=0, atol=5e-5)


@pytest.mark.parametrize("variant", ["wav2vec2-base", "hubert-no-projection-norm", "wavlm-large"])
def test_what_the_convolutions_give_equals_torch(variant: str) -> None:
    checkpoint = checkpoint_of(random_model(VARIANTS[variant]))
    reference = TorchEngine(checkpoint, "cpu", "fp32")
    for num_samples in LENGTHS:
        waveform = random_waveform(num_samples)
        convolved = engine_of(variant, "fp32").convolved(waveform)
        assert convolved.shape == (checkpoint.config.num_frames(num_samples), checkpoint.config.conv_dim[-1])
        np.testing.assert_allclose(convolved, reference.convolved(waveform), rtol=0, atol=5e-5)
    assert engine_of(variant, "fp32").convolved(waveform[:10]).shape == reference.convolved(waveform[:10]).shape


@pytest.mark.parametrize("variant", ["wav2vec2-large", "wavlm-base"])
def test_layers_are_the_same_however_deep_the_graph_is(variant: str) -> None:
    engine = OpenVinoEngine(checkpoint_of(random_model(VARIANTS[variant])), "fp32", threads=1)
    waveform = random_waveform(9000)
    parts = [
        engine.states(waveform, layers) for layers in ([0], [1], [3, 1], [1, 0])
    ]  # each compiled anew, but the last
    whole = engine_of(variant, "fp32").states(waveform)
    for layers, states in zip(([0], [1], [3, 1], [1, 0]), parts, strict=True):
        for layer, state in zip(layers, states, strict=True):
            np.testing.assert_allclose(state, whole[layer], rtol=0, atol=1e-5)
    assert engine.states(waveform, []) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clip_alone_equals_the_clip_beside_others(variant: str) -> None:
    engine = engine_of(variant, "fp32")
    clips = [random_waveform(num_samples, seed=num_samples) for num_samples in (16000, SHORTEST, 9000)]
    together = engine.emit(clips)
    for clip, beside in zip(clips, together, strict=True):
        (alone,) = engine.emit([clip])
        np.testing.assert_array_equal(alone, beside)


@pytest.mark.skipif(
    "BF16" not in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="needs a processor with bfloat16"
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_is_close(variant: str) -> None:
    waveform = random_waveform(32000)
    exact, rough = engine_of(variant, "fp32"), engine_of(variant, "bf16")
    assert rough.precision == "bf16"
    (expected,), (log_probs,) = exact.emit([waveform]), rough.emit([waveform])
    assert np.sqrt(np.mean((log_probs - expected) ** 2)) < 0.03 * expected.std()
    assert np.mean(log_probs.argmax(-1) == expected.argmax(-1)) > 0.9
    for state, expected_state in zip(rough.states(waveform), exact.states(waveform), strict=True):
        assert np.sqrt(np.mean((state - expected_state) ** 2)) < 0.03 * expected_state.std()
