"""What config.json may say, what it means, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonant.errors import CheckpointError
from sonant.model import config as published
from sonant.model.config import EncoderConfig

CONVOLUTIONS = {
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
# What the config.json of published models says of their architecture.
FACTS: dict[str, tuple[dict[str, Any], Callable[[], EncoderConfig]]] = {
    "facebook/wav2vec2-base-960h": (
        {
            **CONVOLUTIONS, "model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"], "conv_bias": False,
            "do_stable_layer_norm": False, "feat_extract_norm": "group", "hidden_act": "gelu", "hidden_size": 768,
            "intermediate_size": 3072, "layer_norm_eps": 1e-05, "num_attention_heads": 12, "num_hidden_layers": 12,
            "num_conv_pos_embedding_groups": 16, "num_conv_pos_embeddings": 128, "hidden_dropout_prob": 0.1,
            "feat_extract_dropout": 0.0, "gradient_checkpointing": False, "vocab_size": 32,
        },
        published.wav2vec2_base,
    ),
    "facebook/wav2vec2-large-960h": (
        {**CONVOLUTIONS, **LARGE, "model_type": "wav2vec2", "feat_extract_norm": "group", "vocab_size": 32},
        published.wav2vec2_large,
    ),
    "facebook/wav2vec2-large-960h-lv60-self": (
        {
            **CONVOLUTIONS, **LARGE, "model_type": "wav2vec2", "conv_bias": True, "do_stable_layer_norm": True,
            "feat_extract_norm": "layer",
        },
        published.wav2vec2_large_lv60,
    ),
    "facebook/wav2vec2-xls-r-1b": (
        {
            **CONVOLUTIONS, "model_type": "wav2vec2", "conv_bias": True, "do_stable_layer_norm": True,
            "feat_extract_norm": "layer", "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16,
            "num_hidden_layers": 48, "codevector_dim": 1024, "proj_codevector_dim": 1024,
        },
        published.xls_r_1b,
    ),
    "facebook/wav2vec2-xls-r-2b": (
        {
            **CONVOLUTIONS, "model_type": "wav2vec2", "conv_bias": True, "do_stable_layer_norm": True,
            "feat_extract_norm": "layer", "hidden_size": 1920, "intermediate_size": 7680, "num_attention_heads": 16,
            "num_hidden_layers": 48,
        },
        published.xls_r_2b,
    ),
    "facebook/hubert-large-ls960-ft": (
        {
            **CONVOLUTIONS, **LARGE, "model_type": "hubert", "conv_bias": True, "do_stable_layer_norm": True,
            "feat_extract_norm": "layer", "architectures": ["HubertForCTC"],
        },
        published.hubert_large,
    ),
    "microsoft/wavlm-base": (
        {
            **CONVOLUTIONS, "model_type": "wavlm", "architectures": ["WavLMModel"], "conv_bias": False,
            "do_stable_layer_norm": False, "feat_extract_norm": "group", "max_bucket_distance": 800, "num_buckets": 320,
            "freeze_feat_extract_train": True, "add_adapter": False, "output_hidden_size": 768,
        },
        published.wavlm_base,
    ),
    "microsoft/wavlm-large": (
        {
            **CONVOLUTIONS, **LARGE, "model_type": "wavlm", "conv_bias": False, "do_stable_layer_norm": True,
            "feat_extract_norm": "layer", "max_bucket_distance": 800, "num_buckets": 320, "replace_prob": 0.5,
        },
        published.wavlm_large,
    ),
}  # fmt: skip
DROPOUTS = {f.name: 0.0 for f in fields(EncoderConfig) if "drop" in f.name}


@pytest.mark.parametrize("name", FACTS)
def test_published_config_files_are_the_published_architectures(name: str) -> None:
    values, architecture = FACTS[name]
    assert replace(EncoderConfig.from_dict(values), vocab_size=None, **DROPOUTS) == architecture()


@pytest.mark.parametrize(
    ("values", "architecture"),
    [
        ({"model_type": "wav2vec2"}, published.wav2vec2_base),
        ({"model_type": "hubert"}, published.hubert_base),
        ({"model_type": "wavlm"}, published.wavlm_base),
        ({"model_type": "data2vec-audio"}, published.data2vec_audio_base),
        ({"model_type": "data2vec-audio", "feat_extract_norm": "group", "do_stable_layer_norm": True},
         published.data2vec_audio_base),  # its classes in transformers look at neither
        ({"model_type": "wav2vec2", "feat_proj_layer_norm": False, "num_buckets": 320}, published.wav2vec2_base),
    ],
)  # fmt: skip
def test_a_silent_field_means_what_it_means_to_transformers(
    values: dict[str, Any], architecture: Callable[[], EncoderConfig]
) -> None:
    config = EncoderConfig.from_dict(values)
    assert replace(config, vocab_size=None, **DROPOUTS) == architecture()
    assert (config.vocab_size, config.hidden_dropout, config.layerdrop, config.feat_proj_dropout) == (32, 0.1, 0.1, 0)


@pytest.mark.parametrize("family", published.FAMILIES)
def test_what_is_written_is_read_back(family: str) -> None:
    config = replace(EncoderConfig.from_dict({"model_type": family}), attention_dropout=0.3, vocab_size=7)
    assert EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": None}, "model_type"),
        ({"model_type": "whisper"}, "whisper"),
        ({"model_type": ["wav2vec2"]}, "model_type"),
        ({"add_adapter": True}, "add_adapter"),
        ({"hidden_size": "768"}, "hidden_size"),
        ({"hidden_size": 768.0}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": -768}, "hidden_size"),
        ({"hidden_size": 10**12}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"num_conv_pos_embedding_groups": 7}, "num_conv_pos_embedding_groups"),
        ({"conv_dim": [512] * 6}, "conv_dim"),
        ({"conv_dim": [], "conv_kernel": [], "conv_stride": []}, "conv_dim"),
        ({"conv_dim": [1] * 2000, "conv_kernel": [1] * 2000, "conv_stride": [1] * 2000}, "conv_dim"),
        ({"conv_dim": 512}, "conv_dim"),
        ({"conv_dim": [512.0] * 7}, "conv_dim"),
        ({"conv_kernel": [[10], 3, 3, 3, 3, 2, 2]}, "conv_kernel"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 0]}, "conv_stride"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, -2]}, "conv_stride"),
        ({"conv_bias": "false"}, "conv_bias"),
        ({"conv_bias": 1}, "conv_bias"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm"),
        ({"hidden_act": "__import__('os')"}, "hidden_act"),
        ({"hidden_act": "g" * 10**6}, "hidden_act"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
        ({"layer_norm_eps": math.nan}, "layer_norm_eps"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps"),
        ({"hidden_dropout": 1.5}, "hidden_dropout"),
        ({"hidden_dropout": 10**400}, "hidden_dropout"),
        ({"layerdrop": -0.1}, "layerdrop"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"adapter_attn_dim": 0}, "adapter_attn_dim"),
        ({"model_type": "wavlm", "num_buckets": 2}, "num_buckets"),
        ({"model_type": "wavlm", "max_bucket_distance": 80}, "num_buckets"),
        ({"model_type": "data2vec-audio", "num_conv_pos_embeddings": 10**6}, "num_conv_pos_embeddings"),
        ({"model_type": "data2vec-audio", "conv_pos_kernel_size": 0}, "conv_pos_kernel_size"),
    ],
)
def test_what_no_encoder_can_be_is_refused_in_a_sentence(change: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        EncoderConfig.from_dict({"model_type": "wav2vec2", **change})
    message = str(caught.value)
    assert named in message
    assert len(message) < 400
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "data2vec-audio"},  # group norm, and no kernels of positional convolutions
        {"model_type": "wavlm"},  # no buckets
        {"num_buckets": 320},
        {"conv_pos_batch_norm": True},
        {"model_type": "wavlm", "num_buckets": 320, "adapter_attn_dim": 16},
    ],
)
def test_what_transformers_would_read_otherwise_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"must be .*, but is .*; mend config\.json\."):
        EncoderConfig(**values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([f.name for f in fields(EncoderConfig)]), JSON, max_size=6))
def test_any_json_is_a_configuration_or_a_checkpoint_error(values: dict[str, Any]) -> None:
    try:
        config = EncoderConfig.from_dict({"model_type": "wavlm", **values})
    except CheckpointError:
        return
    assert EncoderConfig.from_dict(config.to_dict()) == config


def test_frames_and_receptive_field() -> None:
    config = published.wav2vec2_base()
    assert (config.hop, config.receptive_field) == (320, 400)
    counts = {0: 0, 399: 0, 400: 1, 719: 1, 720: 2, 16000: 49}
    assert {n: config.num_frames(n) for n in counts} == counts
