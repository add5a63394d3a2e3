from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import sonant
from sonant.data.manifest import Utterance, read_manifest
from sonant.recognizer import Recognizer
from sonant.train.evaluate import Journal, evaluate, fingerprint, summary
from sonant.train.scores import Evaluation
from sonant.types import Segment, Transcript, Vocabulary, Word


class Parrot:
    """Says for each file what it was told, and remembers what it was asked."""

    def __init__(self, texts: dict[str, str], seconds: float = 2.0) -> None:
        self.texts = texts
        self.seconds = seconds
        self.asked: list[str] = []
        self.checkpoint = SimpleNamespace(
            name="parrot", sample_rate=16000, normalize=True, tensors={"lm_head.weight": np.arange(6.0).reshape(2, 3)}
        )
        self.vocabulary = Vocabulary(("<pad>", "|", "A"), blank=0, separator=1)
        self.settings = {"engine": "parrot"}

    def transcribe(
        self, source: str, sample_rate: float | None = None, *, progress: Callable[[float, float | None], None]
    ) -> Transcript:
        self.asked.append(source)
        if source not in self.texts:
            raise sonant.AudioError(f"{source} cannot be heard.")
        progress(self.seconds, None)
        words = tuple(Word(text, 0.0, 1.0, 1.0) for text in self.texts[source].split())
        return Transcript((Segment(words),) if words else (), duration=self.seconds)


UTTERANCES = [
    Utterance("a.wav", 2.0, "Hello, world!", speaker="ann", extra={"place": "street"}),
    Utterance("b.wav", 2.0, "it's late", speaker="bob"),
    Utterance("c.wav", 2.0, "", speaker="bob"),
    Utterance("d.wav", 2.0, "good night", speaker="ann"),
]
TEXTS = {"a.wav": "HELLO WORLD", "b.wav": "ITS LATE", "c.wav": "OH", "d.wav": "GOOD NIGHT"}


def run(parrot: Parrot, utterances: list[Utterance] | None = None, **options: Any) -> Evaluation:
    return evaluate(cast("Recognizer", parrot), UTTERANCES if utterances is None else utterances, **options)


def key(parrot: Parrot) -> str:
    return fingerprint(cast("Recognizer", parrot))


def test_texts_are_compared_without_case_and_punctuation() -> None:
    result = run(Parrot(TEXTS))
    assert [scored.words.total for scored in result.utterances] == [0, 1, 1, 0]
    assert (result.words.value, result.words.errors.insertions) == (2 / 6, 1)  # what is heard in silence counts
    assert (result.model, result.duration, result.unit) == ("parrot", 8.0, "speaker")
    assert result.fields == ["place", "speaker"]
    assert result.by("place")[""].words.value == 2 / 4


def test_what_cannot_be_heard_is_named_and_not_counted() -> None:
    parrot = Parrot({name: text for name, text in TEXTS.items() if name != "b.wav"})
    result = run(parrot)
    assert result.failures == (("b.wav", "b.wav cannot be heard."),)
    assert [scored.number for scored in result.utterances] == [0, 2, 3]
    assert run(Parrot({})).words.value == 0


def test_an_utterance_without_text_is_refused_before_any_work() -> None:
    parrot = Parrot(TEXTS)
    with pytest.raises(sonant.DataError, match=r"1 of 5 have none, such as e\.wav"):
        run(parrot, [*UTTERANCES, Utterance("e.wav")])
    assert not parrot.asked


def test_a_part_of_a_file_is_heard_as_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: list[float] = []
    parrot = Parrot({})

    def transcribe(source: np.ndarray, sample_rate: float, *, progress: object) -> Transcript:
        seconds.append(len(source) / sample_rate)
        return Transcript((), duration=seconds[-1])

    monkeypatch.setattr(parrot, "transcribe", transcribe)
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.ones(8000 * 5, "<i2").tobytes())
    result = run(parrot, [Utterance(str(path), 1.5, "", offset=2.0), Utterance(str(path), 9.0, "", offset=4.0)])
    assert seconds == pytest.approx([1.5, 1.0])
    assert [scored.name for scored in result.utterances] == [f"{path} at 2 s", f"{path} at 4 s"]


