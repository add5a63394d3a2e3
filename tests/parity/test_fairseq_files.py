"""fairseq's files, built here from the documented layouts, open with the logits of the model they were made of."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from parity.layouts import SYMBOLS, fairseq_architecture, fairseq_state
from parity.opening import logits, opened, refused_when_damaged
from parity.tiny import DATA2VEC, HUBERT, LARGE, TINY, VARIANTS, WAVLM, random_model
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.checkpoints.fairseq import read_strides
from sonant.errors import CheckpointError, VocabularyError
from sonant.model.config import EncoderConfig
from sonant.model.heads import CtcModel

CTC = ["wav2vec2-base", "wav2vec2-large", "wav2vec2-group-norm-stable", "wav2vec2-group-norm-conv-bias",
       "wav2vec2-relu-silu", "wav2vec2-widening", "hubert-base", "hubert-large", "hubert-batch-norm", "wavlm-base",
       "wavlm-large", "data2vec-audio"]  # fmt: skip


def assert_same(checkpoint: Checkpoint, model: CtcModel) -> None:
    torch.testing.assert_close(logits(opened(checkpoint)), logits(model), atol=1e-5, rtol=1e-5)


def write_dictionary(folder: Path, symbols: list[str] = SYMBOLS, labels: str = "ltr") -> None:
    (folder / f"dict.{labels}.txt").write_text("".join(f"{s} {1000 - i}\n" for i, s in enumerate(symbols)))


def settings(config: EncoderConfig, **task: Any) -> dict[str, Any]:
    """The `cfg` of a fine-tuned model, whose origin's settings lie inside."""
    name = "hubert_ctc" if config.model_type == "hubert" else "wav2vec_ctc"
    origin = {"model": fairseq_architecture(config), "task": {"normalize": False}}
    tuned = {"_name": name, "w2v_path": "/x.pt", "w2v_args": origin, "normalize": True, "layer_norm_first": None}
    return {"model": tuned, "task": {"_name": "audio_finetuning", "labels": "ltr", **task}}


