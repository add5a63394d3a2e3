"""The PyTorch engine: order, batches, precisions, devices that are not there, weights that do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from parity.tiny import TINY, VARIANTS, random_checkpoint, random_model, random_waveform
from sonant.checkpoints import Checkpoint
from sonant.engines.torch import TorchEngine, find_precision
from sonant.errors import CheckpointError, EngineError, OptionError
from sonant.model.encoder import Encoder
from sonant.model.heads import CtcModel, load_weights

LENGTHS = (3000, 16000, 400, 399, 9000, 0)


def clips() -> list[np.ndarray]:
    return [random_waveform(length, seed=i) for i, length in enumerate(LENGTHS)]


def headless(checkpoint: Checkpoint) -> Checkpoint:
    tensors = {name: array for name, array in checkpoint.tensors.items() if not name.startswith("lm_head")}
    return replace(checkpoint, config=replace(checkpoint.config, vocab_size=None), tensors=tensors, vocabulary=None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_emissions_and_states_are_the_models(variant: str) -> None:
    config = VARIANTS[variant]
    model, engine = random_model(config), TorchEngine(random_checkpoint(config), "cpu", "fp32")
    emitted = engine.emit(clips())
    assert [len(rows) for rows in emitted] == [config.num_frames(n) for n in LENGTHS] == [9, 49, 1, 0, 27, 0]
    with torch.no_grad():
        for clip, rows in zip(clips(), emitted, strict=True):
            assert rows.dtype == np.float32
            assert rows.shape[1] == config.vocab_size
            if not len(rows):
                continue
            out = model(torch.from_numpy(clip)[None], all_states=True)
            np.testing.assert_allclose(rows, out.logits[0].log_softmax(-1), atol=1e-6)
            states = engine.states(clip)
            assert len(states) == len(out.states) == config.num_hidden_layers + 1
            for state, expected in zip(states, out.states, strict=True):
                np.testing.assert_allclose(state, expected[0], atol=1e-6)


def test_states_of_chosen_layers_come_in_their_order() -> None:
    engine = TorchEngine(random_checkpoint(TINY), "cpu", "fp32")
    clip = random_waveform(4000)
    states = engine.states(clip)
    for state, layer in zip(engine.states(clip, [3, 0]), [3, 0], strict=True):
        np.testing.assert_array_equal(state, states[layer])
    assert [state.shape for state in engine.states(clip[:100])] == [(0, 32)] * 4
    for layer in (4, -1):
        with pytest.raises(OptionError, match="from 0 to 3"):
            engine.states(clip, [layer])


@pytest.mark.parametrize("variant", ["wav2vec2-base", "wavlm-large"])
def test_batches_are_bounded_and_change_nothing(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TorchEngine(random_checkpoint(VARIANTS[variant]), "cpu", "fp32")
    alone = engine.emit(clips())
    sizes: list[tuple[int, int]] = []
    batch = engine._batch
    monkeypatch.setattr(engine, "_batch", lambda rows: sizes.append((len(rows), max(map(len, rows)))) or batch(rows))
    monkeypatch.setattr(engine, "batch_samples", 20000)
    together = engine.emit(clips())
    assert sizes == [(1, 16000), (2, 9000), (1, 400)]
    for seen, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(seen, expected, atol=1e-5)


@pytest.mark.parametrize(
    "variant", ["wav2vec2-base", "wav2vec2-large", "hubert-batch-norm", "wavlm-base", "data2vec-audio"]
)
def test_bfloat16_is_near_and_narrow(variant: str) -> None:
    checkpoint = random_checkpoint(VARIANTS[variant])
    exact, rough = (TorchEngine(checkpoint, "cpu", precision) for precision in ("fp32", "bf16"))
    for a, b in zip(exact.emit(clips()), rough.emit(clips()), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(np.exp(b).sum(-1), 1, atol=1e-5)  # the softmax is computed in float32
        np.testing.assert_allclose(a, b, atol=0.15)
    assert all(state.dtype == np.float32 for state in rough.states(random_waveform(4000)))
    kinds = {parameter.dtype for parameter in rough._encoder.encoder.layers[0].feed_forward.parameters()}
    assert kinds == {torch.bfloat16}
    assert (exact.precision, rough.precision, rough.name, rough.device) == ("fp32", "bf16", "torch", "cpu")


def test_numbers_out_of_range_are_said() -> None:
    engine = TorchEngine(random_checkpoint(TINY), "cpu", "fp32")
    broken = random_waveform(4000)
    broken[2000] = np.nan
    with pytest.raises(EngineError, match="for a clip of 4000 samples; look for samples that are huge or not finite"):
        engine.emit([random_waveform(9000), broken])


def test_a_model_without_head_gives_states_alone() -> None:
    engine = TorchEngine(headless(random_checkpoint(TINY)), "cpu", "fp32")
    assert len(engine.states(random_waveform(4000))) == 4
    with pytest.raises(CheckpointError, match="only pre-trained"):
        engine.emit(clips())


@pytest.mark.parametrize(
    ("device", "precision", "sentence"),
    [
        ("cuda", "auto", "PyTorch finds 0 CUDA devices"),
        ("cuda:3", "auto", "PyTorch finds 0 CUDA devices"),
        ("mps", "auto", "no Apple GPU"),
        ("cuda:x", "auto", "must be auto, cpu, cuda, cuda:N or mps"),
        ("tpu", "auto", "must be auto, cpu, cuda, cuda:N or mps"),
        ("cpu", "fp16", "must be auto, fp32 or bf16"),
    ],
)
def test_what_this_machine_lacks_is_said(
    device: str, precision: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EngineError, match=sentence) as caught:
        TorchEngine(random_checkpoint(TINY), device, precision)  # type: ignore[arg-type]
    assert str(caught.value).endswith(".")
    assert TorchEngine(random_checkpoint(TINY)).device == "cpu"


def test_precisions_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, precision in (((8, 0), "bf16"), ((7, 5), "fp32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert find_precision("auto", "cuda:0") == precision
    assert find_precision("auto", "mps") == "fp32"
    with pytest.raises(EngineError, match="only fp32 on mps"):
        find_precision("bf16", "mps")


def test_threads_are_at_least_one() -> None:
    before = torch.get_num_threads()
    try:
        TorchEngine(random_checkpoint(TINY), "cpu", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(OptionError, match="at least 1, but is 0"):
        TorchEngine(random_checkpoint(TINY), "cpu", threads=0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        MemoryError(),
    ],
)
def test_too_little_memory_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    engine = TorchEngine(random_checkpoint(TINY), "cpu", "fp32")
    monkeypatch.setattr(engine._encoder, "forward", fail)
    with pytest.raises(EngineError, match="more memory than cpu has free; take shorter windows"):
        engine.emit(clips())
    monkeypatch.setattr(engine._encoder, "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.emit(clips())


def test_a_missing_tensor_is_named() -> None:
    checkpoint = random_checkpoint(VARIANTS["hubert-batch-norm"])
    for name in checkpoint.tensors:
        tensors = {key: array for key, array in checkpoint.tensors.items() if key != name}
        if name.endswith(("masked_spec_embed", "num_batches_tracked")):
            TorchEngine(replace(checkpoint, tensors=tensors), "cpu", "fp32")
            continue
        with pytest.raises(CheckpointError, match=name.removeprefix("hubert.")):
            TorchEngine(replace(checkpoint, tensors=tensors), "cpu", "fp32")


def test_weights_that_do_not_fit_are_named_and_others_ignored() -> None:
    checkpoint = random_checkpoint(TINY)
    tensors = {**checkpoint.tensors, "quantizer.codevectors": np.zeros((1, 640, 128), np.float32)}
    TorchEngine(replace(checkpoint, tensors=tensors), "cpu", "fp32")
    name = "wav2vec2.encoder.layers.1.attention.k_proj.weight"
    with pytest.raises(CheckpointError, match=r"k_proj\.weight"):
        TorchEngine(replace(checkpoint, tensors={**tensors, name: np.zeros((32, 31), np.float32)}), "cpu")
    with pytest.raises(CheckpointError, match="finite"):
        TorchEngine(replace(checkpoint, tensors={**tensors, name: np.full((32, 32), np.nan, np.float32)}), "cpu")


def test_weights_are_copies_that_can_be_trained() -> None:
    checkpoint = random_checkpoint(TINY)
    for array in checkpoint.tensors.values():
        array.flags.writeable = False
    with torch.device("meta"):
        model, encoder = CtcModel(TINY), Encoder(TINY)
    load_weights(model, checkpoint)
    load_weights(encoder, checkpoint)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad
            np.testing.assert_array_equal(parameter, checkpoint.tensors[name])
            parameter.add_(1)
            assert not np.array_equal(parameter, checkpoint.tensors[name])
    for name, parameter in encoder.named_parameters():
        np.testing.assert_array_equal(parameter.detach(), checkpoint.tensors["wav2vec2." + name])


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    for variant, config in VARIANTS.items():
        checkpoint = random_checkpoint(config)
        expected = TorchEngine(checkpoint, "cpu", "fp32").emit(clips())
        for precision, tolerance in (("fp32", 1e-4), ("bf16", 0.15)):
            for seen, rows in zip(TorchEngine(checkpoint, "cuda", precision).emit(clips()), expected, strict=True):
                np.testing.assert_allclose(seen, rows, atol=tolerance, err_msg=f"{variant} {precision}")
