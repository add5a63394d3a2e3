"""Features on disk: what comes back, and what is left where something fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sonant.errors import MissingExtraError, OptionError, OutputError
from sonant.features import BLOCK_BYTES, Spool, open_writer, parse_layers

STATES = np.random.default_rng(0).standard_normal((3001, 8)).astype(np.float32)
UNITS = np.arange(6002, dtype=np.int32).reshape(3001, 2)


def spooled(folder: Path, dtype: str = "float32", rows: int = 700) -> Spool:
    """Both arrays, as they come piece after piece."""
    spool = Spool(folder, dtype)
    for first in range(0, len(STATES), rows):
        spool.append({"layer_6": STATES[first : first + rows], "units": UNITS[first : first + rows]})
    return spool


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_folder_gets_a_file_an_array(tmp_path: Path, dtype: str) -> None:
    with open_writer(tmp_path / "out", several=True, frame_seconds=0.02) as writer:
        assert not writer.has("talk", ["layer_6"])
        with spooled(tmp_path, dtype) as spool:
            writer.add("talk", spool)
            writer.add("v1.5", spool)
        assert writer.has("talk", ["layer_6", "units"])
        assert not writer.has("talk", ["layer_7"])
    read = np.load(tmp_path / "out" / "talk" / "layer_6.npy", mmap_mode="r")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, STATES.astype(dtype))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "v1.5" / "units.npy"), UNITS)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["layer_6.npy"] * 2 + ["units.npy"] * 2


def test_an_archive_names_inputs_where_there_are_several(tmp_path: Path) -> None:
    with spooled(tmp_path) as spool:
        with open_writer(tmp_path / "one.npz", several=False, frame_seconds=0.02) as writer:
            writer.add("talk", spool)
        with open_writer(tmp_path / "two.NPZ", several=True, frame_seconds=0.02) as writer:
            writer.add("talk", spool)
            writer.add("news", spool)
            assert not (tmp_path / "two.NPZ").exists()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as read:
        assert read.files == ["layer_6", "units"]
        np.testing.assert_array_equal(read["layer_6"], STATES)
        np.testing.assert_array_equal(read["units"], UNITS)
    with np.load(tmp_path / "two.NPZ") as read:
        assert read.files == ["talk/layer_6", "talk/units", "news/layer_6", "news/units"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_table_has_a_row_a_frame(tmp_path: Path, dtype: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with open_writer(tmp_path / "x.parquet", several=True, frame_seconds=0.02) as writer, spooled(tmp_path, dtype) as s:
        writer.add("talk", s)
        writer.add("news", s)
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert file.metadata.num_row_groups == 2 * 3
    table = file.read()
    assert table.column_names == ["file", "start", "layer_6", "units"]
    assert table["file"].to_pylist() == ["talk"] * 3001 + ["news"] * 3001
    assert table["start"].to_numpy()[[1, 3000, 3001]].tolist() == pytest.approx([0.02, 60.0, 0.0])
    values = np.stack(table["layer_6"].combine_chunks().to_numpy(zero_copy_only=False))
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, np.concatenate([STATES, STATES]).astype(dtype))


@pytest.mark.parametrize("name", ["x.npz", "x.parquet", "folder"])
def test_what_fails_leaves_nothing(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")

    def fail() -> None:
        with open_writer(tmp_path / name, several=True, frame_seconds=0.02) as writer, spooled(tmp_path) as spool:
            if name != "folder":
                writer.add("talk", spool)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_nothing_is_written_of_no_input(tmp_path: Path) -> None:
    with open_writer(tmp_path / "x.npz", several=False, frame_seconds=0.02):
        pass
    assert list(tmp_path.iterdir()) == []


def test_blocks_are_of_bounded_size(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for _ in range(5):
            spool.append({"layer_0": np.ones((600, 1024), np.float32)})
        sizes = [block.nbytes for block in spool.blocks("layer_0")]
    assert sum(sizes) == 5 * 600 * 4096
    assert max(sizes) <= BLOCK_BYTES


def test_states_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    with Spool(tmp_path, "float16") as spool, pytest.raises(OptionError, match="layer_3 has larger ones; take float32"):
        spool.append({"layer_3": np.full((2, 4), 1e5, np.float32)})


def test_impossible_outputs_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"a folder, \.npz or \.parquet, but x\.csv"):
        open_writer(tmp_path / "x.csv", several=False, frame_seconds=0.02)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be a folder"):
        open_writer(tmp_path / "file", several=False, frame_seconds=0.02)
    with pytest.raises(OutputError, match="folder does not exist"):
        open_writer(tmp_path / "none" / "x.npz", several=False, frame_seconds=0.02)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sonant\[parquet\]'"):
        open_writer(tmp_path / "x.parquet", several=False, frame_seconds=0.02)


def test_layers_are_read_as_people_write_them() -> None:
    assert parse_layers("all") is None
    assert parse_layers("6, 9,6") == [6, 9]
    assert parse_layers([3, 1]) == [3, 1]
    for text in ("", "6-9", "-1", "six", "1,"):
        with pytest.raises(OptionError, match="such as 6,9"):
            parse_layers(text)
