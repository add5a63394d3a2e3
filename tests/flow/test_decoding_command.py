"""Language models, lexicons and hotwords on the command line, and `sonant lm tune`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sonant
from flow.conftest import MODELS, SAID
from flow.test_command import WITHOUT_TORCH, run
from sonant.decode.estimate import estimate_lm

DIGITS = ["ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"]


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sonant.cli.terminal.say_once", lambda key, message: None)
    monkeypatch.chdir(tmp_path)
    lines = [f"{a} {b} {c}" for a, b, c in zip(DIGITS, DIGITS[3:] + DIGITS[:3], DIGITS[7:] + DIGITS[:7], strict=True)]
    Path("digits.txt").write_text("\n".join(lines))
    estimate_lm(["digits.txt"], arpa="digits.arpa", order=2)


@pytest.fixture
def manifest(example: Path) -> Path:
    """The same recording three times: twice whole, once its first half."""
    lines = [
        {"audio_filepath": str(example), "text": SAID, "speaker": "ann"},
        {"audio_filepath": str(example), "text": SAID.lower() + ".", "speaker": "bob"},
        {"audio_filepath": str(example), "offset": 0.0, "duration": 2.0, "text": "seven three", "speaker": "bob"},
    ]
    Path("dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Path("dev.jsonl")


def test_a_language_model_and_a_lexicon_decide(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path
) -> None:
    words = ("transcribe", example, "--lm", "digits.arpa", "--precision", "fp32", "--format", "json")
    assert run(monkeypatch, *words, "--nbest", "3") == 0
    talk = json.loads(capsys.readouterr().out)
    assert talk["text"] == SAID
    assert talk["alternatives"]
    assert (talk["settings"]["decoder"], talk["settings"]["nbest"], talk["settings"]["words"]) == ("beam", 3, 10)
    assert talk["settings"]["lm"].endswith(".lm")
    Path("words.txt").write_text("\n".join(word for word in DIGITS if word != "NINE"))
    assert run(monkeypatch, *words, "--lexicon", "words.txt") == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["words"], settings["lm_weight"]) == (9, 1.0)


def test_a_model_that_must_be_converted_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path
) -> None:
    size = Path("digits.arpa").stat().st_size
    told: list[tuple[float, float | None]] = []
    for _ in range(2):  # the second time it is there
        sonant.load(lm="digits.arpa", lm_progress=lambda done, total: told.append((done, total)))
    assert told == [(size, size)]
    shown: list[tuple[float, float | None]] = []
    monkeypatch.setattr("sonant.cli.terminal.ProgressBar.__call__", lambda bar, *told: shown.append(told))
    Path("digits.arpa").touch()
    assert run(monkeypatch, "transcribe", example, "--lm", "digits.arpa") == 0
    assert shown[0] == (size / 1e6, size / 1e6)
    assert capsys.readouterr().out.strip() == SAID


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--hotword", "NAME=much"], "--hotword must be like NAME=8, but 'NAME=much' was given"),
        (["--hotword", "NAME=inf"], "The boost of the hotword 'NAME' must be a number, but is inf"),
        (["--hotword", "=3"], "A hotword must have letters, but one is empty"),
        (["--hotword", "ÑU"], "A hotword must be spelled with the tokens of the vocabulary, but 'ÑU'"),
        (["--lm", "gone.arpa"], "gone.arpa does not exist"),
        (["--lm", "digits.txt"], "is no language model that can be read"),
        (["--lm", "digits.arpa", "--lexicon", "gone.txt"], "gone.txt cannot be read"),
        (["--lm", "digits.arpa", "--greedy"], "--greedy writes what each frame sounds like"),
        (["--greedy", "--nbest", "2"], "--greedy writes what each frame sounds like"),
    ],
)
def test_odd_decoding_options_are_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, options: list[str], part: str
) -> None:
    assert run(monkeypatch, "transcribe", example, *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert err.count("\n") == 1


def test_a_tuned_model_decodes_with_what_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path, example: Path
) -> None:
    words = ("lm", "tune", manifest, "--lm", "digits.arpa", "--trials", "10", "--precision", "fp32", "--threads", "1")
    assert run(monkeypatch, *words, "--output", "tuned") == 0
    out = capsys.readouterr().out
    assert "3 utterances, 14 words; 95 % intervals over 2 speakers" in out
    rates = {line.split()[0]: float(line.split()[1]) for line in out.splitlines() if "% " in line[:20]}
    assert list(rates) == ["greedy", "before", "after"]
    assert rates["after"] <= rates["greedy"] < 20  # the first half ends within a word
    assert out.splitlines()[-1] == "kept in tuned"
    stored = json.loads(Path("tuned/decoding/sonant.json").read_text())
    asr = sonant.load("tuned", precision="fp32")
    assert isinstance(asr.decoder, sonant.BeamDecoder)
    assert {name: asr.transcribe(example).settings[name] for name in stored["beam"]} == stored["beam"]
    assert asr.decoder.priors == stored["priors"]
    assert sum(stored["priors"].values()) == pytest.approx(1, abs=1e-3)
    assert sonant.load("tuned", precision="fp32", lm=False).decoder.name == "greedy"
    assert run(monkeypatch, "transcribe", example, "--model", "tuned", "--greedy", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["decoder"] == "greedy"

    monkeypatch.setattr("sonant.recognizer.Recognizer.emissions", None)  # the same weights have heard it all
    again = ("--model", "tuned", "--trials", "10", "--precision", "fp32", "--threads", "1", "--closed")
    assert run(monkeypatch, "lm", "tune", manifest, *again) == 0
    stored = json.loads(Path("tuned/decoding/sonant.json").read_text())
    assert stored["beam"]["unknown_penalty"] is None
    assert sonant.load("tuned", precision="fp32").decoder.described["words"] == 10


def test_what_was_heard_is_not_heard_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    words = ("lm", "tune", manifest, "--lm", "digits.arpa", "--dry-run", "--trials", "10", "--beam", "20",
             "--threads", "1", "--format", "json")  # fmt: skip
    assert run(monkeypatch, *words) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["folder"], first["ladder"], len(first["trials"])) == (None, [], 10)
    assert first["settings"]["beam_size"] == 20
    monkeypatch.setattr("sonant.recognizer.Recognizer.emissions", None)
    assert run(monkeypatch, *words) == 0
    assert json.loads(capsys.readouterr().out) == first
    [damaged, _] = sorted(Path("cache/emissions").rglob("*.npy"))  # two utterances are one stretch of one file
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(TypeError):  # heard anew
        run(monkeypatch, *words)


@pytest.mark.parametrize(
    ("line", "options", "part"),
    [
        ("", ["--dry-run"], "is empty"),
        ('{"audio_filepath": "a.wav"}', ["--dry-run"], "1 of 1 have none"),
        ('{"audio_filepath": "a.wav", "text": "a"}', ["--model", "built-in"], "built-in is none of this machine; name"),
        ('{"audio_filepath": "a.wav", "text": "a"}', ["--output", "."], "something is in .; name another"),
        ('{"audio_filepath": "a.wav", "text": "a"}', ["--dry-run"], "a.wav cannot be read"),
        ('{"audio_filepath": "{example}", "text": "."}', ["--dry-run"], "the manifest's texts have none"),
        ('{"audio_filepath": "a.wav", "text": "a"}', ["--dry-run", "--lm", "cat.arpa"], "letter case and language"),
        ('{"audio_filepath": "a.wav", "text": "a"}', ["--dry-run", "--lm", "digits.arpa", "--lexicon", "low.txt"],
         "letter case and language"),
    ],
)  # fmt: skip
def test_nothing_to_tune_on_is_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: Path, line: str, options: list[str],
    part: str,
) -> None:  # fmt: skip
    Path("low.txt").write_text("one\ntwo\n")
    Path("cat.txt").write_text("你 好\n你 吗\n")
    estimate_lm(["cat.txt"], arpa="cat.arpa", order=1)
    Path("dev.jsonl").write_text(line.replace("{example}", str(example)))
    lm = [] if "--lm" in options else ["--lm", "digits.arpa"]
    assert run(monkeypatch, "lm", "tune", "dev.jsonl", *lm, *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err


def test_a_model_without_a_language_model_needs_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    assert run(monkeypatch, "lm", "tune", manifest, "--dry-run") == 2
    assert f"--lm must name a language model, for {MODELS / 'digits'} comes with none" in capsys.readouterr().err


def test_tuning_needs_no_pytorch(manifest: Path) -> None:
    words = ["lm", "tune", str(manifest), "--lm", "digits.arpa", "--dry-run", "--trials", "10", "--threads", "1"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "not kept"


def test_an_evaluation_decodes_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    heard: list[str] = []
    transcribe = sonant.Recognizer.transcribe

    def listen(asr: sonant.Recognizer, *args: object, **options: object) -> sonant.Transcript:
        transcript = transcribe(asr, *args, **options)  # type: ignore[arg-type]
        heard.append(str(transcript.settings["decoder"]))
        return transcript

    monkeypatch.setattr(sonant.Recognizer, "transcribe", listen)
    words = ("evaluate", manifest, "--model", MODELS / "digits", "--precision", "fp32", "--output", "kept")
    assert run(monkeypatch, *words, "--lm", "digits.arpa") == 0
    assert heard == ["beam"] * 2  # two rows are one recording
    assert run(monkeypatch, *words, "--lm", "digits.arpa") == 0  # kept
    assert run(monkeypatch, *words, "--greedy") == 0
    assert heard == ["beam"] * 2 + ["greedy"] * 2
    capsys.readouterr()
    assert run(monkeypatch, *words, "--greedy", "--beam", "5") == 2
    assert "--greedy writes what each frame sounds like" in capsys.readouterr().err
