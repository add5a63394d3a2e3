"""Voices that are kept in a file."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sonant.errors import OptionError
from sonant.voices import Voices


def unit(*numbers: float) -> np.ndarray:
    return (np.array(numbers, np.float32) / np.linalg.norm(numbers)).astype(np.float32)


def enrolled() -> Voices:
    voices = Voices("model a")
    voices.add("anna", unit(1, 0, 0.1))
    voices.add("anna", unit(1, 0.2, 0))
    voices.add("ben", unit(0, 1, 0))
    return voices


def test_the_nearest_voice_comes_first_and_clips_are_averaged() -> None:
    scores = enrolled().scores(unit(1, 0.1, 0.05))
    assert [name for name, _ in scores] == ["anna", "ben"]
    mean = unit(*(unit(1, 0, 0.1) + unit(1, 0.2, 0)))
    assert scores[0][1] == pytest.approx(float(mean @ unit(1, 0.1, 0.05)), abs=1e-6)
    assert scores[0][1] > max(float(unit(1, 0.1, 0.05) @ one) for one in (unit(1, 0, 0.1), unit(1, 0.2, 0)))


def test_voices_come_back_and_more_recordings_count_alike(tmp_path: Path) -> None:
    enrolled().save(tmp_path / "v.npz")
    again = Voices.of_model(tmp_path / "v.npz", "model a", "A")
    assert again.names == ["anna", "ben"]
    assert again.counts == {"anna": 2, "ben": 1}
    again.add("anna", unit(0, 0, 1))
    whole = enrolled()
    whole.add("anna", unit(0, 0, 1))
    np.testing.assert_array_equal(again.sums["anna"], whole.sums["anna"])
    again.forget("anna")
    again.save(tmp_path / "v.npz")
    assert Voices.read(tmp_path / "v.npz").names == ["ben"]
    assert b"anna" not in (tmp_path / "v.npz").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_voices_are_their_owner_s_alone_even_where_the_file_was_not(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    path.touch(mode=0o644)
    enrolled().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_file_of_voices_is_said(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    with pytest.raises(OptionError, match=r"^There are no voices at .*; enrol some by sonant identify --enroll\.$"):
        Voices.read(path)
    enrolled().save(path)
    with pytest.raises(OptionError, match=r"must be heard by B, but were enrolled with another model;"):
        Voices.of_model(path, "model b", "B")
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:100], b"", b"voices", whole.replace(b"counts", b"countz")):
        path.write_bytes(damaged)
        with pytest.raises(OptionError, match=r"must be a file of voices, but is damaged or another"):
            Voices.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sums.npy", bytes(1 << 20))
    with pytest.raises(OptionError, match=r"its members are packed"):
        Voices.read(path)
    np.savez(path, format=np.array(1), names=np.array([object()]), allow_pickle=True)
    with pytest.raises(OptionError, match=r"must be a file of voices"):
        Voices.read(path)


def test_names_must_be_readable_and_known() -> None:
    voices = enrolled()
    with pytest.raises(OptionError, match=r"^There is no voice of carl to forget; known are anna, ben\.$"):
        voices.forget("carl")
    for name in ("", " ", "a\x1b[2J"):
        with pytest.raises(OptionError, match=r"must have a name that can be read"):
            voices.add(name, unit(1, 0, 0))


def test_a_threshold_lets_the_share_of_strangers_through_that_was_asked_for() -> None:
    """Over many stores and strangers, as often as promised."""
    random, accepted = np.random.default_rng(0), []
    for _ in range(300):
        voices = enrolled()
        voices.impostors = np.array([unit(*random.standard_normal(3)) for _ in range(19)], np.float64)
        threshold = voices.threshold(0.1)
        nearest = sorted(voices.scores(vector)[0][1] for vector in voices.impostors)
        assert nearest[-3] < nearest[-2] < threshold <= nearest[-1]
        accepted += [voices.scores(unit(*random.standard_normal(3)))[0][1] >= threshold for _ in range(20)]
    assert np.mean(accepted) == pytest.approx(0.1, abs=0.02)


def test_what_a_rate_needs_is_said(tmp_path: Path) -> None:
    voices = enrolled()
    with pytest.raises(OptionError, match=r"but the store has none;"):
        voices.threshold(0.1)
    voices.impostors = np.eye(3)
    voices.save(tmp_path / "v.npz")
    again = Voices.read(tmp_path / "v.npz")
    np.testing.assert_array_equal(again.impostors, np.eye(3))
    assert again.threshold(0.25) == voices.threshold(0.25)
    with pytest.raises(OptionError, match=r"from 9 other voices or more, but the store has 3; .* for 0\.25\.$"):
        again.threshold(0.1)
    with pytest.raises(OptionError, match=r"but nobody is; enrol somebody\.$"):
        Voices("model a", impostors=np.eye(3)).threshold(0.5)
