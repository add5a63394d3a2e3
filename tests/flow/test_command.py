"""`sonant transcribe` as a user runs it: output, messages and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.conftest import SAID
from sonant import cli, subtitles
from sonant.cli import terminal

WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchaudio", "transformers"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from sonant.cli import main
main()
"""


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of a command run in this process."""
    monkeypatch.setattr(sys, "argv", ["sonant", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def test_a_transcript_is_printed_without_pytorch(example: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "transcribe", str(example)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, SAID + "\n"), done.stderr
    assert len(done.stderr.splitlines()) == 1  # the model's note
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.stdout, again.stderr) == (SAID + "\n", "")


def test_several_files_are_named_and_a_bad_one_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio")
    missing = tmp_path / "missing.mp3"
    assert run(monkeypatch, "transcribe", bad, example, missing, example) == 1
    out, err = capsys.readouterr()
    assert out == f"==> {example} <==\n{SAID}\n\n==> {example} <==\n{SAID}\n"
    complaints = [line for line in err.splitlines() if "built-in model" not in line]
    assert [name in line for name, line in zip(("bad.wav", "missing.mp3"), complaints, strict=True)] == [True, True]


def test_json_is_a_line_a_file_and_reads_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path
) -> None:
    assert run(monkeypatch, "transcribe", example, example, "--format", "json", "--precision", "fp32") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [SAID, SAID]
    talk = subtitles.from_json(lines[0])
    assert talk.text == SAID
    assert talk.settings["precision"] == "fp32"


def test_subtitles_are_printed_in_the_form_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path
) -> None:
    words = ["--width", "20", "--lines", 1, "--max-duration", 3, "--reading-speed", 15, "--gap", 0.1]
    assert run(monkeypatch, "transcribe", example, "--format", "srt", *words, "--precision", "fp32") == 0
    talk = subtitles.from_srt(capsys.readouterr().out)
    assert talk.text.lower() == SAID.lower()
    assert talk.text[0] == "S"
    assert all(len(part.text) <= 20 and part.end - part.start <= 3 for part in talk.segments)
    assert run(monkeypatch, "transcribe", example, "--format", "vtt", "--karaoke", "--case", "lower") == 0
    talk = subtitles.from_vtt(capsys.readouterr().out)
    assert (talk.text, len({word.start for word in talk.words})) == (SAID.lower(), 6)


def test_a_video_is_copied_with_subtitles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    video = tmp_path / "subtitled.mkv"
    assert run(monkeypatch, "transcribe", example, "--mux", video, "--output", tmp_path, "--format", "srt") == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "digits.srt").exists()
    assert video.stat().st_size > example.stat().st_size
    assert run(monkeypatch, "transcribe", video) == 0
    assert capsys.readouterr().out == SAID + "\n"


def test_outputs_go_to_a_folder_each_under_its_own_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    samples = tmp_path / "digits.wav"
    write_wave(samples, sonant.audio.read(example))
    folder = tmp_path / "texts"
    assert run(monkeypatch, "transcribe", example, samples, "--output", folder) == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "digits.ogg.txt": SAID + "\n",
        "digits.wav.txt": SAID + "\n",
    }
    assert capsys.readouterr().out == ""


def test_a_folder_that_cannot_be_written_is_known_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert run(monkeypatch, "transcribe", example, "--output", tmp_path) == 2
    assert "No space left" in capsys.readouterr().err


def test_two_inputs_of_one_name_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path
) -> None:
    assert run(monkeypatch, "transcribe", example, tmp_path / example.name, "--output", tmp_path / "texts") == 2
    assert "a name of its own" in capsys.readouterr().err
    assert not (tmp_path / "texts").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--model", "no/such/folder/anywhere"], "no/such/folder/anywhere"),
        (["--precision", "fp64"], "fp64"),
        (["--engine", "abacus"], "abacus"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--threads", "0"], "--threads"),
        (["--format", "docx"], "docx"),
        (["--format", "srt", "--gap", "-1"], "gap"),
        (["--format", "srt", "--min-duration", "9"], "shortest"),
        (["--format", "srt", "another.wav"], "--output FOLDER"),
        (["--mux", "talk.avi"], "talk.avi"),
        (["--mux", "talk.mp4", "another.wav"], "--mux"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_is_code_2_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, words: list[str], part: str
) -> None:
    assert run(monkeypatch, "transcribe", example, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "no samples", "one sample", "NaN"])
def test_an_input_that_cannot_be_heard_is_one_sentence_and_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str
) -> None:
    monkeypatch.setattr("sonant.cli.terminal.say_once", lambda key, message: None)
    path = tmp_path / "talk.wav"
    if kind == "folder":
        path.mkdir()
    elif kind in {"empty", "text"}:
        path.write_text("" if kind == "empty" else "Four score and seven years ago\n" * 99)
    elif kind != "missing":
        samples = {"no samples": [], "one sample": [0.5], "NaN": [0.1] * 9000 + [float("nan")]}[kind]
        write_wave(path, np.array(samples, np.float32))
    assert run(monkeypatch, "transcribe", path) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("sonant: ")
    assert "talk.wav" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_standard_output_is_one_sentence(example: Path) -> None:
    command = [sys.executable, "-m", "sonant", "transcribe", str(example), str(example)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [  # after the model's note
        "sonant: Standard output could not be written (No space left on device); make room, or choose another place."
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_name_that_is_no_text_is_printed_escaped(example: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd\udcff.ogg"
    odd.write_bytes(example.read_bytes())
    command = [sys.executable, "-m", "sonant", "transcribe", "--format", "json", str(odd)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == str(odd)  # the escape is JSON's own


def test_a_user_without_a_home_is_told_each_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(_: object) -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("SONANT_CACHE")
    monkeypatch.setattr(Path, "home", classmethod(away))
    terminal.say_once("key", "a note")
    terminal.say_once("key", "a note")
    assert capsys.readouterr().err == "sonant: a note\n" * 2


def test_the_version_and_the_verbs_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--version") == 0
    assert run(monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    assert f"sonant {sonant.__version__}" in out
    assert all(verb in out for verb in cli.VERBS)


def write_wave(path: Path, samples: np.ndarray) -> None:
    """A WAV of 32-bit floats at 16 kHz, which may hold what integers cannot."""
    data = samples.astype("<f4").tobytes()
    form = (
        np.array([3, 1], "<u2").tobytes()
        + np.array([16000, 64000], "<u4").tobytes()
        + np.array([4, 32], "<u2").tobytes()
    )
    chunks = b"WAVEfmt " + np.array(16, "<u4").tobytes() + form + b"data" + np.array(len(data), "<u4").tobytes() + data
    path.write_bytes(b"RIFF" + np.array(len(chunks), "<u4").tobytes() + chunks)
