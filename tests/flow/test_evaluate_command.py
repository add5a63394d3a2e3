"""`sonant evaluate` as a user runs it, on the example recording."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

import sonant
from flow.conftest import MODELS, SAID
from flow.test_command import WITHOUT_TORCH, run
from sonant.cli import scores
from sonant.decode.words import timed
from sonant.train.scores import Evaluation, Scored


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sonant.cli.terminal.say_once", lambda key, message: None)
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def manifest(tmp_path: Path, example: Path) -> Path:
    """Three utterances: heard rightly, a word said wrong, and two words too many."""
    said = SAID.capitalize()
    lines: list[dict[str, Any]] = [
        {"audio_filepath": str(example), "text": f"{said}.", "speaker": "ann"},
        {"audio_filepath": str(example), "text": said.replace("ONE", "two").replace("one", "two"), "speaker": "bob"},
        {"audio_filepath": str(example), "text": f"and {said} then", "speaker": "bob", "room": "hall"},
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_rates_groups_and_the_worst_are_printed_without_pytorch(manifest: Path, example: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "evaluate", str(manifest), "--by", "speaker", "--precision", "fp32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert "compared without letter case and punctuation; intervals over 2 speakers" in done.stdout
    assert [str(MODELS / "digits"), "3", "20", "15.00", "%", "0.0", "-", "21.4", "1", "2", "0"] in [
        row[:11] for row in rows
    ]
    assert [row[:4] for row in rows if row[:1] in (["ann"], ["bob"])] == [
        ["bob", "2", "14", "21.43"],
        ["ann", "1", "6", "0.00"],
    ]
    assert ["two", "one", "1"] in rows
    assert ["said", "and", *SAID.lower().split(), "then"] in rows
    assert ["D", "D"] in rows
    assert f"{example}: 2 errors in 8 words" in done.stdout


def test_lines_and_a_summary_are_kept_and_nothing_is_heard_twice(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out" / "deep"
    words = ("evaluate", manifest, "--output", folder, "--format", "json", "--precision", "fp32")
    assert run(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", "heard.jsonl"]
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(printed)
    assert json.loads(printed)["wer"]["substitutions"] == 1
    monkeypatch.setattr("sonant.recognizer.Recognizer.transcribe", None)
    assert run(monkeypatch, *words) == 0
    assert capsys.readouterr().out == printed
    assert run(monkeypatch, *words, "--raw") == 0  # what was heard holds for other rules, too
    assert json.loads(capsys.readouterr().out)["wer"]["value"] > 0.9


def test_two_models_are_compared(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "evaluate", manifest, "--against", MODELS / "digits", "--output", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "WER: +0.00 points (+0.00 to +0.00); p = 1 by paired bootstrap, 1 by matched pairs" in out
    assert (tmp_path / "out" / "against.jsonl").read_bytes() == (tmp_path / "out" / "heard.jsonl").read_bytes()
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (result["comparison"]["utterances"], result["comparison"]["wer"]["value"]) == (3, 0)


def test_audio_that_cannot_be_heard_is_code_1(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with manifest.open("a") as file:
        file.write('{"audio_filepath": "missing.wav", "text": "one"}\n')
    assert run(monkeypatch, "evaluate", manifest) == 1
    out, err = capsys.readouterr()
    assert "3 utterances" in out
    assert "1 more not heard" in out
    assert err.count("\n") == 1
    assert "missing.wav does not exist" in err


@pytest.mark.parametrize(
    ("line", "options", "part"),
    [
        ("", [], "is empty"),
        ('{"audio_filepath": "a.wav"}', [], "1 of 1 have none"),
        ('{"audio_filepath": "a.wav", "text": "a", "room": 1}', ["--by", "speaker"], "none of those it has: room"),
        (
            '{"audio_filepath": "a.wav", "text": "a"}',
            ["--output", "{manifest}"],
            "must be a folder that can be written",
        ),
        ('{"audio_filepath": "a.wav", "text": "a"}', ["--model", "no/such/model/here"], "no/such/model/here"),
    ],
)
def test_wrong_usage_is_code_2_and_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    options: list[str],
    part: str,
) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(line)
    assert run(monkeypatch, "evaluate", path, *[option.format(manifest=path) for option in options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert err.count("\n") == 1


def test_the_manifest_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "heard.jsonl"
    path.write_text('{"audio_filepath": "a.wav", "text": "a"}\n')
    assert run(monkeypatch, "evaluate", path, "--output", tmp_path) == 2
    assert "would write over" in capsys.readouterr().err


def shown(evaluation: Evaluation, width: int, worst: int = 1) -> str:
    """What is printed of an evaluation's worst utterances on a coloured terminal."""
    report = scores.Report(worst=worst, confusions=0)
    report.console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard")
    report.print([evaluation], None, [])
    return report.console.file.getvalue()


