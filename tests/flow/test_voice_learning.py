"""Voices learnt in closed form over a random encoder: `sonant identify --learn`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

import sonant
from flow.test_command import run
from parity.tiny import DATA2VEC, HUBERT, LARGE, TINY, WAVLM, checkpoint_of, random_model
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.engines import open_engine
from sonant.errors import AudioError, CheckpointError, DataError
from sonant.identify import read_voice_head
from sonant.model.config import EncoderConfig
from sonant.model.encoder import Encoder
from sonant.model.heads import load_weights
from sonant.pooling import Bands, Layer, Moments, PooledHead, all_layers
from sonant.recognizer import Recognizer
from sonant.train.linear import LinearVoice, learn_voices, statistics_of, with_voices
from sonant.types import FloatArray
from sonant.windows import WindowSpec

RATE = 16000
NOISE, VOICE = Layer("layer", 0), Layer("conv", 3)
FAMILIES = {"wav2vec2": TINY, "large": LARGE, "hubert": HUBERT, "wavlm": WAVLM, "data2vec": DATA2VEC}


def narrow(rows: dict[Layer, np.ndarray]) -> dict[Layer, FloatArray]:
    return {at: array.astype(np.float32) for at, array in rows.items()}


def test_speakers_are_told_apart_though_clips_vary_more() -> None:
    """What varies from clip to clip is larger than what tells speakers apart, and in other directions."""
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(40), 8)
    voices, noises = random.standard_normal((6, 12)), random.standard_normal((4, 12))

    def clips(who: np.ndarray, known: np.ndarray) -> dict[Layer, np.ndarray]:
        rows = known[who] @ voices + 3 * random.standard_normal((len(who), 4)) @ noises
        rows += 0.1 * random.standard_normal(rows.shape)
        return narrow({NOISE: random.standard_normal((len(who), 12)), VOICE: rows})

    found = learn_voices(clips(who, random.standard_normal((40, 6))), [f"s{i}" for i in who], range(len(who)))
    assert found.layers[0] == VOICE
    assert found.eer < 0.1
    vectors = found.embed(clips(who, random.standard_normal((40, 6))))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    scores, same = vectors @ vectors.T, who[:, None] == who
    assert (scores[~same] >= found.threshold).mean() == pytest.approx(0.01, abs=0.01)
    off = same & ~np.eye(len(who), dtype=bool)
    assert np.median(scores[off]) > np.quantile(scores[~same], 0.95)
    with pytest.raises(DataError, match=r"but 5 such of 6 came; add others\.$"):
        learn_voices({VOICE: np.zeros((12, 6), np.float32)}, list("aabbccddeeff"), [*range(10), 10, 10])


def test_layers_that_know_different_things_are_looked_at_together() -> None:
    random = np.random.default_rng(1)
    who = np.repeat(np.arange(40), 8)
    halves = [random.standard_normal((40, 3)) for _ in range(2)]
    layers = {
        Layer("conv", i): half[who] + 0.5 * random.standard_normal((len(who), 3)) for i, half in enumerate(halves)
    }
    rows = narrow({NOISE: random.standard_normal((len(who), 4)), **layers})
    found = learn_voices(rows, [f"s{i}" for i in who], range(len(who)))
    assert set(found.layers) == set(layers)


def test_what_tells_recordings_apart_is_no_voice() -> None:
    """Pieces of one recording are alike in the room as well: layers are chosen by pieces of different ones."""
    random = np.random.default_rng(2)
    who, clips = np.repeat(np.arange(30), 16), np.repeat(np.arange(60), 8)
    rooms, voices = random.standard_normal((60, 8)), random.standard_normal((30, 4))
    noise = [0.3 * random.standard_normal((len(who), width)) for width in (8, 4)]
    rows = narrow({NOISE: rooms[clips] + noise[0], VOICE: voices[who] + 6 * noise[1]})
    found = learn_voices(rows, [f"s{i}" for i in who], clips.tolist())
    assert found.layers[0] == VOICE


def test_statistics_are_those_of_pieces() -> None:
    checkpoint = checkpoint_of(random_model(TINY))
    ears = Moments(checkpoint, [Layer("conv", 1), Layer("layer", 2)])
    width, size = TINY.conv_dim[1], TINY.hidden_size
    assert ears.width == 2 * (width + size)
    frames = np.random.default_rng(0).standard_normal((25, width + size)).astype(np.float32)
    conv, state = frames[:, :width], frames[:, width:]
    heard = np.concatenate([conv, conv**2, state, state**2], 1)
    found = statistics_of([heard[:4], heard[4:]], ears, 10)
    assert [each.shape for each in found] == [(3, 2 * width), (3, 2 * size)]
    np.testing.assert_allclose(found[0][1, :width], conv[10:20].mean(0), atol=1e-6)
    np.testing.assert_allclose(found[1][2, size:], state[20:].std(0), atol=1e-6)
    assert len(statistics_of([heard[:4]], ears, 10)[0]) == 1
    assert len(statistics_of([heard[:14]], ears, 10)[0]) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_heard_by_the_frame_is_what_the_layers_give_in_its_time(family: str) -> None:
    """Both engines, every family: the convolutions' outputs and the states, from the encoder itself."""
    config: EncoderConfig = FAMILIES[family]
    checkpoint, samples = checkpoint_of(random_model(config)), np.random.default_rng(2).standard_normal(RATE)
    waveform = samples.astype(np.float32)
    model = Encoder(config).eval()
    load_weights(model, checkpoint)
    given: list[torch.Tensor] = []
    for layer in model.feature_extractor.conv_layers:
        layer.register_forward_hook(lambda _module, _inputs, output: given.append(output[0][0]))
    with torch.no_grad():
        states = [state[0] for state in model(torch.from_numpy(waveform)[None], all_states=True).states]
    expected: list[torch.Tensor] = []
    for i, output in enumerate(given):
        hop = int(np.prod(config.conv_stride[i + 1 :]))
        rows = output[: len(states[0]) * hop].reshape(len(states[0]), hop, -1)
        expected += [rows.mean(1), rows.square().mean(1)]
    expected += [part for state in states for part in (state, state.square())]
    for name in ("openvino", "torch"):
        engine = open_engine(checkpoint, engine=name, device="cpu", precision="fp32")
        heard = Moments(checkpoint, all_layers(checkpoint)).hear(engine, waveform)
        np.testing.assert_allclose(heard, torch.cat(expected, 1).numpy(), atol=1e-4, rtol=1e-4)
        assert not len(Moments(checkpoint, [Layer("conv", 1)]).hear(engine, waveform[:100]))


