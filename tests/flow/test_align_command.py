"""`sonant align` as a user runs it."""

from __future__ import annotations

import io
import json
from pathlib import Path

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
        (["--output", "words.docx"], "--output must end in .json, .srt"),
        (["--output", "words.srt", "--format", "vtt"], "--output must end in .vtt"),
    ],
)
def test_other_suffixes_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: Path, options: list[str], message: str
) -> None:
    assert run(monkeypatch, "align", "missing.mp3", text, *options) == 2
    assert message in capsys.readouterr().err


def test_texts_that_cannot_be_read_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    assert run(monkeypatch, "align", example, tmp_path / "none.txt") == 2
    assert "none.txt must be a text, but cannot be read" in capsys.readouterr().err
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert run(monkeypatch, "align", example, tmp_path / "latin.txt") == 2
    assert "latin.txt must be UTF-8, but byte 3 is not" in capsys.readouterr().err
    (tmp_path / "long.txt").write_text("seven three nine " * 100)
    assert run(monkeypatch, "align", example, tmp_path / "long.txt") == 2
    assert "too few" in capsys.readouterr().err
