"""What a worker makes of a task: the same as one call of the recogniser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonant
from flow.conftest import EXAMPLE, SAID
from parity.test_heads import saved
from parity.tiny import TINY
from sonant.errors import CheckpointError, OptionError
from sonant.jobs.parts import ParquetParts
from sonant.jobs.stages import Workbench, fields_of
from sonant.jobs.store import FolderStore
from sonant.jobs.tasks import Setup, Task

TASK = Task("0" * 32, str(EXAMPLE), "digits.ogg", text=SAID)
MODEL = {"precision": "fp32", "threads": 1}


def do(tmp_path: Path, task: Task, job: str, model: dict[str, Any] = MODEL, **settings: Any) -> dict[str, Any]:
    """The record of a task, which Parquet holds and gives back."""
    outcome = Workbench(Setup(str(tmp_path / "out"), job, model, **settings))(task)
    assert outcome.record is not None, outcome.error
    store, parts = FolderStore(tmp_path / "out"), ParquetParts(job)
    with store.write("part") as file:
        parts.write(file, [outcome.record])
    assert list(parts.read(store, "part")) == [outcome.record]
    return json.loads(outcome.record)


def test_a_part_of_a_recording_is_transcribed_alone(asr: sonant.Recognizer, tmp_path: Path) -> None:
    record = do(tmp_path, Task("1" * 32, str(EXAMPLE), "digits.ogg@1", offset=1.0, duration=1.5), "transcribe")
    samples = sonant.audio.read(EXAMPLE, offset=1.0, duration=1.5)
    assert record["duration"] == 1.5
    assert record["text"] == asr.transcribe(samples, 16_000).text != SAID
    assert record["offset"] == 1.0


def test_texts_are_aligned(asr: sonant.Recognizer, tmp_path: Path) -> None:
    record = do(tmp_path, TASK, "align", each=(".srt",))
    found = asr.align(EXAMPLE, SAID)
    words = [word for segment in record["segments"] for word in segment["words"]]
    assert [(word["text"], word["start"]) for word in words] == [(w.text, round(w.start, 3)) for w in found]
    assert record["status"] == found.status
    assert "-->" in (tmp_path / "out" / "files" / "digits.ogg.srt").read_text()
    bench = Workbench(Setup(str(tmp_path / "out"), "align", MODEL))
    without = bench(Task("2" * 32, str(EXAMPLE), "digits.ogg"))
    assert without.error == f"{EXAMPLE} must have a text to be aligned, but has none; name it in a manifest."


def test_features_are_files(asr: sonant.Recognizer, tmp_path: Path) -> None:
    record = do(tmp_path, TASK, "features", layers="2,4")
    assert record["arrays"] == ["files/digits.ogg/layer_2.npy", "files/digits.ogg/layer_4.npy"]
    for path, expected in zip(record["arrays"], asr.features(EXAMPLE, layers="2,4"), strict=True):
        np.testing.assert_array_equal(np.load(tmp_path / "out" / path), expected)
    assert record["frames"] == len(expected)


def test_recordings_are_labelled_and_voices_known(tmp_path: Path) -> None:
    classifier, voices = tmp_path / "classifier", tmp_path / "voices"
    saved(classifier, TINY, "ForSequenceClassification", True)
    saved(voices, TINY, "ForXVector", False)
    record = do(tmp_path, TASK, "identify", {**MODEL, "source": str(classifier), "lm": False})
    expected = sonant.load(classifier, precision="fp32").classify(EXAMPLE)
    assert record["label"] == expected.label
    assert record["labels"][0] == {"label": expected.label, "probability": round(expected.ranked[0][1], 5)}
    record = do(tmp_path, TASK, "identify", {**MODEL, "source": str(voices), "lm": False})
    expected = sonant.load(voices, precision="fp32").embed(EXAMPLE)
    np.testing.assert_allclose(record["embedding"], expected, atol=1e-6)


def test_what_no_input_can_be_heard_with_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="digits has none"):
        Workbench(Setup(str(tmp_path), "identify", MODEL))
    with pytest.raises(OptionError, match="must be one of transcribe, align, features, identify, but is 'dance'"):
        Workbench(Setup(str(tmp_path), "dance", MODEL))


def test_results_of_other_models_are_told_apart(tmp_path: Path) -> None:
    def identity(**settings: Any) -> dict[str, Any]:
        model = MODEL | settings.pop("model", {})
        return Workbench(Setup(str(tmp_path), "transcribe", model, **settings)).identity()

    plain = identity()
    assert plain == json.loads(json.dumps(plain))
    words = tmp_path / "words.txt"
    words.write_text("SEVEN\nNINE\n")
    beam = identity(model={"lexicon": words})
    words.write_text("SEVEN\nFIVE\n")
    other = identity(model={"lexicon": words})
    differing = {key for key in beam if beam[key] != other[key]}
    assert differing == {"lexicon"}
    assert identity(each=(".srt",)) != plain
    assert identity(model={"hotwords": {"NINE": 3.0}})["hotwords"] == {"NINE": 3.0}


def test_a_fault_of_ours_fails_one_input_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(Setup(str(tmp_path / "out"), "transcribe", MODEL))
    monkeypatch.setattr(bench.asr, "transcribe", lambda _: 1 / 0)
    error = bench(TASK).error
    assert error
    assert "digits.ogg could not be heard, for a fault of this program" in error


def test_records_hold_what_transcripts_do(asr: sonant.Recognizer, tmp_path: Path) -> None:
    record = do(tmp_path, TASK, "transcribe")
    expected = fields_of(asr.transcribe(EXAMPLE))
    assert {key: record[key] for key in expected} == expected
    assert (record["id"], record["source"], record["duration"]) == ("0" * 32, str(EXAMPLE), 3.425)
