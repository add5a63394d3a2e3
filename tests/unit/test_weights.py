"""Weights are found by name, mapped from their files, and refused where no model can use them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.checkpoints.arrays import narrow, widen
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import CheckpointError
from unit.folders import CONFIG, PLAIN, VOCABULARY, head, write


def checkpoint_with(tensors: Mapping[str, np.ndarray]) -> Checkpoint:
    return Checkpoint("tiny", CONFIG, dict(tensors), VOCABULARY)


def test_a_weight_is_found_with_and_without_the_family_before_its_name() -> None:
    checkpoint = checkpoint_with({"wav2vec2.a": np.zeros(2, np.float32), **head(4)})
    assert checkpoint.weight("a", (2,)).shape == (2,)
    assert checkpoint.weight("wav2vec2.a", (2,)).shape == (2,)
    assert checkpoint.weight("lm_head.bias", (4,)).shape == (4,)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("encoder.layers.0.missing", r"tiny must have a tensor encoder.layers.0.missing of shape \(2,\), but has none"),
        ("wide", r"wide of the checkpoint tiny must have the shape \(2,\), but has \(3,\)"),
        ("nan", "nan of the checkpoint tiny must be finite"),
        ("infinite", "infinite of the checkpoint tiny must be finite"),
        ("cancelling", "cancelling of the checkpoint tiny must be finite"),
    ],
)
def test_a_weight_that_no_model_can_use_is_refused_by_name(name: str, sentence: str) -> None:
    bad = {"wide": [1, 2, 3], "nan": [1, np.nan], "infinite": [np.inf, 1], "cancelling": [np.inf, -np.inf]}
    checkpoint = checkpoint_with({f"wav2vec2.{name}": np.array(value, np.float32) for name, value in bad.items()})
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.weight(name, (2,))


def test_large_finite_weights_pass() -> None:
    large = np.full(4, 3e38, np.float32)  # their sum overflows
    np.testing.assert_array_equal(checkpoint_with({"wav2vec2.a": large}).weight("a", (4,)), large)


def test_a_float64_beyond_float32_is_refused_as_infinite(tmp_path: Path) -> None:
    write(tmp_path, vocab=PLAIN)
    save_file({**head(4), "a": np.array([1e300])}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="must be finite"):
        open_checkpoint(tmp_path).weight("a", (1,))


def test_only_a_bare_encoder_gets_the_family_before_its_names(tmp_path: Path) -> None:
    """Speaker models have a head of the name of the convolutions."""
    write(tmp_path)
    for names in (["encoder.a", "feature_extractor.b"], ["wav2vec2.encoder.a", "feature_extractor.b"]):
        save_file({name: np.ones(1) for name in names}, tmp_path / "model.safetensors")
        bare = names[0] == "encoder.a"
        expected = {"wav2vec2.encoder.a", "wav2vec2.feature_extractor.b" if bare else "feature_extractor.b"}
        assert set(open_checkpoint(tmp_path).tensors) == expected


def test_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", CONFIG, head(4), VOCABULARY)
    array = open_checkpoint(tmp_path / "model").tensors["lm_head.weight"]
    assert not array.flags.owndata
    assert not array.flags.writeable
    assert array.flags.aligned


def test_bfloat16_rounds_as_pytorch_does() -> None:
    edges = [0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 3.3e38, 1e-40]
    values = np.concatenate([edges, np.random.default_rng(0).standard_normal(1000)]).astype(np.float32)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(widen(narrow(values)), expected)


def safetensors(header: object, data: bytes = bytes(16), length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: object = "F32", shape: object = (4,), offsets: object = (0, 16)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"123",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        safetensors({"a": entry()}, length=2**63),
        safetensors({"a": entry()}, length=2**64 - 1),
        safetensors({"a": entry()}, length=0),
        safetensors({"a": entry()}, data=bytes(15)),
        safetensors({"a": entry()}, data=bytes(17)),
        safetensors({"a": entry(), "b": entry()}),
        safetensors({"a": entry(shape=(2,), offsets=(0, 8)), "b": entry(shape=(3,), offsets=(4, 16))}),
        safetensors({"a": entry(offsets=(16, 0))}),
        safetensors({"a": entry(offsets=(-16, 0))}),
        safetensors({"a": entry(offsets=(0,))}),
        safetensors({"a": entry(offsets=(2**63, 2**63 + 16))}),
        safetensors({"a": entry(shape=(5,))}),
        safetensors({"a": entry(shape=(2**62, 4))}),
        safetensors({"a": entry(shape=(-4,))}),
        safetensors({"a": entry(shape=4)}),
        safetensors({"a": entry(shape=(4,) + (1,) * 100)}),
        safetensors({"a": entry(dtype="F31")}),
        safetensors({"a": entry(dtype="F8_E4M3", shape=(16,))}),
        safetensors({"a": entry(dtype=3)}),
        safetensors({"a": 3}),
        safetensors({"a": {}}),
        safetensors([]),
        safetensors(b"{"),
        safetensors(b"[" * 100_000),
        safetensors(b"\xff\xff"),
    ],
)
def test_a_hostile_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(safetensors({"a": entry()}))
    assert open_checkpoint(tmp_path).tensors["a"].shape == (4,)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*\.$"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"a": "../other/model.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "config.json"}},
        {"weight_map": {"a": 3}},
        {"weight_map": {"a": "missing.safetensors"}},
        {"weight_map": {}},
        {"weight_map": []},
        {},
    ],
)
def test_a_hostile_index_is_refused(index: dict[str, object], tmp_path: Path) -> None:
    write(tmp_path / "other")
    folder = write(tmp_path / "model", vocab=PLAIN, **{"model.safetensors.index": index})
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"\.$"):
        open_checkpoint(folder)
    write_index = folder / "model.safetensors.index.json"
    write_index.write_text('{"weight_map": {"a": "weights.safetensors"}}')
    assert open_checkpoint(folder).vocabulary == VOCABULARY
