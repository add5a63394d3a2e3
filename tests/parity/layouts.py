"""Our state dicts in the key layouts of torchaudio and fairseq, as their model definitions name parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sonant.model.config import EncoderConfig
from sonant.model.heads import CtcModel

SYMBOLS = ["|", *"ETAONIH"]
"""What a fairseq dictionary of twelve entries holds beside its four marks."""


def bare(model: CtcModel) -> dict[str, Tensor]:
    """The model's tensors without the family's prefix; `lm_head.*` keeps its name."""
    return {key.removeprefix(model.config.prefix + "."): tensor for key, tensor in model.state_dict().items()}


def renamed(state: Mapping[str, Tensor], rules: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Each key by the first rule that fits its beginning; keys that none fits are a mistake of the test."""
    names: dict[str, Tensor] = {}
    for key, tensor in state.items():
        old, new = next(rule for rule in rules if re.match(rule[0], key))
        names[re.sub(old, new, key, count=1)] = tensor.clone()
    return names


def torchaudio_state(model: CtcModel, *, head: bool = True) -> dict[str, Tensor]:
    """`torchaudio.models.Wav2Vec2Model.state_dict()`; WavLM's projections are joined there."""
    state = bare(model)
    state.pop("masked_spec_embed")
    names = renamed(
        state,
        [
            (r"feature_extractor\.", "feature_extractor."),
            (r"feature_projection\.", "encoder.feature_projection."),
            (r"encoder\.", "encoder.transformer."),
            (r"lm_head\.", "aux."),
        ],
    )
    if model.config.num_buckets:
        for i in range(model.config.num_hidden_layers):
            place = f"encoder.transformer.layers.{i}.attention."
            for kind in ("weight", "bias"):
                parts = [names.pop(f"{place}{part}_proj.{kind}") for part in "qkv"]
                names[f"{place}attention.in_proj_{kind}"] = torch.cat(parts)
                names[f"{place}attention.out_proj.{kind}"] = names.pop(f"{place}out_proj.{kind}")
    return {key: tensor for key, tensor in names.items() if head or not key.startswith("aux.")}


def fairseq_state(model: CtcModel, *, head: bool = True, old_names: bool = True) -> dict[str, Tensor]:
    """The `model` of a fairseq checkpoint: `w2v_encoder.*` with a head, the bare model without."""
    config = model.config
    normed = r"2.1." if config.feat_extract_norm == "layer" else "2."
    position = [(r"encoder\.pos_conv_embed\.conv\.", "encoder.pos_conv.0.")]
    if config.conv_pos_kernel_size:
        position = [(r"encoder\.pos_conv_embed\.layers\.(\d+)\.conv\.", r"encoder.pos_conv.\1.0.")]
    if config.conv_pos_batch_norm:
        position = [
            (r"encoder\.pos_conv_embed\.batch_norm\.", "encoder.pos_conv.0."),
            (r"encoder\.pos_conv_embed\.conv\.", "encoder.pos_conv.1."),
        ]
    names = renamed(
        bare(model),
        [
            (r"feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
            (r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.", rf"feature_extractor.conv_layers.\1.{normed}"),
            (r"feature_projection\.projection\.", "post_extract_proj."),
            (r"feature_projection\.layer_norm\.", "layer_norm."),
            (r"masked_spec_embed", "mask_emb"),
            *position,
            (r"encoder\.layers\.(\d+)\.attention\.rel_attn_embed\.",
             r"encoder.layers.\1.self_attn.relative_attention_bias."),
            (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_linear\.", r"encoder.layers.\1.self_attn.grep_linear."),
            (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_const", r"encoder.layers.\1.self_attn.grep_a"),
            (r"encoder\.layers\.(\d+)\.attention\.", r"encoder.layers.\1.self_attn."),
            (r"encoder\.layers\.(\d+)\.layer_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
            (r"encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense\.", r"encoder.layers.\1.fc1."),
            (r"encoder\.layers\.(\d+)\.feed_forward\.output_dense\.", r"encoder.layers.\1.fc2."),
            (r"encoder\.layers\.(\d+)\.final_layer_norm\.", r"encoder.layers.\1.final_layer_norm."),
            (r"encoder\.layer_norm\.", "encoder.layer_norm."),
            (r"lm_head\.", "proj."),
        ],
    )  # fmt: skip
    if old_names:
        factors = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in factors.items():
            names = {key.replace(new, old): tensor for key, tensor in names.items()}
    if not head:
        return {key: tensor for key, tensor in names.items() if not key.startswith("proj.")}
    return {
        f"w2v_encoder.{key}" if key.startswith("proj.") else f"w2v_encoder.w2v_model.{key}": tensor
        for key, tensor in names.items()
    }


def fairseq_architecture(config: EncoderConfig) -> dict[str, Any]:
    """The settings of fairseq's `Wav2Vec2Config` that shape the encoder."""
    layers = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    values: dict[str, Any] = {
        "extractor_mode": "layer_norm" if config.feat_extract_norm == "layer" else "default",
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "activation_fn": {"silu": "swish"}.get(config.hidden_act, config.hidden_act),
        "layer_norm_first": config.do_stable_layer_norm,
        "conv_feature_layers": " + ".join(str([layer]) for layer in layers),
        "conv_bias": config.conv_bias,
        "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups,
        "dropout": 0.1,
    }
    if config.num_buckets:
        values |= {"num_buckets": config.num_buckets, "max_distance": config.max_bucket_distance}
    return values
