from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import random
from collections.abc import Callable
from itertools import pairwise
from math import exp, isfinite
from pathlib import Path

import pytest

from sonant import native
from sonant.decode import lm
from sonant.decode.lm import LanguageModel, Perplexity, convert_lm, open_lm
from sonant.errors import LanguageModelError, OutputError
from unit.ngrams import MARKS, Model, Ngram, arpa_of, oracle, random_model, random_sentences, write_arpa

SMALL: Model = {
    ("<unk>",): (-1.5, None), ("<s>",): (-99.0, -0.3), ("</s>",): (-1.0, None), ("a",): (-0.7, -0.25),
    ("night",): (-0.9, -0.1), ("<s>", "a"): (-0.4, -0.2), ("a", "night"): (-0.3, -0.05),
    ("night", "</s>"): (-0.6, None), ("night", "a"): (-1.1, None), ("<s>", "a", "night"): (-0.2, None),
    ("a", "night", "</s>"): (-0.1, None),
}  # fmt: skip


def converted(folder: Path, model: Model, *, small: bool = False) -> LanguageModel:
    return convert_lm(write_arpa(folder / "model.arpa", model), folder / "model.lm", small=small)


def read_in_pieces(text: bytes, cuts: list[int]) -> bytes:
    reader, pieces = native.ArpaReader(), [0, *sorted(cuts), len(text)]
    for begin, end in pairwise(pieces):
        reader.feed(text[begin:end])
    written: list[bytes] = []
    reader.write(written.append)
    return b"".join(written)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_the_definition(seed: int, order: int, tmp_path: Path) -> None:
    model = random_model(seed, order, num_words=[2, 5, 9, 30][seed])
    found = converted(tmp_path, model)
    assert found.order == order
    assert found.counts == [sum(len(ngram) == n for ngram in model) for n in range(1, order + 1)]
    for sentence in random_sentences(seed, model):
        for begin, end in ((True, True), (False, False), (False, True)):
            scored = found.score(sentence, begin, end)
            assert scored.scores == pytest.approx(oracle(model, sentence, begin, end), abs=1e-4)
            assert scored.known == [word not in {"stranger", "<unk>"} for word in sentence]


@pytest.mark.parametrize("missing", MARKS)
def test_models_may_lack_a_mark(missing: str, tmp_path: Path) -> None:
    model = random_model(7, 3, marks=tuple(mark for mark in MARKS if mark != missing))
    found = converted(tmp_path, model)
    for sentence in random_sentences(1, model):
        assert found.score(sentence).scores == pytest.approx(oracle(model, sentence), abs=1e-4)
    if missing == "<unk>":
        assert found.native.unigram(0) == pytest.approx(-230.2585, abs=1e-3)
    if missing == "<s>":
        assert found.native.begin == 0
    if missing == "</s>":
        assert found.score("wörd1").scores[-1] == 0.0


def test_a_state_is_a_history_that_matters(tmp_path: Path) -> None:
    found = converted(tmp_path, SMALL)
    walked: dict[Ngram, int] = {(): 0}
    for history in [("a",), ("night",), ("a", "night"), ("night", "night"), ("</s>",), ("night", "a"), ("x", "a")]:
        state = 0
        for word in history:
            state = found.native.step(state, found.native.find(word.encode()))[1]
        walked[history] = state
    assert walked["night", "night"] == walked["night",] != walked["a", "night"]
    assert walked["night", "a"] == walked["x", "a"] == walked["a",]  # no trigram goes on from "night a"
    assert walked["</s>",] == 0
    assert found.native.begin not in walked.values()
    assert found.native.num_contexts == 6  # none, <s>, a, night, <s> a, a night


def test_numbers_out_of_range_are_unknown_words_and_empty_contexts(tmp_path: Path) -> None:
    model = converted(tmp_path, SMALL).native
    assert model.step(2**32 - 1, 2**32 - 1) == model.step(0, 0)
    assert model.unigram(2**32 - 1) == model.unigram(0)
    assert model.words()[0] == b"<unk>"
    assert [model.find(word) for word in model.words()] == list(range(model.num_words))


