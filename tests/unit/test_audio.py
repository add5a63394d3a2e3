from __future__ import annotations

import io
import os
import socket
import sys
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest

from sonant import audio
from sonant.errors import AudioError, OptionError
from unit.media import Pipe, audio_stream, encode, encode_end, tone, wav, wav_of, write_media, write_video

INT16 = (tone(2.5) * 32768).astype(np.int16)
SAMPLES = INT16 / np.float32(32768)


def blocks_of(source: audio.Source, **options) -> tuple[list[np.ndarray], audio.AudioStream]:
    with audio.open_audio(source, **options) as stream:
        return list(stream), stream


# What files give


@pytest.mark.parametrize(
    "codec", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_s64le", "flac"]
)
def test_lossless_codecs_are_exact(tmp_path: Path, codec: str) -> None:
    path = write_media(tmp_path / ("a.flac" if codec == "flac" else "a.wav"), SAMPLES, codec=codec)
    np.testing.assert_array_equal(audio.read(path), SAMPLES)


@pytest.mark.parametrize(("codec", "step"), [("pcm_u8", 1 / 128), ("pcm_alaw", 1 / 32)])
def test_coarse_codecs_are_exact_to_their_step(tmp_path: Path, codec: str, step: float) -> None:
    np.testing.assert_allclose(audio.read(write_media(tmp_path / "a.wav", SAMPLES, codec=codec)), SAMPLES, atol=step)


def has_tone(samples: np.ndarray) -> bool:
    """Whether 16 kHz samples hold what `tone` gives."""
    power = np.abs(np.fft.rfft(samples[8000:24000] * np.hanning(16000)))
    return int(power.argmax()) == 440 and 0.15 < float(np.std(samples[8000:24000])) < 0.25


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels", "late"),
    [
        ("a.mp3", "libmp3lame", 44_100, 1, 0.0),
        ("a.m4a", "aac", 44_100, 2, 0.03),  # AAC's last frame is filled up
        ("a.mp4", "aac", 48_000, 6, 0.03),
        ("eight.m4a", "aac", 48_000, 8, 0.03),
        ("a.ogg", "vorbis", 22_050, 2, 0.03),
        ("a.opus", "libopus", 48_000, 1, 0.001),
        ("a.webm", "libopus", 48_000, 2, 0.001),
        ("a.mkv", "flac", 96_000, 1, 0.0),
        ("a.avi", "libmp3lame", 44_100, 1, 0.06),
        ("a.ts", "aac", 48_000, 1, 0.06),
        ("a.aac", "aac", 16_000, 1, 0.13),
        ("a.aiff", "pcm_s16be", 8_000, 1, 0.0),
        ("a.amr", "libopencore_amrnb", 8_000, 1, 0.03),
    ],
)
def test_every_container_keeps_sound_and_length(
    tmp_path: Path, name: str, codec: str, rate: int, channels: int, late: float
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    path = write_media(
        tmp_path / name, np.tile(tone(2.5, rate), (channels, 1)), rate, codec, video=1.0 * (name == "a.mp4")
    )
    blocks, stream = blocks_of(path)
    samples = np.concatenate(blocks)
    assert stream.warnings == []
    assert stream.duration == pytest.approx(2.5, abs=0.14)
    assert 40_000 - 1 <= len(samples) <= 40_000 + 16_000 * late + 1
    assert has_tone(samples)
    assert all(len(block) < 33_000 and block.dtype == np.float32 for block in blocks)


def test_sources_of_every_kind_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wav_of(INT16)
    path = tmp_path / "a b%20#é.wav"
    path.write_bytes(data)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Pipe(data))))
    used = io.BytesIO(data)
    used.seek(1000)
    for source in (path, str(path), data, bytearray(data), memoryview(data), used, Pipe(data), "-"):
        np.testing.assert_array_equal(audio.read(source), SAMPLES)
    assert not used.closed


def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.wav", "file:a.wav", "http:a.wav"):
        Path(name).write_bytes(wav_of(INT16))
        assert len(audio.read(name)) == len(INT16)


def test_the_default_track_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        quiet, loud = (audio_stream(container, "flac", 16_000, 1) for _ in range(2))
        loud.disposition = av.stream.Disposition.default
        for stream, gain in ((quiet, 0.1), (loud, 1.0)):
            encode(container, stream, gain * SAMPLES, 16_000)
            encode_end(container, stream)
    assert np.abs(audio.read(path)).max() > 0.25


