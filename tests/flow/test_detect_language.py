"""Which language is spoken, by checkpoints such as MMS's, as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from flow.conftest import MODELS
from flow.test_command import run
from parity.test_heads import RATE, opened, saved
from parity.test_heads import run as theirs
from parity.test_mms import folder as mms
from parity.test_mms import quiet
from parity.tiny import TINY, VARIANTS
from sonant.cli.spoken import match_language
from sonant.errors import OptionError

__all__ = ["mms", "quiet"]  # fixtures
Capture = pytest.CaptureFixture[str]
CODES = {"0": "eng", "1": "deu", "2": "fra"}


def detector(folder: Path, answer: str | None = None) -> object:
    """A tiny model of three languages with adapters, as MMS's have them; it may be made to give one answer."""
    model = saved(folder, VARIANTS["mms"], "ForSequenceClassification", False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": CODES}))
    if answer:
        with torch.no_grad():
            model.classifier.bias[list(CODES.values()).index(answer)] += 100.0
        model.config.id2label = CODES
        model.save_pretrained(folder)
    return model


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(2 * RATE), RATE, subtype="FLOAT")
    return path


def test_a_model_of_languages_says_what_transformers_says(tmp_path: Path, clip: Path) -> None:
    model = detector(tmp_path / "lid")
    found = opened(tmp_path / "lid", "openvino").classify(clip)
    samples = soundfile.read(clip, dtype="float32")[0]
    expected = theirs(model, samples).logits.softmax(-1)[0].numpy()
    assert found.labels == ("eng", "deu", "fra")
    np.testing.assert_allclose(found.probabilities, expected, atol=2e-5, rtol=0)


def test_identify_takes_labels_for_languages_only_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, clip: Path
) -> None:
    detector(tmp_path / "lid", "deu")
    assert run(monkeypatch, "identify", clip, "--task", "language", "--model", tmp_path / "lid") == 0
    assert capsys.readouterr().out.startswith(f"{clip}: deu 100.0 %, ")
    saved(tmp_path / "mood", TINY, "ForSequenceClassification", False)
    config = json.loads((tmp_path / "mood" / "config.json").read_text())
    for labels in (["anger", "joy", "none"], ["ang", "hap", "sad"]):
        named = config | {"id2label": dict(enumerate(labels))}
        (tmp_path / "mood" / "config.json").write_text(json.dumps(named))
        assert run(monkeypatch, "identify", clip, "--task", "language", "--model", tmp_path / "mood") == 2
        assert f"are {', '.join(labels)}; pass one of languages" in capsys.readouterr().err


def test_a_file_is_heard_in_the_language_that_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, clip: Path, mms: Path
) -> None:
    options = ["--model", mms, "--format", "json", "--precision", "fp32", "--sure", "0"]
    for language, name in (("fra", "fra"), ("deu", "deu-script_latin")):
        detector(tmp_path / language, language)
        assert run(monkeypatch, "transcribe", clip, *options, "--detect-language", tmp_path / language) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["language"] == name
        assert run(monkeypatch, "transcribe", clip, *options, "--language", name) == 0
        assert found == json.loads(capsys.readouterr().out)


def test_a_model_of_one_language_hears_in_it_and_another_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, example: Path
) -> None:
    for language in ("eng", "fra"):
        detector(tmp_path / language, language)
        assert (
            run(monkeypatch, "transcribe", example, "--format", "json", "--detect-language", tmp_path / language) == 0
        )
        out, err = capsys.readouterr()
        assert json.loads(out)["language"] == {"eng": "en", "fra": "fra"}[language]
        assert (f"sounds like fra, but {MODELS / 'digits'} hears en; take a model" in err) == (language == "fra")


def test_wishes_that_cannot_be_met_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, example: Path
) -> None:
    assert run(monkeypatch, "transcribe", example, "--language", "fra", "--detect-language", "x") == 2
    assert "choose one of both" in capsys.readouterr().err
    assert run(monkeypatch, "transcribe", "-", "--detect-language", "x") == 2
    assert "but - comes once" in capsys.readouterr().err
    assert run(monkeypatch, "transcribe", example, "--detect-language", "built-in") == 2
    assert "built-in has none" in capsys.readouterr().err


def test_languages_of_several_scripts_must_be_named() -> None:
    several = ("azj-script_cyrillic", "azj-script_latin", "eng", "deu-script_latin")
    assert match_language("eng", several, "a.wav", "m") == "eng"
    assert match_language("deu", several, "a.wav", "m") == "deu-script_latin"
    with pytest.raises(OptionError, match=r"which it has as azj-script_cyrillic and azj-script_latin; name one"):
        match_language("azj", several, "a.wav", "m")
    with pytest.raises(OptionError, match=r"one of the 4 languages of m, but sounds like fra; name one"):
        match_language("fra", several, "a.wav", "m")
