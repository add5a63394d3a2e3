"""`sonant lm build` as a user runs it: text in, a model out that `sonant lm query` reads."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest

from flow.test_command import run
from sonant.decode.lm import open_lm
from unit import kneser_ney as oracle
from unit.test_estimate import random_text

LN_10 = 2.302585092994046


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def test_from_text_to_scores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = random_text(6000, 1500)
    Path("text.gz").write_bytes(gzip.compress(text.encode()))
    Path("words").write_text("\n".join(f"w{n}" for n in range(600)))
    options = ["--order", "3", "--prune", "0,0,1", "--vocabulary", "words", "--memory", "64M", "--temp", "."]
    assert run(monkeypatch, "lm", "build", "text.gz", *options, "--output", "lm.bin", "--arpa", "lm.arpa") == 0
    said = capsys.readouterr()
    sentences = [line.split() for line in text.splitlines()]
    model = oracle.estimate(sentences, 3, [0, 0, 1], {f"w{n}" for n in range(600)})
    counts = [f"{sum(len(gram) == k for gram in model):,}" for k in (1, 2, 3)]
    listed = f"{counts[0]}, {counts[1]} and {counts[2]} n-grams"
    assert said.out == f"3-gram model ({listed}) from 6,000 words in lm.bin and lm.arpa\n"
    assert said.err == ""
    own, converted = open_lm("lm.bin"), open_lm("lm.arpa")
    assert own.counts == converted.counts
    for sentence in sentences[:50]:
        expected = [oracle.score(model, context, word) * LN_10 for context, word in steps(sentence, model)]
        assert own.score(sentence).scores == pytest.approx(expected, abs=1e-4)
        assert converted.score(sentence).scores == pytest.approx(expected, abs=1e-4)
    assert sorted(path.name for path in Path().iterdir()) == ["cache", "lm.arpa", "lm.bin", "text.gz", "words"]


def steps(sentence: list[str], model: oracle.Model) -> list[tuple[oracle.Gram, str]]:
    """Each word and the end after their contexts, unknown words by their mark."""
    words = ["<s>", *(word if (word,) in model else "<unk>" for word in sentence), "</s>"]
    return [(tuple(words[max(0, i - 2) : i]), words[i]) for i in range(1, len(words))]


def test_standard_input_and_notes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("more").write_text("b <s> a\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"a b\n"))))
    assert run(monkeypatch, "lm", "build", "-", "more", "--order", "2", "--skip-marks", "--arpa", "lm.arpa") == 0
    said = capsys.readouterr()
    assert said.out == "2-gram model (5 and 6 n-grams) from 4 words in lm.arpa\n"
    assert [line.split()[1] for line in said.err.splitlines()] == ["The", "1"]
    assert oracle.read_arpa(Path("lm.arpa"))[0] == [5, 6]


def test_a_name_says_which_format(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text").write_text("a b\nb a\n")
    for name in ("lm.arpa", "lm.ARPA.gz", "lm.bin"):
        assert run(monkeypatch, "lm", "build", "text", "--order", "2", "--output", name) == 0
        assert capsys.readouterr().out == f"2-gram model (5 and 6 n-grams) from 4 words in {name}\n"
    assert oracle.read_arpa(Path("lm.arpa"))[0] == [5, 6]
    assert gzip.decompress(Path("lm.ARPA.gz").read_bytes()) == Path("lm.arpa").read_bytes()
    assert Path("lm.bin").read_bytes().startswith(b"sonantLM")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["text", "--arpa", "lm", "--output", "lm.arpa"], "lm.arpa and lm would both be ARPA files; name one"),
        (["text"], "A model must be written somewhere, but no place is given"),
        (["none", "--arpa", "lm"], "none could not be read (No such file or directory)"),
        (["text", "--arpa", "lm", "--prune", "0,x"], "Pruning must be numbers with commas between them, but is '0,x'"),
        (["text", "--arpa", "lm", "--memory", "lots"], "A size must be a number with K, M, G or T, but is 'lots'"),
        (["text", "--arpa", "lm", "--vocabulary", "none"], "none could not be read (No such file or directory)"),
        (["text", "--arpa", "lm"], "Line 2 of text holds <unk>, which a model keeps for itself"),
    ],
)
def test_a_mistake_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    Path("text").write_text("a b\nc <unk>\n")
    assert run(monkeypatch, "lm", "build", *options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"sonant: {sentence}")
    assert said.err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["text"]
