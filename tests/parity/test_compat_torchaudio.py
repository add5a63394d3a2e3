"""torchaudio's calls over sonant give what torchaudio's own code gives, and its tutorial's script runs as it stands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from parity.layouts import torchaudio_state
from parity.test_torchaudio_files import VARIANTS, theirs
from parity.tiny import random_model
from sonant.compat import torchaudio as compat
from sonant.compat.torchaudio.models.wav2vec2 import Wav2Vec2Model
from sonant.errors import AudioError, CheckpointError, OptionError, SonantError

FILE = "wav2vec2_fairseq_base_ls960_asr_ls960.pth"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchaudio kept its files, with tiny weights under the names of two bundles and an asset."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(torchaudio_state(random_model(VARIANTS["base"])), folder / FILE)
    torch.save(torchaudio_state(random_model(VARIANTS["wavlm-large"]), head=False), folder / "wavlm_large.pth")
    assets = tmp_path / "hub" / "torchaudio" / "tutorial-assets"
    assets.mkdir(parents=True)
    compat.save(assets / "speech.wav", 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)), 8000)
    return tmp_path


@pytest.fixture
def installed() -> Iterator[None]:
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchaudio"}
    compat.install()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
    sys.modules.update(before)


SCRIPT = """
import torch
import torchaudio
from torchaudio.utils import download_asset
from torchaudio.models.decoder import ctc_decoder

device = torch.device("cpu")
bundle = torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H
model = bundle.get_model().to(device)
waveform, rate = torchaudio.load(download_asset("tutorial-assets/speech.wav"))
waveform = waveform.to(device)
if rate != bundle.sample_rate:
    waveform = torchaudio.functional.resample(waveform, rate, bundle.sample_rate)
with torch.inference_mode():
    features, _ = model.extract_features(waveform)
    emission, lengths = model(waveform)
labels = bundle.get_labels()
text = "".join(labels[i] for i in torch.unique_consecutive(emission[0].argmax(-1)) if i)
beam = ctc_decoder(None, list(labels))(emission)
"""


@pytest.mark.usefixtures("home", "installed")
def test_the_tutorial_runs_as_it_stands() -> None:
    space: dict[str, Any] = {}
    exec(SCRIPT, space)
    assert space["waveform"].shape == (2, 16000)
    assert space["emission"].shape == (2, 49, 29)
    assert space["lengths"] is None
    assert len(space["features"]) == VARIANTS["base"].num_hidden_layers
    assert isinstance(space["text"], str)
    assert len(space["beam"]) == 2
    assert importlib.import_module("torchaudio.functional") is compat.functional


DECODING = """
import torch
import torchaudio
from torchaudio.models.decoder import ctc_decoder, download_pretrained_files
from torchaudio.utils import download_asset

bundle = torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H
acoustic_model = bundle.get_model()
waveform, sample_rate = torchaudio.load(download_asset("tutorial-assets/speech.wav"))
if sample_rate != bundle.sample_rate:
    waveform = torchaudio.functional.resample(waveform, sample_rate, bundle.sample_rate)
files = download_pretrained_files("librispeech-4-gram")
search = ctc_decoder(
    lexicon=files.lexicon, tokens=files.tokens, lm=files.lm,
    nbest=3, beam_size=150, lm_weight=3.23, word_score=-0.26,
)
emission, _ = acoustic_model(waveform)
result = search(emission)
best = result[0][0]
errors = torchaudio.functional.edit_distance("i said so".split(), best.words) / 3
tokens = search.idxs_to_tokens(best.tokens)
stretch = waveform.size(1) / emission.size(1)
starts = [stretch * step for step in best.timesteps]
search.decode_begin()
for frame in emission[0].detach():
    search.decode_step(frame[None])
search.decode_end()
online = search.get_final_hypothesis()[0]
for setting in ({"beam_size_token": 5}, {"beam_threshold": 10}, {"sil_score": -1}, {"log_add": True}):
    ctc_decoder(lexicon=files.lexicon, tokens=files.tokens, lm=files.lm, **setting)(emission)
