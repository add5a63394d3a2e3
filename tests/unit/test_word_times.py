"""Where words begin and end, and what is learnt of it from words whose times are known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sonant import CheckpointError, DataError, Emissions, Letter, OptionError, Segment, Transcript, Word, WordTimes
from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.conversion import convert
from sonant.checkpoints.huggingface import save_word_times
from sonant.data.manifest import Utterance
from sonant.decode.words import segments_of, timed, word_edges
from sonant.recognizer import Recognizer
from sonant.subtitles import save
from sonant.train.word_times import align_known, estimate, held_out, known_words, paired, report
from unit.folders import PLAIN, write
from unit.test_alignment import speak, spell

SHIFTED = WordTimes(offset=0.02, reach=0.05)


def word(text: str, start: float, end: float) -> Word:
    middle = (start + end) / 2
    return Word(text, start, end, 0.5, (Letter(text[0], start, middle, 0.5), Letter(text[1:], middle, end, 0.5)))


def test_words_go_on_as_far_as_their_neighbours_let_them() -> None:
    starts, ends = word_edges(np.array([0.03, 0.3, 0.34, 0.9]), np.array([0.2, 0.32, 0.5, 1.0]), SHIFTED, 0.0, 1.02)
    np.testing.assert_allclose(starts, [0.0, 0.23, 0.31, 0.83])
    np.testing.assert_allclose(ends, [0.23, 0.31, 0.53, 1.02])


def test_letters_move_with_their_word_and_pauses_stay() -> None:
    words = [word("ab", 0.5, 0.7), word("cd", 1.3, 1.5), word("ef", 2.05, 2.1)]
    first, second = segments_of(words, times=WordTimes(0.02, 0.1))
    assert [segment.text for segment in (first, second)] == ["ab", "cd ef"]
    assert first.words == (
        Word("ab", pytest.approx(0.38), pytest.approx(0.78), 0.5, (
            Letter("a", pytest.approx(0.38), pytest.approx(0.58), 0.5),
            Letter("b", pytest.approx(0.58), pytest.approx(0.78), 0.5),
        )),
    )  # fmt: skip
    assert timed(words, WordTimes()) is words
    assert timed([], SHIFTED) == []
    [bare] = timed([Word("a", 1.0, 1.1, 1.0)], SHIFTED)
    assert (bare.start, bare.end, bare.letters) == (pytest.approx(0.93), pytest.approx(1.13), ())


@pytest.mark.parametrize("values", [{"offset": float("nan")}, {"reach": -0.1}, {"reach": float("inf")}])
def test_times_that_cannot_be_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="a finite offset and a reach of 0 or more"):
        WordTimes(**values)


def test_a_model_keeps_its_times_and_so_does_what_is_made_of_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", vocab=PLAIN)
    assert open_checkpoint(folder).word_times == WordTimes()
    before = json.loads((folder / "config.json").read_text())
    save_word_times(folder, SHIFTED)
    assert open_checkpoint(folder).word_times == SHIFTED
    after = json.loads((folder / "config.json").read_text())
    assert after.pop("sonant")["word_times"] == {"offset": 0.02, "reach": 0.05}
    assert after == before
    convert(open_checkpoint(folder), tmp_path / "converted")
    assert open_checkpoint(tmp_path / "converted").word_times == SHIFTED


@pytest.mark.parametrize("given", [3, {"offset": "late"}, {"reach": -1}, {"later": 0.1}, [0.1], {"offset": None}])
def test_times_that_are_damaged_are_named(tmp_path: Path, given: object) -> None:
    folder = write(tmp_path / "model", vocab=PLAIN)
    config = json.loads((folder / "config.json").read_text()) | {"sonant": {"word_times": given}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="must give word_times an offset and a reach"):
        _ = open_checkpoint(folder).word_times


def written(folder: Path, name: str, words: list[Word], suffix: str = ".TextGrid") -> None:
    save(Transcript((Segment(tuple(words)),), duration=100.0), folder / f"{name}{suffix}")


def test_words_are_found_in_any_format_and_in_parts_of_recordings(tmp_path: Path) -> None:
    words = [word("one", 0.5, 1.0), word("two", 1.5, 2.0), word("three", 3.0, 3.5)]
    written(tmp_path, "a", words)
    written(tmp_path, "b", words, ".ctm")
    for name in ("a", "b"):
        found = known_words(tmp_path, Utterance(f"/data/{name}.wav"))
        assert found is not None
        assert [(each.text, each.start) for each in found] == [("one", 0.5), ("two", 1.5), ("three", 3.0)]
    part = known_words(tmp_path, Utterance("a.opus", offset=1.2, duration=1.0))
    assert part is not None
    assert [(each.text, round(each.start, 3), round(each.end, 3)) for each in part] == [("two", 0.3, 0.8)]
    assert known_words(tmp_path, Utterance("c.wav")) is None


def test_only_words_that_are_the_same_are_compared() -> None:
    found = [word(text, i, i + 1) for i, text in enumerate(("One,", "two", "three", "four"))]
    known = [word(text, i + 0.1, i + 1.2) for i, text in enumerate(("one", "<unk>", "three"))]
    rows = paired(found, known)
    np.testing.assert_allclose(rows[:, :2], [(0, 1), (1, 2), (2, 3), (3, 4)])
    np.testing.assert_allclose(rows[:, 2:], [(0.1, 1.2), (np.nan,) * 2, (2.1, 3.2), (np.nan,) * 2])


@pytest.fixture
def asr() -> Recognizer:
    return cast("Recognizer", SimpleNamespace(checkpoint=SimpleNamespace(language="en")))


def test_a_planted_shift_and_reach_are_found_and_judged_on_other_utterances(tmp_path: Path, asr: Recognizer) -> None:
    utterances: list[Utterance] = []
    heard: list[Emissions | None] = []
    for i, text in enumerate(["one two three", "four five", "six seven eight nine", "ten"]):
        emissions, starts = speak(text.split(), seed=i, pause=30)
        ends = [start + 3 * len(each) - 2 for start, each in zip(starts, text.split(), strict=True)]
        spans = zip(text.split(), starts, ends, strict=True)
        written(tmp_path, f"{i}", [word(w, 0.02 * s - 0.04, 0.02 * e + 0.10) for w, s, e in spans])
        utterances.append(Utterance(f"{i}.wav", text=text, speaker="ab"[i % 2]))
        heard.append(emissions)
    words = align_known(asr, utterances, heard, tmp_path)
    assert (len(words.heard), words.num_utterances, words.failures) == (10, 4, ())
    assert estimate(words) == WordTimes(-0.03, 0.07)
    np.testing.assert_allclose(held_out(words), 0.0, atol=2e-3)
    np.testing.assert_allclose(words.errors(WordTimes(-0.03)), np.tile([0.07, -0.07], (10, 1)), atol=2e-3)
    found: Any = report(words, WordTimes(-0.03, 0.07), ["speaker"])
    assert found["times"]["stored"] == found["times"]["estimated"] == {"offset": -0.03, "reach": 0.07}
    assert found["as_heard"]["start"]["within_20_ms"] == 0.0
    assert found["as_heard"]["start"]["shift_ms"] == pytest.approx(40, abs=2)
    assert found["stored"]["end"] == found["held_out"]["end"]
    assert found["by"]["speaker"]["b"]["stored"]["words"] == 3
    assert found["by"]["speaker"]["a"]["as_heard"]["end"]["p95_ms"] == pytest.approx(100, abs=2)


def test_what_cannot_be_placed_is_told_and_a_folder_without_words_refused(tmp_path: Path, asr: Recognizer) -> None:
    written(tmp_path, "a", [word("hi", 0.02, 0.06)])
    written(tmp_path, "b", [word("hello", 0.02, 0.06)])
    utterances = [Utterance("a.wav", text="hi"), Utterance("b.wav", text="hello"), Utterance("c.wav", text="hi")]
    emissions: list[Emissions | None] = [spell("-HI--"), spell("-H-"), spell("-HI--")]
    words = align_known(asr, utterances, emissions, tmp_path)
    assert (words.num_utterances, len(words.failures)) == (1, 1)
    assert "3 too few" in words.failures[0]
    with pytest.raises(OptionError, match="two utterances or more, but there is one"):
        held_out(words)
    assert "held_out" not in report(words, WordTimes(), [])
    with pytest.raises(DataError, match="has none for this manifest"):
        align_known(asr, utterances[2:], emissions[2:], tmp_path)
