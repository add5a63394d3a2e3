"""Subtitles into videos: what was there is copied byte for byte, the track reads back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from sonant import AudioError, OptionError, OutputError, Transcript, subtitles
from sonant.mux import mux
from unit.media import tone, write_media
from unit.talks import SPEECH, talk

TALK = talk(SPEECH, "<b> {x} & I", language="en", pace=0.02)


def video(path: Path, **more: object) -> Path:
    codec = {".webm": "libopus", ".mkv": "flac"}.get(path.suffix, "aac")
    if path.suffix == ".webm":
        return write_media(path, tone(4, 48_000), 48_000, codec=codec)
    return write_media(path, tone(4), codec=codec, video=4.0, **more)  # pyright: ignore[reportArgumentType]


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [bytes(packet) for packet in container.demux(streams) if streams and packet.size]


def shown(path: Path) -> list[tuple[float, float, str]]:
    """The cues of the last subtitle track, by FFmpeg's own decoder."""
    found: list[tuple[float, float, str]] = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.subtitles[-1]):
            start = float((packet.pts or 0) * packet.time_base - (container.start_time or 0) / av.time_base)
            for rect in packet.decode() if packet.size else []:
                text = (
                    rect.ass.decode().split(",", 8)[8].replace("\\{{}", "{").replace("\u2060", "").replace("\\N", "\n")
                )
                text = text.replace("｛", "{").replace("｝", "}")
                found.append((start, start + float(packet.duration * packet.time_base), text))
    return found


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_streams_are_copied_and_cues_read_back(name: str, tmp_path: Path) -> None:
    source = video(tmp_path / f"source{Path(name).suffix}")
    before = source.read_bytes()
    target = tmp_path / name
    assert mux(source, target, TALK) == []
    assert source.read_bytes() == before
    for kind in ("video", "audio"):
        assert packets(target, kind) == packets(source, kind)
    with av.open(str(target)) as container:
        [track] = container.streams.subtitles
        assert track.metadata["language"] == "eng"
        assert (
            track.codec_context.name == {"mp4": "mov_text", "mov": "mov_text", "mkv": "srt", "webm": "webvtt"}[name[2:]]
        )
    cues = list(subtitles.cues_of(subtitles.in_case(TALK, "sentence").segments, None, "en"))
    assert len(cues) > 2
    for (start, end, text), cue in zip(shown(target), cues, strict=True):
        assert (start, end) == pytest.approx((cue.start, cue.end), abs=0.08)  # an encoder's first samples come before 0
        assert text == "\n".join(cue.texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({source.name, name})


def test_the_times_are_those_of_the_sound_where_a_file_begins_late(tmp_path: Path) -> None:
    source = write_media(
        tmp_path / "late.ts", tone(4), codec="mp2", format="mpegts", video=4.0, options={"output_ts_offset": "2"}
    )
    with av.open(str(source)) as container:
        assert container.start_time > av.time_base
    assert mux(source, tmp_path / "late.mkv", TALK) == []
    [first, *_] = shown(tmp_path / "late.mkv")
    assert first[0] == pytest.approx(0.25, abs=0.03)


def test_a_second_track_stands_beside_the_first(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mkv")
    mux(source, tmp_path / "b.mkv", TALK)
    mux(tmp_path / "b.mkv", tmp_path / "c.mkv", talk("SEVEN", language="tlh"))
    with av.open(str(tmp_path / "c.mkv")) as container:
        assert [track.metadata["language"] for track in container.streams.subtitles] == ["eng", "tlh"]
    assert [text for _, _, text in shown(tmp_path / "c.mkv")] == ["Seven"]
    # SRT cannot lie in an MP4: it is left out and told, all else is there
    [line] = mux(tmp_path / "b.mkv", tmp_path / "c.mp4", TALK)
    assert str(tmp_path / "b.mkv") in line
    assert line.endswith("(subtitle) could not be copied into mp4.")
    assert len(shown(tmp_path / "c.mp4")) == len(shown(tmp_path / "b.mkv"))
    assert packets(tmp_path / "c.mp4", "video") == packets(source, "video")


@pytest.mark.parametrize("text", [SPEECH, "שלום עולם זה טקסט"])
def test_words_light_up_in_matroska(text: str, tmp_path: Path) -> None:
    source = write_media(
        tmp_path / "late.ts", tone(4), codec="mp2", format="mpegts", video=4.0, options={"output_ts_offset": "2"}
    )
    said = talk(text, "<b> {x} & I", language="en", pace=0.02)
    assert mux(source, tmp_path / "b.mkv", said, karaoke=True) == []
    for kind in ("video", "audio"):
        assert packets(tmp_path / "b.mkv", kind) == packets(source, kind)
    whole = subtitles.to_ass(subtitles.in_case(said, "sentence"), karaoke=True)
    events = [line.split(",", 9) for line in whole.splitlines() if line.startswith("Dialogue")]
    with av.open(str(tmp_path / "b.mkv")) as container:
        [track] = container.streams.subtitles
        assert track.codec_context.codec.canonical_name == "ass"
        assert track.metadata["language"] == "eng"
        assert bytes(track.codec_context.extradata or b"").decode().split() == whole[: whole.index("Dialogue")].split()
        found = [packet for packet in container.demux(track) if packet.size]
        assert [bytes(packet).decode().split(",", 8)[8] for packet in found] == [event[9] for event in events]
        first = float(found[0].pts * found[0].time_base) - container.start_time / av.time_base
    assert first == pytest.approx(said.segments[0].start, abs=0.03)
    assert "{\\k" in events[0][9]


def test_no_words_give_an_empty_track(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    mux(source, tmp_path / "b.mp4", Transcript((), 4.0))
    assert shown(tmp_path / "b.mp4") == []
    assert packets(tmp_path / "b.mp4", "video") == packets(source, "video")
    mux(source, tmp_path / "b.mkv", Transcript((), 4.0), karaoke=True)
    assert shown(tmp_path / "b.mkv") == []


def test_what_cannot_be_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    cases: list[tuple[type[Exception], Path, Path, str]] = [
        (OptionError, source, tmp_path / "b.avi", "ends in .mp4"),
        (OptionError, source, tmp_path / "a.mp4", "must not replace its source"),
        (OptionError, source, tmp_path / ".." / tmp_path.name / "a.mp4", "must not replace its source"),
        (AudioError, tmp_path / "none.mp4", tmp_path / "b.mp4", "does not exist"),
        (AudioError, tmp_path, tmp_path / "b.mp4", "is a folder"),
        (AudioError, tmp_path / "text.mp4", tmp_path / "b.mp4", "is not audio or video"),
        (AudioError, source, tmp_path / "b.webm", "cannot be copied into webm .*aac"),
        (OutputError, source, tmp_path / "none" / "b.mp4", "folder does not exist"),
    ]
    with pytest.raises(OptionError, match=r"light up in \.mkv files alone, but .*b\.webm"):
        mux(source, tmp_path / "b.webm", TALK, karaoke=True)
    for error, given, target, said in cases:
        with pytest.raises(error, match=said):
            mux(given, target, TALK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "text.mp4"]


def test_what_is_left_of_a_damaged_source_is_copied_and_told(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mkv")
    data = bytearray(source.read_bytes())
    whole = packets(source, "video")
    data[len(data) // 2 :] = np.random.default_rng(0).bytes(len(data) - len(data) // 2)
    source.write_bytes(data)
    [line] = mux(source, tmp_path / "b.mkv", Transcript((), 4.0))
    assert "the copy ends at" in line
    copied = packets(tmp_path / "b.mkv", "video")
    assert 10 < len(copied) < len(whole)
    assert copied == whole[: len(copied)]


def test_what_is_lost_in_the_middle_is_told(tmp_path: Path) -> None:
    source = write_media(tmp_path / "a.ts", tone(8), codec="mp2", format="mpegts", video=8.0)
    data = source.read_bytes()
    third = len(data) // 3 // 188 * 188
    source.write_bytes(data[:third] + data[2 * third :])
    told = mux(source, tmp_path / "b.mkv", Transcript((), 8.0))
    assert any("nothing is heard from 2." in line for line in told), told
    data = bytearray(write_media(tmp_path / "a.mkv", tone(24), codec="flac", video=24.0).read_bytes())
    data[len(data) // 3 : 2 * len(data) // 3] = bytes(2 * len(data) // 3 - len(data) // 3)
    (tmp_path / "a.mkv").write_bytes(data)
    told = mux(tmp_path / "a.mkv", tmp_path / "b.mkv", Transcript((), 24.0))
    assert any("nothing is heard from" in line for line in told), told


def test_a_source_cut_short_leaves_the_old_target(tmp_path: Path) -> None:
    source, target = video(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    source.write_bytes(source.read_bytes()[:-300])
    target.write_text("old")
    with pytest.raises(AudioError, match="index is missing or damaged"):
        mux(source, target, TALK)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
