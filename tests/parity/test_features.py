"""Features and units against transformers, by both engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity.test_pretrain import SMALL, pair
from parity.test_transformers import theirs
from parity.tiny import LARGE, TINY, VARIANTS, checkpoint_of, random_model, random_waveform
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.engines import open_engine
from sonant.errors import CheckpointError
from sonant.features import Quantizer
from sonant.recognizer import Recognizer
from sonant.windows import WindowSpec

ENGINES = ("openvino", "torch")
RATE = 16000


def recognizer(checkpoint: Checkpoint, engine: str, window: WindowSpec | None = None) -> Recognizer:
    checkpoint = replace(checkpoint, normalize=False)  # the reference is given samples as they are
    opened = open_engine(checkpoint, engine=engine, device="cpu", precision="fp32")
    return Recognizer(checkpoint, opened, window=window)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("variant", ["wav2vec2-base", "wav2vec2-large", "wavlm-large"])
def test_layers_are_the_hidden_states_of_transformers(variant: str, engine: str) -> None:
    model = random_model(VARIANTS[variant])
    reference, waveform = theirs(model.config, "Model"), random_waveform(RATE)
    reference.load_state_dict(model.backbone.state_dict())
    with torch.no_grad():
        output: Any = reference(torch.from_numpy(waveform)[None], output_hidden_states=True)
    asr = recognizer(checkpoint_of(model), engine)
    features = asr.features(waveform, RATE)
    assert len(features) == model.config.num_hidden_layers + 1
    for layer, (state, expected) in enumerate(zip(features[:-1], output.hidden_states, strict=False)):
        np.testing.assert_allclose(state, expected[0], atol=5e-5, rtol=0, err_msg=f"layer {layer}")
    np.testing.assert_allclose(features[-1], output.last_hidden_state[0], atol=5e-5, rtol=0)
    some = asr.features(waveform, RATE, layers=[2, 0])
    np.testing.assert_array_equal(some[0], features[2])
    np.testing.assert_array_equal(some[1], features[0])


def test_the_last_hidden_state_of_transformers_lacks_the_norm_that_ends_the_encoder() -> None:
    """What docs/features.md says of models with `do_stable_layer_norm`."""
    model = random_model(LARGE)
    reference, waveform = theirs(model.config, "Model"), random_waveform(RATE)
    reference.load_state_dict(model.backbone.state_dict())
    with torch.no_grad():
        output: Any = reference(torch.from_numpy(waveform)[None], output_hidden_states=True)
        normed = reference.encoder.layer_norm(output.hidden_states[-1])
    [last] = recognizer(checkpoint_of(model), "openvino").features(waveform, RATE, layers=[3])
    assert np.abs(last - output.hidden_states[-1][0].numpy()).max() > 0.1
    np.testing.assert_allclose(last, normed[0], atol=5e-5, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_file_s_features_are_joined_as_its_emissions_are(engine: str) -> None:
    model = random_model(TINY)
    asr = recognizer(checkpoint_of(model), engine, WindowSpec(seconds=2.0, margin=0.5))
    waveform = random_waveform(7 * RATE)
    pieces = list(asr.feature_pieces(waveform, RATE, layers="0,3"))
    assert len(pieces) > 5
    assert max(len(piece["layer_3"]) for piece in pieces) <= 100
    first, last = asr.features(waveform, RATE, layers="0,3")
    assert len(first) == len(last) == model.config.num_frames(len(waveform))
    np.testing.assert_array_equal(first, np.concatenate([piece["layer_0"] for piece in pieces]))
    with torch.no_grad():
        log_probs = model.lm_head(torch.from_numpy(last)).log_softmax(-1)
    np.testing.assert_allclose(log_probs, asr.emissions(waveform, RATE).log_probs, atol=5e-5, rtol=0)
    whole = recognizer(checkpoint_of(model), engine).features(waveform[: 99 * 320 + 400], RATE, layers=[3])[0]
    np.testing.assert_allclose(last[: len(pieces[0]["layer_3"])], whole[: len(pieces[0]["layer_3"])], atol=5e-5, rtol=0)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """Our model, transformers' and the folder it saved."""
    folder = tmp_path_factory.mktemp("pretrained")
    model, reference = pair(LARGE, SMALL)
    reference.save_pretrained(folder)
    return model, reference, folder


@pytest.mark.parametrize("engine", ENGINES)
def test_units_are_the_codes_of_both_quantizers(engine: str, pretrained: tuple[Any, Any, Path]) -> None:
    model, reference, folder = pretrained
    checkpoint = open_checkpoint(folder)
    assert checkpoint.vocabulary is None
    asr = recognizer(checkpoint, engine)
    waveform = random_waveform(RATE)
    units = asr.units(waveform, RATE)
    assert units.shape == (model.config.num_frames(RATE), 2)
    samples = torch.from_numpy(waveform)[None]
    with torch.no_grad():
        codes = model.quantizer(model.backbone(samples).features).codes[0].numpy()
        vectors = reference.quantizer(reference.wav2vec2(samples).extract_features)[0][0].numpy()
    np.testing.assert_array_equal(units, codes)
    books = model.quantizer.codevectors.detach().numpy().reshape(2, SMALL.num_codevectors_per_group, -1)
    np.testing.assert_allclose(np.concatenate([books[0][units[:, 0]], books[1][units[:, 1]]], 1), vectors, rtol=1e-6)
    assert len(np.unique(units)) > 3
    short = recognizer(checkpoint, engine, WindowSpec(seconds=0.5, margin=0.1))
    np.testing.assert_array_equal(short.units(waveform, RATE), units)  # without a group norm, a frame hears 25 ms
    [piece] = asr.feature_pieces(waveform, RATE, layers=[1], units=True)
    assert list(piece) == ["layer_1", "units"]


def test_a_model_without_codebooks_has_no_units() -> None:
    with pytest.raises(CheckpointError, match="tiny has none; pass a model that was pre-trained only"):
        Quantizer(checkpoint_of(random_model(TINY)))