def test_progress_is_told_over_what_is_still_to_be_heard(tmp_path: Path) -> None:
    told: list[tuple[float, float | None]] = []
    journal = Journal(tmp_path / "heard.jsonl", "run")
    journal.add(UTTERANCES[1], ("its late", 2.0))
    run(Parrot(TEXTS), journal=journal, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 6), (4, 6), (6, 6)]
    told.clear()
    run(Parrot(TEXTS), [*UTTERANCES, Utterance("a.wav", None, "")], progress=lambda *now: told.append(now))
    assert told[-1] == (10, None)


@pytest.mark.parametrize("stop", range(5))
def test_an_interrupted_evaluation_goes_on_to_the_same_result(tmp_path: Path, stop: int) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    expected = run(Parrot(TEXTS), journal=Journal(whole, "run"))

    class Stopping(Parrot):
        def transcribe(self, *args: Any, **options: Any) -> Transcript:
            if len(self.asked) == stop:
                raise KeyboardInterrupt
            return super().transcribe(*args, **options)

    if stop < 4:
        with pytest.raises(KeyboardInterrupt):
            run(Stopping(TEXTS), journal=Journal(broken, "run"))
        assert not broken.exists()
    with (tmp_path / "broken.jsonl.partial").open("ab") as file:
        file.write(b'\n{"audio_filepath": "a.wav", "run": "run", "pred_te')  # killed while it wrote
    parrot = Parrot(TEXTS)
    assert run(parrot, journal=Journal(broken, "run")) == expected
    assert len(parrot.asked) == (4 - stop if stop < 4 else 4)
    assert broken.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jsonl", "whole.jsonl"]


def test_what_was_heard_is_a_manifest_with_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "heard.jsonl"
    run(Parrot(TEXTS), journal=Journal(path, "run"))
    heard = list(read_manifest(path))
    assert [utterance.text for utterance in heard] == [utterance.text for utterance in UTTERANCES]
    assert [utterance.extra["pred_text"] for utterance in heard] == list(TEXTS.values())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["wer"] for line in lines] == [0, 0.5, None, 0]  # nothing said, something heard
    assert lines[1]["word_errors"] == {"substitutions": 1, "deletions": 0, "insertions": 0, "hits": 1}


def test_another_model_hears_everything_again(tmp_path: Path) -> None:
    path = tmp_path / "heard.jsonl"
    for name, asked in (("first", 4), ("first", 0), ("second", 4)):
        parrot = Parrot(TEXTS)
        run(parrot, journal=Journal(path, name))
        assert len(parrot.asked) == asked


def test_a_fingerprint_is_of_weights_and_settings() -> None:
    first, second = Parrot(TEXTS), Parrot(TEXTS)
    second.checkpoint.name = "moved"
    assert key(first) == key(second)
    second.settings = {"engine": "parrot", "window_seconds": 7}
    assert key(first) != key(second)
    second.settings = first.settings
    second.checkpoint.tensors["lm_head.weight"] = second.checkpoint.tensors["lm_head.weight"] + 1e-6
    assert key(first) != key(second)


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    parrot = Parrot(TEXTS)
    with pytest.raises(sonant.OutputError, match="could not be written"):
        run(parrot, journal=Journal(tmp_path / "no" / "heard.jsonl", "run"))
    assert len(parrot.asked) == 1


def test_a_summary_is_json_without_infinities() -> None:
    result = summary(run(Parrot(TEXTS), UTTERANCES[2:3]), ["speaker"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["wer"]["value"], result["wer"]["insertions"], result["cer"]["length"]) == (None, 1, 0)
    assert result["by"]["speaker"]["bob"]["utterances"] == 1
    assert result["confusions"]["words"] == [[None, "oh", 1]]
