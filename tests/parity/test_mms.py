"""MMS: a language's adapters, head and vocabulary, chosen and switched, against transformers' `load_adapter`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import sonant
from parity.test_checkpoints_hf import theirs
from parity.tiny import VARIANTS, random_waveform
from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.decoding import write_decoding
from sonant.cli import main
from sonant.errors import CheckpointError
from unit.test_beam import ARPA

CONFIG = replace(VARIANTS["mms"], vocab_size=8)
LETTERS = {"eng": "abc", "fra": "abcdé", "deu-script_latin": "äb"}
MARKS = ["<pad>", "<s>", "</s>", "<unk>", "|"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()
    logging.captureWarnings(False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model of three languages as transformers keeps them; the first one's weights are in the model itself."""
    model = theirs(CONFIG)
    model.save_pretrained(tmp_path)
    tokens = {language: [*MARKS, *letters] for language, letters in LETTERS.items()}
    nested = {language: {token: i for i, token in enumerate(known)} for language, known in tokens.items()}
    (tmp_path / "vocab.json").write_text(json.dumps(nested))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"target_lang": "eng"}))
    generator = torch.Generator().manual_seed(1)
    for i, (language, known) in enumerate(tokens.items()):
        shapes = {name: list(tensor.shape) for name, tensor in model._get_adapters().items()}
        for name in ("lm_head.weight", "lm_head.bias"):
            shapes[name][0] = len(known)
        state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        if i == 2:
            torch.save(state, tmp_path / f"adapter.{language}.bin")
        elif i:
            save_file(state, tmp_path / f"adapter.{language}.safetensors")
    return tmp_path


def reference(folder: Path, language: str) -> np.ndarray:
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder).eval()
    if language != "eng":
        model.load_adapter(language)
    with torch.no_grad():
        return model(torch.from_numpy(random_waveform(6000))[None]).logits[0].log_softmax(-1).numpy()


def emitted(asr: sonant.Recognizer) -> np.ndarray:
    return asr.engine.emit([random_waveform(6000)])[0]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_each_language_gives_the_logits_of_transformers(engine: str, folder: Path) -> None:
    asr = sonant.load(folder, language="fra", engine=engine, device="cpu", precision="fp32")
    weight = asr.checkpoint.tensors["wav2vec2.feature_projection.projection.weight"]
    for language in ("fra", "eng", "deu-script_latin", "fra"):
        asr.set_language(language)
        np.testing.assert_allclose(emitted(asr), reference(folder, language), atol=1e-4, rtol=1e-5)
        assert asr.checkpoint.language == language
        assert asr.vocabulary.tokens == (*MARKS, *LETTERS[language])
        assert asr.transcribe(random_waveform(20000), 16000).language == language
    assert asr.checkpoint.languages == tuple(LETTERS)
    np.testing.assert_array_equal(asr.checkpoint.tensors["wav2vec2.feature_projection.projection.weight"], weight)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_layers_follow_the_language(engine: str, folder: Path) -> None:
    asr = sonant.load(folder, engine=engine, device="cpu", precision="fp32")
    before = asr.engine.states(random_waveform(4000))
    asr.set_language("fra")
    after = asr.engine.states(random_waveform(4000))
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 1e-3
    alone = sonant.load(folder, language="fra", engine=engine, device="cpu", precision="fp32")
    np.testing.assert_allclose(alone.engine.states(random_waveform(4000))[-1], after[-1], atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_nothing_else_is_loaded_again(engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asr = sonant.load(folder, engine=engine, device="cpu", precision="fp32")
    read: list[str] = []
    weight = sonant.checkpoints.Checkpoint.weight

    def note(self: Any, name: str, shape: tuple[int, ...]) -> Any:
        read.append(name)
        return weight(self, name, shape)

    monkeypatch.setattr(sonant.checkpoints.Checkpoint, "weight", note)
    asr.set_language("fra")
    assert len(read) == 2 + 6 * CONFIG.num_hidden_layers
    assert all(name.startswith("lm_head.") or ".adapter_layer." in name for name in read)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_language_that_fails_leaves_the_old_one(engine: str, folder: Path) -> None:
    asr = sonant.load(folder, language="fra", engine=engine, device="cpu", precision="fp32")
    before = emitted(asr)
    state = torch.load(folder / "adapter.deu-script_latin.bin")
    state["wav2vec2.encoder.layers.2.adapter_layer.linear_1.weight"][0] = float("nan")
    torch.save(state, folder / "adapter.deu-script_latin.bin")
    with pytest.raises(CheckpointError, match=r"linear_1\.weight .* must be finite"):
        asr.set_language("deu-script_latin")
    with pytest.raises(CheckpointError, match=r"3 that it has, but is 'fr'; the nearest names are fra\."):
        asr.set_language("fr")
    assert asr.checkpoint.language == "fra"
    np.testing.assert_array_equal(emitted(asr), before)


def test_a_language_model_goes_with_its_language(folder: Path, tmp_path: Path) -> None:
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(ARPA.format(*LETTERS["fra"][1:4]))
    write_decoding(folder, {"lm": arpa}, {"lm_weight": 0.5}, {"language": "fra"})
    asr = sonant.load(folder, language="eng", precision="fp32")
    names = [asr.decoder.name]
    for language in ("fra", "eng"):
        asr.set_language(language)
        names.append(asr.decoder.name)
        asr.transcribe(random_waveform(20000), 16000)
    assert names == ["greedy", "beam", "greedy"]
    asr.decoder = own = sonant.GreedyDecoder()
    asr.set_language("fra")
    assert asr.decoder is own
    without = sonant.load(folder, language="eng", precision="fp32", lm=False)
    without.set_language("fra")
    assert without.decoder.name == "greedy"


def test_the_command_takes_a_language(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    example = Path(__file__).parents[1] / "models" / "digits.ogg"
    words = ["sonant", "transcribe", example, "--model", folder, "--language", "fra", "--format", "json"]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert json.loads(capfd.readouterr().out)["language"] == "fra"


def test_what_no_model_speaks_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"but is '\.\./x'; the nearest names are eng, fra, deu"):
        open_checkpoint(folder, language="../x")
    (folder / "adapter.fra.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"must have the file adapter\.fra\.safetensors"):
        open_checkpoint(folder, language="fra")
    with pytest.raises(CheckpointError, match=r"digits must have language adapters to be asked for 'fra'"):
        open_checkpoint(language="fra")


def test_a_language_must_bring_all_of_its_weights(folder: Path) -> None:
    state = load_file(folder / "adapter.fra.safetensors")
    del state["wav2vec2.encoder.layers.1.adapter_layer.norm.weight"]
    save_file(state, folder / "adapter.fra.safetensors")
    with pytest.raises(CheckpointError, match=r"must have a tensor encoder\.layers\.1\.adapter_layer\.norm\.weight"):
        sonant.load(folder, language="fra", engine="torch", device="cpu")