def test_times_are_those_a_player_shows(tmp_path: Path) -> None:
    for name in ("late.mp4", "late.mkv"):
        path = write_media(tmp_path / name, tone(2, 48_000), 48_000, "aac", start=1.5, video=4.0)
        blocks, stream = blocks_of(path)
        samples = np.concatenate(blocks)
        first = np.flatnonzero(np.abs(samples) > 0.1)[0] / 16_000
        assert first == pytest.approx(1.5, abs=0.03)
        assert stream.warnings == []


def test_a_change_of_rate_within_a_file_is_followed(tmp_path: Path) -> None:
    one = write_media(tmp_path / "1.mp3", tone(2, 44_100), 44_100, "libmp3lame").read_bytes()
    two = write_media(tmp_path / "2.mp3", tone(2, 22_050), 22_050, "libmp3lame").read_bytes()
    blocks, stream = blocks_of(one + two)
    samples = np.concatenate(blocks)
    assert stream.warnings == []
    assert len(samples) == pytest.approx(64_000, abs=1600)
    assert has_tone(samples)
    assert has_tone(samples[32_000:])


def test_chained_streams_are_read_on_or_named(tmp_path: Path) -> None:
    one = write_media(tmp_path / "1.opus", tone(2, 48_000), 48_000, "libopus").read_bytes()
    two = write_media(tmp_path / "2.opus", np.tile(tone(2, 48_000), (2, 1)), 48_000, "libopus").read_bytes()
    assert len(audio.read(one + one)) == pytest.approx(64_000, abs=10)
    blocks, stream = blocks_of(one + two)
    assert sum(map(len, blocks)) == pytest.approx(32_000, abs=10)
    assert "could not be read beyond 2.0 s" in stream.warnings[0]


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = []
    for seconds in (20, 120):
        path = tmp_path / f"{seconds}.wav"
        path.write_bytes(wav_of(np.tile(INT16[:16_000], seconds)))
        tracemalloc.start()
        with audio.open_audio(path, 8000) as stream:
            assert sum(len(block) for block in stream) == 8000 * seconds
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


def test_nothing_is_said_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(write_media(tmp_path / "a.mp3", tone(3, 44_100), 44_100, "libmp3lame").read_bytes())
    data[9000:12_000] = bytes(range(250)) * 12
    audio.read(bytes(data))
    assert capfd.readouterr() == ("", "")


# What cannot be read


def refused(source: audio.Source, **options) -> str:
    with pytest.raises(AudioError) as caught:
        audio.read(source, **options)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_paths_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.wav").touch()
    assert "nope.wav does not exist" in refused("nope.wav")
    assert "is a folder" in refused(tmp_path)
    assert "is a pipe or a device" in refused(tmp_path / "pipe")
    assert "is a pipe or a device" in refused("/dev/zero")
    assert "empty.wav is empty" in refused(tmp_path / "empty.wav")
    assert "is an address" in refused("https://example.org/a.mp3")
    assert "File name too long" in refused("x" * 300)
    assert "cannot be opened" in refused("a\0b")
    (tmp_path / "secret.wav").write_bytes(wav_of(INT16))

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)  # root may read anything
    assert "secret.wav may not be read" in refused(tmp_path / "secret.wav")


def test_files_that_hold_no_sound(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("These are words, not sounds.\n" * 50)
    assert "text.wav is not audio or video" in refused(tmp_path / "text.wav")
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        write_video(container, container.add_stream("mpeg4", rate=10), 1.0)
    assert "mute.mp4 holds no sound, only video" in refused(tmp_path / "mute.mp4")
    assert "no samples" in refused(wav(b""))
    assert "not audio" in refused(np.random.default_rng(0).bytes(50_000))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (wav(bytes(32_000), rate=1), "sample rate of 1 Hz"),
        (wav(bytes(32_000), rate=384_000), "sample rate of 384000 Hz"),
        (wav(bytes(48_000), channels=24), "24 channels"),
        (wav(bytes(65_535 * 4), channels=65_535), "channels"),
        (wav_of(np.float32([0] * 20_000 + [np.nan] + [0] * 100)), "nan at 1.250 s"),
        (wav_of(np.float32([0] * 20_000 + [-np.inf])), "-inf at 1.250 s"),
        (wav_of(np.float32([0] * 8_000 + [1e30])), "at 0.500 s"),
    ],
)
def test_forms_and_values_that_no_recording_has(data: bytes, words: str) -> None:
    assert words in refused(data)


