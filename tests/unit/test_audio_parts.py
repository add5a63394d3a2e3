"""Parts of long files: what is read from the middle equals the same stretch of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sonant import audio
from sonant.errors import AudioError, OptionError
from unit.media import Pipe, tone, wav_of, write_media

SWEEP = (0.5 * np.sin(np.cumsum(np.linspace(0.05, 0.4, 16_000 * 20)))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "near"),
    [
        ("a.wav", "pcm_s16le", 16_000, 0),
        ("a.flac", "flac", 16_000, 0),
        ("a.aiff", "pcm_s16be", 16_000, 0),
        ("a.mkv", "flac", 16_000, 0),
        ("a.mp3", "libmp3lame", 16_000, 1e-3),
        ("a.m4a", "aac", 16_000, 1e-3),
        ("a.ogg", "vorbis", 16_000, 1e-3),
        ("a.opus", "libopus", 48_000, 1e-2),
        ("a.ts", "aac", 16_000, 1e-3),  # read from its beginning
    ],
)
@pytest.mark.parametrize(("offset", "duration"), [(0.25, 1.5), (7.31, 2.0), (18.5, None)])
def test_a_part_is_the_same_stretch_of_the_whole(
    tmp_path: Path, name: str, codec: str, rate: int, near: float, offset: float, duration: float | None
) -> None:
    source = SWEEP if rate == 16_000 else np.repeat(SWEEP, 3)
    path = write_media(tmp_path / name, np.tile(source, (2, 1)), rate, codec)  # FFmpeg's Vorbis is stereo
    whole = audio.read(path, rate)
    part = audio.read(path, rate, offset=offset, duration=duration)
    first = round(offset * rate)
    last = len(whole) if duration is None else first + round(duration * rate)
    assert len(part) == last - first
    np.testing.assert_allclose(part, whole[first:last], atol=near)


def test_a_part_of_a_container_with_coarse_times_is_right_to_its_millisecond(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.webm", np.repeat(SWEEP, 3), 48_000, "libopus")
    whole, part = audio.read(path, 48_000), audio.read(path, 48_000, offset=7.31, duration=2.0)
    shifts = [np.abs(part[:50_000] - whole[350_880 + shift :][:50_000]).max() for shift in range(-48, 49)]
    assert abs(len(part) - 96_000) <= 48
    assert min(shifts) < 1e-2


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    class Counting:
        def __init__(self, path: Path) -> None:
            self.file, self.count = path.open("rb"), 0

        def read(self, size: int) -> bytes:
            data = self.file.read(size)
            self.count += len(data)
            return data

        def __getattr__(self, name: str):
            return getattr(self.file, name)

    path = tmp_path / "long.wav"
    path.write_bytes(wav_of(np.tile((SWEEP * 30_000).astype(np.int16), 30)))
    counting = Counting(path)
    with counting.file:
        assert len(audio.read(counting, offset=500.0, duration=1.0)) == 16_000
    assert counting.count < path.stat().st_size / 20


def test_pipes_and_arrays_have_parts_too() -> None:
    samples = (SWEEP * 30_000).astype(np.int16)
    expected = samples[80_000:96_000] / np.float32(32_768)
    np.testing.assert_array_equal(audio.read(Pipe(wav_of(samples)), offset=5.0, duration=1.0), expected)
    np.testing.assert_array_equal(audio.read(samples, array_rate=16_000, offset=5.0, duration=1.0), expected)


def test_a_part_of_another_rate_has_its_length(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.wav", tone(4.0, 44_100), 44_100)
    with audio.open_audio(path, offset=1.5, duration=2.0) as stream:
        assert (stream.source_rate, stream.duration) == (44_100, 2.0)
        part = np.concatenate(list(stream))
    assert abs(len(part) - 32_000) <= 1
    np.testing.assert_allclose(part[500:-500], audio.read(path)[24_500:55_500], atol=2e-4)


@pytest.mark.parametrize("offset", [2.0, 3.7, 4000.0])
def test_a_part_beyond_the_end_is_named(tmp_path: Path, offset: float) -> None:
    path = write_media(tmp_path / "short.wav", tone(2.0))
    with pytest.raises(AudioError, match=r"short\.wav has no sound at .* correct its offset"):
        audio.read(path, offset=offset)
    with pytest.raises(AudioError, match="array ends before"):
        audio.read(tone(2.0), array_rate=16_000, offset=offset)


@pytest.mark.parametrize("part", [{"offset": -1.0}, {"offset": float("nan")}, {"duration": 0.0}])
def test_parts_that_cannot_be_are_refused(tmp_path: Path, part: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="correct them"):
        audio.read(write_media(tmp_path / "a.wav", tone(2.0)), **part)
