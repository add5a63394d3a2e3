"""`sonant align` as a user runs it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import pytest

import sonant
from flow.test_command import run
from sonant import subtitles

TEXT = "Seven, three!\nNine: ONE.\nFive… eight?\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "said.txt"
    path.write_text(TEXT, encoding="utf-8-sig")
    return path


def test_lines_become_segments_in_json(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asr: sonant.Recognizer,
    example: Path,
    text: Path,
) -> None:
    assert run(monkeypatch, "align", example, text, "--precision", "fp32") == 0
    out, err = capsys.readouterr()
    assert "not heard" not in err
    tree = json.loads(out)
    assert [segment["text"] for segment in tree["segments"]] == TEXT.splitlines()
    assert tree["settings"]["status"] == "exact"
    assert tree["duration"] == pytest.approx(asr.emissions(example).duration, abs=0.001)
    starts = [word["start"] for segment in tree["segments"] for word in segment["words"]]
    assert starts == [pytest.approx(word.start, abs=0.001) for word in asr.align(example, TEXT)]


@pytest.mark.parametrize("format", ["srt", "vtt", "ass", "tsv", "ctm", "textgrid"])
def test_every_format_holds_the_words_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: Path,
    text: Path,
    tmp_path: Path,
    format: str,
) -> None:
    target = tmp_path / f"out.{format}"
    options = ["--precision", "fp32", "--format", format]
    assert run(monkeypatch, "align", example, text, "--output", target, *options) == 0
    assert " ".join(subtitles.read(target).text.split()) == " ".join(TEXT.split())
    assert run(monkeypatch, "align", example, text, *options) == 0
    assert capsys.readouterr().out == target.read_text(encoding="utf-8")


def test_what_does_not_fit_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("seven three zero zero nine\neight"))
    assert run(monkeypatch, "align", example, "-", "--precision", "fp32", "--fast", "--format", "srt") == 1
    out, err = capsys.readouterr()
    assert "zero" in out
    assert "more than a fifth of the words are not heard" in err
    assert "2 of 6 words are not heard: “zero” near" in err
    assert "The text lacks what is said at" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "words.docx"], "--output must end in .txt, .json, .srt"),
        (["--output", "words.srt", "--format", "vtt"], "--output must end in .vtt"),
        (["--output", "none/words.srt"], "--output must lie in a folder that exists, but none does not"),
        (["other.mp3"], "missing.mp3 must have one text, a .txt of its name, but none is there"),
        (["--output", "said.txt"], "said.txt would be overwritten by what was found"),
        (["--format", "srt", "--min-duration", "9"], "The shortest cue must not be longer than the longest"),
        (["--mux", "words.avi"], "Subtitles go into a file that ends in .mp4"),
    ],
)
def test_other_suffixes_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: Path, options: list[str], message: str
) -> None:
    monkeypatch.chdir(text.parent)
    assert run(monkeypatch, "align", "missing.mp3", text, *options) == 2
    assert message in capsys.readouterr().err


def test_words_that_match_any_sound_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("seven three % one\nfive eight"))
    assert run(monkeypatch, "align", example, "-", "--precision", "fp32", "--max-memory", "0") == 0
    assert "1 of 6 words cannot be spelled in the model's letters and match any sound: “%”;" in capsys.readouterr().err


def test_subtitles_have_the_form_and_the_case_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, text: Path
) -> None:
    options = ["--precision", "fp32", "--format", "vtt", "--width", "8", "--lines", "1", "--case", "upper"]
    assert run(monkeypatch, "align", example, text, *options, "--karaoke") == 0
    out = capsys.readouterr().out
    talk = subtitles.from_vtt(out)
    assert " ".join(talk.text.split()) == " ".join(TEXT.upper().split())
    assert len(talk.segments) == 6
    assert out.count("<00:") >= 6  # a word alone begins with its cue, and has its end marked
    assert run(monkeypatch, "align", example, text, "--precision", "fp32", "--format", "text") == 0
    assert capsys.readouterr().out == TEXT


def test_several_recordings_go_with_the_texts_of_their_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, text: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.ogg").write_bytes(example.read_bytes())
        (folder / f"{name}.txt").write_text(TEXT, encoding="utf-8")
    (folder / "broken.ogg").write_bytes(example.read_bytes()[:50])
    (folder / "broken.txt").write_text(TEXT, encoding="utf-8")
    files = sorted(folder.iterdir())
    assert run(monkeypatch, "align", *files, "--precision", "fp32") == 1
    out, err = capsys.readouterr()
    trees = [json.loads(line) for line in out.splitlines()]
    assert [Path(tree["source"]).name for tree in trees] == ["a.ogg", "b.ogg"]
    assert err.count("broken.ogg") == 1
    sounds = [folder / "a.ogg", folder / "b.ogg"]  # the texts beside them
    assert run(monkeypatch, "align", *sounds, "--output", tmp_path / "out", "--format", "srt", "--fast") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.srt", "b.srt"]
    assert run(monkeypatch, "align", *sounds, "--output", tmp_path / "out.srt") == 2
    assert "--output must be a folder for 2 recordings" in capsys.readouterr().err
    assert run(monkeypatch, "align", folder / "a.ogg", folder / "a.txt", folder / "b.txt") == 2
    assert "b.txt must belong to a recording of its name" in capsys.readouterr().err


def test_subtitles_go_into_the_video(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, text: Path, tmp_path: Path
) -> None:
    target = tmp_path / "video.mkv"
    assert run(monkeypatch, "align", example, text, "--precision", "fp32", "--mux", target) == 0
    assert capsys.readouterr().out == ""
    with av.open(str(target)) as container:
        lines = [bytes(packet).decode() for packet in container.demux(subtitles=0) if packet.size]
    assert " ".join("\n".join(lines).split()) == " ".join(TEXT.split())
    assert run(monkeypatch, "align", example, text, "--precision", "fp32", "--mux", target, "--karaoke") == 0
    with av.open(str(target)) as container:
        assert all(b"{\\k" in bytes(packet) for packet in container.demux(subtitles=0) if packet.size)
    options = ["--mux", tmp_path / "video.mp4", "--karaoke"]
    assert run(monkeypatch, "align", example, text, *options) == 2
    assert "Words light up in .mkv files alone" in capsys.readouterr().err


def test_texts_that_cannot_be_read_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    assert run(monkeypatch, "align", example, tmp_path / "none.txt") == 1
    assert "none.txt must be a text, but cannot be read" in capsys.readouterr().err
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert run(monkeypatch, "align", example, tmp_path / "latin.txt") == 1
    assert "latin.txt must be UTF-8, but byte 3 is not" in capsys.readouterr().err
    (tmp_path / "long.txt").write_text("seven three nine " * 100)
    assert run(monkeypatch, "align", example, tmp_path / "long.txt") == 1
    assert "too few" in capsys.readouterr().err
