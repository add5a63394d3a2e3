"""Classifiers and speaker recognition against transformers, by both engines and all families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from parity.tiny import DATA2VEC, HUBERT, LARGE, TINY, WAVLM, random_waveform
from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.conversion import convert
from sonant.engines import open_engine
from sonant.errors import AudioError, CheckpointError
from sonant.model.config import EncoderConfig
from sonant.recognizer import Recognizer
from sonant.windows import WindowSpec

RATE = 16000
FAMILIES = {"wav2vec2": TINY, "large": LARGE, "hubert": HUBERT, "wavlm": WAVLM, "data2vec": DATA2VEC}
HEAD = {
    "classifier_proj_size": 10,
    "tdnn_dim": [8, 12, 12, 8, 20],
    "xvector_output_dim": 6,
    "id2label": {"0": "anger", "1": "joy", "2": "none"},
}


def saved(folder: Path, config: EncoderConfig, kind: str, weighted: bool) -> Any:
    """transformers' random model with a head, and its folder."""
    values = config.to_dict() | HEAD | {"use_weighted_layer_sum": weighted, "num_labels": 3}
    name = values.pop("architectures")[0].removesuffix("ForCTC")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = getattr(transformers, name + kind)(getattr(transformers, name + "Config")(**values)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "sampling_rate": RATE}))
    return model


def opened(folder: Path, engine: str, window: WindowSpec | None = None) -> Recognizer:
    checkpoint = open_checkpoint(folder)
    return Recognizer(checkpoint, open_engine(checkpoint, engine=engine, device="cpu", precision="fp32"), window=window)


def run(model: Any, waveform: np.ndarray) -> Any:
    """Its output, from the last layer's states after the norm that ends the encoder.

    transformers 5 leaves that norm out of the last of `hidden_states`, which its version 4 had, and the published heads
    were trained with.
    """
    hidden: list[Tensor] = []
    encoder = model.base_model.encoder
    original = torch.stack

    def stack(tensors: Any, dim: int = 0) -> Tensor:
        tensors = list(tensors)
        if len(tensors) == model.config.num_hidden_layers + 1 and hidden and tensors[-1].shape == hidden[-1].shape:
            tensors[-1] = hidden[-1]
        return original(tensors, dim=dim)

    hook = nn.Module.register_forward_hook(encoder, lambda *given: hidden.append(given[2][0]))
    torch.stack = stack  # type: ignore[assignment]
    try:
        with torch.no_grad():
            return model(torch.from_numpy(waveform)[None])
    finally:
        torch.stack = original
        hook.remove()


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_of_clips_says_what_transformers_says(
    tmp_path: Path, family: str, weighted: bool, engine: str
) -> None:
    model, waveform = saved(tmp_path, FAMILIES[family], "ForSequenceClassification", weighted), random_waveform(RATE)
    found = opened(tmp_path, engine).classify(waveform, RATE)
    expected = run(model, waveform).logits.softmax(-1)[0].numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=2e-5, rtol=0)
    np.testing.assert_allclose(found.over_time, expected[None], atol=2e-5, rtol=0)
    assert found.labels == ("anger", "joy", "none")
    assert found.label == found.ranked[0][0] == found.labels[int(expected.argmax())]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "hubert"])
def test_a_voice_is_the_vector_that_transformers_makes(tmp_path: Path, family: str, engine: str) -> None:
    model, waveform = saved(tmp_path, FAMILIES[family], "ForXVector", True), random_waveform(RATE)
    expected = nn.functional.normalize(run(model, waveform).embeddings, dim=-1)[0]
    found = opened(tmp_path, engine).embed(waveform, RATE)
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "hubert"])
def test_labels_of_frames_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    model, waveform = saved(tmp_path, FAMILIES[family], "ForAudioFrameClassification", True), random_waveform(RATE)
    expected = run(model, waveform).logits.sigmoid()[0].numpy()
    found = opened(tmp_path, "openvino").classify(waveform, RATE)
    np.testing.assert_allclose(found.over_time, expected, atol=2e-5, rtol=0)
    np.testing.assert_allclose(found.probabilities, expected.mean(0), atol=2e-5, rtol=0)
    assert not found.exclusive
    assert found.step == pytest.approx(0.02)