def voiced(layers: tuple[Layer, ...], main: int = 2) -> tuple[Recognizer, LinearVoice]:
    """A random model with a random head, which hears in windows of two seconds."""
    checkpoint, random = checkpoint_of(random_model(TINY)), np.random.default_rng(3)
    width = Moments(checkpoint, layers).width
    center, matrix = (random.standard_normal(shape).astype(np.float32) for shape in (width, (8, width)))
    voice = LinearVoice(layers, Bands(main, 0.4), center, matrix, 0.1, 0.25)
    own = with_voices(checkpoint, voice)
    engine = open_engine(own, engine="openvino", precision="fp32")
    return Recognizer(own, engine, window=WindowSpec(seconds=2.0, margin=0.5)), voice


@pytest.mark.parametrize("layers", [(Layer("conv", 1), Layer("conv", 3)), (Layer("layer", 1), Layer("conv", 0))])
def test_a_long_recording_has_the_vector_of_its_statistics(layers: tuple[Layer, ...]) -> None:
    asr, voice = voiced(layers)
    samples = 0.1 * np.random.default_rng(4).standard_normal(7 * RATE).astype(np.float32)
    head = read_voice_head(asr.checkpoint)
    assert isinstance(head, PooledHead)
    heard = np.concatenate(list(asr.hear(head, samples, RATE)))
    assert len(heard) == TINY.num_frames(len(samples))
    rows = statistics_of([heard], head.moments, len(heard))
    turned = (np.concatenate(rows, 1)[0] - voice.center) @ voice.matrix.T
    main, rest = turned[:2] / np.linalg.norm(turned[:2]), turned[2:] / np.linalg.norm(turned[2:])
    expected = np.concatenate([0.4**0.5 * main, 0.6**0.5 * rest])
    np.testing.assert_allclose(asr.embed(samples, RATE), expected, atol=1e-5)


