"""Sound as it comes, from an address or a microphone: with its gaps as silence, so that times are the stream's own.

A connection that is lost is made anew. Where a stream's own clock goes on over that (HLS, MPEG-TS, files), what was
missed becomes silence and what was heard already is left out; elsewhere (Icecast, RTMP) the time without it does.
Only the protocols of a network are open to FFmpeg here: no playlist can make it read a file of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sonant.audio.media import LONGEST_GAP, SHORTEST_GAP, channels_of, silence
from sonant.audio.samples import Mixer, Pieces, check_form, reason
from sonant.errors import AudioError, MissingExtraError
from sonant.types import FloatArray

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream as Track
    from av.container import InputContainer

PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,srt,rtmp,rtmps,rtmpt,rtmpts,rtsp,hls,crypto,data,mmsh,mmst"
_LOCAL = frozenset(["concat", "concatf", "image2", "vobsub", "lavfi", "alsa", "fbdev", "kmsgrab", "oss", "pulse"])
"""Demuxers that read files or devices of this machine."""
_CLOCKED = frozenset(["hls", "mpegts", "dash"])
"""Whose times go on, whenever one begins to listen."""
OPENING, READING = 15.0, 10.0
"""Seconds that a server may take to answer, and to send the next bytes."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
"""Seconds before a lost connection is tried again: doubled each time, up to the second."""
MICROPHONE_RATE = 48_000


class Broadcast:
    """The sound behind an address, connection after connection, until it is complete or stays away too long."""

    def __init__(self, url: str, patience: float, notice: Callable[[str], None]) -> None:
        self.url = url
        self.mixer = Mixer()
        self._patience, self._notice = patience, notice
        self._clock = 0.0  # seconds given, silence included
        self._last: float | None = None  # where in the container's time the last frame ended
        self._at = time.monotonic()  # when that was
        self._connected = False  # once it ever was
        self._container: InputContainer | None = None

    def pieces(self) -> Pieces:
        """Mono pieces; raises `AudioError` where the first connection fails."""
        from av.error import FFmpegError

        wait = FIRST_WAIT
        while True:
            before, why = self._clock, "it ended"
            try:
                container = self._open()
                yield from self._frames(container)
                if self._is_complete(container, before):
                    return
            except (FFmpegError, OSError, ValueError, RuntimeError, AudioError) as error:
                if not self._connected:
                    if isinstance(error, AudioError):
                        raise
                    raise self._unheard(error) from error
                why = reason(error)
            finally:
                self.close()
            wait = FIRST_WAIT if self._clock > before else wait
            if time.monotonic() - self._at + wait > self._patience:
                self._notice(f"{self.url} has been silent for {self._patience:g} s ({why}) and is taken to be over.")
                return
            self._notice(f"{self.url} was lost at {self._clock:.1f} s ({why}); trying again in {wait:g} s.")
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _unheard(self, error: Exception) -> AudioError:
        from av.error import ExitError, ProtocolNotFoundError

        why, advice = reason(error), "check the address"
        if isinstance(error, ExitError):  # so FFmpeg says that our patience is over
            why = "nothing came"
        elif isinstance(error, ProtocolNotFoundError):
            why = f"{why} in this FFmpeg"
            advice = "have another program receive it and pipe the sound to `sonant live -`"
        return AudioError(f"{self.url} cannot be heard ({why}); {advice}.")

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> InputContainer:
        import av  # takes 90 ms: not for those who pass files

        self._container = av.open(
            self.url,
            "r",
            container_options={
                "protocol_whitelist": PROTOCOLS,
                "format_whitelist": ",".join(sorted(av.formats_available - _LOCAL)),
            },
            timeout=(OPENING, READING),
        )
        return self._container

    def _frames(self, container: InputContainer) -> Pieces:
        """What one connection gives that has not been given before."""
        track = self._track(container)
        origin: float | None = None  # the container's time that is 0 on our clock
        again = self._is_clocked(container) and self._last is not None  # what was heard before may come again
        for frame in _decoded(container, track):
            rate = frame.sample_rate
            check_form(self.url, rate, frame.layout.nb_channels)
            self._connected = True
            begin = frame.time
            if origin is None:
                origin = self._origin(container, begin)
                if origin is None:
                    missed = min(time.monotonic() - self._at, LONGEST_GAP)
                    yield from self._pause(missed, rate)
                    origin = (begin or 0.0) - self._clock
            gap = 0.0 if begin is None else begin - origin - self._clock
            samples = self.mixer.mix(channels_of(frame))
            length = len(samples) / rate
            if again and gap + length <= 0:
                continue
            if again and gap < 0:
                samples = samples[round(-gap * rate) :]
            elif SHORTEST_GAP < gap <= LONGEST_GAP:
                yield from self._pause(gap, rate)
            elif abs(gap) > SHORTEST_GAP:  # its clock was set anew
                origin = (begin or 0.0) - self._clock
            again = False
            self._clock += len(samples) / rate
            self._last, self._at = self._clock + origin, time.monotonic()
            yield rate, samples

    def _track(self, container: InputContainer) -> Track:
        from av.stream import Discard

        track = next(iter(container.streams.audio), None)
        if track is None:
            raise AudioError(f"{self.url} holds no sound; pass an address that has some.")
        for stream in container.streams:
            if stream.index != track.index:
                stream.discard = Discard.all
        return track

    def _origin(self, container: InputContainer, begin: float | None) -> float | None:
        """The container's time that is 0 on our clock; None where a new connection has a clock of its own."""
        if self._last is None:
            return begin or 0.0
        return self._last - self._clock if self._is_clocked(container) else None

    def _is_clocked(self, container: InputContainer) -> bool:
        return container.format.name in _CLOCKED or _is_sized(container)

    def _is_complete(self, container: InputContainer, before: float) -> bool:
        """Whether a connection that ended without an error has come to the end of what there is."""
        return _is_sized(container) or (self._is_clocked(container) and self._clock == before)

    def _pause(self, seconds: float, rate: int) -> Pieces:
        self._clock += seconds
        return silence(round(seconds * rate), rate)


