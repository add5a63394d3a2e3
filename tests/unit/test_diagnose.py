"""Measures that pass by in pieces, and findings from made-up facts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sonant.audio.samples import Mixer
from sonant.checkpoints import Checkpoint
from sonant.data.sound import Levels, SoundMeter, spectral_flatness
from sonant.diagnose import KINDS, EmissionMeter, Facts, Heard, diagnose, warnings
from sonant.model.config import EncoderConfig
from sonant.types import Emissions, Vocabulary

VOCABULARY = Vocabulary(("<pad>", "<unk>", "|", "a", "b"), blank=0, unknown=1, separator=2)
MODEL = Checkpoint("tiny", EncoderConfig(vocab_size=5), {}, VOCABULARY)
SPEECH = Levels(seconds=5, peak=0.5, rms=0.05, flatness=0.2, above=0.01, swing=35, active=0.7)
HEARD = Heard(frames=250, blank=0.7, sure=0.95, letters=0.9, spoken=75, entropy=0.05, variance=0.3)
GOOD = Facts(SPEECH, HEARD, "ab ba", MODEL, source_rate=16_000)


def kinds(facts: Facts) -> list[str]:
    found = diagnose(facts)
    assert {finding.kind for finding in found} <= set(KINDS)
    assert all(finding.sentence.endswith(".") and "\n" not in finding.sentence for finding in found)
    return [finding.kind for finding in found]


def emit(probs: np.ndarray) -> EmissionMeter:
    meter = EmissionMeter()
    log_probs = np.log(probs + 1e-9).astype(np.float32)
    for first in range(0, len(probs), 37):
        meter.add(Emissions(log_probs[first : first + 37], 0.02, VOCABULARY, first))
    return meter


def spoken(best: list[int], sure: float = 0.95) -> np.ndarray:
    probs = np.full((len(best), 5), (1 - sure) / 4)
    probs[np.arange(len(best)), best] = sure
    return probs


def test_sound_in_pieces_is_the_sound_in_one() -> None:
    samples = np.random.default_rng(0).standard_normal(50_000).astype(np.float32) * np.linspace(
        0, 1, 50_000, dtype=np.float32
    )
    whole, pieces = SoundMeter(), SoundMeter()
    whole.add(samples)
    for piece in np.split(samples, [1, 700, 701, 20_000]):
        pieces.add(piece)
    one, other = whole.levels(), pieces.levels()
    for name in ("seconds", "peak", "mean", "rms", "clipped", "flatness", "above", "swing", "active"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-5, abs=1e-9), name
    assert one.peak == pytest.approx(np.abs(samples - samples.mean()).max(), rel=1e-6)
    assert one.rms == pytest.approx(samples.std(), rel=1e-5)
    assert one.flatness == pytest.approx(spectral_flatness(samples), rel=1e-5)
    assert SoundMeter().levels() == Levels()


def test_a_sparse_meter_looks_at_few_spectra_of_a_long_recording() -> None:
    dense, sparse = SoundMeter(), SoundMeter(sparse=True)
    second = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    for _ in range(80):
        dense.add(second)
        sparse.add(second)
    assert sparse.frames.sum() < 0.25 * dense.frames.sum()
    assert sparse.levels().flatness == pytest.approx(dense.levels().flatness, abs=0.02)
    assert sparse.count == dense.count


def test_a_mixer_knows_silent_and_opposite_channels() -> None:
    sound = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    cases = {
        (1.0,): (0, False),
        (1.0, 1.0): (0, False),
        (1.0, -0.99): (0, True),
        (1.0, 0.0): (1, False),
        (1.0, -0.5): (0, False),
    }
    for gains, expected in cases.items():
        mixer = Mixer()
        mixed = mixer.mix([np.float32(gain) * sound for gain in gains])
        np.testing.assert_allclose(mixed, np.mean(gains) * sound, atol=1e-6)
        assert (mixer.silent, mixer.cancelled) == expected, gains
    integers = Mixer()
    integers.mix([np.array([16384], np.int16), np.array([-16384], np.int16)])
    assert integers.powers == [0.25, 0.25]
    assert integers.cancelled
    integers.mix([np.array([1], np.int16)])
    integers.mix([np.array([1], np.int16)] * 3)
    assert len(integers.powers) == 3


def test_emissions_are_measured_piece_by_piece() -> None:
    probs = spoken([0, 3, 3, 0, 2, 1, 0, 4] * 20)
    heard = emit(probs).heard()
    assert heard.frames == 160
    assert heard.blank == pytest.approx(3 / 8)
    assert heard.unknown == pytest.approx(1 / 5)
    assert heard.letters == pytest.approx(0.95, abs=1e-5)
    assert heard.entropy == pytest.approx(-(probs * np.log(probs)).sum(1).mean() / np.log(5), rel=1e-4)
    assert heard.variance == pytest.approx(probs.var(0).sum(), rel=1e-4)
    assert EmissionMeter().heard() == Heard()


def test_good_facts_have_no_finding() -> None:
    assert kinds(GOOD) == []


@pytest.mark.parametrize(
    ("probs", "kind"),
    [
        (spoken([0, 1, 1, 0, 3, 0] * 30), "unknown"),  # capitals in the texts, small letters in the vocabulary
        (np.full((200, 5), 0.2), "untrained"),
        (spoken([0] * 200, 0.8), "untrained"),  # early in a training: the blank, for whatever sound
        (spoken([3] * 200, 0.9), "untrained"),
    ],
)
def test_what_a_model_gives_tells_what_ails_it(probs: np.ndarray, kind: str) -> None:
    assert kinds(replace(GOOD, heard=emit(probs).heard(), text=""))[0] == kind


def test_a_model_that_is_certain_of_silence_is_not_untrained() -> None:
    certain = emit(spoken([0] * 200, 0.999)).heard()
    assert kinds(replace(GOOD, heard=certain, text="")) == ["nothing"]
    assert "untrained" not in kinds(replace(GOOD, levels=replace(SPEECH, peak=0.0), heard=certain, text=""))


def test_harmless_oddities_are_notes_until_the_text_is_bad() -> None:
    odd = replace(GOOD, levels=replace(SPEECH, mean=0.2, above=1e-6), silent_channels=1, channels=2)
    assert {finding.severity for finding in diagnose(odd)} == {"note"}
    assert warnings(diagnose(odd), "a.wav") == []
    bad = diagnose(replace(odd, text=""))
    assert [finding.kind for finding in bad if finding.severity == "warning"] == ["current", "channel"]
    assert all(line.startswith("a.wav: ") for line in warnings(bad, "a.wav"))
    raw = replace(MODEL, normalize=False)
    assert [f.severity for f in diagnose(replace(GOOD, levels=replace(SPEECH, peak=3e4), checkpoint=raw))] == [
        "warning"
    ]


def test_the_other_speed_must_be_much_surer_and_well_heard() -> None:
    def at(letters: float, spoken: int = 75) -> Heard:
        return replace(HEARD, letters=letters, spoken=spoken)

    unsure = replace(GOOD, heard=at(0.7))
    assert kinds(replace(unsure, speeds={1.0: at(0.7), 0.5: at(0.95), 2.0: at(0.6)})) == ["speed"]
    assert kinds(replace(unsure, speeds={1.0: at(0.7), 0.5: at(0.8), 2.0: at(0.6)})) == []
    assert kinds(replace(unsure, speeds={1.0: at(0.7), 0.5: at(0.95, 5), 2.0: at(0.6)})) == []
    assert kinds(replace(unsure, speeds={1.0: at(0.9), 0.5: at(0.95), 2.0: at(0.6)})) == []
    [finding] = diagnose(replace(unsure, source_rate=32_000, speeds={1.0: at(0.7), 0.5: at(0.95)}))
    assert "declared as 32000 Hz, but seems to be 16000 Hz" in finding.sentence
