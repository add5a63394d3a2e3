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
_BASE = Fraction(1, 1000)
_SHORTFALL = 1.0
"""Seconds that a copy may end before the declared end unnoticed."""
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}  # of the container, not of the film


def check_target(source: str | PathLike[str], target: str | PathLike[str]) -> str:
    """The container that a target's suffix means; `OptionError` where it is none, or would replace the source."""
    kind = MUXED.get(Path(target).suffix.lower())
    if kind is None:
        *most, last = MUXED
        raise OptionError(
            f"Subtitles go into a file that ends in {', '.join(most)} or {last}, but {target} was given; rename it."
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
) -> list[str]:
    """Write `source` with a track of subtitles to `target`, whole or not at all; what was left out, as sentences.

    Pictures, sound and other subtitles are copied packet by packet. The track is mov_text in MP4 and MOV, SRT in
    Matroska, WebVTT in WebM, marked with the transcript's language.
    Raises `OptionError` for a target of another kind or that is the source, `AudioError` for a source that cannot be
    read or does not fit the container, and `OutputError` where it cannot be written.
    """
    kind = check_target(source, target)
    shown = in_case(transcript, case or "sentence")
    try:
        with Path(source).open("rb") as file, open_container(str(source), Reader(str(source), file)) as container:
            origin = Fraction(container.start_time or 0, 1_000_000)  # times of a transcript begin there
            packets = deque(_packets(shown, kind, cues, origin))
            with open_output(target) as output:
                return _write(container, output, kind, packets, shown.language, str(source))
    except FileNotFoundError as error:
        raise AudioError(f"{source} does not exist; check the path and the folder it starts from.") from error
    except IsADirectoryError as error:
        raise AudioError(f"{source} is a folder, but a video was expected; pass the file.") from error


def _write(
    source: InputContainer,
    output: BinaryIO,
    kind: str,
    packets: deque[Any],
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
            track = _track(target, kind)
            if language:
                track.metadata["language"] = language_code(language)
            if not source.streams.subtitles:
                track.disposition = Disposition.default
            if chapters := source.chapters():
                target.set_chapters(chapters)
            reached = 0.0
            for packet in source.demux([source.streams[index] for index in copies]):
                if not packet.size:
                    continue
                time = packet.dts if packet.dts is not None else packet.pts
                while packets and time is not None and packets[0].pts * _BASE <= time * (packet.time_base or _BASE):
                    _mux_one(target, packets.popleft(), track)
                if time is not None:
                    reached = max(reached, float((time + (packet.duration or 0)) * (packet.time_base or _BASE)))
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
    if not left and reached + _SHORTFALL < declared:
        told.append(
            f"{name}: the copy ends at {reached:.1f} s, but the file declares {declared:.1f} s; it may be damaged."
        )
    return told


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


def _track(target: Any, kind: str) -> Stream:
    """A new track; SRT and WebVTT have no encoder that would have to make it, and are taken from a file of theirs."""
    import av

    if kind in ("mp4", "mov"):
        track = target.add_stream("mov_text")
        track.codec_context.subtitle_header = _STYLE
        return track
    text = b"WEBVTT\n\n00:00.000 --> 00:01.000\n-\n\n" if kind == "webm" else b"1\n00:00:00,000 --> 00:00:01,000\n-\n\n"
    with av.open(io.BytesIO(text), format="webvtt" if kind == "webm" else "srt") as container:
        return target.add_stream_from_template(container.streams.subtitles[0])


def _mux_one(target: Any, packet: Any, track: Stream) -> None:
    packet.stream = track
    target.mux_one(packet)


def _packets(transcript: Transcript, kind: str, spec: CueSpec | None, origin: Fraction) -> Iterator[Any]:
    """A packet a cue."""
    import av

    for cue in cues_of(transcript.segments, spec, transcript.language):
        data = (vtt_text(cue) if kind == "webm" else plain_text(cue)).encode(errors="backslashreplace")
        packet = av.Packet(len(data).to_bytes(2, "big") + data if kind in ("mp4", "mov") else data)
        packet.time_base = _BASE
        packet.pts = packet.dts = round((Fraction(cue.start) + origin) * 1000)
        packet.duration = round(cue.end * 1000) - round(cue.start * 1000)
        yield packet