def test_a_header_that_lies_costs_nothing() -> None:
    blocks, stream = blocks_of(wav(INT16.tobytes(), declared=2**32 - 1))  # so does ffmpeg when it writes to a pipe
    assert sum(map(len, blocks)) == len(INT16)
    assert stream.warnings == []
    blocks, stream = blocks_of(wav(INT16.tobytes(), declared=10**9))
    assert sum(map(len, blocks)) == len(INT16)
    assert "it may be truncated" in stream.warnings[0]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.mkv", "flac"), ("a.aiff", "pcm_s16be")],
)
def test_a_truncated_file_gives_what_is_there_and_a_warning(tmp_path: Path, name: str, codec: str) -> None:
    path = write_media(tmp_path / name, tone(6, 16_000), 16_000, codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    blocks, stream = blocks_of(path)
    assert 2.0 < sum(map(len, blocks)) / 16_000 < 3.5
    assert "but the file declares 6.0 s; it may be truncated" in stream.warnings[-1]
    assert stream.warnings[-1].startswith(str(path))


def test_an_mp4_without_its_index(tmp_path: Path) -> None:
    data = write_media(tmp_path / "a.m4a", tone(3), 16_000, "aac").read_bytes()
    assert "index is missing or damaged" in refused(data[: len(data) // 2])
    assert "cannot be read from a pipe" in refused(Pipe(data))


def test_damage_inside_is_skipped_and_keeps_the_times(tmp_path: Path) -> None:
    data = bytearray(write_media(tmp_path / "a.m4a", tone(6, 44_100), 44_100, "aac").read_bytes())
    middle = data.find(b"mdat") + len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(1).bytes(4000)
    blocks, stream = blocks_of(bytes(data))
    assert sum(map(len, blocks)) / 16_000 == pytest.approx(6, abs=0.03)
    assert "damaged packets were skipped" in stream.warnings[0]


def test_sound_of_which_nothing_can_be_decoded(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", tone(3), 16_000, "aac", options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + 4
    data[start:] = np.random.default_rng(0).bytes(len(data) - start)
    assert "damaged or copy-protected" in refused(bytes(data))


@pytest.mark.parametrize("suffix", ["", ".wav"])
def test_playlists_open_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    write_media(tmp_path / "secret.ts", tone(2, 48_000), 48_000, "aac")
    write_media(tmp_path / "secret.wav", SAMPLES)
    monkeypatch.chdir(tmp_path)
    extinf = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n"
    lists = {
        "a.m3u8": extinf.format(f"file://{tmp_path}/secret.ts"),
        "b.m3u8": extinf.format("secret.ts"),
        "c.ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    }
    for name, text in lists.items():
        Path(name + suffix).write_text(text)
        assert "is a playlist" in refused(name + suffix)


def test_a_session_description_opens_no_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        text = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
        (tmp_path / "a.sdp").write_text(text)
        assert "not audio" in refused(tmp_path / "a.sdp")  # it would wait for packets


def test_file_objects_that_misbehave() -> None:
    class Failing(io.BytesIO):
        error: BaseException = OSError(5, "Input/output error")

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 40_000:
                raise self.error
            return super().read(size)

    class Greedy(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(-1)

    data = wav_of(np.tile(INT16, 4))
    assert "could not be read (Input/output error)" in refused(Failing(data))
    assert f"gave {len(data)} for 64;" in refused(Greedy(data))
    assert "must give bytes, at most as many as it is asked for, but gave str;" in refused(io.StringIO("text"))
    closed = io.BytesIO(data)
    closed.close()
    assert "could not be read (I/O operation on closed file)" in refused(closed)
    interrupted = Failing(data)
    interrupted.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        audio.read(interrupted)


def test_a_closed_stream_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_of(INT16))
    with audio.open_audio(path) as stream:
        next(iter(stream))
    path.write_bytes(b"")
    stream.close()  # twice does no harm; an open file would be a ResourceWarning
    assert list(stream) == []
    with pytest.raises(OptionError, match="3 Hz was asked for"):
        audio.open_audio(path, 3)
