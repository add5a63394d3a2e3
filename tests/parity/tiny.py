"""Tiny random models of every family and variant, for tests that hold two implementations against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sonant.checkpoints import Checkpoint
from sonant.model.config import EncoderConfig
from sonant.model.heads import CtcModel
from sonant.types import Vocabulary

TINY = EncoderConfig(
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    conv_dim=(16,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    vocab_size=12,
)
LARGE = replace(TINY, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
HUBERT = replace(TINY, model_type="hubert")
# few buckets, so that a second of frames reaches the logarithmic and the clamped ones
WAVLM = replace(TINY, model_type="wavlm", num_buckets=20, max_bucket_distance=30)
DATA2VEC = replace(
    TINY, model_type="data2vec-audio", feat_extract_norm="layer", conv_pos_kernel_size=7, num_conv_pos_embeddings=5
)

VARIANTS: dict[str, EncoderConfig] = {
    "wav2vec2-base": TINY,
    "wav2vec2-large": LARGE,
    "wav2vec2-group-norm-stable": replace(TINY, do_stable_layer_norm=True),
    "wav2vec2-group-norm-conv-bias": replace(TINY, conv_bias=True),
    "wav2vec2-odd-position-kernel": replace(TINY, num_conv_pos_embeddings=15),
    "wav2vec2-widening": replace(TINY, conv_dim=(4, 8, 8, 16, 16, 24, 24)),
    "wav2vec2-relu-silu": replace(LARGE, hidden_act="relu", feat_extract_activation="silu", layer_norm_eps=1e-3),
    "mms": replace(LARGE, adapter_attn_dim=8),
    "mms-norm-last": replace(TINY, adapter_attn_dim=8),  # such layers have no adapter
    "hubert-base": HUBERT,
    "hubert-large": replace(HUBERT, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True),
    "hubert-no-projection-norm": replace(HUBERT, feat_extract_norm="layer", feat_proj_layer_norm=False),
    "hubert-batch-norm": replace(HUBERT, conv_pos_batch_norm=True),
    "wavlm-base": WAVLM,
    "wavlm-large": replace(WAVLM, feat_extract_norm="layer", do_stable_layer_norm=True),
    "data2vec-audio": DATA2VEC,
    "data2vec-audio-conv-bias": replace(DATA2VEC, conv_bias=True),
}


def random_model(config: EncoderConfig, seed: int = 0) -> CtcModel:
    """A model in evaluation mode, none of whose weights, norms and biases is at its trivial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = CtcModel(config).eval()
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        for buffer in model.buffers():
            if buffer.is_floating_point():  # a batch norm's running mean and variance
                buffer += 0.1 * torch.rand(buffer.shape, generator=generator)
    return model


def checkpoint_of(model: CtcModel) -> Checkpoint:
    """The model's weights as a checkpoint gives them."""
    assert model.config.vocab_size
    tensors = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
    letters = tuple(chr(ord("a") + i) for i in range(model.config.vocab_size - 2))
    vocabulary = Vocabulary(tokens=("<pad>", "|", *letters), blank=0, separator=1)
    return Checkpoint(name="tiny", config=model.config, tensors=tensors, vocabulary=vocabulary)


def random_checkpoint(config: EncoderConfig, seed: int = 0) -> Checkpoint:
    """The same random model as `random_model`, as a checkpoint."""
    return checkpoint_of(random_model(config, seed))


def random_waveform(num_samples: int, seed: int = 0) -> np.ndarray:
    """Noise of mean 0 and variance 1, (num_samples,) float32."""
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)