def test_words_and_membership(tmp_path: Path) -> None:
    found = converted(tmp_path, SMALL)
    assert found.words() == ["<unk>", "<s>", "</s>", "a", "night"]
    assert ["a" in found, "b" in found, "<unk>" in found, "" in found, "\ud800" in found] == [True] + [False] * 4
    assert found.score("\ud800").known == [False]


def test_perplexity_counts_ends_and_leaves_unknown_words_out_once(tmp_path: Path) -> None:
    found = converted(tmp_path, SMALL)
    lines = ["a night", "", "  ", "night sea a"]
    scores = [oracle(SMALL, line.split()) for line in lines if line.strip()]
    whole = found.perplexity(lines)
    assert (whole.sentences, whole.words, whole.unknown) == (2, 5, 1)
    assert whole.including_unknown == pytest.approx(exp(-sum(map(sum, scores)) / 7), abs=1e-3)
    assert whole.excluding_unknown == pytest.approx(exp(-(sum(map(sum, scores)) - scores[1][1]) / 6), abs=1e-3)
    assert found.perplexity(lines[:2]) + found.perplexity(lines[2:]) == whole
    assert found.perplexity([]) == Perplexity()
    assert Perplexity().including_unknown == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_text_in_pieces_gives_the_same_file(seed: int) -> None:
    rng = random.Random(seed)
    text = arpa_of(random_model(seed, 3)).encode()
    whole = read_in_pieces(text, [])
    assert read_in_pieces(text, rng.choices(range(len(text)), k=200)) == whole


