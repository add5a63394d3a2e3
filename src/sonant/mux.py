"""Subtitles into a video file, beside its pictures and its sound, which are copied as they are."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sonant.audio.media import Reader, open_container
from sonant.errors import AudioError, OptionError
from sonant.files import open_output
from sonant.subtitles import Case, CueSpec, cues_of, in_case
from sonant.subtitles.ass import to_ass
from sonant.subtitles.srt import plain_text
from sonant.subtitles.webvtt import vtt_text
from sonant.text import language_code

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

    from sonant.types import Transcript

MUXED = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that subtitles are put into, by suffix."""
_STYLE = b"""[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
"""What FFmpeg's encoder of mov_text wants to know of the letters."""
_SAMPLES = {
    "matroska": ("srt", b"1\n00:00:00,000 --> 00:00:01,000\n-\n\n"),
    "webm": ("webvtt", b"WEBVTT\n\n00:00.000 --> 00:01.000\n-\n\n"),
}
"""Files of subtitles, by container: FFmpeg has no encoder that would have to make their tracks, and copies them."""
_BASE = Fraction(1, 1000)
_SHORTFALL = 1.0
"""Seconds that a copy may end before the declared end, or that may be missing of a sound, unnoticed."""
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}  # of the container, not of the film


def check_target(source: str | PathLike[str], target: str | PathLike[str], *, karaoke: bool = False) -> str:
    """The container that a target's suffix means; `OptionError` where it is none, or would replace the source.

    With `karaoke` it must be Matroska's.
    """
    kind = MUXED.get(Path(target).suffix.lower())
    if kind is None:
        *most, last = MUXED
        raise OptionError(
            f"Subtitles go into a file that ends in {', '.join(most)} or {last}, but {target} was given; rename it."
        )
    if karaoke and kind != "matroska":
        raise OptionError(
            f"Words light up in .mkv files alone, but {target} was given; rename it, or do without karaoke."
        )
    if Path(source).exists() and Path(target).exists() and Path(source).samefile(target):
        raise OptionError(
            f"The subtitled file must not replace its source, but both are {target}; choose another name."
        )
    return kind


def mux(
    source: str | PathLike[str],
    target: str | PathLike[str],
    transcript: Transcript,
    *,
    case: Case | None = None,
    cues: CueSpec | None = None,
    karaoke: bool = False,
) -> list[str]:
    """Write `source` with a track of subtitles to `target`, whole or not at all; what was left out, as sentences.

    Pictures, sound and other subtitles are copied packet by packet. The track is mov_text in MP4 and MOV, SRT in
    Matroska, or ASS with `karaoke`, WebVTT in WebM, marked with the transcript's language.
    Raises `OptionError` for a target of another kind or that is the source, `AudioError` for a source that cannot be
    read or does not fit the container, and `OutputError` where it cannot be written.
    """
    kind = check_target(source, target, karaoke=karaoke)
    shown = in_case(transcript, case or "sentence")
    try:
        with Path(source).open("rb") as file, open_container(str(source), Reader(str(source), file)) as container:
            origin = Fraction(container.start_time or 0, 1_000_000)  # times of a transcript begin there
            sample = _SAMPLES.get(kind)
            packets = _packets(shown, kind, cues, origin)
            if karaoke:
                sample = ("ass", to_ass(shown, cues, karaoke=True).encode(errors="backslashreplace"))
                packets = _timed_packets(*sample, origin)
            with open_output(target) as output:
                return _write(container, output, kind, deque(packets), sample, shown.language, str(source))
    except FileNotFoundError as error:
        raise AudioError(f"{source} does not exist; check the path and the folder it starts from.") from error
    except IsADirectoryError as error:
        raise AudioError(f"{source} is a folder, but a video was expected; pass the file.") from error


def _write(
    source: InputContainer,
    output: BinaryIO,
    kind: str,
    packets: deque[Any],
    sample: tuple[str, bytes] | None,
    language: str | None,
    name: str,
) -> list[str]:
    """The container with all streams, in the order of their times."""
    import av
    from av.error import FFmpegError
    from av.stream import Disposition

    try:
        container: Any = av.open(output, "w", format=kind)  # its stubs leave much unknown
        with container as target:
            target.metadata.update({key: tag for key, tag in source.metadata.items() if key not in _OWN_TAGS})
            copies, left = _copies(source, target)
            track = _track(target, sample)
            if language:
                track.metadata["language"] = language_code(language)
            if not source.streams.subtitles:
                track.disposition = Disposition.default
            if chapters := source.chapters():
                target.set_chapters(chapters)
            course = _Course()
            for packet in source.demux([source.streams[index] for index in copies]):
                if not packet.size:
                    continue
                time = packet.dts if packet.dts is not None else packet.pts
                while packets and time is not None and packets[0].pts * _BASE <= time * (packet.time_base or _BASE):
                    _mux_one(target, packets.popleft(), track)
                course.follow(packet, time)
                packet.stream = copies[packet.stream.index]
                target.mux_one(packet)
            while packets:
                _mux_one(target, packets.popleft(), track)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, FFmpegError):
            raise
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise AudioError(
            f"{name} cannot be copied into {kind} ({reason}); write an .mkv, which holds nearly everything."
        ) from error
    told = [f"{name}: {what} could not be copied into {kind}." for what in left]
    declared = ((source.start_time or 0) + (source.duration or 0)) / 1e6
    return told + [f"{name}: {lost}; it may be damaged." for lost in course.losses(0.0 if left else declared)]