def test_windows_of_a_long_recording_join_without_a_seam(tmp_path: Path) -> None:
    """Heads see the same states whether a file is heard in one window or many, so they must say the same."""
    waveform = random_waveform(9 * RATE)
    for kind in ("ForSequenceClassification", "ForXVector"):
        saved(tmp_path / kind, TINY, kind, True)
        asr = opened(tmp_path / kind, "openvino", WindowSpec(seconds=2.0, margin=0.5))
        states = [asr.features(waveform, RATE)]
        if kind == "ForXVector":
            from sonant.identify import read_voice_head

            head = read_voice_head(asr.checkpoint)
            whole = head.embed([head.mix(states[0])])
            np.testing.assert_allclose(asr.embed(waveform, RATE), whole, atol=1e-5, rtol=0)
        else:
            found = asr.classify(waveform, RATE, step=2.0)
            assert found.over_time.shape == (5, 3)
            frames = asr.checkpoint.config.num_frames(len(waveform))
            weights = np.array([100, 100, 100, 100, frames - 400]) / frames
            logits = np.log(found.over_time) - np.log(found.over_time[:, :1])
            expected = (weights[:, None] * logits).sum(0)
            whole_logits = np.log(found.probabilities) - np.log(found.probabilities[0])
            np.testing.assert_allclose(whole_logits, expected, atol=1e-4, rtol=0)


def test_a_head_is_kept_by_a_conversion(tmp_path: Path) -> None:
    saved(tmp_path / "theirs", WAVLM, "ForXVector", True)
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config | {"sonant": {"voice_threshold": 0.25}}))
    convert(open_checkpoint(tmp_path / "theirs"), tmp_path / "ours")
    again = transformers.WavLMForXVector.from_pretrained(tmp_path / "ours").eval()
    waveform = random_waveform(RATE)
    expected = nn.functional.normalize(run(again, waveform).embeddings, dim=-1)[0]
    np.testing.assert_allclose(opened(tmp_path / "theirs", "openvino").embed(waveform, RATE), expected, atol=2e-5)
    settings = open_checkpoint(tmp_path / "ours").settings
    assert settings["architectures"] == ["WavLMForXVector"]
    assert settings["sonant"] == {"voice_threshold": 0.25}


@pytest.mark.parametrize("kind", ["ForSequenceClassification", "ForAudioFrameClassification"])
@pytest.mark.parametrize("family", ["wav2vec2", "data2vec"])
def test_a_converted_classifier_says_the_same_by_the_same_names(tmp_path: Path, family: str, kind: str) -> None:
    saved(tmp_path / "theirs", FAMILIES[family], kind, True)
    convert(open_checkpoint(tmp_path / "theirs"), tmp_path / "ours")
    waveform = random_waveform(RATE)
    before, after = (opened(tmp_path / name, "openvino").classify(waveform, RATE) for name in ("theirs", "ours"))
    assert after.labels == before.labels == ("anger", "joy", "none")
    np.testing.assert_array_equal(after.over_time, before.over_time)
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["architectures"] == [{"wav2vec2": "Wav2Vec2", "data2vec": "Data2VecAudio"}[family] + kind]
    if kind == "ForSequenceClassification":
        again = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "ours").eval()
        expected = run(again, waveform).logits.softmax(-1)[0].numpy()
        np.testing.assert_allclose(after.probabilities, expected, atol=2e-5, rtol=0)
        assert again.config.id2label == {0: "anger", 1: "joy", 2: "none"}


def test_what_cannot_be_labelled_or_told_apart_is_said(tmp_path: Path) -> None:
    saved(tmp_path / "mood", TINY, "ForSequenceClassification", False)
    saved(tmp_path / "voice", TINY, "ForXVector", False)
    mood, voice = (opened(tmp_path / name, "openvino") for name in ("mood", "voice"))
    with pytest.raises(CheckpointError, match=r"has none; pass one, such as microsoft/wavlm-base-plus-sv\.$"):
        mood.embed(random_waveform(RATE), RATE)
    with pytest.raises(CheckpointError, match=r"has none; pass one, such as superb/wav2vec2-base-superb-er\.$"):
        voice.classify(random_waveform(RATE), RATE)
    with pytest.raises(AudioError, match=r"must hold a voice, but is silent"):
        mood.classify(np.zeros(RATE, np.float32), RATE)
    with pytest.raises(AudioError, match=r"known by 16 frames or more, but the recording has only 14;"):
        voice.embed(random_waveform(14 * 320 + 80), RATE)
    config = json.loads((tmp_path / "mood" / "config.json").read_text())
    (tmp_path / "mood" / "config.json").write_text(json.dumps(config | {"id2label": {"0": "anger"}}))
    with pytest.raises(CheckpointError, match=r"must name its 3 outputs from 0 on, but names 1 otherwise; mend it\.$"):
        opened(tmp_path / "mood", "openvino").classify(random_waveform(RATE), RATE)
