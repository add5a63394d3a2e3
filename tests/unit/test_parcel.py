"""A model and all that it decodes by, packed for other machines; no cluster is started."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

import sonant
from flow.conftest import MODELS
from sonant.cluster.parcel import Parcel, pack
from sonant.errors import CheckpointError, LanguageModelError
from sonant.jobs.stages import Workbench
from sonant.jobs.tasks import Setup
from sonant.recognizer import Recognizer

ARPA = """\\data\\
ngram 1=5

\\1-grams:
-1.0 <unk>
-99 <s>
-1.0 </s>
-0.5 ONE
-0.7 SEVEN

\\end\\
"""


def arrived(parcel: Parcel, **options: object) -> Workbench:
    """What a worker makes of it on another machine."""
    sent: Parcel = pickle.loads(pickle.dumps(parcel))
    checkpoint, decoder, named = sent.unpack()
    engine = sonant.load(precision="fp32", threads=1).engine
    return Workbench(Setup("unused", model={**options, **named}), Recognizer(checkpoint, engine, decoder))


def test_what_arrives_depends_on_what_was_sent_alone(tmp_path: Path) -> None:
    (tmp_path / "digits.arpa").write_text(ARPA)
    (tmp_path / "words.txt").write_text("ONE\nSEVEN\n")
    options = {"lm": str(tmp_path / "digits.arpa"), "lexicon": str(tmp_path / "words.txt"), "hotwords": {"NINE": 4.0}}
    options |= {"precision": "fp32", "threads": 1, "beam": {"beam_size": 7}}
    expected = Workbench(Setup("unused", model=options)).identity()
    parcel = pack(options)
    shutil.rmtree(tmp_path)
    bench = arrived(parcel, hotwords={"NINE": 4.0})
    assert bench.identity() == expected
    assert bench.asr.decoder.described["beam_size"] == 7


def test_a_model_that_brings_a_language_model_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "digits", folder)
    (folder / "decoding").mkdir()
    (folder / "decoding" / "digits.arpa").write_text(ARPA)
    (folder / "decoding" / "sonant.json").write_text('{"format": 1, "lm": "digits.arpa", "beam": {"lm_weight": 0.25}}')
    expected = sonant.load(folder, precision="fp32", threads=1).decoder.described
    parcel = pack({"source": str(folder)})
    shutil.rmtree(folder)
    described = arrived(parcel).asr.decoder.described
    assert described | {"lm": None} == expected | {"lm": None}
    assert Path(str(described["lm"])).is_file()
    assert not pack({"source": None, "lm": False}).files


def test_what_cannot_be_read_is_said_before_it_is_sent(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match=r"none\.arpa cannot be read"):
        pack({"lm": str(tmp_path / "none.arpa")})
    with pytest.raises(CheckpointError, match="no folder"):
        pack({"source": str(tmp_path / "none")})
