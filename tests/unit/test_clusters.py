"""k-means and MFCC: centres that were planted, a seed that decides, Kaldi's numbers, the encoder's frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from parity.tiny import TINY, random_waveform
from sonant.errors import OptionError
from sonant.train.clusters import _mean_centres, assign_clusters, differences, fit_kmeans, mfcc


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(per_cluster: int = 200) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Twelve clusters far apart: their centres, the label of each frame, and the frames as utterances."""
    generator = seeded(0)
    centres = 10 * torch.randn(12, 5, generator=generator)
    labels = torch.randint(12, (12 * per_cluster,), generator=generator)
    frames = centres[labels] + 0.1 * torch.randn(len(labels), 5, generator=generator)
    return centres, labels, list(frames.split(37))


@pytest.mark.parametrize("max_frames", [10_000, 600])
def test_planted_clusters_are_found(max_frames: int) -> None:
    centres, labels, utterances = planted()
    found = fit_kmeans(iter(utterances), 12, seeded(3), max_frames)
    nearest = torch.cdist(centres, found).min(1)
    assert sorted(nearest.indices.tolist()) == list(range(12))
    assert nearest.values.max() < 0.1
    assert torch.equal(nearest.indices[labels], assign_clusters(torch.cat(utterances), found))


def test_one_seed_gives_one_result_and_rounds_only_gain() -> None:
    frames = torch.randn(500, 4, generator=seeded(1))

    def cost(centres: Tensor) -> float:
        return torch.cdist(frames, centres).min(1).values.square().sum().item()

    results = [fit_kmeans([frames], 20, seeded(5), max_rounds=rounds) for rounds in (0, 1, 3, 100)]
    assert torch.equal(results[-1], fit_kmeans(list(frames.split(77)), 20, seeded(5)))
    costs = [cost(result) for result in results]
    assert costs[0] > costs[1] > costs[2] > costs[3]
    assert costs[3] < 0.8 * cost(frames[torch.randperm(500, generator=seeded(2))[:20]])


def test_clusters_that_run_empty_are_moved_to_the_farthest_frames() -> None:
    frames = torch.tensor([[0.0], [2.0], [9.0], [10.0]])
    labels, distances = torch.tensor([0, 0, 2, 2]), torch.tensor([1.0, 4.0, 0.0, 1.0])
    assert _mean_centres(frames, labels, distances, 3).flatten().tolist() == [1, 2, 9.5]


def test_too_few_frames_are_refused() -> None:
    frames = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0], [5.0]])
    assert sorted(fit_kmeans([frames], 3, seeded(0)).flatten().tolist()) == [0, 1, 5]
    with pytest.raises(OptionError, match="at least 4 different frames, but got 3"):
        fit_kmeans([frames], 4, seeded(0))
    with pytest.raises(OptionError, match="got none"):
        fit_kmeans([], 4, seeded(0))


def test_the_sample_of_many_frames_is_uniform() -> None:
    # two clusters whose centres are the means of what was kept: early and late frames must weigh alike
    utterances = [torch.cat([torch.full((50, 1), i / 100), torch.tensor([[50.0]])]) for i in range(100)]
    means = [fit_kmeans(utterances, 2, seeded(seed), max_frames=300).min().item() for seed in range(8)]
    assert np.mean(means) == pytest.approx(0.495, abs=0.03)


@settings(deadline=None, max_examples=30)
@given(num_samples=st.integers(400, 5000))
def test_mfcc_stand_on_the_frames_of_the_encoder(num_samples: int) -> None:
    assert mfcc(torch.from_numpy(random_waveform(num_samples))).shape == (TINY.num_frames(num_samples), 39)


def test_an_mfcc_sees_what_its_frame_sees() -> None:
    waveform = torch.from_numpy(random_waveform(8000))
    changed = waveform.clone()
    changed[10 * 320 : 10 * 320 + 400] += 1
    differ = (mfcc(waveform)[:, :13] != mfcc(changed)[:, :13]).any(1).nonzero()[:, 0]
    assert differ.tolist() == [9, 10, 11]  # 320 samples of hop and 400 of view: neighbours overlap by 80
    changed = waveform.clone()
    changed[: 10 * 320] += 1
    changed[10 * 320 + 400 :] -= 1
    assert torch.equal(mfcc(waveform)[10, :13], mfcc(changed)[10, :13])


def test_mfcc_are_those_of_kaldi() -> None:
    waveform = random_waveform(4000)
    bands = spectrogram(
        waveform,
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=mel_filter_bank(257, 23, 20, 8000, 16000, mel_scale="kaldi", triangularize_in_mel_space=True),
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T  # (frames, 23)
    order, place = np.arange(13), np.arange(23)
    cosines = np.sqrt(2 / 23) * np.cos(np.pi * order * (place[:, None] + 0.5) / 23)
    cosines[:, 0] /= np.sqrt(2)
    cepstra = bands @ cosines * (1 + 11 * np.sin(np.pi * order / 22))
    found = mfcc(torch.from_numpy(waveform)).numpy()
    np.testing.assert_allclose(found[:, :13], cepstra[::2], atol=1e-4)


def test_differences_are_slopes() -> None:
    line = torch.arange(20.0)[:, None] * torch.tensor([[3.0, -0.5]])
    assert torch.allclose(differences(line)[2:-2], torch.tensor([3.0, -0.5]).expand(16, 2))
    assert torch.equal(differences(torch.ones(1, 2)), torch.zeros(1, 2))
    x = torch.randn(6, 1, generator=seeded(0))
    at = [x[min(max(i, 0), 5)] for i in range(-2, 8)]
    expected = [sum(n * (at[t + 2 + n] - at[t + 2 - n]) for n in (1, 2)) / 10 for t in range(6)]
    torch.testing.assert_close(differences(x), torch.stack(expected))  # type: ignore[arg-type]
