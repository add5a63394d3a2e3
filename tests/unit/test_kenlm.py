"""KenLM's binaries. Those in `kenlm/` were made by its build_binary from `MODEL`, one of each kind: hash tables with
`-p 3`, `rest` with the lower orders as rest costs; tries with `-q 3 -b 4`, with `-a 5`, and with `-q 4 -b 3 -a 3`.
`scores.json` says what KenLM reads in them, as natural logarithms.
"""

from __future__ import annotations

import json
import random
from math import isfinite
from pathlib import Path

import pytest

from sonant.decode.lm import LanguageModel, convert_lm, open_lm
from sonant.errors import LanguageModelError
from unit.ngrams import MARKS, random_model, random_sentences, write_arpa

FOLDER = Path(__file__).parent / "kenlm"
MODEL = random_model(11, 4, num_words=12, contexts=True)
WANTED = json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))
KINDS = sorted(WANTED["scores"])
EXACT = sorted({*KINDS} - {"quantised", "quantised-array"})


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_that_kenlm_reads(kind: str, tmp_path: Path) -> None:
    model = convert_lm(FOLDER / f"{kind}.bin", tmp_path / "k.lm")
    assert model.order == 4
    for sentence, scores in zip(WANTED["sentences"], WANTED["scores"][kind], strict=True):
        assert model.score(sentence).scores == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("kind", EXACT)
def test_exact_kinds_score_as_the_arpa_file_does(kind: str, tmp_path: Path) -> None:
    theirs = convert_lm(FOLDER / f"{kind}.bin", tmp_path / "k.lm")
    ours = convert_lm(write_arpa(tmp_path / "m.arpa", MODEL), tmp_path / "m.lm")
    assert sorted(theirs.words()) == sorted(ours.words())
    assert theirs.counts[::3] == ours.counts[::3]  # between, KenLM adds suffixes that are not there
    for sentence in random_sentences(8, MODEL):
        said = [word for word in sentence if word not in MARKS]
        assert theirs.score(said).scores == pytest.approx(ours.score(said).scores, abs=1e-4)


def test_binaries_open_like_any_model() -> None:
    assert open_lm(FOLDER / "trie.bin").order == 4


def written(folder: Path, data: bytes) -> Path:
    (folder / "bad.bin").write_bytes(data)
    return folder / "bad.bin"


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (50, 54, "byte 0: a KenLM binary of format version 5"),
        (63, 0, "byte 56: it was made on a machine of another kind"),
        (88, 1, "byte 88: its order is 1"),
        (95, 0x80, "byte 92: its hash tables have an impossible size"),
        (96, 9, "byte 96: its kind is 9, which is unknown"),
        (100, 0, "byte 100: it was built without its words"),
        (104, 7, "byte 104: its version is not "),
        (115, 1, "byte 108: 72057594037927951 n-grams are more than the file can hold"),
    ],
)
@pytest.mark.parametrize("kind", ["probing", "trie"])
def test_faults_of_the_head_are_named_by_byte(kind: str, at: int, value: int, message: str, tmp_path: Path) -> None:
    data = bytearray((FOLDER / f"{kind}.bin").read_bytes())
    data[at] = value
    with pytest.raises(LanguageModelError) as raised:
        convert_lm(written(tmp_path, data), tmp_path / "k.lm")
    assert message in str(raised.value)
    assert not (tmp_path / "k.lm").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_and_damaged_binaries_are_refused_or_read(kind: str, tmp_path: Path) -> None:
    data = (FOLDER / f"{kind}.bin").read_bytes()
    rng = random.Random(9)
    for _ in range(6):
        with pytest.raises(LanguageModelError):
            convert_lm(written(tmp_path, data[: rng.randrange(len(data))]), tmp_path / "k.lm")
    outcomes: list[LanguageModel | str] = []
    for turn in range(30):
        bad = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(88, 160 if turn % 3 == 0 else len(bad))] = rng.choice(
                [0, 1, 128, 255, rng.randrange(256)]
            )
        try:
            outcomes.append(convert_lm(written(tmp_path, bad), tmp_path / f"{turn}.lm"))
        except LanguageModelError as error:
            outcomes.append(str(error))
    models = [outcome for outcome in outcomes if isinstance(outcome, LanguageModel)]
    assert len(models) < len(outcomes)
    for model in models:
        assert all(isfinite(score) for sentence in WANTED["sentences"] for score in model.score(sentence).scores)
