"""What is saved opens the same, whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import CheckpointError, OutputError, VocabularyError
from sonant.model.config import EncoderConfig
from sonant.types import Vocabulary
from unit.folders import CONFIG, VOCABULARY, head


def test_what_is_saved_opens_the_same(tmp_path: Path) -> None:
    vocabulary = Vocabulary(
        ("<s>", "_", "x", "é", "?", "<pad>"), blank=5, separator=1, unknown=4, silent=frozenset({0, 3})
    )
    config = EncoderConfig(**{**CONFIG.__dict__, "vocab_size": 6, "conv_dim": (2,) * 6 + (4,), "num_hidden_layers": 1})
    weights = {**head(6), "wav2vec2.count": np.array(3)}
    save_checkpoint(
        tmp_path / "new" / "model",
        config,
        weights,
        vocabulary,
        sample_rate=8000,
        normalize=False,
        note="Hm.",
        language="eo",
    )
    checkpoint = open_checkpoint(tmp_path / "new" / "model")
    assert checkpoint.config == config
    assert checkpoint.vocabulary == vocabulary
    assert (checkpoint.sample_rate, checkpoint.normalize) == (8000, False)
    assert (checkpoint.note, checkpoint.language) == ("Hm.", "eo")
    assert set(checkpoint.tensors) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], array)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new" / "model").iterdir()}
    assert len(modes) == 1


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        weights = head(4) if name == "a" else dict(reversed(head(4).items()))
        save_checkpoint(tmp_path / name, CONFIG, weights, VOCABULARY)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(np.nan, "float32"), (np.nan, "bfloat16"), (np.inf, "float16"), (1e6, "float16"), (3.4e38, "bfloat16")],
)
def test_a_failed_save_leaves_nothing(value: float, dtype: str, tmp_path: Path) -> None:
    weights = {**head(4), "lm_head.bias": np.full(4, value)}
    with pytest.raises(CheckpointError, match=rf"lm_head\.bias must be finite to be saved as {dtype}"):
        save_checkpoint(tmp_path / "model", CONFIG, weights, VOCABULARY, dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_saving_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save_checkpoint(tmp_path / "empty", CONFIG, head(4), VOCABULARY)
    with pytest.raises(OutputError, match="must be a new or an empty folder, but something is there"):
        save_checkpoint(tmp_path / "empty", CONFIG, head(4), VOCABULARY)
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/model"):
        with pytest.raises(OutputError):
            save_checkpoint(tmp_path / place, CONFIG, head(4), VOCABULARY)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_vocabulary_that_does_not_fit_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="The model has 4 outputs but the vocabulary lists 2 tokens"):
        save_checkpoint(tmp_path / "model", CONFIG, head(4), Vocabulary(("<pad>", "a"), blank=0))
    with pytest.raises(VocabularyError, match="'a' is there twice"):
        save_checkpoint(tmp_path / "model", CONFIG, head(4), Vocabulary(("<pad>", "a", "b", "a"), blank=0))
