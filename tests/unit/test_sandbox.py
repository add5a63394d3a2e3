"""Decoding in another process: the same samples, and a hostile file hurts nobody else."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from flow.bombs import flac_of_silence
from sonant import audio
from sonant.errors import AudioError
from sonant.server import sandbox
from sonant.server.batcher import LeftError
from sonant.server.sandbox import DecodeLimits, Decoders, TooLongError

EXAMPLE = Path(__file__).parents[1] / "models" / "digits.ogg"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="limits need a system with fork")


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(DecodeLimits(seconds=20, duration=60))
    yield decoders
    decoders.close()


def file_of(data: bytes) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    return file


def silence(seconds: float, rate: int = 8000) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * round(seconds * rate)))
    return held.getvalue()


@pytest.mark.parametrize("rate", [16000, 8000])
def test_the_samples_and_what_is_told_of_them_are_those_of_the_file(decoders: Decoders, rate: int) -> None:
    with (
        file_of(EXAMPLE.read_bytes()) as file,
        decoders.open(file, rate) as there,
        audio.open_audio(EXAMPLE, rate) as here,
    ):
        assert (there.duration, there.source_rate, there.codec) == (here.duration, here.source_rate, here.codec)
        np.testing.assert_array_equal(np.concatenate([*there]), np.concatenate([*here]))
        assert there.warnings == here.warnings
        np.testing.assert_allclose(there.mixer.powers, here.mixer.powers)


@pytest.mark.parametrize("data", [b"", b"no sound", b"RIFF" + bytes(100), b"#EXTM3U\nfile:///etc/passwd\n"])
def test_what_is_no_sound_is_said_in_a_sentence(decoders: Decoders, data: bytes) -> None:
    with file_of(data) as file, pytest.raises(AudioError, match=r"^The audio .*\.$"):
        decoders.open(file, 16000)


def test_what_says_that_it_is_longer_than_it_may_be_is_refused_at_once(decoders: Decoders) -> None:
    with file_of(silence(90)) as file, pytest.raises(TooLongError, match="may last 60 s"):
        decoders.open(file, 16000)


def test_what_is_longer_than_it_says_is_given_up_while_it_is_read(decoders: Decoders) -> None:
    with file_of(flac_of_silence(90, declared=0)) as file, decoders.open(file, 16000) as stream:
        given = iter(stream)
        assert len(next(given)) == 16000
        with pytest.raises(TooLongError, match="may last 60 s"):
            list(given)
    assert 58 <= stream.num_samples / 16000 <= 60


@pytest.mark.slow
def test_a_child_out_of_time_ends_its_own_file_only(decoders: Decoders) -> None:
    hasty = Decoders(DecodeLimits(seconds=1, duration=1e9))
    bomb = silence(20_000, 4000)  # a minute of processor time at 192 kHz
    try:
        with file_of(bomb) as file, hasty.open(file, 192_000) as stream, pytest.raises(AudioError, match="limits"):
            for _ in stream:
                pass
        with file_of(silence(1)) as file, hasty.open(file, 16000) as stream:
            assert sum(map(len, stream)) == 16000
    finally:
        hasty.close()


def test_a_child_out_of_memory_ends_its_own_file_only() -> None:
    narrow = Decoders(DecodeLimits(memory=1 << 20))
    try:
        with file_of(silence(1)) as file, pytest.raises(AudioError, match="limits"), narrow.open(file, 16000) as stream:
            list(stream)
    finally:
        narrow.close()


def test_a_process_that_was_killed_is_started_again(decoders: Decoders) -> None:
    decoders.start()
    assert decoders._server
    process = decoders._server[0]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with file_of(silence(1)) as file, decoders.open(file, 16000) as stream:
        assert sum(map(len, stream)) == 16000


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_no_file_stays_open(decoders: Decoders) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    with file_of(silence(3)) as file:
        decoders.open(file, 16000).close()
        before = opened()
        for _ in range(5):
            with decoders.open(file, 16000) as stream:
                next(iter(stream))
        assert opened() == before


def test_a_thread_does_not_wait_for_what_nobody_wants_any_more() -> None:
    readable, writable = os.pipe()
    try:
        with os.fdopen(readable, "rb", buffering=0) as pipe, pytest.raises(LeftError):
            sandbox._frame(pipe, lambda: True)
    finally:
        os.close(writable)


def test_a_child_that_nobody_reads_any_more_ends_before_its_first_sample() -> None:
    slow = "import sys, time; from sonant.server import decoder; decoder.decode = lambda *_: time.sleep(100); "
    slow += "decoder._decode_and_exit({'seconds': 9, 'memory': 1 << 34, 'rate': 8000}, *map(int, sys.argv[1:]))"
    readable, writable = os.pipe()
    with file_of(b"") as file:
        descriptors = [file.fileno(), writable]
        child = subprocess.Popen([sys.executable, "-c", slow, *map(str, descriptors)], pass_fds=descriptors)
        os.close(writable)
        os.close(readable)
        try:
            assert child.wait(30) == 1
        finally:
            child.kill()


def test_a_file_may_last_for_ever() -> None:
    patient = Decoders(DecodeLimits(duration=math.inf))
    try:
        with file_of(silence(2)) as file, patient.open(file, 16000) as stream:
            assert sum(map(len, stream)) == 32000
    finally:
        patient.close()