def _is_sized(container: InputContainer) -> bool:
    """Whether it is a file, in truth, which has an end: FFmpeg tells an early one by an error."""
    return bool(container.duration) or (container.format.name not in _CLOCKED and container.size > 0)


def _decoded(container: InputContainer, track: Track) -> Iterator[AudioFrame]:
    """Frames as they come; damaged packets are passed over, also that in whose midst a connection was lost."""
    from av.error import FFmpegError

    for packet in container.demux(track):
        if packet.is_corrupt:
            continue
        try:
            frames = cast("list[AudioFrame]", packet.decode())
        except FFmpegError:
            continue
        yield from (frame for frame in frames if frame.samples)


class Microphone:
    """A microphone of this machine, by sounddevice."""

    def __init__(self, device: str | None, notice: Callable[[str], None]) -> None:
        self._notice = notice
        try:
            sounddevice: Any = import_module("sounddevice")
        except ImportError as error:
            raise MissingExtraError(
                "A microphone is heard through sounddevice, which is not installed: pip install 'sonant[live]'"
            ) from error
        except OSError as error:
            raise MissingExtraError(
                "A microphone is heard through PortAudio, which is not installed: apt install libportaudio2, or as "
                "this system does it"
            ) from error
        self._stream: Any = None
        wanted: int | str | None = int(device) if device and device.isdecimal() else device
        try:
            self._stream = sounddevice.InputStream(
                samplerate=MICROPHONE_RATE, device=wanted, channels=1, dtype="float32"
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            known = [str(d["name"]) for d in sounddevice.query_devices() if d["max_input_channels"]]
            raise AudioError(
                f"The microphone {device or 'of this system'} cannot be heard ({reason(error)}); "
                f"name one of these as mic:NAME: {', '.join(known) or 'none is there'}."
            ) from error

    def pieces(self) -> Pieces:
        """Tenths of a second, until the end of the world."""
        while True:
            samples, overflowed = self._stream.read(MICROPHONE_RATE // 10)
            if overflowed:
                self._notice("The microphone is faster than this machine transcribes, and some of its sound was lost.")
            yield MICROPHONE_RATE, cast(FloatArray, np.ascontiguousarray(samples[:, 0]))

    def close(self) -> None:
        """Let go of the microphone."""
        self._stream.close()
