"""What `sonant convert` writes: folders that transformers loads with the logits of the model they were made of."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from parity.layouts import fairseq_architecture, fairseq_state, torchaudio_state
from parity.test_checkpoints_hf import theirs, write_tokens
from parity.test_fairseq_files import settings, write_dictionary
from parity.tiny import DATA2VEC, HUBERT, LARGE, TINY, WAVLM, random_model, random_waveform
from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.conversion import convert
from sonant.cli import main
from sonant.errors import CheckpointError, OutputError

CLASSES: dict[str, Any] = {
    "wav2vec2": transformers.Wav2Vec2ForCTC,
    "hubert": transformers.HubertForCTC,
    "wavlm": transformers.WavLMForCTC,
    "data2vec-audio": transformers.Data2VecAudioForCTC,
}


def assert_there(folder: Path, expected: torch.nn.Module, rows: list[int] | None = None, atol: float = 1e-5) -> None:
    """transformers loads the folder with nothing missing or left over, and gives these logits."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    model, report = CLASSES[kind].from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    waveform = torch.from_numpy(random_waveform(6000))[None]
    with torch.no_grad():
        logits = expected(waveform).logits
        wanted = logits if rows is None else logits[..., rows]
        torch.testing.assert_close(model.eval()(waveform).logits, wanted, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("config", [TINY, LARGE, HUBERT, WAVLM, DATA2VEC], ids=lambda c: c.model_type)
def test_a_model_of_fairseq_loads_there(config: Any, tmp_path: Path) -> None:
    model = random_model(config)
    write_dictionary(tmp_path)
    torch.save({"cfg": settings(config, normalize=True), "model": fairseq_state(model)}, tmp_path / "a.pt")
    convert(open_checkpoint(tmp_path / "a.pt"), tmp_path / "out")
    assert_there(tmp_path / "out", model)
    processor = transformers.Wav2Vec2Processor.from_pretrained(tmp_path / "out")
    assert processor.feature_extractor.do_normalize is True
    assert processor.decode([5, 5, 0, 5, 4, 6]) == "EE T"  # of a dictionary that begins <s> <pad> </s> <unk> | E T


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-5), ("bfloat16", 0.5), ("float16", 5e-2)])
def test_a_model_of_torchaudio_loads_there(dtype: Any, atol: float, tmp_path: Path) -> None:
    model = random_model(replace(LARGE, hidden_size=128, num_attention_heads=2, vocab_size=32))
    torch.save(torchaudio_state(model), tmp_path / "a.pth")
    checkpoint = open_checkpoint(tmp_path / "a.pth")
    convert(checkpoint, tmp_path / "out", dtype)
    assert_there(tmp_path / "out", model, rows=[0, *range(4, 32)], atol=atol)
    again = open_checkpoint(tmp_path / "out")
    assert (again.vocabulary, again.normalize, again.language) == (checkpoint.vocabulary, True, "en")


def test_a_pre_trained_model_keeps_its_codebooks(tmp_path: Path) -> None:
    reference = theirs(TINY, kind="ForPreTraining")
    state = fairseq_state(random_model(TINY), head=False)
    size = reference.config
    state |= {
        "quantizer.vars": reference.quantizer.codevectors.detach(),
        "quantizer.weight_proj.weight": reference.quantizer.weight_proj.weight.detach(),
        "quantizer.weight_proj.bias": reference.quantizer.weight_proj.bias.detach(),
        **{f"project_q.{end}": getattr(reference.project_q, end).detach() for end in ("weight", "bias")},
        **{f"final_proj.{end}": getattr(reference.project_hid, end).detach() for end in ("weight", "bias")},
    }
    cfg = {"model": fairseq_architecture(TINY) | {"latent_groups": size.num_codevector_groups}}
    torch.save({"cfg": cfg, "model": state}, tmp_path / "a.pt")
    convert(open_checkpoint(tmp_path / "a.pt"), tmp_path / "out")
    model, report = transformers.Wav2Vec2ForPreTraining.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())
    torch.testing.assert_close(model.quantizer.codevectors, reference.quantizer.codevectors)
    torch.testing.assert_close(model.project_hid.weight, reference.project_hid.weight)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The command's exit code."""
    monkeypatch.setattr("sys.argv", ["sonant", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_writes_a_training_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = theirs(LARGE)
    reference.config.final_dropout = 0.25
    reference.config.ctc_zero_infinity = True
    reference.save_pretrained(tmp_path / "run" / "model")
    write_tokens(tmp_path / "run" / "model")
    capfd.readouterr()
    assert run(monkeypatch, "convert", tmp_path / "run", tmp_path / "out") == 0
    assert capfd.readouterr() == (f"{tmp_path / 'out'}\n", "")
    assert_there(tmp_path / "out", reference)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["final_dropout"], written["ctc_zero_infinity"]) == (0.25, True)
    capfd.readouterr()
    assert run(monkeypatch, "convert", tmp_path / "run", tmp_path / "out") == 2
    assert "must be a new or an empty folder" in capfd.readouterr().err


def test_nothing_is_left_of_what_cannot_be_written(tmp_path: Path) -> None:
    checkpoint = open_checkpoint()
    too_large = {**checkpoint.tensors, "lm_head.bias": np.full(len(checkpoint.require_vocabulary()), 1e6, np.float32)}
    with pytest.raises(CheckpointError, match=r"lm_head\.bias must be finite to be saved as float16"):
        convert(replace(checkpoint, tensors=too_large), tmp_path / "out", "float16")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        convert(checkpoint, tmp_path / "file" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_memory_holds_a_tensor_at_a_time(tmp_path: Path) -> None:
    config = replace(LARGE, hidden_size=128, num_attention_heads=2, intermediate_size=512, num_hidden_layers=20)
    model = random_model(replace(config, vocab_size=32))
    torch.save({key: tensor.half() for key, tensor in torchaudio_state(model).items()}, tmp_path / "a.pth")
    size = (tmp_path / "a.pth").stat().st_size
    assert size > 3_000_000
    checkpoint = open_checkpoint(tmp_path / "a.pth")
    tracemalloc.start()
    try:
        convert(checkpoint, tmp_path / "out", "bfloat16")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 2
