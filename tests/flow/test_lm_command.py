"""`sonant lm` as a user runs it."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest

from flow.test_command import run
from sonant.decode.lm import LanguageModel
from unit.ngrams import oracle, write_arpa
from unit.test_lm import SMALL

TEXT = "a night\n\nnight sea a\n"


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_arpa(tmp_path / "m.arpa", SMALL)
    Path("said.txt").write_text(TEXT)


def test_a_model_is_converted_and_questioned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "lm", "convert", "m.arpa", "m.lm") == 0
    assert capsys.readouterr().out == "3-gram model (5, 4 and 2 n-grams) in m.lm\n"
    assert run(monkeypatch, "lm", "query", "m.lm", "said.txt") == 0
    scores = [sum(oracle(SMALL, line.split())) for line in ("a night", "night sea a")]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{scores[0]:.4f}\t0\ta night", f"{scores[1]:.4f}\t1\tnight sea a"]
    assert lines[2].startswith("2 sentences, 5 words, 1 unknown; perplexity 6.01, without")
    assert len(lines) == 3


def test_a_small_model_is_made_of_texts_and_of_other_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "lm", "query", "m.arpa", "said.txt") == 0
    answers = capsys.readouterr().out
    assert run(monkeypatch, "lm", "convert", "m.arpa", "m.lm") == 0
    capsys.readouterr()
    for given, name in (("m.arpa", "a.lm"), ("m.lm", "b.lm")):
        assert run(monkeypatch, "lm", "convert", given, name, "--small") == 0
        assert capsys.readouterr().out == f"3-gram model (5, 4 and 2 n-grams) in {name}\n"
        assert run(monkeypatch, "lm", "query", name, "said.txt") == 0
        assert capsys.readouterr().out == answers
    assert Path("a.lm").read_bytes() == Path("b.lm").read_bytes() != Path("m.lm").read_bytes()
    assert run(monkeypatch, "lm", "build", "said.txt", "--order", "2", "--output", "c.lm", "--small") == 0
    assert run(monkeypatch, "lm", "query", "c.lm", "said.txt", "--totals") == 0
    said = capsys.readouterr().out
    assert said.startswith("2-gram model (6 and 7 n-grams) from 5 words in c.lm\n2 sentences, 5 words, 0 unknown")
    assert LanguageModel("c.lm").native.is_small


def test_json_says_what_each_word_costs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "lm", "query", "m.arpa", "said.txt", "--format", "json") == 0
    first, second, totals = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["scores"] == pytest.approx(oracle(SMALL, ["a", "night"]), abs=1e-4)
    assert (second["text"], second["known"]) == ("night sea a", [True, False, True])
    assert second["score"] == pytest.approx(sum(second["scores"]))
    assert totals["totals"]["words"] == 5


def test_text_comes_from_standard_input_or_packed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "lm", "query", "m.arpa", "said.txt", "--totals") == 0
    wanted = capsys.readouterr().out
    assert wanted.count("\n") == 1
    Path("said.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert run(monkeypatch, "lm", "query", "m.arpa", "said.gz", "--totals") == 0
    assert capsys.readouterr().out == wanted
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.replace("sea", "s\xe9\xe0").encode("latin-1"))))
    assert run(monkeypatch, "lm", "query", "m.arpa", "--totals") == 0
    assert capsys.readouterr().out == wanted


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["convert", "gone.arpa", "m.lm"], "gone.arpa does not exist"),
        (["convert", "m.arpa", "no/m.lm"], "its folder does not exist"),
        (["convert", "m.arpa", "new.arpa"], "named like an ARPA file; name it .lm."),
        (["convert", "said.txt", "m.lm"], "line 4: the file ends, but \\data\\ was expected"),
        (["build", "said.txt", "--arpa", "new.arpa", "--small"], "An ARPA file cannot be small, but new.arpa is one"),
        (["query", "said.txt", "said.txt"], "no language model"),
        (["query", "m.arpa", "gone.txt"], "gone.txt cannot be read (No such file or directory)"),
        (["query", "m.arpa", "cut.gz"], "cut.gz cannot be read"),
    ],
)
def test_wrong_usage_is_code_2_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    Path("cut.gz").write_bytes(gzip.compress(TEXT.encode() * 100)[:-20])
    assert run(monkeypatch, "lm", *words) == 2
    out, err = capsys.readouterr()
    assert "sentences" not in out
    assert part in err
    assert "Traceback" not in err
    assert not Path("m.lm").exists()