"""


@pytest.mark.usefixtures("installed")
def test_the_tutorial_of_the_decoder_runs_as_it_stands(home: Path) -> None:
    folder = home / "hub" / "torchaudio" / "decoder-assets" / "librispeech-4-gram"
    folder.mkdir(parents=True)
    labels = [label.lower() for label in compat.pipelines.WAV2VEC2_ASR_BASE_960H.get_labels()]
    (folder / "tokens.txt").write_text("\n".join(labels))
    spelled = {f"wörd{i}": word for i, word in enumerate(["i", "said", "so", "it's", "a", "tutorial"])}
    lexicon = "".join(f"{word}\t{' '.join(letters)} |\n" for word, letters in spelled.items())
    (folder / "lexicon.txt").write_text(lexicon, encoding="utf-8")
    (folder / "lm.bin").write_bytes((Path(__file__).parents[1] / "unit" / "kenlm" / "trie.bin").read_bytes())
    space: dict[str, Any] = {}
    exec(DECODING, space)
    assert set(space["best"].words) <= set(spelled)
    assert len(space["starts"]) == len(space["tokens"]) == len(space["best"].tokens)
    assert space["online"].words == space["best"].words
    assert space["online"].score == pytest.approx(space["best"].score, abs=1e-2)


def ours(model: Any, variant: str, home: Path) -> Wav2Vec2Model:
    """Another library's weights in a bundle of ours."""
    large = VARIANTS[variant].feat_extract_norm == "layer"
    bundle = "WAV2VEC2_ASR_LARGE_LV60K_960H" if large else "WAV2VEC2_ASR_BASE_960H"
    file = "wav2vec2_fairseq_large_lv60k_asr_ls960.pth" if large else FILE
    torch.save(model.state_dict(), home / "hub" / "checkpoints" / file)
    return getattr(compat.pipelines, bundle).get_model()


@pytest.mark.parametrize("lengths", [None, [6000, 4321]])
@pytest.mark.parametrize("variant", VARIANTS)
def test_emissions_and_features_are_the_real_ones(variant: str, lengths: list[int] | None, home: Path) -> None:
    models = pytest.importorskip("torchaudio.models", exc_type=ImportError)
    if lengths and "wavlm" in variant:
        pytest.skip("torchaudio's WavLM takes no lengths")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = theirs(models, replace(VARIANTS[variant]))
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        waveforms = torch.randn(2, 6000)
    mine = ours(model, variant, home).double()  # rounding of float32 alone comes to 1e-5
    model, waveforms = model.double(), waveforms.double()
    given = waveforms
    if mine.normalize_waveform:
        given = torch.nn.functional.layer_norm(waveforms, waveforms.shape)
    real = None if lengths is None else torch.tensor(lengths)
    with torch.no_grad():
        expected, frames = model(given, real)
        states, _ = model.extract_features(given, real)
        first, _ = mine.extract_features(waveforms, real, 1)
        got, got_frames = mine(waveforms, real)
        got_states, _ = mine.extract_features(waveforms, real)
    assert len(first) == 1
    assert len(got_states) == len(states)
    assert (frames is None) == (got_frames is None)
    counts = [expected.shape[1]] * 2 if frames is None else frames.tolist()
    if got_frames is not None:
        assert got_frames.tolist() == counts
    for row, count in enumerate(counts):
        torch.testing.assert_close(got[row, :count], expected[row, :count], atol=1e-9, rtol=1e-9)
        for mine_state, state in zip(got_states, states, strict=True):
            torch.testing.assert_close(mine_state[row, :count], state[row, :count], atol=1e-9, rtol=1e-9)


def test_features_are_not_normed_after_the_last_layer(home: Path) -> None:
    model = compat.pipelines.WAVLM_LARGE.get_model()
    with torch.no_grad():
        waveforms = torch.randn(1, 6000, generator=torch.Generator().manual_seed(0))
        states, _ = model.extract_features(waveforms)
        last, _ = model(waveforms)
        torch.testing.assert_close(model.encoder.encoder.layer_norm(states[-1]), last)
        assert not torch.allclose(states[-1], last)
        with pytest.raises(OptionError, match="num_layers must be between 1 and"):
            model.extract_features(waveforms, num_layers=99)


def test_every_bundle_is_there_with_its_labels() -> None:
    assert len(dir(compat.pipelines)) == 3 + 30
    assert "".join(compat.pipelines.WAV2VEC2_ASR_BASE_960H.get_labels(blank="_")) == "_|ETAONIHSRDLUMWCFGYPBVK'XJQZ"
    assert compat.pipelines.VOXPOPULI_ASR_BASE_10K_DE.get_labels()[:4] == ("-", "|", "e", "n")
    for name in set(dir(compat.pipelines)) - {"Wav2Vec2Bundle", "Wav2Vec2ASRBundle", "Wav2Vec2FABundle"}:
        bundle = getattr(compat.pipelines, name)
        assert bundle.sample_rate == 16000
        assert ("ASR" in name or name == "MMS_FA") == hasattr(bundle, "get_labels")