class _Course:
    """How far a copy is, and what was missing on the way; what is wrong within a packet is not seen."""

    def __init__(self) -> None:
        self._reached = 0.0
        self._ends: dict[int, float] = {}  # of each sound
        self._holes: list[tuple[float, float]] = []
        self._corrupt = 0

    def follow(self, packet: Any, time: int | None) -> None:
        """Take note of a packet that begins at `time`, in its own base."""
        self._corrupt += packet.is_corrupt
        if time is None:
            return
        base = packet.time_base or _BASE
        start, end = float(time * base), float((time + (packet.duration or 0)) * base)
        if packet.stream.type == "audio":  # pictures and subtitles may well have gaps
            before = self._ends.get(packet.stream.index, start)
            if start - before > _SHORTFALL:
                self._holes.append((before, start))
            self._ends[packet.stream.index] = end
        self._reached = max(self._reached, end)

    def losses(self, declared: float) -> Iterator[str]:
        """What is amiss, a clause each; the source says that it lasts `declared` seconds."""
        if self._holes:
            start, end = self._holes[0]
            more = f" and {len(self._holes) - 1} times more" if len(self._holes) > 1 else ""
            yield f"nothing is heard from {start:.1f} to {end:.1f} s{more}"
        if self._corrupt:
            yield f"{self._corrupt} packets are marked as corrupt"
        if self._reached + _SHORTFALL < declared:
            yield f"the copy ends at {self._reached:.1f} s, but the file declares {declared:.1f} s"


def _copies(source: InputContainer, target: Any) -> tuple[dict[int, Stream], list[str]]:
    """A stream of the target for each that is copied, by its index in the source; and what cannot be."""
    copies: dict[int, Stream] = {}
    left: list[str] = []
    for stream in source.streams:
        try:
            if stream.type not in ("video", "audio", "subtitle"):
                raise ValueError(stream.type)
            copy = target.add_stream_from_template(stream)
        except ValueError:
            if stream.type in ("video", "audio"):
                raise
            left.append(f"stream {stream.index} ({stream.type})")
            continue
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        copies[stream.index] = copy
    return copies, left


def _track(target: Any, sample: tuple[str, bytes] | None) -> Stream:
    """A new track like that of a file of subtitles, given by its format and bytes; mov_text where there is none."""
    import av

    if sample is None:
        track = target.add_stream("mov_text")
        track.codec_context.subtitle_header = _STYLE
        return track
    with av.open(io.BytesIO(sample[1]), format=sample[0]) as container:
        return target.add_stream_from_template(container.streams.subtitles[0])


def _mux_one(target: Any, packet: Any, track: Stream) -> None:
    packet.stream = track
    target.mux_one(packet)


def _packets(transcript: Transcript, kind: str, spec: CueSpec | None, origin: Fraction) -> Iterator[Any]:
    """A packet a cue."""
    import av

    for cue in cues_of(transcript.segments, spec, transcript.language, named=kind != "webm"):
        data = (vtt_text(cue) if kind == "webm" else plain_text(cue)).encode(errors="backslashreplace")
        packet = av.Packet(len(data).to_bytes(2, "big") + data if kind in ("mp4", "mov") else data)
        packet.time_base = _BASE
        packet.pts = packet.dts = round((Fraction(cue.start) + origin) * 1000)
        packet.duration = round(cue.end * 1000) - round(cue.start * 1000)
        yield packet


def _timed_packets(format: str, text: bytes, origin: Fraction) -> Iterator[Any]:
    """The packets of a file of subtitles, as FFmpeg cuts it."""
    import av

    opened: Any = av.open(io.BytesIO(text), format=format)  # its stubs leave much unknown
    with opened as container:
        for packet in container.demux(subtitles=0):
            if packet.size:
                start, duration = (
                    value * (packet.time_base or _BASE) for value in (packet.pts or 0, packet.duration or 0)
                )
                packet.time_base = _BASE
                packet.pts = packet.dts = round((start + origin) * 1000)
                packet.duration = round(duration * 1000)
                yield packet
