"""`sonant features` as a user runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonant
from flow.test_command import run
from parity.test_pretrain import SMALL, pair
from parity.tiny import TINY


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A folder with a tiny model that was pre-trained only."""
    _, reference = pair(TINY, SMALL)
    reference.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_layers_of_several_files_and_a_bad_one(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asr: sonant.Recognizer,
    example: Path,
    tmp_path: Path,
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio")
    options: list[Any] = ["--layers", "2,4", "--precision", "fp32"]
    assert run(monkeypatch, "features", bad, example, "--output", tmp_path / "x.npz", *options) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "bad.wav" in err
    with np.load(tmp_path / "x.npz") as read:
        assert read.files == ["digits/layer_2", "digits/layer_4"]
        np.testing.assert_array_equal(read["digits/layer_4"], asr.features(example, layers="4")[0])
    assert run(monkeypatch, "features", bad, "--output", tmp_path / "y.npz", *options) == 1
    assert not (tmp_path / "y.npz").exists()


def test_a_folder_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, pretrained: Path, example: Path, tmp_path: Path
) -> None:
    options: list[Any] = ["--output", tmp_path / "out", "--model", pretrained]
    assert run(monkeypatch, "features", example, "--units", *options) == 0
    units = tmp_path / "out" / "digits" / "units.npy"
    assert [path.name for path in units.parent.iterdir()] == ["units.npy"]  # no layers unless asked for
    assert np.load(units).shape[1] == 2
    units.write_bytes(b"untouched")
    assert run(monkeypatch, "features", example, "--units", "--resume", *options) == 0
    assert units.read_bytes() == b"untouched"
    assert run(monkeypatch, "features", example, "--units", "--layers", "1", "--resume", *options) == 0
    assert np.load(units).shape[1] == 2
    assert run(monkeypatch, "features", example, "--layers", "all", "--dtype", "float16", *options) == 0
    assert np.load(units.with_name("layer_3.npy")).dtype == np.float16
    assert len(list(units.parent.iterdir())) == 1 + 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--layers", "7"], "must be from 0 to 6, but is 7"),
        (["--layers", "six"], "such as 6,9"),
        (["--units"], "has none; pass a model that was pre-trained only"),
        (["--output", "x.csv"], "a folder, .npz or .parquet"),
    ],
)
def test_wrong_usage_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: Path,
    tmp_path: Path,
    options: list[str],
    sentence: str,
) -> None:
    assert run(monkeypatch, "features", example, "--output", tmp_path / "x.npz", *options) == 2
    assert sentence in capsys.readouterr().err