def test_bundles_are_the_real_ones() -> None:
    real = pytest.importorskip("torchaudio.pipelines", exc_type=ImportError)
    for name in set(dir(compat.pipelines)) - {"Wav2Vec2Bundle", "Wav2Vec2ASRBundle", "Wav2Vec2FABundle"}:
        mine, theirs = getattr(compat.pipelines, name), getattr(real, name)
        config = mine.published.config
        assert mine.sample_rate == theirs.sample_rate
        assert (config.feat_extract_norm == "layer") == theirs._normalize_waveform
        assert compat.pipelines._FILES[name] == theirs._path.rpartition("/")[2]
        assert config.num_hidden_layers == theirs._params["encoder_num_layers"]
        assert config.hidden_size == theirs._params["encoder_embed_dim"]
        if hasattr(theirs, "get_labels"):
            assert mine.get_labels() == theirs.get_labels()
            assert mine.get_labels(blank="_") == theirs.get_labels(blank="_")
        if hasattr(theirs, "get_dict"):
            assert mine.get_dict() == theirs.get_dict()
            assert mine.get_dict(star=None, blank="_") == theirs.get_dict(star=None, blank="_")
            assert mine.get_labels(star=None) == theirs.get_labels(star=None)


def test_a_bundle_without_weights_says_where_they_belong(home: Path) -> None:
    with pytest.raises(CheckpointError, match=r"WAV2VEC2_ASR_BASE_10M .* download https://.*ll10m\.pth to it"):
        compat.pipelines.WAV2VEC2_ASR_BASE_10M.get_model()
    with pytest.raises(AudioError, match=r"The asset no/such\.wav was expected at"):
        compat.utils.download_asset("no/such.wav")


def test_what_is_not_offered_names_the_replacement() -> None:
    with pytest.raises(SonantError, match=r"torchaudio\.transforms\.MelSpectrogram .* use librosa"):
        _ = compat.transforms.MelSpectrogram
    with pytest.raises(AttributeError, match=r"torchaudio\.pipelines\.TACOTRON2"):
        _ = compat.pipelines.TACOTRON2


@pytest.mark.usefixtures("installed")
def test_modules_that_are_not_offered_name_the_replacement() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"torchaudio\.compliance .* use the package kaldi-native-fbank"):
        importlib.import_module("torchaudio.compliance.kaldi")


@pytest.mark.parametrize(("old", "new"), [(8000, 16000), (44100, 16000), (16000, 8000), (48000, 44100)])
@pytest.mark.parametrize("method", ["sinc_interp_hann", "sinc_interp_kaiser"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_resampled_samples_are_the_real_ones(old: int, new: int, method: str, dtype: torch.dtype) -> None:
    real = pytest.importorskip("torchaudio.functional", exc_type=ImportError)
    waveform = torch.randn(2, 3, 1001, dtype=dtype, generator=torch.Generator().manual_seed(0))
    expected = real.resample(waveform, old, new, resampling_method=method)
    got = compat.functional.resample(waveform, old, new, resampling_method=method)
    assert (got.dtype, got.shape) == (dtype, expected.shape)
    # the same numbers in the same order; only how a processor adds them up may differ
    close = {"atol": 1e-6 if dtype is torch.float32 else 1e-12, "rtol": 0.0}
    torch.testing.assert_close(got, expected, **close)
    transforms = pytest.importorskip("torchaudio.transforms", exc_type=ImportError)
    given = None if dtype is torch.float32 else dtype
    expected = transforms.Resample(old, new, method, dtype=given)(waveform)
    torch.testing.assert_close(compat.transforms.Resample(old, new, method, dtype=given)(waveform), expected, **close)


def test_a_tone_stays_a_tone_at_another_rate() -> None:
    tone = torch.sin(torch.arange(4800) / 48000 * 2 * torch.pi * 440)
    expected = torch.sin(torch.arange(1600) / 16000 * 2 * torch.pi * 440)
    torch.testing.assert_close(
        compat.functional.resample(tone, 48000, 16000)[50:-50], expected[50:-50], atol=2e-3, rtol=0
    )


def test_files_come_back_as_saved(tmp_path: Path) -> None:
    samples = torch.rand(2, 500, generator=torch.Generator().manual_seed(0)) * 2 - 1
    compat.save(tmp_path / "a.wav", samples, 22050)
    loaded, rate = compat.load(tmp_path / "a.wav", 100, 200)
    assert rate == 22050
    torch.testing.assert_close(loaded, samples[:, 100:300], atol=2**-15, rtol=0)
    about = compat.info(tmp_path / "a.wav")
    assert (about.sample_rate, about.num_frames, about.num_channels, about.bits_per_sample) == (22050, 500, 2, 16)
    with pytest.raises(OptionError, match="save writes WAV"):
        compat.save(tmp_path / "a.flac", samples, 22050)


def test_edits_are_counted() -> None:
    assert compat.functional.edit_distance("kitten", "sitting") == 3
    assert compat.functional.edit_distance(["a", "b"], []) == 2
