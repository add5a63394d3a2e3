"""What the OpenVINO engine does at its edges, and how an engine is chosen."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

import sonant.engines
from parity.tiny import TINY, WAVLM, random_checkpoint, random_waveform
from sonant.checkpoints import Checkpoint
from sonant.engines import open_engine
from sonant.engines.graph import FirstLayer, constant, distance_buckets
from sonant.engines.openvino import OpenVinoEngine, find_precision
from sonant.errors import CheckpointError, EngineError, MissingExtraError, OptionError
from sonant.model import encoder


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint(TINY)


@pytest.fixture(scope="module")
def engine(checkpoint: Checkpoint) -> OpenVinoEngine:
    return OpenVinoEngine(checkpoint, "fp32", threads=1)


class Processor:
    """What an OpenVINO core says of a processor."""

    def __init__(self, *capabilities: str) -> None:
        self.capabilities = capabilities

    def get_property(self, device: str, name: str) -> tuple[str, ...]:
        return self.capabilities


@pytest.mark.parametrize(
    ("capabilities", "asked", "given"),
    [
        (("FP32", "BF16"), "auto", "bf16"),
        (("FP32", "BF16"), "bf16", "bf16"),
        (("FP32", "BF16"), "fp32", "fp32"),
        (("FP32",), "auto", "fp32"),
        (("FP32",), "fp32", "fp32"),
    ],
)
def test_precision_follows_the_processor(capabilities: tuple[str, ...], asked: str, given: str) -> None:
    assert find_precision(asked, Processor(*capabilities)) == given  # type: ignore[arg-type]


def test_bfloat16_is_refused_where_the_processor_lacks_it() -> None:
    with pytest.raises(EngineError, match="no instructions for it; take fp32 or auto"):
        find_precision("bf16", Processor("FP32", "FP16"))  # type: ignore[arg-type]


def test_a_log_probability_row_is_a_distribution(engine: OpenVinoEngine) -> None:
    (log_probs,) = engine.emit([random_waveform(8000)])
    assert log_probs.dtype == np.float32
    assert log_probs.shape == (TINY.num_frames(8000), 12)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)


def test_a_result_is_the_callers_own(engine: OpenVinoEngine) -> None:
    (first,) = engine.emit([random_waveform(8000, seed=1)])
    kept = first.copy()
    engine.emit([random_waveform(8000, seed=2)])
    np.testing.assert_array_equal(first, kept)


def test_less_than_a_frame_gives_none(engine: OpenVinoEngine) -> None:
    short = random_waveform(TINY.receptive_field - 1)
    nothing, something, empty = engine.emit([short, random_waveform(1000), short[:0]])
    assert nothing.shape == empty.shape == (0, 12)
    assert len(something) == TINY.num_frames(1000)
    assert [state.shape for state in engine.states(short)] == [(0, 32)] * 4


@pytest.mark.parametrize("config", [TINY, WAVLM])
def test_a_clip_of_one_frame_spoils_nothing_that_follows(config: encoder.EncoderConfig) -> None:
    checkpoint = random_checkpoint(config)
    short, long = random_waveform(config.receptive_field), random_waveform(9000)
    first = OpenVinoEngine(checkpoint, "fp32", threads=1)
    first.emit([short])
    first.states(short)
    fresh = OpenVinoEngine(checkpoint, "fp32", threads=1)
    np.testing.assert_array_equal(first.emit([long])[0], fresh.emit([long])[0])
    for state, expected in zip(first.states(long), fresh.states(long), strict=True):
        np.testing.assert_array_equal(state, expected)


def test_threads_share_an_engine(engine: OpenVinoEngine) -> None:
    clips = [random_waveform(num_samples, seed=num_samples) for num_samples in (400, 4000, 8000, 12000)] * 3
    expected = engine.emit(clips)
    with ThreadPoolExecutor(4) as pool:
        emitted = list(pool.map(lambda clip: engine.emit([clip])[0], clips))
    for log_probs, alone in zip(emitted, expected, strict=True):
        np.testing.assert_array_equal(log_probs, alone)


def test_states_come_as_they_are_asked_for(engine: OpenVinoEngine) -> None:
    waveform = random_waveform(8000)
    states = engine.states(waveform)
    assert len(states) == TINY.num_hidden_layers + 1
    last, first = engine.states(waveform, [3, 0])
    np.testing.assert_array_equal(last, states[3])
    np.testing.assert_array_equal(first, states[0])
    with pytest.raises(OptionError, match="from 0 to 3, but is 4"):
        engine.states(waveform, [0, 4])


def test_a_model_without_head_has_states_only(checkpoint: Checkpoint) -> None:
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith("lm_head")}
    bare = replace(checkpoint, tensors=tensors, vocabulary=None, config=replace(checkpoint.config, vocab_size=None))
    engine = OpenVinoEngine(bare, "fp32", threads=1)
    with pytest.raises(CheckpointError, match="no CTC head"):
        engine.emit([random_waveform(8000)])
    assert engine.states(random_waveform(8000), [3])[0].shape == (TINY.num_frames(8000), 32)


@pytest.mark.parametrize(
    "name",
    [
        "wav2vec2.feature_extractor.conv_layers.0.conv.weight",
        "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        "wav2vec2.encoder.layers.2.attention.k_proj.bias",
        "lm_head.weight",
    ],
)
def test_a_weight_that_does_not_fit_is_named(checkpoint: Checkpoint, name: str) -> None:
    array = checkpoint.tensors[name]
    others = {key: tensor for key, tensor in checkpoint.tensors.items() if key != name}
    with pytest.raises(CheckpointError, match=f"{name.removeprefix('wav2vec2.')} .*has none of that name"):
        OpenVinoEngine(replace(checkpoint, tensors=others), "fp32")
    with pytest.raises(CheckpointError, match=f"{name.removeprefix('wav2vec2.')} .*must have the shape"):
        OpenVinoEngine(replace(checkpoint, tensors=others | {name: array[..., :-1]}), "fp32")
    with pytest.raises(CheckpointError, match=f"{name.removeprefix('wav2vec2.')} .*must be finite"):
        OpenVinoEngine(replace(checkpoint, tensors=others | {name: array * np.float32("nan")}), "fp32")


def test_numbers_out_of_range_are_an_error(engine: OpenVinoEngine) -> None:
    waveform = random_waveform(8000)
    waveform[100] = np.nan
    with pytest.raises(EngineError, match="must be finite"):
        engine.emit([waveform])


def test_constants_share_the_memory_of_their_arrays() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    array.flags.writeable = False  # as weights in a mapped file are
    node = constant(array)
    assert node.data.ctypes.data == array.ctypes.data  # type: ignore[attr-defined]
    del array
    np.testing.assert_array_equal(node.data, np.arange(12).reshape(3, 4))  # type: ignore[attr-defined]


def test_a_scale_is_what_the_group_norm_divides_by(checkpoint: Checkpoint) -> None:
    """Also for a filter that hears differences only, in samples that all but agree: the statistics keep digits."""
    name = "feature_extractor.conv_layers.0.conv.weight"
    weight = checkpoint.weight(name, (16, 1, 10)).copy()
    weight[0, 0] = [0, 0, 0, 1, -2, 1, 0, 0, 0, 0]
    checkpoint = replace(checkpoint, tensors={**checkpoint.tensors, f"wav2vec2.{name}": weight})
    hum = 3 + np.sin(2 * np.pi * 20 * np.arange(40000) / 16000) + 1e-3 * random_waveform(40000)
    for waveform in (random_waveform(5000), hum.astype(np.float32)):
        windows, scale = FirstLayer(checkpoint).inputs(waveform)
        seen = np.lib.stride_tricks.sliding_window_view(waveform, 10)[::5].T.astype(np.float64)
        output = weight[:, 0].astype(np.float64) @ seen
        gain = checkpoint.weight("feature_extractor.conv_layers.0.layer_norm.weight", (16,))
        np.testing.assert_allclose(scale[0, :, 0, 0], gain / np.sqrt(output.var(1) + 1e-5), rtol=1e-6)
        centred = output - output.mean(1, keepdims=True)
        np.testing.assert_allclose(weight[:, 0] @ windows[0, :, 0], centred, atol=2e-6)


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(320, 800), (20, 30), (32, 128)])
@pytest.mark.parametrize("num_frames", [1, 2, 50, 1500])
def test_distances_fall_into_torchs_buckets(num_frames: int, num_buckets: int, max_distance: int) -> None:
    frames = torch.arange(num_frames)
    expected = encoder.distance_buckets(frames - frames[:, None], num_buckets, max_distance)
    np.testing.assert_array_equal(distance_buckets(num_frames, num_buckets, max_distance), expected.numpy())


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(checkpoint: Checkpoint, threads: int) -> None:
    with pytest.raises(OptionError, match=f"at least 1, but is {threads}"):
        open_engine(checkpoint, threads=threads)


def test_open_engine_takes_openvino_on_the_cpu(checkpoint: Checkpoint) -> None:
    for device in ("auto", "cpu"):
        opened = open_engine(checkpoint, device=device, precision="fp32", threads=1)
        assert (opened.name, opened.device, opened.precision) == ("openvino", "cpu", "fp32")


def test_open_engine_takes_torch_where_it_is_asked_for(checkpoint: Checkpoint) -> None:
    opened = open_engine(checkpoint, engine="torch", device="cpu", precision="fp32")
    assert (opened.name, opened.device) == ("torch", "cpu")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "onnx"}, "must be auto, openvino or torch, but is 'onnx'"),
        ({"precision": "int4"}, "must be auto, fp32 or bf16, but is 'int4'"),
        ({"device": "tpu"}, "must be auto, cpu, cuda, cuda:N or mps, but is 'tpu'"),
        ({"device": "cuda:x"}, "must be auto, cpu, cuda, cuda:N or mps, but is 'cuda:x'"),
        ({"device": "0"}, "must be auto, cpu, cuda, cuda:N or mps, but is '0'"),
        ({"engine": "openvino", "device": "cuda"}, "runs on the device cpu only, but the device is cuda"),
    ],
)
def test_open_engine_refuses_what_it_does_not_know(
    checkpoint: Checkpoint, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(EngineError, match=sentence):
        open_engine(checkpoint, **options)


@pytest.mark.parametrize("options", [{"engine": "torch"}, {"device": "cuda"}, {"device": "mps"}])
def test_open_engine_names_the_extra_for_gpus(
    checkpoint: Checkpoint, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sonant.engines.torch", raising=False)
    monkeypatch.delattr(sonant.engines, "torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sonant\[torch\]'"):
        open_engine(checkpoint, **options)