@pytest.mark.parametrize("variant", CTC)
def test_a_fine_tuned_model_opens_with_the_same_logits(variant: str, tmp_path: Path) -> None:
    config = VARIANTS[variant]
    config = replace(config, layer_norm_eps=1e-5)  # always, in fairseq
    if variant == "wav2vec2-relu-silu":
        config = replace(config, feat_extract_activation="gelu")
    model = random_model(config)
    write_dictionary(tmp_path)
    path = tmp_path / "checkpoint_best"
    values = {"args": None, "cfg": settings(config, normalize=True, sample_rate=8000), "model": fairseq_state(model)}
    torch.save(values | {"extra_state": {"loss": 1.5}, "last_optimizer_state": {"m": torch.ones(3)}}, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.config.model_type == config.model_type
    assert (checkpoint.normalize, checkpoint.sample_rate) == (True, 8000)
    assert_same(checkpoint, model)
    vocabulary = checkpoint.require_vocabulary()
    assert vocabulary.tokens == ("<pad>", "<s>", "</s>", "<unk>", *SYMBOLS)
    assert (vocabulary.blank, vocabulary.separator, vocabulary.unknown) == (0, 4, 3)
    assert vocabulary.silent == {0, 1, 2}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("config", [TINY, HUBERT], ids=["wav2vec2", "hubert"])
def test_the_older_settings_are_read(config: EncoderConfig, zipped: bool, tmp_path: Path) -> None:
    """`args`, a Namespace, with the origin's in another; old names of the weight norm."""
    model = random_model(config)
    origin = argparse.Namespace(arch=config.model_type, **fairseq_architecture(config))
    arch = "hubert_ctc" if config.model_type == "hubert" else "wav2vec_ctc"
    args = argparse.Namespace(arch=arch, w2v_args=origin, normalize=True, labels="phn", dropout=0.0)
    write_dictionary(tmp_path, labels="phn")
    values = {"args": args, "model": fairseq_state(model), "optimizer_history": [{"num_updates": 3}]}
    torch.save(values, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.config.model_type == config.model_type
    assert checkpoint.normalize
    assert_same(checkpoint, model)


@pytest.mark.parametrize("structured", [True, False])
def test_settings_of_omegaconf_are_read(structured: bool, tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    model = random_model(LARGE)
    cfg: Any = omegaconf.OmegaConf.create(settings(LARGE, normalize=True))
    if not structured:  # plain containers with a node inside, as fine-tuning leaves it
        inner = cfg.model.w2v_args
        cfg = omegaconf.OmegaConf.to_container(cfg)
        cfg["model"]["w2v_args"] = inner
    write_dictionary(tmp_path)
    torch.save({"cfg": cfg, "model": fairseq_state(model)}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.normalize
    assert checkpoint.config.num_attention_heads == 4  # no guess: 32 wide, of which a guess would make one
    assert_same(checkpoint, model)


@pytest.mark.parametrize("config", [TINY, LARGE, HUBERT, DATA2VEC], ids=["base", "large", "hubert", "data2vec"])
def test_a_pre_trained_model_opens_without_a_head(config: EncoderConfig, tmp_path: Path) -> None:
    model = random_model(config)
    state = fairseq_state(model, head=False)
    if config.model_type == "hubert":
        state |= {"label_embs_concat": torch.ones(5, 6), "final_proj.weight": torch.ones(6, 32)}
    elif config.model_type == "wav2vec2":
        state |= {"quantizer.vars": torch.ones(1, 12, 4), "quantizer.weight_proj.weight": torch.ones(12, 16),
                  "project_q.weight": torch.ones(7, 8), "final_proj.weight": torch.ones(7, 32)}  # fmt: skip
    else:
        state |= {"final_proj.weight": torch.ones(6, 32), "_ema": {"x": torch.ones(2)}}
    model_settings = fairseq_architecture(config) | {"_name": config.model_type, "latent_groups": 3, "num_negatives": 9}
    torch.save({"cfg": {"model": model_settings, "task": {}}, "model": state}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.vocabulary is None
    assert checkpoint.config.model_type == config.model_type
    weight = model.backbone.encoder.layers[1].feed_forward.output_dense.weight.detach().numpy()
    name = "encoder.layers.1.feed_forward.output_dense.weight"
    np.testing.assert_array_equal(checkpoint.weight(name, weight.shape), weight)
    if config.model_type == "wav2vec2":
        sizes = ("num_codevectors_per_group", "num_codevector_groups", "codevector_dim", "proj_codevector_dim")
        assert [checkpoint.settings[size] for size in sizes] == [4, 3, 12, 7]
        assert checkpoint.settings["num_negatives"] == 9
        assert {"quantizer.codevectors", "project_hid.weight"} <= set(checkpoint.tensors)
    elif config.model_type == "hubert":
        assert checkpoint.tensors["label_embs_concat"].shape == (5, 6)


def test_wavlm_of_its_authors_opens(tmp_path: Path) -> None:
    model = random_model(WAVLM)
    cfg = fairseq_architecture(WAVLM) | {"normalize": True, "relative_position_embedding": True}
    torch.save({"cfg": cfg, "model": fairseq_state(model, head=False)}, tmp_path / "WavLM-Base.pt")
    checkpoint = open_checkpoint(tmp_path / "WavLM-Base.pt")
    config = checkpoint.config
    assert (config.model_type, config.num_buckets, config.max_bucket_distance) == ("wavlm", 20, 30)
    assert (checkpoint.normalize, config.num_attention_heads) == (True, 4)
    weight = model.backbone.encoder.layers[0].attention.rel_attn_embed.weight.detach().numpy()
    np.testing.assert_array_equal(
        checkpoint.weight("encoder.layers.0.attention.rel_attn_embed.weight", (20, 4)), weight
    )


def test_the_dictionary_in_the_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HuBERT's files hold `fairseq.data.dictionary.Dictionary`, a class that is not to be had here."""
    module = ModuleType("fairseq.data.dictionary")
    dictionary_class = type("Dictionary", (), {"__module__": module.__name__})
    module.Dictionary = dictionary_class  # type: ignore[attr-defined]
    for name in ("fairseq", "fairseq.data"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    dictionary = dictionary_class()
    dictionary.symbols = ["<s>", "<pad>", "</s>", "<unk>", *"|abcdefg"]
    dictionary.indices = {symbol: i for i, symbol in enumerate(dictionary.symbols)}
    values = {"cfg": settings(TINY), "model": fairseq_state(random_model(TINY)),
              "task_state": {"target_dictionary": dictionary}}  # fmt: skip
    torch.save(values, tmp_path / "a.pt")
    write_dictionary(tmp_path)
    monkeypatch.undo()
    assert open_checkpoint(tmp_path / "a.pt").require_vocabulary().tokens[4:] == tuple("|abcdefg")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, r"must come with its dictionary, but there is no .*dict\.ltr\.txt; fetch it"),
        ("| 3\nE 2\n", r"has 12 outputs but its dictionary lists 6 tokens"),
        ("| 3\n" * 8, r"\(each must be there once\)"),
        ("|\n", r"must have a symbol and its count in each line, but has '\|'"),
        ("| many\n", r"but has '\| many'"),
    ],
)
def test_a_head_without_its_tokens_is_refused(text: str | None, sentence: str, tmp_path: Path) -> None:
    torch.save({"cfg": settings(TINY), "model": fairseq_state(random_model(TINY))}, tmp_path / "a.pt")
    if text is not None:
        (tmp_path / "dict.ltr.txt").write_text(text)
    with pytest.raises(VocabularyError, match=sentence):
        open_checkpoint(tmp_path / "a.pt")


def test_what_a_file_asks_for_is_refused_by_name(tmp_path: Path) -> None:
    values = {"cfg": settings(TINY), "model": fairseq_state(random_model(TINY)), "hook": print}
    torch.save(values, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"but asks for (__builtin__|builtins)\.print"):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("text", "strides"),
    [
        ("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2", (5, 2, 2, 2, 2, 2, 2)),
        ("[(512,10,5)]+[(512,3,2), (512, 2, 4)]", (5, 2, 4)),
        ("[(1, 1, 1)] * 9999", (1,) * 1000),
        ("__import__('os').system('true')", None),
        ("[(512, 10, 5)] * 10**9", None),
        ("[(512, 10)]", None),
        ("", None),
    ],
)
def test_convolutions_are_read_and_not_run(text: str, strides: tuple[int, ...] | None) -> None:
    if strides is None:
        with pytest.raises(CheckpointError, match=r"must be lists of three numbers"):
            read_strides(text)
    else:
        assert read_strides(text) == strides


def test_a_damaged_file_opens_or_is_refused(tmp_path: Path) -> None:
    config = replace(TINY, hidden_size=8, intermediate_size=4, num_hidden_layers=1, conv_dim=(2,) * 7)
    args = argparse.Namespace(w2v_args=argparse.Namespace(**fairseq_architecture(config)), normalize=True)
    write_dictionary(tmp_path)
    path = tmp_path / "a.pt"
    torch.save({"args": args, "model": fairseq_state(random_model(config))}, path)
    assert 100 < refused_when_damaged(path, 300) < 300