def test_errors_are_aligned_marked_and_coloured() -> None:
    wrong = Scored(0, "a.wav", "the [red] cat 你好 sat", "the bed cat on 你 today", 1.0)
    lines = shown(Evaluation("model", (wrong,)), 100).splitlines()[-3:]
    yellow, magenta, end = "\x1b[33m", "\x1b[35m", "\x1b[0m"
    assert lines == [
        f"said   the {yellow}[red]{end} cat    {yellow}你好{end} {yellow}sat{end}",
        f"heard  the {yellow}bed{end}   cat {magenta}on{end} {yellow}你{end}   {yellow}today{end}",
        f"           {yellow}S{end}         {magenta}I{end}  {yellow}S{end}    {yellow}S{end}",
    ]


def test_long_utterances_are_broken_within_the_terminal() -> None:
    words = [f"word{i}" for i in range(40)]
    wrong = Scored(0, "a.wav", " ".join(words), " ".join(words[::2]), 1.0)
    text = shown(Evaluation("model", (wrong,)), 50).split("a.wav: 20 errors in 40 words")[1]
    lines = [Text.from_ansi(line).plain for line in text.splitlines()[1:]]
    assert max(map(len, lines)) <= 50
    assert " ".join(line[7:] for line in lines[::3]).split() == words
    assert " ".join(line[7:] for line in lines[1::3]).split() == words[::2]
    for said, kinds in zip(lines[::3], lines[2::3], strict=True):
        assert [said[i:].split()[0] for i, kind in enumerate(kinds) if kind == "D"] == [
            word for word in said[7:].split() if word in words[1::2]
        ]


def test_the_times_of_words_are_judged_and_kept_with_the_model(
    manifest: Path, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, known = tmp_path / "model", tmp_path / "known"
    shutil.copytree(MODELS / "digits", model)
    known.mkdir()
    transcript = sonant.load(model, precision="fp32").transcribe(example)
    wider = timed(transcript.words, sonant.WordTimes(reach=0.02))
    sonant.Transcript((sonant.Segment(tuple(wider)),), duration=5.0).save(known / "digits.TextGrid")
    command = ("evaluate", manifest, "--model", model, "--alignments", known, "--precision", "fp32")
    assert run(monkeypatch, *command, "--save-times", "--output", tmp_path / "out", "--format", "json") == 0
    printed, told = capsys.readouterr()
    found = json.loads(printed)
    assert json.loads((tmp_path / "out" / "word_times.json").read_text()) == found
    assert (found["utterances"], found["times"]["stored"]) == (3, {"offset": 0.0, "reach": 0.0})
    assert found["times"]["estimated"]["reach"] == pytest.approx(0.02, abs=0.011)
    assert set(found["by"]["speaker"]) == {"ann", "bob"}
    assert f"kept in {model / 'config.json'}" in told
    assert sonant.load(model).checkpoint.word_times == sonant.WordTimes(**found["times"]["estimated"])

    assert run(monkeypatch, *command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("3 utterances, 17 words with known times")
    assert sum(line.startswith("as the model says") for line in lines) == 3
    assert lines[-1].startswith("estimated on all: offset")


def test_times_that_cannot_be_judged_or_kept_are_one_sentence(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for words, sentence in (
        (("--save-times",), "--save-times keeps what is found by --alignments"),
        (("--alignments", tmp_path / "none"), "must be a folder of TextGrids"),
        (("--alignments", tmp_path / "empty"), "has none for this manifest"),
        (("--alignments", tmp_path / "empty", "--beam", "5"), "which no decoder changes"),
        (("--alignments", tmp_path / "empty", "--save-times", "--model", "a/b"), "make one of it by sonant convert"),
    ):
        assert run(monkeypatch, "evaluate", manifest, *words) == 2
        assert sentence in capsys.readouterr().err
