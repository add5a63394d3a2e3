"""Architectures read off the shapes of weights, for formats that do not say all of them.

Shapes tell widths, depths, kernels, norms and biases. They do not tell strides, attention heads and where the layer
norms stand: where a file is silent about these, those of the published models are taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sonant.checkpoints import Checkpoint
from sonant.checkpoints.arrays import Readable, Tensors
from sonant.errors import CheckpointError
from sonant.model.config import EncoderConfig, Family
from sonant.types import Vocabulary

_STRIDES = {(10, 3, 3, 3, 3, 2, 2): (5, 2, 2, 2, 2, 2, 2)}
"""By the kernels: every published model has these."""
_HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""By the width: base, large, 1 B and HuBERT's extra large, 2 B. Other widths are taken as 64 numbers a head."""
WEIGHT_NORM = {
    "encoder.pos_conv_embed.conv.weight_g": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    "encoder.pos_conv_embed.conv.weight_v": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
}
"""From the names that PyTorch's weight norm gave its two factors to those it gives them now."""
_PARTS = ("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed")


def infer_config(
    name: str, arrays: Mapping[str, Readable], family: Family, known: Mapping[str, Any] | None = None
) -> EncoderConfig:
    """The architecture of weights, which go by transformers' names without the family's prefix.

    `known` are those fields of `config.json` that the file states; the rest is read off shapes or, where these do not
    tell, taken from the published models. Raises `CheckpointError` where a tensor is missing or the models do not say.
    """
    known = known or {}
    values: dict[str, Any] = {"model_type": family} | _convolutions(name, arrays) | _transformer(name, arrays)
    if "conv_stride" not in known:
        strides = _STRIDES.get(values["conv_kernel"])
        if strides is None:
            raise CheckpointError(
                f"The convolutions of {name} must have the kernels of a published model, since its file does not say "
                f"their strides, but have {values['conv_kernel']}; convert it where it was trained."
            )
        values["conv_stride"] = strides
    if "num_attention_heads" not in values | dict(known):
        values["num_attention_heads"] = _HEADS.get(values["hidden_size"]) or max(1, values["hidden_size"] // 64)
    head = arrays.get("lm_head.weight")
    values["vocab_size"] = None if head is None else _shape(name, arrays, "lm_head.weight", 2)[0]
    config = EncoderConfig.from_dict(values | dict(known))
    return config if head is not None else replace(config, vocab_size=None)


def checkpoint_of(
    name: str,
    config: EncoderConfig,
    arrays: Mapping[str, Readable],
    vocabulary: Vocabulary | None,
    *,
    sample_rate: int = 16000,
    normalize: bool,
    language: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """The model with weights by transformers' names without the family's prefix."""
    prefixed = {f"{config.prefix}.{key}" if key.startswith(_PARTS) else key: a for key, a in arrays.items()}
    return Checkpoint(
        name=name,
        config=config,
        tensors=Tensors(prefixed),
        vocabulary=vocabulary,
        sample_rate=sample_rate,
        normalize=normalize,
        language=language,
        settings=config.to_dict() | dict(settings or {}),
    )


def count_layers(names: Iterable[str], pattern: str) -> int:
    """One more than the highest number that stands where `pattern` has its group."""
    found = (re.match(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _convolutions(name: str, arrays: Mapping[str, Readable]) -> dict[str, Any]:
    """The fields of what turns samples into frames."""
    place = "feature_extractor.conv_layers"
    count = count_layers(arrays, r"feature_extractor\.conv_layers\.(\d{1,4})\.conv\.weight$")
    shapes = [_shape(name, arrays, f"{place}.{i}.conv.weight", 3) for i in range(max(count, 1))]
    # a group norm follows the first convolution alone, layer norms follow all
    by_layer = f"{place}.{count - 1}.layer_norm.weight" in arrays if count > 1 else False
    return {
        "conv_dim": tuple(shape[0] for shape in shapes),
        "conv_kernel": tuple(shape[2] for shape in shapes),
        "conv_bias": f"{place}.0.conv.bias" in arrays,
        "feat_extract_norm": "layer" if by_layer else "group",
        "do_stable_layer_norm": by_layer,
        "feat_proj_layer_norm": "feature_projection.layer_norm.weight" in arrays,
    }


def _transformer(name: str, arrays: Mapping[str, Readable]) -> dict[str, Any]:
    """The fields of the layers and of what tells them their places."""
    values: dict[str, Any] = {
        "hidden_size": _shape(name, arrays, "feature_projection.projection.weight", 2)[0],
        "num_hidden_layers": count_layers(arrays, r"encoder\.layers\.(\d{1,4})\."),
    }
    if values["num_hidden_layers"]:
        inner = _shape(name, arrays, "encoder.layers.0.feed_forward.intermediate_dense.weight", 2)
        values["intermediate_size"] = inner[0]
    place = "encoder.pos_conv_embed"
    depth = count_layers(arrays, r"encoder\.pos_conv_embed\.layers\.(\d{1,4})\.")
    normed = f"{place}.conv.parametrizations.weight.original1"
    if depth:
        _, inputs, kernel = _shape(name, arrays, f"{place}.layers.0.conv.weight", 3)
        values |= {"num_conv_pos_embeddings": depth, "conv_pos_kernel_size": kernel}
    else:
        plain = f"{place}.conv.weight"
        _, inputs, kernel = _shape(name, arrays, plain if plain in arrays else normed, 3)
        values |= {"num_conv_pos_embeddings": kernel, "conv_pos_batch_norm": f"{place}.batch_norm.weight" in arrays}
    values["num_conv_pos_embedding_groups"] = values["hidden_size"] // max(inputs, 1)
    buckets = "encoder.layers.0.attention.rel_attn_embed.weight"
    if buckets in arrays:
        values["num_buckets"], values["num_attention_heads"] = _shape(name, arrays, buckets, 2)
    adapter = "encoder.layers.0.adapter_layer.linear_1.weight"
    if adapter in arrays:
        values["adapter_attn_dim"] = _shape(name, arrays, adapter, 2)[0]
    return values


def _shape(name: str, arrays: Mapping[str, Readable], key: str, dimensions: int) -> tuple[int, ...]:
    """A tensor's shape; `CheckpointError` where there is none of the name, or of so many dimensions."""
    array = arrays.get(key)
    if array is None or len(array.shape) != dimensions:
        found = "there is none" if array is None else f"it has the shape {array.shape}"
        raise CheckpointError(
            f"{name} must have a tensor {key} of {dimensions} dimensions, but {found}; fetch it again, or use another "
            "model."
        )
    return array.shape