def test_heads_that_do_not_fit_and_what_is_too_short_are_refused() -> None:
    asr, voice = voiced((Layer("conv", 1),))
    with pytest.raises(AudioError, match=r"A voice is known by 16 frames or more, but the recording has only 12"):
        asr.embed(np.random.default_rng(0).standard_normal(4000).astype(np.float32), RATE)
    with pytest.raises(AudioError, match="must hold a voice, but is silent"):
        asr.embed(np.zeros(RATE, np.float32), RATE)
    settings = asr.checkpoint.settings
    right = {"layers": ["conv_1"], "main": 2, "main_share": 0.4}
    wrongs = {"layers": [["conv_9"], ["conv_1"] * 2, 1], "main": [0.5, None], "main_share": [0.0, 1.0, "0.4"]}
    told_wrong = [right | {name: value} for name, values in wrongs.items() for value in values]
    for told in (None, {}, *told_wrong):
        wrong = with_voices(asr.checkpoint, voice)
        wrong.settings["sonant"]["voice"] = told  # type: ignore[index]
        with pytest.raises(CheckpointError, match="must name layers of the model"):
            read_voice_head(wrong)
    for main in (0, 8):
        with pytest.raises(CheckpointError, match=f"must be 1 to 7, but are {main}"):
            read_voice_head(
                with_voices(asr.checkpoint, LinearVoice(voice.layers, Bands(main, 0.4), voice.center, voice.matrix))
            )
    other = LinearVoice((Layer("conv", 0),), voice.bands, voice.center[:-1], voice.matrix)
    with pytest.raises(CheckpointError, match="must have the shape"):
        read_voice_head(with_voices(asr.checkpoint, other))
    assert settings == asr.checkpoint.settings


def test_a_model_that_writes_learns_voices_and_still_writes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(random_model(TINY))
    save_checkpoint(tmp_path / "ctc", TINY, dict(checkpoint.tensors), checkpoint.vocabulary)
    lines: list[str] = []
    for speaker in range(7):
        for i in range(3):
            random, name = np.random.default_rng([speaker, i]), f"{speaker}-{i}.wav"
            noise = np.convolve(random.standard_normal(RATE), np.random.default_rng(speaker).standard_normal(9), "same")
            soundfile.write(tmp_path / name, 0.05 * noise, RATE)
            lines.append(json.dumps({"audio_filepath": name, "duration": 1.0, "speaker": f"s{speaker}"}) + "\n")
    (tmp_path / "people.jsonl").write_text("".join(lines))
    options = ["--model", tmp_path / "ctc", "--precision", "fp32"]
    assert run(monkeypatch, "identify", "--learn", tmp_path / "people.jsonl", *options) == 2
    assert "writes a model to --output FOLDER; give both" in capsys.readouterr().err
    learning = ["--learn", tmp_path / "people.jsonl", "--output", tmp_path / "voice"]
    assert run(monkeypatch, "identify", *learning, *options) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'voice'}\n"
    assert "conv_" in err
    assert "7 speakers: equal error rate" in err
    asr, before = (sonant.load(tmp_path / name, precision="fp32") for name in ("voice", "ctc"))
    samples, _ = soundfile.read(tmp_path / "3-1.wav", dtype="float32")
    np.testing.assert_array_equal(asr.emissions(samples, RATE).log_probs, before.emissions(samples, RATE).log_probs)
    theirs = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "voice").eval()
    assert theirs.config.architectures == ["Wav2Vec2ForCTC"]
    vectors = [asr.embed(tmp_path / name) for name in ("3-1.wav", "3-2.wav", "5-0.wav")]
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    torch_engine = sonant.load(tmp_path / "voice", engine="torch", device="cpu", precision="fp32")
    np.testing.assert_allclose(torch_engine.embed(tmp_path / "3-1.wav"), vectors[0], atol=1e-3)
    pair = [tmp_path / "1-0.wav", tmp_path / "1-1.wav", "--model", tmp_path / "voice", "--precision", "fp32"]
    assert run(monkeypatch, "identify", "--verify", *pair) == 0
    assert "threshold" in capsys.readouterr().out
    assert run(monkeypatch, "identify", *learning, *options) == 2
    assert "must be a new or an empty folder" in capsys.readouterr().err
    again = ["--learn", tmp_path / "people.jsonl", "--output", tmp_path / "again", "--model", tmp_path / "voice"]
    assert run(monkeypatch, "identify", *again, "--precision", "fp32") == 0
    relearnt = sonant.load(tmp_path / "again", precision="fp32")
    np.testing.assert_allclose(relearnt.embed(tmp_path / "3-1.wav"), vectors[0], atol=1e-6)
