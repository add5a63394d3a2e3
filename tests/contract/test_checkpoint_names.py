"""The names of a checkpoint's tensors are a promise: a saved model loads in every later version and in transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sonant.model import config as architectures
from sonant.model.config import EncoderConfig
from sonant.model.heads import CtcModel

NAMES = Path(__file__).with_name("checkpoint_names.txt")

MODELS = {
    "wav2vec2_base": architectures.wav2vec2_base(),
    "wav2vec2_large_lv60": architectures.wav2vec2_large_lv60(),
    "mms_1b": architectures.mms_1b(),
    "hubert_base": architectures.hubert_base(),
    "hubert_large": architectures.hubert_large(),
    "wavlm_base": architectures.wavlm_base(),
    "wavlm_large": architectures.wavlm_large(),
    "data2vec_audio_base": architectures.data2vec_audio_base(),
}


def written(name: str, config: EncoderConfig) -> str:
    """One line a tensor with its shape; two layers and two convolutions stand for all."""
    short = replace(
        config,
        num_hidden_layers=2,
        conv_dim=config.conv_dim[:2],
        conv_kernel=config.conv_kernel[:2],
        conv_stride=config.conv_stride[:2],
        vocab_size=32,
    )
    with torch.device("meta"):
        state = CtcModel(short).state_dict()
    return f"[{name}]\n" + "".join(f"{key} {'x'.join(map(str, state[key].shape))}\n" for key in sorted(state))


@pytest.mark.parametrize("name", MODELS)
def test_names_and_shapes_are_as_promised(name: str) -> None:
    promised = {part.partition("]")[0]: f"[{part}" for part in NAMES.read_text(encoding="utf-8").split("[")[1:]}
    assert written(name, MODELS[name]) == promised[name].rstrip() + "\n"
