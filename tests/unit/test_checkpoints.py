"""Folders in Hugging Face's layout: what they say is found, what is wrong with them is said in a sentence."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from sonant import checkpoints
from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import CheckpointError
from unit.folders import CONFIG, PLAIN, VOCABULARY, head, write
from unit.programs import archive


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (16000, True)),
        ({"preprocessor_config": {"do_normalize": False, "sampling_rate": 8000}}, (8000, False)),
        ({"preprocessor_config": {"sampling_rate": 16000.0}}, (16000, True)),
        ({"processor_config": {"feature_extractor": {"do_normalize": False}}}, (16000, False)),
        ({"processor_config": {"processor_class": "Wav2Vec2Processor"}}, (16000, True)),
    ],
)
def test_the_form_of_the_input_is_found(files: dict[str, object], expected: tuple[int, bool], tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, vocab=PLAIN, **files))
    assert (checkpoint.sample_rate, checkpoint.normalize) == expected


@pytest.mark.parametrize("values", [{"sampling_rate": "16k"}, {"sampling_rate": 0}, {"do_normalize": "yes"}])
def test_an_odd_form_of_the_input_is_refused(values: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"in .*preprocessor_config\.json must be"):
        open_checkpoint(write(tmp_path, vocab=PLAIN, preprocessor_config=values))


@pytest.mark.parametrize(
    ("card", "language"),
    [
        ("---\nlanguage: en\nlicense: mit\n---\n# A model", "en"),
        ("---\nlicense: mit\nlanguage:\n- de\ntags:\n- speech\n---\n", "de"),
        ('---\nlanguage: "no"\n---\n', "no"),
        ("---\r\nlanguage: fr\r\n---\r\n", "fr"),
        ("---\nlanguage: zh-TW\n---\n", "zh-TW"),
        ("---\nlanguage:\n- de\n- fr\n---\n", None),
        ("---\nlanguage: [de, fr]\n---\n", None),
        ("---\nlanguage: multilingual\n---\n", None),
        ("# A model\nlanguage: en\n", None),
        ("---\nlicense: mit\n---\nlanguage: en\n", None),
        ("---\nlanguage: en\n", None),
        ("", None),
    ],
)
def test_the_language_of_the_model_card_is_found(card: str, language: str | None, tmp_path: Path) -> None:
    write(tmp_path, vocab=PLAIN)
    (tmp_path / "README.md").write_bytes(card.encode())
    assert open_checkpoint(tmp_path).language == language


def test_a_note_is_one_printable_line(tmp_path: Path) -> None:
    note = "Reads digits.\n\x1b[31mNothing \ud83d\ude00 else." + "!" * 1000
    write(tmp_path, vocab=PLAIN, config={"model_type": "wav2vec2", "sonant": {"note": note, "language": 3}})
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.note is not None
    assert checkpoint.note.startswith("Reads digits.  [31mNothing 😀 else.!!!")
    assert checkpoint.note.isprintable()
    assert len(checkpoint.note) <= 300
    assert checkpoint.language is None


def test_a_model_without_a_head_has_no_vocabulary(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(
        write(tmp_path, None, vocab=PLAIN, config={"model_type": "wav2vec2", "vocab_size": 32})
    )
    assert checkpoint.vocabulary is None
    assert checkpoint.config.vocab_size is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("missing", "A model must be a folder, a file or a name of Hugging Face's hub, .* there is no folder missing"),
        ("./missing/model", r"there is no folder \./missing/model"),
        (Path("missing/model"), "there is no folder missing/model"),
        ("a" * 300, r"cannot be read \(.*too long.*\); check its spelling and its rights"),
        ("~nobody-of-this-name/model", "there is no folder ~nobody-of-this-name/model"),
        ("empty", "must hold a model in Hugging Face's layout, but has no config.json"),
        ("file.pt", r"file\.pt must hold weights, but is empty"),
        ("odd.pt", r"in one file must be torchaudio's or fairseq's, but odd\.pt is neither; name the folder"),
        ("weightless/config.json", r"config\.json must be of torch\.save, but is of another kind"),
        ("weights.safetensors", r"but weights\.safetensors is neither; name the folder that holds it"),
        ("weightless", r"must hold weights as model\.safetensors or pytorch_model\.bin, but has neither"),
        ("foreign", "must name one of the families .* but says 'whisper'"),
    ],
)
def test_what_is_no_model_is_refused(
    source: str | Path, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file.pt").write_bytes(b"")
    Path("weights.safetensors").write_bytes(b"")
    archive(Path("odd.pt"), b"\x80\x02}.")
    (write(Path("weightless")) / "model.safetensors").unlink()
    write(Path("foreign"), config={"model_type": "whisper"})
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(source)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, vocab=PLAIN)

    def forbid(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    for method in ("is_dir", "exists", "stat", "read_text", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, forbid)
            with pytest.raises(CheckpointError, match=r"cannot be read .*Permission denied"):
                open_checkpoint(tmp_path)


def test_the_built_in_model_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PACKAGE", tmp_path)
    monkeypatch.delenv("SONANT_MODEL")
    with pytest.raises(CheckpointError, match="install sonant again"):
        open_checkpoint()
    (tmp_path / "builtin").mkdir()
    write(tmp_path / "builtin" / "english", vocab=PLAIN)
    assert open_checkpoint().name == open_checkpoint("built-in").name == "built-in"
    write(tmp_path / "mine", vocab=PLAIN)
    monkeypatch.setenv("SONANT_MODEL", str(tmp_path / "mine"))
    assert (open_checkpoint().name, open_checkpoint("built-in").name) == (str(tmp_path / "mine"), "built-in")


def test_a_damaged_folder_is_read_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_checkpoint(
        folder, CONFIG, {**head(4), "wav2vec2.a": np.ones((2, 3))}, VOCABULARY, dtype="float16", language="en"
    )
    generator, refused = random.Random(0), 0
    files = {path: path.read_bytes() for path in folder.iterdir()}
    for i in range(300):
        path = sorted(files)[i % len(files)]
        damaged = bytearray(files[path])
        for _ in range(generator.choice([1, 2, 8])):
            place = generator.randrange(len(damaged))
            damaged[place : place + generator.randrange(3)] = generator.randbytes(generator.randrange(3))
        path.write_bytes(damaged)
        try:
            checkpoint = open_checkpoint(folder)
            for name in checkpoint.tensors:
                checkpoint.tensors[name].sum(dtype=np.float64)
        except CheckpointError:
            refused += 1
        path.write_bytes(files[path])
    assert 100 < refused < 300
