from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import signal
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.processes import run_python
from sonant import files
from sonant.decode.estimate import LmEstimate, estimate_lm, parse_bytes, read_words
from sonant.errors import DataError, OptionError, OutputError
from unit import kneser_ney as oracle

TEXTS = st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=9), min_size=1, max_size=30)
THRESHOLDS = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(sorted)
FEW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random_text(num_words: int, num_types: int = 500, seed: int = 0) -> str:
    """Sentences whose words get rarer as a natural text's do."""
    generator = random.Random(seed)
    weights = list(accumulate(1 / rank for rank in range(1, num_types + 1)))
    words = generator.choices([f"w{n}" for n in range(num_types)], cum_weights=weights, k=num_words)
    begins = sorted(generator.sample(range(1, num_words), num_words // 12))
    return "\n".join(" ".join(words[a:b]) for a, b in zip([0, *begins], [*begins, num_words], strict=True)) + "\n"


def build(folder: Path, text: str | bytes, **options: object) -> tuple[LmEstimate, oracle.Model]:
    source, arpa = folder / "text", folder / "lm.arpa"
    source.write_bytes(text.encode() if isinstance(text, str) else text)
    found = estimate_lm([source], arpa=arpa, temporary=folder, **options)  # type: ignore[arg-type]
    declared, model = oracle.read_arpa(arpa)
    assert tuple(declared) == found.kept
    assert declared == [sum(len(gram) == k for gram in model) for k in range(1, len(declared) + 1)]
    return found, model


def close(a: float, b: float) -> bool:
    return abs(a - b) < 2e-6


def assert_same(model: oracle.Model, expected: oracle.Model) -> None:
    assert model.keys() == expected.keys()
    wrong = {g: (model[g], expected[g]) for g in model if not all(map(close, model[g], expected[g]))}
    assert not wrong


@FEW
@given(TEXTS, st.integers(1, 5), THRESHOLDS, st.sampled_from([None, "abc", "abcde"]))
def test_models_equal_the_definition(
    tmp_path: Path, sentences: list[list[str]], order: int, prune: list[int], allowed: str | None
) -> None:
    text = "\n".join(map(" ".join, sentences))
    thresholds = (prune + [prune[-1]] * order)[:order]
    expected = oracle.estimate(sentences, order, thresholds, allowed)
    if all(gram[0] in oracle.MARKS for gram in expected if len(gram) == 1):
        with pytest.raises(DataError, match="Every word of the text is pruned"):
            build(tmp_path, text, order=order, prune=prune[:order], vocabulary=allowed)
        return
    found, model = build(tmp_path, text, order=order, prune=prune[:order], vocabulary=allowed)
    assert_same(model, expected)
    assert found.num_words == sum(map(len, sentences))
    assert found.num_types == len({word for sentence in sentences for word in sentence})


@FEW
@given(TEXTS, st.integers(1, 4), THRESHOLDS)
def test_probabilities_of_every_context_sum_to_one(
    tmp_path: Path, sentences: list[list[str]], order: int, prune: list[int]
) -> None:
    _, model = build(tmp_path, "\n".join(map(" ".join, sentences)), order=order, prune=[0, *prune][:order])
    words = [gram[0] for gram in model if len(gram) == 1 and gram != ("<s>",)]
    contexts = {gram[:-1] for gram in model} | {gram for gram in model if gram[-1] not in ("</s>", "<unk>")}
    for context in contexts:
        assert sum(10 ** oracle.score(model, context, word) for word in words) == pytest.approx(1, abs=1e-4)


def test_a_text_larger_than_the_buffers_gives_the_same_file(tmp_path: Path) -> None:
    text = random_text(50_000)
    _, whole = build(tmp_path, text, prune=[0, 0, 1])
    first = (tmp_path / "lm.arpa").read_bytes()
    build(tmp_path, text, prune=[0, 0, 1], memory=1 << 20)  # blocks of 16,384 n-grams
    assert (tmp_path / "lm.arpa").read_bytes() == first
    sentences = [line.split() for line in text.splitlines()]
    assert_same(whole, oracle.estimate(sentences, 4, [0, 0, 1, 1]))


def test_a_text_in_parts_is_the_text(tmp_path: Path) -> None:
    lines = random_text(3000, 50).splitlines(keepends=True)
    build(tmp_path, "".join(lines))
    whole = (tmp_path / "lm.arpa").read_bytes()
    packers: list[Callable[[bytes], bytes]] = [gzip.compress, lzma.compress, bz2.compress, bytes]
    parts = []
    for number, pack in enumerate(packers):
        parts.append(tmp_path / f"part{number}")
        parts[-1].write_bytes(pack("".join(lines[number * 60 : (number + 1) * 60 if number < 3 else None]).encode()))
    with io.BufferedReader(io.BytesIO(parts[3].read_bytes())) as stream:  # as standard input is
        estimate_lm([*parts[:3], stream], arpa=tmp_path / "parts.arpa", temporary=tmp_path)
    assert (tmp_path / "parts.arpa").read_bytes() == whole


@pytest.mark.parametrize(
    "text",
    [
        "a b c\r\n\r\nb c\r\n",
        "a\tb  c\n\n \nb\vc",
        "\ufeffa b c\nb c\n",
        "  a b\0c\nb\fc  \n\n",
        "\n\n\ufeffa b c\n b c",
    ],
)
def test_white_space_and_empty_lines_count_for_nothing(tmp_path: Path, text: str) -> None:
    expected = oracle.estimate([["a", "b", "c"], ["b", "c"]], 3, [0, 0, 0])
    assert_same(build(tmp_path, text, order=3)[1], expected)


def test_one_line_of_all_words(tmp_path: Path) -> None:
    words = random_text(30_000).split()
    found, model = build(tmp_path, " ".join(words), order=2)
    assert found.num_sentences == 1
    assert_same(model, oracle.estimate([words], 2, [0, 0]))


def test_words_of_all_scripts_and_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonant.decode.estimate.PIECE", 5)
    _, model = build(tmp_path, "größe 語言 मॉडल 🦜\nپارسی größe <unk", order=1)
    assert {gram[0] for gram in model} - set(oracle.MARKS) == {"größe", "語言", "मॉडल", "🦜", "پارسی", "<unk"}


def test_orders_that_keep_nothing_are_left_out_and_said(tmp_path: Path) -> None:
    found, model = build(tmp_path, "a b\nb a\na b\n", order=6, prune=[0, 1, 99])
    assert len(found.kept) == 2
    assert found.notes[-1] == "The model's order is 2, because no n-gram of order 3 is left."
    assert max(map(len, model)) == 2
    found, model = build(tmp_path, "a\n", order=4)
    assert len(found.kept) == 3  # <s> a </s>
    assert found.notes[0].startswith("The text is too small or too regular to estimate the discounts of order 1, 2, 3;")


def test_marks_are_refused_or_skipped(tmp_path: Path) -> None:
    for mark in ("<s>", "</s>", "<unk>", "<UNK>"):
        with pytest.raises(DataError, match=rf"^Line 2 of .*text holds {mark}, which a model keeps for itself"):
            build(tmp_path, f"a b\nc {mark} d\n")
    found, model = build(tmp_path, "a b <s>\n</s> <unk>\nc d\n", order=2, skip_marks=True)
    assert found.num_skipped == 3
    assert found.notes[-1] == "3 words that a model keeps for itself (<s>, </s>, <unk>) were skipped."
    assert_same(model, oracle.estimate([["a", "b"], ["c", "d"]], 2, [0, 0]))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "The text holds no word"),
        (b"\n \n\n", "The text holds no word"),
        (b"a b\n\xff\xfea b\n", "^Line 2 of .*text is not UTF-8"),
        (b"a\n\nb \xc0\x80\n", "^Line 3 of .*text is not UTF-8"),
        ("a\nb \ud800".encode(errors="surrogatepass"), "^Line 2 of .*text is not UTF-8"),
        (b"a \xf4\x90\x80\x80 b", "^Line 1 of .*text is not UTF-8"),
        (b"a \xe2\x82", "^Line 1 of .*text is not UTF-8"),
        (b"a b\n" + b"c" * 3_000_000, "^Line 2 of .*text holds a word of more than 65535 bytes"),
        (b"a " + b"c" * 65536 + b" d", "^Line 1 of .*text holds a word of more than 65535 bytes"),
        (gzip.compress(b"a b c" * 1000)[:-9], "text could not be read"),
        (lzma.compress(b"a b c" * 1000)[:-9], "text could not be read"),
        (gzip.compress(b"a b c" * 1000)[:-8] + b"12345678", "text could not be read"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_texts_without_a_model_are_named_and_leave_nothing(tmp_path: Path, text: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        build(tmp_path, text)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_files_that_are_missing_or_folders(tmp_path: Path) -> None:
    for source in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(DataError, match=rf"^{source} could not be read"):
            estimate_lm([source], arpa=tmp_path / "lm.arpa")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"order": 0}, "order of a model must be 1 to 8, but is 0"),
        ({"order": 9}, "order of a model must be 1 to 8, but is 9"),
        ({"order": 2, "prune": [0, 0, 1]}, "at most 2 thresholds that do not decrease, but is 0,0,1"),
        ({"prune": [0, 2, 1]}, "do not decrease, but is 0,2,1"),
        ({"prune": [-1]}, "do not decrease, but is -1"),
        ({"memory": 1000}, "Memory must be at least 1 MB, but is 1000 bytes"),
    ],
)
def test_settings_outside_their_range(tmp_path: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        build(tmp_path, "a b\n", **options)


def test_places_that_cannot_be(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("a b\n")
    with pytest.raises(OptionError, match="no place is given"):
        estimate_lm([text])
    with pytest.raises(OptionError, match="there is none"):
        estimate_lm([], arpa=tmp_path / "lm")
    with pytest.raises(OptionError, match="is named for both formats"):
        estimate_lm([text], arpa=tmp_path / "lm", output=tmp_path / "lm")
    with pytest.raises(OptionError, match="is a text to read"):
        estimate_lm([text], arpa=text)
    with pytest.raises(OutputError, match="its folder does not exist"):
        estimate_lm([text], arpa=tmp_path / "none" / "lm")
    with pytest.raises(OutputError, match=r"^Temporary files could not be kept in .*none \(No such file"):
        estimate_lm([text], arpa=tmp_path / "lm", temporary=tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names are text here")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    assert build(folder, "a b\n", order=1)[0].kept == (5,)
    with pytest.raises(DataError, match=r"^Line 1 of .*/\\udcff/text holds <s>"):
        build(folder, "<s>")


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no such limit")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    text, arpa = tmp_path / "text", tmp_path / "lm.arpa"
    text.write_text(random_text(20_000))
    code = (
        "import resource, sys\nfrom sonant.decode.estimate import estimate_lm\nfrom sonant.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)\n"
        "try: estimate_lm(sys.argv[2:3], arpa=sys.argv[3], temporary=sys.argv[4])\n"
        "except OutputError as error: print(error)"
    )
    printed = run_python(code, "100000", str(text), str(arpa), str(tmp_path))
    assert printed.startswith(f"Temporary files could not be kept in {tmp_path} (File too large)")
    printed = run_python(code, "700000", str(text), str(arpa), str(tmp_path))
    assert printed.startswith(f"{arpa} could not be written (File too large)")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_progress_is_told_and_may_end_the_work(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    build(tmp_path, random_text(150_000), progress=lambda *state: told.append(state))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages[:2] == ["reading", "adjusting counts"]
    assert {"discounting 4-grams", "interpolating 4-grams"} <= set(stages)
    assert told[0][2] == (tmp_path / "text").stat().st_size
    assert all(total is not None and 0 < done <= total for _, done, total in told)
    (tmp_path / "lm.arpa").unlink()

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "discounting 4-grams":
            raise ArithmeticError("enough")

    with pytest.raises(ArithmeticError, match="enough"):
        build(tmp_path, random_text(150_000), progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timers")
def test_a_signal_ends_the_work(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(StoppedError):
            build(tmp_path, random_text(400_000, 5000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "lm.arpa").exists()
    assert not list(tmp_path.glob(".sonant-*"))


def test_sizes_in_bytes() -> None:
    assert [parse_bytes(size) for size in ("1024", "3k", "2M", "1.5G")] == [1024, 3072, 2 << 20, 3 << 29]
    for wrong in ("", "G", "2X", "much", "infG"):
        with pytest.raises(OptionError, match="must be a number with K, M, G or T"):
            parse_bytes(wrong)


def test_lists_of_words(tmp_path: Path) -> None:
    path = tmp_path / "words.gz"
    files.write_text(tmp_path / "words", "a b\nc\n")
    assert read_words(tmp_path / "words") == ["a", "b", "c"]
    path.write_bytes(gzip.compress("ä\nö".encode()))
    assert read_words(path) == ["ä", "ö"]
    path.write_bytes(b"a \xff")
    with pytest.raises(DataError, match="must be UTF-8, but byte 2 is not"):
        read_words(path)
