"""The sound of one media file, decoded by FFmpeg through PyAV: with `live`, `flac` and `sonant.mux` all that uses `av`.

FFmpeg only ever sees a file object of ours, and every door it has to other files and to the network is shut, so that
a playlist or a session description cannot make it open what it names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from sonant.audio.reader import Reader, unreadable
from sonant.audio.samples import Mixer, Pieces, check_form
from sonant.errors import AudioError
from sonant.types import FloatArray

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream as Track
    from av.container import InputContainer

# N samples

SHORTEST_GAP, LONGEST_GAP = 0.2, 3600.0
"""Seconds without sound in a file's timeline that are read as silence; less is jitter, more a broken clock."""
SHORTFALL = 1.0
"""Seconds that a file may end before its declared end unnoticed."""

# These demuxers read other files, listen to the network or take devices.
_REDIRECTORS = frozenset(
    [
        *("hls", "applehttp", "concat", "concatf", "dash", "webm_dash_manifest", "imf", "sdp", "rtsp", "rtp", "sap"),
        *("image2", "vobsub", "lavfi", "alsa", "fbdev", "kmsgrab", "oss", "pulse", "sndio", "video4linux2", "v4l2"),
        *("x11grab", "avfoundation", "dshow", "gdigrab", "vfwcap", "jack", "openal", "decklink", "iec61883"),
    ]
)
# Of these the header says how long they are; of the others FFmpeg reckons it from what there is.
_DECLARING = frozenset(["aiff", "asf", "caf", "flac", "flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "w64"])
# Of these the time of a frame is known wherever reading begins.
_SEEKABLE = _DECLARING - {"asf", "flv"} | {"wav", "ogg", "mp3"}
RUN_UP = 0.5
"""Seconds decoded before the place that is sought: codecs with a memory need some frames to be right again."""
_FRAME_TYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}


class Media:
    """The sound of one container: mono pieces in the order of its timeline, and what was odd about it."""

    def __init__(self, name: str, file: BinaryIO, close: Callable[[], None]) -> None:
        self.warnings: list[str] = []
        self.mixer = Mixer()
        self.name = name
        self._close_file = close
        self._reader = Reader(name, file)
        self._damaged = 0
        self._broken = False
        self._container = open_container(name, self._reader)
        try:
            self._track = self._chosen()
            self.duration, self._promised = self._lengths()
            self.rate = self._track.codec_context.sample_rate or None
            self.codec = self._track.codec_context.name
            self.channels = self._track.codec_context.layout.nb_channels
            self._sought, self._began = False, 0.0
        except BaseException:
            self._container.close()
            raise

    def _chosen(self) -> Track:
        from av.stream import Discard, Disposition

        streams = self._container.streams
        if not streams.audio:
            what = "only video" if streams.video else "nothing that can be heard"
            raise AudioError(f"{self.name} holds no sound, {what}; pass the file that has the sound.")
        track = next((t for t in streams.audio if t.disposition & Disposition.default), streams.audio[0])
        for stream in streams:
            if stream.index != track.index:
                stream.discard = Discard.all
        context = track.codec_context
        if context is None:  # pyright: ignore[reportUnnecessaryComparison]  # so it is for unknown codecs
            raise AudioError(
                f"{self.name} holds sound in a codec that cannot be decoded here, or is copy-protected; "
                "convert it to WAV or FLAC."
            )
        if context.sample_rate:  # some containers leave it to the first frame
            check_form(self.name, context.sample_rate, context.layout.nb_channels)
        return track

    def _lengths(self) -> tuple[float | None, float | None]:
        """Seconds the file may last, for a progress bar; and those its header says that the sound lasts."""
        container, track = self._container, self._track
        own = float(track.duration * track.time_base) if track.duration and track.time_base else 0.0
        if own > 0 and track.start_time and track.time_base and container.start_time is not None:
            own += max(0.0, float(track.start_time * track.time_base) - container.start_time / 1e6)
        duration = own if own > 0 else (container.duration or 0) / 1e6
        if duration <= 0:
            return None, None
        promised = duration if container.format.name in _DECLARING else None
        if container.format.name in ("wav", "mp3") and (cut := self._reader.cut_to()) < 1:
            # of a WAV FFmpeg reckons the length anew, of an MP3 it believes the first frame
            promised = duration / cut if container.format.name == "wav" else duration
        alone = own > 0 or len(container.streams) == 1
        return duration, promised if alone else None

    def part(self, start: float, duration: float | None) -> Pieces:
        """What `pieces` gives from `start` seconds on, `duration` seconds long; little else is read."""
        self._seek(start)
        end = math.inf if duration is None else start + duration
        clock, found = None, False
        pieces = self.pieces()
        try:
            for rate, samples in pieces:
                clock = self._began if clock is None else clock
                first, last = max(0, round((start - clock) * rate)), len(samples)
                clock += last / rate
                if clock > end:
                    last -= round((clock - end) * rate)
                if first < last:
                    yield rate, samples[first:last]
                    found = True
                if clock >= end:
                    break
        finally:
            pieces.close()
        if not found:
            raise AudioError(
                f"{self.name} has no sound at {start:g} s, but an utterance from there on was asked for; "
                "correct its offset and duration."
            )

    def _seek(self, start: float) -> None:
        """Go on from shortly before `start` where the container allows it."""
        from av.error import FFmpegError

        formats = self._container.format.name
        origin, base = (self._container.start_time or 0) / 1e6, self._track.time_base
        if start < 2 * RUN_UP or formats not in _SEEKABLE or not self._reader.seekable() or not base:
            return
        try:
            self._container.seek(round((start - RUN_UP + origin) / base), stream=self._track)
            self._sought = True
        except FFmpegError:
            return  # it is read from its beginning

    def pieces(self) -> Generator[tuple[int, FloatArray]]:
        """Sample rate and mono samples; gaps in the timeline as silence."""
        start = self._container.start_time
        origin = None if start is None else start / 1e6
        end = (self.duration or math.inf) + 1.0
        clock = heard = silent = 0.0
        try:
            for frame in self._frames():
                rate = frame.sample_rate
                check_form(self.name, rate, frame.layout.nb_channels)
                if self._sought and not heard:
                    self._began = clock = (frame.time or 0.0) - (origin or 0.0)
                if frame.time is not None:
                    origin = frame.time if origin is None else origin
                    gap = frame.time - origin - clock
                    if SHORTEST_GAP < gap <= min(LONGEST_GAP, end - clock):
                        yield from silence(round(gap * rate), rate)
                        clock += gap
                        silent += gap if heard else 0.0
                    elif abs(gap) > SHORTEST_GAP:  # another stream was chained on, or the clock jumped
                        origin = frame.time - clock
                samples = self.mixer.mix(channels_of(frame))
                clock += len(samples) / rate
                heard += len(samples) / rate
                yield rate, samples
            self._conclude(clock, heard, silent)
        finally:
            self.close()

    def planes(self) -> Generator[tuple[int, list[NDArray[Any]]]]:
        """Sample rate and each channel (N,) as the codec gives it, views that end with the step; gaps stay out."""
        heard = 0.0
        try:
            for frame in self._frames():
                check_form(self.name, frame.sample_rate, frame.layout.nb_channels)
                heard += frame.samples / frame.sample_rate
                yield frame.sample_rate, channels_of(frame)
            self._conclude(heard, heard, 0.0)
        finally:
            self.close()

    @property
    def counted(self) -> int | None:
        """Samples of each channel where the header counts them one by one."""
        if self._container.format.name not in ("wav", "flac") or not self.duration or not self.rate:
            return None
        return round(self.duration * self.rate)

    @property
    def bits(self) -> int:
        """Of each sample as it is written; 0 where a codec writes none."""
        context = self._track.codec_context
        if self.codec == "flac" and (header := context.extradata) and len(header) >= 34:
            return ((header[12] & 1) << 4 | header[13] >> 4) + 1
        written = re.fullmatch(r"pcm_[suf](\d+)(?:[lb]e)?", self.codec)
        return int(written[1]) if written else 8 * (self.codec in ("pcm_alaw", "pcm_mulaw"))

    def _frames(self) -> Iterator[AudioFrame]:
        """All frames that can be decoded; damaged packets are counted and skipped."""
        from av.error import FFmpegError

        packets = self._container.demux(self._track)
        while not self._broken:
            try:
                packet = next(packets, None)
            except IndexError:  # PyAV, after the end of our track, over tracks that came up in the midst
                return
            except FFmpegError:
                self._broken = True
                packet = None
            self._reader.check()
            try:
                if packet is not None:
                    frames = cast("list[AudioFrame]", packet.decode())
                elif self._broken:
                    frames = self._track.decode(None)  # what the decoder still holds
                else:
                    return
            except FFmpegError:
                # where MP3 files were chained, the second begins with a frame that counts the others and holds no sound
                self._damaged += packet is None or not re.search(b"Xing|Info|VBRI", bytes(packet)[:64])
                continue
            yield from (frame for frame in frames if frame.samples)

    def _conclude(self, clock: float, heard: float, silent: float) -> None:
        if not heard and (self._damaged or self._broken):
            why = (
                unreadable(self._reader)
                if self._reader.is_piped_mp4()
                else (
                    "holds sound, but none of it could be decoded, as it is damaged or copy-protected; convert it again"
                )
            )
            raise AudioError(f"{self.name} {why}.")
        if not heard and self._sought:  # beyond its end
            return
        if not heard:
            raise AudioError(f"{self.name} holds no samples, but sound was expected; record or copy it again.")
        if self._damaged:
            packets = "1 damaged packet was" if self._damaged == 1 else f"{self._damaged} damaged packets were"
            self.warnings.append(f"{self.name}: {packets} skipped; words near them may be wrong.")
        if self._broken:
            self.warnings.append(
                f"{self.name}: the file could not be read beyond {clock:.1f} s, where it is damaged or changes "
                "its form; convert it to WAV to have the rest."
            )
        if silent:
            self.warnings.append(f"{self.name}: {silent:.1f} s without sound inside the file were read as silence.")
        if self._promised is not None and clock + SHORTFALL < self._promised:
            self.warnings.append(
                f"{self.name}: the sound ends at {clock:.1f} s, but the file declares {self._promised:.1f} s; "
                "it may be truncated."
            )

    def close(self) -> None:
        self._container.close()
        self._close_file()


def open_container(name: str, reader: Reader) -> InputContainer:
    """What a reader reads, taken apart; raises `AudioError` for what is no media."""
    import av  # takes 90 ms: not for those who pass arrays
    from av.error import FFmpegError

    formats = ",".join(sorted(av.formats_available - _REDIRECTORS))
    tags: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        container = av.open(
            reader,
            "r",
            container_options={"format_whitelist": formats, "protocol_whitelist": "none"},
            io_open=_refuse,
            **tags,  # PyAV 19 has no such argument, and takes any bytes
        )
    except (FFmpegError, OSError, ValueError, RuntimeError, MemoryError) as error:
        reader.check()
        raise AudioError(f"{name} {unreadable(reader)}.") from error
    reader.check()
    return container


def _refuse(url: str, *_: object) -> Any:
    raise PermissionError(url)


def channels_of(frame: AudioFrame) -> list[NDArray[Any]]:
    """Each channel (N,) as the codec gives it, a view of the frame."""
    from av.audio.plane import AudioPlane

    count = frame.layout.nb_channels
    dtype = _FRAME_TYPES[frame.format.name.removesuffix("p")]
    # frame.planes and frame.to_ndarray() take what lies behind the eighth plane for a ninth
    planes = cast("list[memoryview]", [AudioPlane(frame, i) for i in range(count if frame.format.is_planar else 1)])
    if frame.format.is_planar:
        return [np.frombuffer(plane, dtype, frame.samples) for plane in planes]
    return list(np.frombuffer(planes[0], dtype, frame.samples * count).reshape(-1, count).T)


def silence(num_samples: int, rate: int) -> Pieces:
    """So many zeros, a second at a time."""
    for start in range(0, num_samples, rate):
        yield rate, np.zeros(min(rate, num_samples - start), np.float32)