LAYOUTS: dict[str, Callable[[str], str]] = {
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "spaces": lambda text: text.replace("\t", "  "),
    "preamble": lambda text: "made by hand\n\n" + text + "notes\n",
    "no last newline": lambda text: text.rstrip("\n"),
    "line after heads": lambda text: text.replace("-grams:\n", "-grams:\n\n"),
    "no lines between": lambda text: text.replace("\n\n\\", "\n\\"),
    "exponents": lambda text: text.replace("-0.7\t", "-7.0E-01\t").replace("-0.25", "-25e-2"),
    "big unknown": lambda text: text.replace("<unk>", "<UNK>"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_other_programs_are_read(layout: str) -> None:
    text = arpa_of(SMALL)
    assert LAYOUTS[layout](text) != text
    assert read_in_pieces(LAYOUTS[layout](text).encode(), []) == read_in_pieces(text.encode(), [])


def test_a_missing_backoff_is_zero_and_minus_infinity_a_number(tmp_path: Path) -> None:
    text = arpa_of(SMALL).replace("-99.0\t<s>", "-inf\t<s>").replace("night\t-0.1\n", "night\n")
    (tmp_path / "m.arpa").write_text(text)
    found = open_lm(tmp_path / "m.arpa")
    assert found.score("night night", begin=False).scores == pytest.approx(
        oracle({**SMALL, ("night",): (-0.9, None)}, ["night", "night"], begin=False), abs=1e-5
    )
    assert found.score("<s>", begin=False, end=False).scores == [-1e4]


FAULTS: dict[str, tuple[str, str, str]] = {
    "no arpa": ("\\data\\", "data", "line 24: the file ends, but \\data\\ was expected"),
    "cut off": ("\\end\\\n", "", "line 23: the file ends, but \\end\\ was expected; it is cut off"),
    "too few": ("ngram 2=4", "ngram 2=5", "line 18: 5 n-grams of 2 words were declared, but 4 came"),
    "too many": ("ngram 1=5", "ngram 1=4", "line 12: 4 n-grams of 1 words were declared, but 5 came"),
    "absurd count": ("ngram 3=2", "ngram 3=999999999999", "line 22: 999999999999 n-grams of 3"),
    "no count": (
        "ngram 2=4",
        "ngram two",
        "line 3: 'ngram N=COUNT' or '\\1-grams:' was expected, but 'ngram two' came",
    ),
    "order skipped": ("ngram 2=4", "ngram 3=4", "line 3: the count of order 2 was expected, but that of order 3 came"),
    "section skipped": ("\\2-grams:", "\\3-grams:", "line 13: '\\2-grams:' was expected, but '\\3-grams:' came"),
    "nan": ("-0.7\ta", "nan\ta", "line 10: a log-probability was expected, but 'nan' came"),
    "positive": ("-0.7\ta", "0.7\ta", "line 10: a log-probability cannot be positive, but it is '0.7'"),
    "nan backoff": (
        "a\t-0.25",
        "a\tnan",
        "line 10: a back-off weight or the end was expected after 1 words, but 'nan'",
    ),
    "too many fields": ("a\t-0.25", "a\t-0.25 x", "line 10: the end was expected, but 'x' came"),
    "too few words": ("-0.3\ta night\t-0.05", "-0.3\ta", "line 15: 2 words were expected, but 1 came"),
    "stranger": ("-0.3\ta night", "-0.3\ta knight", "line 15: 'knight' is not among the unigrams"),
    "twice": ("-0.3\ta night", "-0.3\t<s> a", "line 15: this n-gram has come before"),
    "twice a word": ("-0.9\tnight", "-0.9\ta", "line 11: this n-gram has come before"),
    "no unigrams": ("ngram 1=5\nngram 2=4\nngram 3=2\n", "", "line 3: 'ngram 1=COUNT' was expected"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_an_arpa_file_are_named_by_line(fault: str, tmp_path: Path) -> None:
    old, new, message = FAULTS[fault]
    text = arpa_of(SMALL)
    assert text.count(old) == 1
    path = tmp_path / "m.arpa"
    path.write_text(text.replace(old, new))
    with pytest.raises(LanguageModelError) as raised:
        convert_lm(path, tmp_path / "m.lm")
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{path} is no language model that can be read, line ")
    assert [place.name for place in tmp_path.iterdir()] == ["m.arpa"]


def test_words_in_another_encoding_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.arpa"
    for bad in (b"n\xe4cht", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
        path.write_bytes(arpa_of(SMALL).encode().replace(b"night", bad))
        with pytest.raises(LanguageModelError, match="line 11: a word is not UTF-8"):
            open_lm(path)
    good = "ñ€😀\u07ff\uffff"
    path.write_text(arpa_of(SMALL).replace("night", good), encoding="utf-8")
    assert good in open_lm(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_read_and_damage_is_named(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.arpa.packed"
    packed = pack(arpa_of(SMALL).encode())
    path.write_bytes(packed)
    assert open_lm(path).counts == [5, 4, 2]
    path.write_bytes(packed[:-12])
    with pytest.raises(LanguageModelError, match="no language model that can be read"):
        open_lm(path)


def test_a_conversion_is_kept_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    path = write_arpa(tmp_path / "m.arpa", SMALL)
    first = open_lm(path)
    assert open_lm(path).path == first.path
    kept = first.path.read_bytes()
    first.path.write_bytes(kept[:-1])  # damaged: made again
    assert open_lm(path).path.read_bytes() == kept
    write_arpa(path, {**SMALL, ("b",): (-2.0, None)})
    assert "b" in open_lm(path)
    assert "b" not in first


def test_where_nothing_can_be_kept_it_works_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(lm.tempfile, "tempdir", str(tmp_path / "tmp"))
    model = open_lm(write_arpa(tmp_path / "m.arpa", SMALL))
    assert model.score("a night").scores == pytest.approx(oracle(SMALL, ["a", "night"]), abs=1e-5)
    del model
    assert not any((tmp_path / "tmp").iterdir())
    with pytest.raises(LanguageModelError):
        open_lm(tmp_path / "file")
    assert not any((tmp_path / "tmp").iterdir())


def test_own_files_open_directly_and_are_not_converted_again(tmp_path: Path) -> None:
    model = converted(tmp_path, SMALL)
    assert open_lm(tmp_path / "model.lm").path == model.path
    with pytest.raises(LanguageModelError, match="already"):
        convert_lm(model.path, tmp_path / "other.lm")


def test_files_that_are_not_there_or_no_models(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="does not exist"):
        open_lm(tmp_path / "gone")
    with pytest.raises(LanguageModelError, match="cannot be read"):
        open_lm(tmp_path)
    with pytest.raises(LanguageModelError, match="cannot be read"):
        LanguageModel(tmp_path)
    with pytest.raises(LanguageModelError, match="'sonantLM' was expected at byte 0"):
        LanguageModel(write_arpa(tmp_path / "m.arpa", SMALL))
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(LanguageModelError, match="'sonantLM' was expected at byte 0"):
        LanguageModel(tmp_path / "empty")
    with pytest.raises(LanguageModelError, match="line 1: the file ends"):
        open_lm(tmp_path / "empty")
    with pytest.raises(OutputError):
        convert_lm(tmp_path / "m.arpa", tmp_path / "no" / "m.lm")


def test_a_failing_write_is_the_writer_s_own_error() -> None:
    reader = native.ArpaReader()
    reader.feed(arpa_of(SMALL).encode())

    def full(_: bytes) -> None:
        raise BlockingIOError("full")

    with pytest.raises(BlockingIOError, match="full"):
        reader.write(full)


@pytest.mark.parametrize("small", [False, True])
def test_every_truncation_of_an_own_file_is_refused(small: bool, tmp_path: Path) -> None:
    data = converted(tmp_path, SMALL, small=small).path.read_bytes()
    path = tmp_path / "cut.lm"
    for size in range(0, len(data), 101):
        path.write_bytes(data[:size])
        with pytest.raises(LanguageModelError, match=r"byte \d+"):
            LanguageModel(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(LanguageModelError, match="bytes were expected"):
        LanguageModel(path)
    path.write_bytes(data[:8] + b"\x01" + data[9:])
    with pytest.raises(LanguageModelError, match="has version 1 at byte 8"):
        LanguageModel(path)


@pytest.mark.parametrize("small", [False, True])
def test_damaged_own_files_never_do_more_than_score_wrongly(small: bool, tmp_path: Path) -> None:
    rng = random.Random(5)
    data = converted(tmp_path, random_model(3, 4), small=small).path.read_bytes()
    path = tmp_path / "bad.lm"
    words = [f"wörd{i}" for i in range(8)] * 4
    opened = 0
    for turn in range(150):
        bad = bytearray(data)
        reach = 256 if turn % 2 else len(bad)  # half of the time the header alone
        for _ in range(rng.randrange(1, 60)):
            bad[rng.randrange(8, reach)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        path.write_bytes(bad)
        try:
            model = LanguageModel(path)
        except LanguageModelError:
            continue
        opened += 1
        rng.shuffle(words)
        assert all(map(isfinite, model.score(words).scores))
        model.words()
    assert opened > 50


def test_damaged_arpa_files_are_refused_or_read(tmp_path: Path) -> None:
    rng = random.Random(6)
    text = arpa_of(random_model(2, 3, size=10)).encode()
    path = tmp_path / "bad.arpa"
    refused: list[str] = []
    for _ in range(100):
        bad = bytearray(text)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(bad))
            bad[at : at + rng.randrange(4)] = rng.choice(
                [b"", b"\n", b"\t", b" ", b"\xff", b"\\", b"-", b"9", b"e9", b"nan"]
            )
        path.write_bytes(bad)
        try:
            model = convert_lm(path, tmp_path / "bad.lm")
        except LanguageModelError as error:
            refused.append(str(error))
        else:
            assert all(map(isfinite, model.score("wörd1 wörd2 wörd3 x").scores))
    assert 25 < len(refused) < 100
    assert all("line " in message for message in refused)


def test_scores_equal_kenlm(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    for seed in range(3):
        model = random_model(seed + 20, 4, size=200, contexts=True)
        path = write_arpa(tmp_path / "m.arpa", model)
        theirs, ours = kenlm.Model(str(path)), convert_lm(path, tmp_path / "m.lm")
        for sentence in random_sentences(seed, model):
            # kenlm takes marks within a sentence for unknown words
            said = [word for word in sentence if word not in MARKS]
            expected = [score * 2.302585093 for score, _, _ in theirs.full_scores(" ".join(said))]
            assert ours.score(said).scores == pytest.approx(expected, abs=1e-4)


def test_models_are_not_pickled(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(converted(tmp_path, SMALL))
