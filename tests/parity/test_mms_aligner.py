"""torchaudio's aligner of many languages over sonant: its model, tokenizer and aligner, and its tutorial's script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from parity.layouts import torchaudio_state
from parity.test_compat_torchaudio import home, installed
from parity.test_torchaudio_files import VARIANTS, theirs
from parity.tiny import random_model
from sonant.compat import torchaudio as compat
from sonant.compat.torchaudio.functional import TokenSpan
from sonant.errors import CheckpointError, OptionError

__all__ = ["home", "installed"]  # fixtures

TINY = replace(VARIANTS["large"], vocab_size=28)

SCRIPT = """
import torch
import torchaudio
import torchaudio.functional as F
from torchaudio.pipelines import MMS_FA as bundle
from torchaudio.utils import download_asset

device = torch.device("cpu")
model = bundle.get_model()
model.to(device)
tokenizer = bundle.get_tokenizer()
aligner = bundle.get_aligner()


def compute_alignments(waveform, transcript):
    with torch.inference_mode():
        emission, _ = model(waveform.to(device))
        token_spans = aligner(emission[0], tokenizer(transcript))
    return emission, token_spans


def _score(spans):
    return sum(s.score * len(s) for s in spans) / sum(len(s) for s in spans)


waveform, sample_rate = torchaudio.load(download_asset("tutorial-assets/speech.wav"), frame_offset=0, num_frames=8000)
waveform = torchaudio.functional.resample(waveform[:1], sample_rate, bundle.sample_rate)
text_normalized = "* aber seit ich *"
transcript = text_normalized.split()
emission, token_spans = compute_alignments(waveform, transcript)
scores = [_score(spans) for spans in token_spans]

# the pieces, one by one, as in the tutorial of the interface
model_without = bundle.get_model(with_star=False).to(device)
with torch.inference_mode():
    bare, _ = model_without(waveform)
LABELS = bundle.get_labels(star=None)
DICTIONARY = bundle.get_dict(star=None)
tokenized = [DICTIONARY[c] for word in transcript[1:-1] for c in word]
targets = torch.tensor([tokenized], dtype=torch.int32, device=device)
alignments, alignment_scores = F.forced_align(bare, targets, blank=0)
spans = F.merge_tokens(alignments[0], alignment_scores[0].exp())
"""


@pytest.fixture
def tiny(home: Path) -> Path:
    torch.save(torchaudio_state(random_model(TINY)), home / "hub" / "checkpoints" / "model.pt")
    return home


@pytest.mark.usefixtures("tiny", "installed")
def test_the_tutorial_runs_as_it_stands() -> None:
    space: dict[str, Any] = {}
    exec(SCRIPT, space)  # a user's script
    emission, bare, spans = space["emission"], space["bare"], space["token_spans"]
    assert emission.shape == (*bare.shape[:2], 29)
    torch.testing.assert_close(emission[..., :28].exp().sum(-1), torch.ones(emission.shape[:2]))
    assert not emission[..., 28].any()
    torch.testing.assert_close(emission[..., :28], bare)
    labels = compat.pipelines.MMS_FA.get_labels()
    assert ["".join(labels[span.token] for span in word) for word in spans] == space["transcript"]
    assert all(isinstance(span, TokenSpan) and 0 < span.score <= 1 for word in spans for span in word)
    assert [labels[span.token] for span in space["spans"]] == list("aberseitich")
    assert len(space["LABELS"]) == len(space["DICTIONARY"]) == 28
    assert spans[0][0].score == pytest.approx(1.0)


@pytest.mark.usefixtures("tiny")
def test_what_cannot_be_tokenised_or_aligned_is_a_sentence() -> None:
    bundle = compat.pipelines.MMS_FA
    with pytest.raises(OptionError, match="'Über' has 'Ü'; romanise them"):
        bundle.get_tokenizer()(["aber", "Über"])
    with pytest.raises(OptionError, match="must be 2D"):
        bundle.get_aligner()(torch.zeros(1, 5, 29), [[1]])


@pytest.mark.usefixtures("home")
def test_without_its_file_the_bundle_says_where_it_belongs() -> None:
    with pytest.raises(CheckpointError, match=r"MMS_FA .*model\.pt; download https://dl\.fbaipublicfiles\.com/mms/"):
        compat.pipelines.MMS_FA.get_model()


@pytest.mark.parametrize("star", [True, False])
def test_emissions_and_spans_are_the_real_ones(star: bool, home: Path) -> None:
    models = pytest.importorskip("torchaudio.models", exc_type=ImportError)
    utils = pytest.importorskip("torchaudio.pipelines._wav2vec2.utils", exc_type=ImportError)
    aligner = pytest.importorskip("torchaudio.pipelines._wav2vec2.aligner", exc_type=ImportError)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = theirs(models, TINY)
        model.aux = torch.nn.Linear(model.aux.in_features, 28)
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        waveforms = torch.randn(1, 16000).double()
    torch.save(model.state_dict(), home / "hub" / "checkpoints" / "model.pt")
    bundle = compat.pipelines.MMS_FA
    mine = bundle.get_model(with_star=star).double()
    real = utils._extend_model(model.double().eval(), True, apply_log_softmax=True, append_star=star)
    with torch.no_grad():
        (got, _), (expected, _) = mine(waveforms), real(waveforms)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
    words = ["*", "so", "all", "*"] if star else ["so", "all"]
    tokens = bundle.get_tokenizer()(words)
    assert tokens == aligner.Tokenizer(bundle.get_dict())(words)
    try:
        theirs_spans = aligner.Aligner(blank=0)(expected[0].float(), tokens)
    except (RuntimeError, AttributeError):
        pytest.skip("torchaudio's compiled aligner is not here")
    spans = bundle.get_aligner()(got[0].float(), tokens)
    assert [[(s.token, s.start, s.end) for s in word] for word in spans] == [
        [(s.token, s.start, s.end) for s in word] for word in theirs_spans
    ]
    for word, other in zip(spans, theirs_spans, strict=True):
        assert [s.score for s in word] == pytest.approx([s.score for s in other], abs=1e-6)
