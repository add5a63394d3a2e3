"""`load` and `info` of the stand-in for torchaudio against libsndfile, which torchaudio read files with, too."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from sonant.compat import torchaudio as compat
from sonant.errors import AudioError, OptionError
from unit.media import Pipe

KINDS = {
    "PCM_U8": ("WAV", "PCM_U", 8, torch.uint8),
    "PCM_16": ("WAV", "PCM_S", 16, torch.int16),
    "PCM_24": ("WAV", "PCM_S", 24, torch.int32),
    "PCM_32": ("WAV", "PCM_S", 32, torch.int32),
    "FLOAT": ("WAV", "PCM_F", 32, None),
    "DOUBLE": ("WAV", "PCM_F", 64, None),
    "ULAW": ("WAV", "ULAW", 8, None),
    "PCM_24 in FLAC": ("FLAC", "FLAC", 24, None),
    "VORBIS": ("OGG", "VORBIS", 0, None),
    "OPUS": ("OGG", "OPUS", 0, None),
    "MPEG_LAYER_III": ("MP3", "MP3", 0, None),
}
"""By libsndfile's names: container, torchaudio's encoding and bits, and the file's integers where it gives them."""


def written(kind: str, rate: int = 48_000) -> tuple[io.BytesIO, NDArray[np.float32]]:
    """A stereo file, and its samples (C, N) as libsndfile reads them."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (12345, 2))
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format=KINDS[kind][0], subtype=kind.partition(" ")[0])
    file.seek(0)
    samples = soundfile.read(file, dtype="float32", always_2d=True)[0].T
    file.seek(0)
    return file, samples


@pytest.mark.parametrize("kind", KINDS)
def test_channels_are_those_of_libsndfile(kind: str, tmp_path: Path) -> None:
    file, expected = written(kind)
    # lossy codecs are decoded by other code there
    close = {"atol": 1e-5 if KINDS[kind][2] == 0 else 0.0, "rtol": 0.0}
    path = tmp_path / "noise"
    path.write_bytes(file.getvalue())
    for source in (file, path, str(path)):
        samples, rate = compat.load(source, format=KINDS[kind][0].lower())
        assert (rate, samples.dtype) == (48_000, torch.float32)
        torch.testing.assert_close(samples, torch.as_tensor(expected), **close)
    part, _ = compat.load(path, 2000, 1500, channels_first=False)
    torch.testing.assert_close(part, torch.as_tensor(expected[:, 2000:3500].T), **close)
    assert compat.load(path, 12000)[0].shape == (2, 345)
    assert compat.load(path, 20000)[0].shape == compat.load(path, 10, 0)[0].shape == (2, 0)


def test_file_objects_need_not_go_back() -> None:
    file, expected = written("PCM_16")
    samples, _ = compat.load(Pipe(file.getvalue()))
    torch.testing.assert_close(samples, torch.as_tensor(expected), atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_info_tells_what_the_file_is(kind: str) -> None:
    _, encoding, bits, _ = KINDS[kind]
    assert compat.info(written(kind)[0]) == compat.AudioMetaData(48_000, 12345, 2, bits, encoding)


@pytest.mark.parametrize("kind", KINDS)
def test_integers_come_as_they_are_written(kind: str) -> None:
    file, expected = written(kind)
    whole = KINDS[kind][3]
    samples, _ = compat.load(file, normalize=False)
    assert samples.dtype == (whole or torch.float32)
    if whole is not None:
        middle, scale = (128, 128) if whole == torch.uint8 else (0, -torch.iinfo(whole).min)
        torch.testing.assert_close((samples.float() - middle) / scale, torch.as_tensor(expected), atol=0, rtol=0)


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound at all " * 20)
    for call in (compat.load, compat.info):
        with pytest.raises(AudioError, match=r"text\.wav is not audio or video"):
            call(tmp_path / "text.wav")
        with pytest.raises(AudioError, match="does not exist"):
            call(tmp_path / "none.flac")
    with pytest.raises(OptionError, match="frame_offset must be at least 0"):
        compat.load(tmp_path / "text.wav", -1)
    assert compat.list_audio_backends() == [compat.get_audio_backend()]
