"""Audio to text by the public API, on the example recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sonant
from flow.conftest import SAID
from sonant import audio

RATE = 16000


def test_the_example_is_transcribed(asr: sonant.Recognizer, example: Path) -> None:
    talk = asr.transcribe(example)
    assert talk.text == SAID
    assert talk.source == str(example)
    assert talk.duration == pytest.approx(len(audio.read(example)) / RATE)
    assert talk.settings["engine"] == "openvino"
    times = [time for word in talk.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] < talk.duration
    assert all(0 < word.confidence <= 1 for word in talk.words)
    assert all("".join(letter.text for letter in word.letters) == word.text for word in talk.words)


@pytest.mark.parametrize("kind", ["int16", "int32", "float64", "stereo", "44100"])
def test_an_array_is_heard_like_the_file(asr: sonant.Recognizer, example: Path, kind: str) -> None:
    samples = audio.read(example)
    rate = RATE
    if kind.startswith("int"):
        samples = (samples * np.iinfo(kind).max).astype(kind)
    elif kind == "stereo":
        samples = np.stack([samples, samples], 1)
    elif kind == "44100":
        samples, rate = audio.from_array(samples, RATE, 44100), 44100
    else:
        samples = samples.astype(kind)
    talk = asr.transcribe(samples, rate)
    assert talk.text == SAID
    assert talk.source is None


def test_emissions_are_distributions_on_the_frame_grid(asr: sonant.Recognizer, example: Path) -> None:
    emissions = asr.emissions(example)
    samples = audio.read(example)
    assert len(emissions) == asr.checkpoint.config.num_frames(len(samples))
    np.testing.assert_allclose(np.exp(emissions.log_probs).sum(1), 1, atol=1e-5)
    assert emissions.frame_seconds == pytest.approx(0.02)
    assert sonant.GreedyDecoder().decode(emissions)[0].text == SAID


def test_a_clip_does_not_depend_on_its_neighbours(asr: sonant.Recognizer, example: Path) -> None:
    samples = audio.read(example)
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    [alone] = asr.engine.emit([samples])
    _, beside, _ = asr.engine.emit([noise, samples, noise[:RATE]])
    np.testing.assert_array_equal(alone, beside)


def test_no_word_is_cut_lost_or_doubled_at_a_join(example: Path) -> None:
    """The same words, moved step by step across the joins of short windows."""
    asr = sonant.load(precision="fp32", window=sonant.WindowSpec(seconds=6.0, margin=1.5))
    samples = np.concatenate([audio.read(example), np.zeros(RATE // 3, np.float32)])
    for shift in np.linspace(0, 3, 13):
        lead = np.zeros(int(shift * RATE), np.float32)
        recording = np.concatenate([lead, *[samples] * 4])
        assert asr.transcribe(recording, RATE).text.split() == SAID.split() * 4, f"shifted by {shift} s"


def test_windows_of_one_file_are_the_file(asr: sonant.Recognizer, example: Path) -> None:
    """A long file's emissions are its windows' emissions, frame by frame."""
    samples = np.tile(audio.read(example), 6)
    short = sonant.Recognizer(asr.checkpoint, asr.engine, window=sonant.WindowSpec(seconds=8.0, margin=2.0))
    whole, joined = asr.emissions(samples, RATE), short.emissions(samples, RATE)
    assert len(whole) == len(joined)
    assert (whole.log_probs.argmax(1) == joined.log_probs.argmax(1)).mean() > 0.98


def test_progress_is_told_in_audio_time(asr: sonant.Recognizer, example: Path) -> None:
    told: list[tuple[float, float | None]] = []
    talk = asr.transcribe(example, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == pytest.approx(talk.duration, abs=0.1)
    assert told[-1][1] == pytest.approx(talk.duration, abs=0.1)


def test_less_than_a_frame_is_refused(asr: sonant.Recognizer) -> None:
    with pytest.raises(sonant.AudioError, match=r"shorter than the 0\.025 s"):
        asr.transcribe(np.zeros(399, np.float32), RATE)
    assert asr.transcribe(np.zeros(400, np.float32), RATE).text == ""


def test_silence_and_noise_invent_nothing(asr: sonant.Recognizer) -> None:
    assert asr.transcribe(np.zeros(10 * RATE, np.float32), RATE).text == ""


def test_a_transcript_is_saved_by_its_suffix(asr: sonant.Recognizer, example: Path, tmp_path: Path) -> None:
    talk = asr.transcribe(example)
    talk.save(tmp_path / "talk.txt")
    assert (tmp_path / "talk.txt").read_text() == SAID + "\n"
    with pytest.raises(sonant.OptionError, match=r"\.docx"):
        talk.save(tmp_path / "talk.docx")


def test_noise_has_no_words_unless_all_are_asked_for(asr: sonant.Recognizer, example: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(60 * RATE).astype(np.float32) * np.float32(0.01)
    talk = asr.transcribe(noise, RATE)
    assert (talk.text, talk.settings["sure"]) == ("", 0.9)
    assert any("is sure of too few" in warning or "noise" in warning for warning in talk.warnings)
    everything = sonant.Recognizer(asr.checkpoint, asr.engine, sure=0.0)
    assert everything.transcribe(noise, RATE).words
    assert everything.transcribe(example).words == asr.transcribe(example).words


def test_a_probability_that_cannot_be_is_refused(asr: sonant.Recognizer) -> None:
    with pytest.raises(sonant.OptionError, match=r"from 0 .* but is 2"):
        sonant.Recognizer(asr.checkpoint, asr.engine, sure=2.0)
