"""torchaudio's files open with the emissions of its own models; where it is not installed, from layouts built here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity.layouts import torchaudio_state
from parity.opening import logits, opened, refused_when_damaged
from parity.tiny import LARGE, TINY, WAVLM, random_model, random_waveform
from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.torchaudio import LABELS
from sonant.errors import CheckpointError, VocabularyError
from sonant.model.config import EncoderConfig

# 64 numbers a head, as in nearly all published models: shapes do not tell
WIDE = {"hidden_size": 128, "num_attention_heads": 2, "vocab_size": 32}
VARIANTS = {
    "base": replace(TINY, **WIDE),
    "large": replace(LARGE, **WIDE),
    "wavlm-base": replace(WAVLM, **WIDE, max_bucket_distance=800),
    "wavlm-large": replace(
        WAVLM, **WIDE, max_bucket_distance=800, feat_extract_norm="layer", do_stable_layer_norm=True
    ),
}


DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "final_dropout", "layerdrop")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_state_dict_opens_with_the_same_logits(variant: str, zipped: bool, tmp_path: Path) -> None:
    model = random_model(VARIANTS[variant])
    path = tmp_path / "anything.at.all"
    torch.save(torchaudio_state(model), path, _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(path)
    large = VARIANTS[variant].feat_extract_norm == "layer"
    assert replace(checkpoint.config, **dict.fromkeys(DROPOUTS, 0.0)) == replace(VARIANTS[variant], vocab_size=29)
    assert checkpoint.normalize is large
    assert (checkpoint.language, checkpoint.sample_rate) == ("en", 16000)
    kept = [0, *range(4, 32)]  # as the bundle, which takes rows 1 to 3 away
    torch.testing.assert_close(logits(opened(checkpoint)), logits(model)[..., kept], atol=1e-5, rtol=1e-5)
    assert checkpoint.vocabulary is not None
    assert "".join(checkpoint.vocabulary.tokens) == "-|ETAONIHSRDLUMWCFGYPBVK'XJQZ"
    assert (checkpoint.vocabulary.blank, checkpoint.vocabulary.separator) == (0, 1)
    assert checkpoint.vocabulary.silent == {0}


@pytest.mark.parametrize("wrapped", ["old names", "bundle", "pretraining", "lightning"])
def test_wrappers_of_the_weights_are_seen_through(wrapped: str, tmp_path: Path) -> None:
    model = random_model(VARIANTS["base"])
    state: dict[str, Any] = torchaudio_state(model, head=wrapped in ("old names", "bundle"))
    if wrapped == "old names":
        factors = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in factors.items():
            state = {key.replace(new, old): tensor for key, tensor in state.items()}
    elif wrapped == "bundle":
        state = {f"model.{key}": tensor for key, tensor in state.items()}
    else:
        state = {f"wav2vec2.{key}": tensor for key, tensor in state.items()}
        state |= {"mask_generator.mask_embedding": torch.ones(128), "logit_generator.final_proj.bias": torch.ones(3)}
        if wrapped == "lightning":
            state = {"epoch": 3, "state_dict": {f"model.{key}": tensor for key, tensor in state.items()}}
    torch.save(state, tmp_path / "model.ckpt")
    checkpoint = open_checkpoint(tmp_path / "model.ckpt")
    weight = model.backbone.encoder.layers[2].attention.k_proj.weight.detach().numpy()
    np.testing.assert_array_equal(checkpoint.weight("encoder.layers.2.attention.k_proj.weight", weight.shape), weight)
    gain = "encoder.pos_conv_embed.conv.parametrizations.weight.original0"
    assert checkpoint.weight(gain, (1, 1, 16)).shape == (1, 1, 16)
    if wrapped in ("pretraining", "lightning"):
        assert checkpoint.vocabulary is None
        assert checkpoint.weight("masked_spec_embed", (128,)).sum() == 128


@pytest.mark.parametrize(
    ("name", "rows", "language", "letters"),
    [
        ("wav2vec2_voxpopuli_base_10k_asr_en.pt", 32, "en", "-|etoi"),
        ("wav2vec2_voxpopuli_base_10k_asr_de.pt", 36, "de", "-|enir"),
        ("wav2vec2_voxpopuli_base_10k_asr_es.pt", 39, "es", "-|eaos"),
        ("renamed.pt", 46, "fr", "-|esni"),
        ("renamed.pt", 40, "it", "-|eiao"),
        ("renamed.pt", 29, "en", "-|ETAO"),
        ("renamed.pt", 31, None, "-aien"),
        ("renamed.pt", 28, None, "-aien"),
    ],
)
def test_labels_are_those_of_the_bundles(
    name: str, rows: int, language: str | None, letters: str, tmp_path: Path
) -> None:
    model = random_model(replace(VARIANTS["base"], vocab_size=rows))
    torch.save(torchaudio_state(model), tmp_path / name)
    checkpoint = open_checkpoint(tmp_path / name)
    vocabulary = checkpoint.require_vocabulary()
    assert checkpoint.language == language
    assert "".join(vocabulary.tokens).startswith(letters)
    assert vocabulary.separator == (None if letters == "-aien" else 1)
    assert checkpoint.tensors["lm_head.weight"].shape == (len(vocabulary), 128)
    assert checkpoint.tensors["lm_head.bias"][0] == model.lm_head.bias[0]
    assert checkpoint.tensors["lm_head.bias"][1] == model.lm_head.bias[1 if rows in (28, 29) else 4]


def test_labels_of_ones_own_stand_beside_the_file(tmp_path: Path) -> None:
    model = random_model(replace(VARIANTS["base"], vocab_size=5))
    torch.save(torchaudio_state(model), tmp_path / "mine.pth")
    with pytest.raises(VocabularyError, match=r"has 5 outputs, but .* put a vocab\.json"):
        open_checkpoint(tmp_path / "mine.pth")
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "|": 1, "a": 2, "b": 3, "c": 4}')
    assert open_checkpoint(tmp_path / "mine.pth").require_vocabulary().tokens == ("<pad>", "|", "a", "b", "c")


def test_what_shapes_do_not_tell_is_not_guessed_against_them(tmp_path: Path) -> None:
    model = random_model(replace(VARIANTS["base"], conv_kernel=(10, 3, 3, 3, 3, 3, 2)))
    torch.save(torchaudio_state(model), tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"must have the kernels of a published model"):
        open_checkpoint(tmp_path / "odd.pth")


def test_a_damaged_file_opens_or_is_refused(tmp_path: Path) -> None:
    model = random_model(replace(VARIANTS["wavlm-base"], hidden_size=64, num_attention_heads=1, num_hidden_layers=1))
    path = tmp_path / "a.pth"
    torch.save(torchaudio_state(model), path)
    assert 50 < refused_when_damaged(path, 200) < 200


@pytest.fixture(scope="module")
def torchaudio_models() -> Any:
    """torchaudio's model definitions; its compiled library, which may not fit PyTorch's, is not needed."""
    return pytest.importorskip("torchaudio.models", exc_type=ImportError)


def theirs(models: Any, config: EncoderConfig) -> torch.nn.Module:
    """The same architecture there, with random weights."""
    options: dict[str, Any] = {
        "extractor_mode": f"{config.feat_extract_norm}_norm",
        "extractor_conv_layer_config": list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)),
        "extractor_conv_bias": config.conv_bias,
        "encoder_embed_dim": config.hidden_size,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": config.num_conv_pos_embeddings,
        "encoder_pos_conv_groups": config.num_conv_pos_embedding_groups,
        "encoder_num_layers": config.num_hidden_layers,
        "encoder_num_heads": config.num_attention_heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": config.intermediate_size,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": config.do_stable_layer_norm,
        "encoder_layer_drop": 0.0,
        "aux_num_out": 29,
    }
    if config.num_buckets:
        buckets = {"encoder_num_buckets": config.num_buckets, "encoder_max_distance": config.max_bucket_distance}
        return models.wavlm_model(**options, **buckets).eval()
    return models.wav2vec2_model(**options).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_emissions_are_those_of_the_real_model(variant: str, torchaudio_models: Any, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = theirs(torchaudio_models, VARIANTS[variant])
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    checkpoint = open_checkpoint(tmp_path / "model.pth")
    with torch.no_grad():
        expected, _ = model(torch.from_numpy(random_waveform(6000))[None])
    torch.testing.assert_close(logits(opened(checkpoint)), expected, atol=1e-5, rtol=1e-5)


def test_the_labels_are_the_real_ones(torchaudio_models: Any) -> None:
    pipelines = pytest.importorskip("torchaudio.pipelines", exc_type=ImportError)
    bundles = {
        ("librispeech", "en"): pipelines.WAV2VEC2_ASR_BASE_960H,
        ("mms", None): pipelines.MMS_FA,
        **{("voxpopuli", language): getattr(pipelines, f"VOXPOPULI_ASR_BASE_10K_{language.upper()}")
           for language in ("en", "de", "es", "fr", "it")},
    }  # fmt: skip
    for labels in LABELS:
        bundle = bundles[labels.name, labels.language]
        real = bundle.get_labels(star=None) if labels.name == "mms" else bundle.get_labels()
        assert ("-", *labels.letters) == real
        assert labels.dropped == bundle._remove_aux_axis
