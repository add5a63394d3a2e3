"""Why a transcript is empty or bad: pure functions from what was measured to findings, the surest first.

Sound is measured by `sonant.data.sound`, emissions by `EmissionMeter`, both while they pass, so that an hour costs no
more memory than a second. A finding is only made where the recording or the model is at fault for certain, or where
the transcript itself is bad: a false alarm is worse than silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log, log10
from typing import Literal

import numpy as np

from sonant.audio import AudioStream
from sonant.checkpoints import Checkpoint
from sonant.data.sound import CLIPPED, FLATTEST, QUIETEST, Levels, SoundMeter
from sonant.text import vocabulary_case
from sonant.types import Emissions, FloatArray

# T frames, V tokens

Severity = Literal["error", "warning", "note"]

INTEGERS = 16.0
"""Peak from which floats must be integers: 24 dB over full scale, far above what overshoots of a codec reach."""
STEADY = 12.0
"""Decibels of swing that speech exceeds: it has pauses and stops, while hum, noise and chords go on."""
TELEPHONE_POWER = 5e-5
"""Share of the power above 4 kHz: at most 2e-5 in telephone speech coded anew, at least 3e-4 in speech at 16 kHz."""
DIRECT_CURRENT = 0.5
"""The mean over the deviation: beyond, the offset takes most of the room that the speech should have."""
UNTRAINED = 0.85
"""Mean entropy over that of chance: below 0.15 in a trained model, even on what it does not know; 0.99 in a new one."""
CONSTANT = 1e-3
"""Variance of the distribution over time, summed over tokens: above 0.1 wherever anybody speaks to a trained model."""
CERTAIN = 0.99
"""Mean probability of the best token above which a constant answer is knowledge (of silence), not ignorance."""
UNKNOWN = 0.3
"""Share of unknown letters among those heard: in running text of the right letter case a few in a hundred."""
UNSURE = 0.5
"""Mean probability of letters below which a transcript is called bad."""
SHORTEST = 0.3
"""Seconds: shorter than most words."""
SURE, SURER = 0.85, 0.12
"""How sure a model must be of its letters at another speed, and by how much more than as it stands, for that to be the
right one. In speech that it does not know all speeds are alike: 0.75 and at most 0.12 apart in clips of 1.5 s."""
LETTERS = 20
"""Frames with letters that it takes to judge by."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a transcript is, or may be, bad."""

    kind: str
    """A key of `KINDS`."""
    sentence: str
    """The cause, and what to do."""
    severity: Severity
    """`error`: no text can come of this; `warning`: the text suffers; `note`: worth knowing."""


KINDS: Mapping[str, str] = {
    "unreadable": "sound that cannot be read",
    "model": "a model that cannot be used",
    "vocabulary": "a vocabulary that does not fit its model",
    "head": "a model that was only pre-trained",
    "untrained": "an output layer that was never trained",
    "unknown": "letters outside the vocabulary, mostly in the other letter case",
    "cancelled": "channels of opposite phase",
    "silent": "silence",
    "integers": "integer samples in an array of floats",
    "current": "direct current",
    "clipped": "clipping",
    "channel": "a silent channel",
    "normalisation": "input that the model wants normalised, but is not",
    "speed": "a wrong sample rate",
    "noise": "noise in place of speech",
    "band": "a telephone's band",
    "case": "letters of another case than the text's",
    "short": "too little sound",
    "nothing": "sound in which the model hears no words",
}
"""What can be found."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model made of a recording."""

    frames: int = 0
    blank: float = 0.0
    """Share of the frames whose best token is the blank."""
    unknown: float = 0.0
    """Share of unknown letters among the frames that are no blank."""
    sure: float = 0.0
    """Mean probability of the best token."""
    letters: float = 0.0
    """The same, over the frames that are no blank."""
    spoken: int = 0
    """Frames that are no blank."""
    entropy: float = 0.0
    """Mean entropy, 1 being that of chance."""
    variance: float = 0.0
    """Of the distribution over time, summed over the tokens."""


class EmissionMeter:
    """Measures emissions as they come."""

    def __init__(self) -> None:
        self.frames = self.blanks = self.unknowns = 0
        self.sure = self.letters = self.entropy = 0.0
        self.sum = self.squares = 0.0 * np.zeros(1)

    def add(self, emissions: Emissions) -> None:
        """Take note of the next piece."""
        vocabulary = emissions.vocabulary
        best = emissions.log_probs.argmax(1)
        probs: FloatArray = np.exp(emissions.log_probs)  # (T, V)
        peaks = probs[np.arange(len(best)), best]
        spoken = best != vocabulary.blank
        self.frames += len(best)
        self.blanks += len(best) - int(spoken.sum())
        self.unknowns += int((best == vocabulary.unknown).sum()) if vocabulary.unknown is not None else 0
        self.sure += float(peaks.sum())
        self.letters += float(peaks[spoken].sum())
        self.entropy -= float(np.vdot(probs, np.maximum(emissions.log_probs, -1e4))) / max(log(len(vocabulary)), 1e-9)
        self.sum = self.sum + probs.sum(0, dtype=np.float64)
        self.squares = self.squares + np.square(probs).sum(0, dtype=np.float64)

    def heard(self) -> Heard:
        """What all pieces so far were like."""
        if not self.frames:
            return Heard()
        spoken = self.frames - self.blanks
        return Heard(
            frames=self.frames,
            blank=self.blanks / self.frames,
            unknown=self.unknowns / max(spoken, 1),
            sure=self.sure / self.frames,
            letters=self.letters / max(spoken, 1),
            spoken=spoken,
            entropy=self.entropy / self.frames,
            variance=float((self.squares / self.frames - np.square(self.sum / self.frames)).sum()),
        )


@dataclass(frozen=True)
class Facts:
    """All that is known of one transcription."""

    levels: Levels
    heard: Heard
    text: str
    checkpoint: Checkpoint
    source_rate: int | None = None
    channels: int = 1
    silent_channels: int = 0
    cancelled: bool = False
    speeds: Mapping[float, Heard] = field(default_factory=dict[float, Heard])
    """What the model hears where the recording is played so many times as fast."""
    said: str | None = None
    """What was said, where that is known."""

    @property
    def bad(self) -> bool:
        """Whether the transcript itself gives reason to look for a cause."""
        return not self.text.strip() or self.heard.letters < UNSURE


class Ear:
    """Listens to a transcription under way, at less than a hundredth of its cost."""

    def __init__(self, stream: AudioStream, checkpoint: Checkpoint) -> None:
        self.stream = stream
        self.checkpoint = checkpoint
        self.sound = SoundMeter(stream.sample_rate, sparse=True)
        self.emissions = EmissionMeter()

    def blocks(self) -> Iterator[FloatArray]:
        """The blocks of the stream."""
        for block in self.stream:
            self.sound.add(block)
            yield block

    def facts(self, text: str) -> Facts:
        """What has been heard, once all is read."""
        mixer = self.stream.mixer
        return Facts(
            levels=self.sound.levels(),
            heard=self.emissions.heard(),
            text=text,
            checkpoint=self.checkpoint,
            source_rate=self.stream.source_rate,
            channels=len(mixer.powers),
            silent_channels=mixer.silent,
            cancelled=mixer.cancelled,
        )


def diagnose(facts: Facts) -> list[Finding]:
    """What explains the transcript, the surest cause first; nothing for a good recording of a model that fits it."""
    found = [*_of_model(facts), *_of_sound(facts), *_other_case(facts)]
    if not any(finding.severity != "note" for finding in found):
        found += _of_result(facts)
    order: list[Severity] = ["error", "warning", "note"]
    return sorted(found, key=lambda finding: order.index(finding.severity))


def warnings(findings: Iterable[Finding], name: str) -> list[str]:
    """The sentences that a transcript carries: errors and warnings, with the name of the recording."""
    return [f"{name}: {finding.sentence}" for finding in findings if finding.severity != "note"]


def _of_model(facts: Facts) -> Iterator[Finding]:
    checkpoint, heard = facts.checkpoint, facts.heard
    if checkpoint.vocabulary is None:
        sentence = (
            f"{checkpoint.name} was only pre-trained and has no CTC head, so it cannot write text; fine-tune it, or "
            "pass a model that was."
        )
        yield Finding("head", sentence, "error")
        return
    constant = heard.frames >= 25 and heard.variance < CONSTANT and heard.sure < CERTAIN
    if heard.frames and (heard.entropy > UNTRAINED or (constant and facts.levels.peak >= QUIETEST)):
        sentence = (
            f"the output layer of {checkpoint.name} knows nothing: it gives the same answer to every sound (entropy "
            f"{heard.entropy:.2f} of chance); it was never trained or its training failed, so train it, or pass a "
            "model that was."
        )
        yield Finding("untrained", sentence, "error")
    elif heard.unknown > UNKNOWN:
        sentence = (
            f"{heard.unknown:.0%} of the letters heard are {checkpoint.name}'s unknown token: its texts and its "
            "vocabulary had different letters, mostly capitals on one side only; train it again with texts in the "
            "letter case of vocab.json, and do_lower_case false."
        )
        yield Finding("unknown", sentence, "error")


def _of_sound(facts: Facts) -> Iterator[Finding]:
    levels, normalize = facts.levels, facts.checkpoint.normalize
    hurts: Severity = "warning" if facts.bad else "note"
    if not levels.seconds:
        return
    if facts.cancelled:
        sentence = "its channels have opposite phase and cancel each other when mixed; pass one of them alone."
        yield Finding("cancelled", sentence, "error")
        return
    if levels.peak < QUIETEST:
        if facts.bad:
            peak = f"{20 * log10(levels.peak):.0f} dB of full scale" if levels.peak > 0 else "zero"
            sentence = f"it is silent (its peak is {peak}); check the microphone, its mute switch and its level."
            yield Finding("silent", sentence, "error")
        return
    if levels.peak > INTEGERS:
        sentence = (
            f"its samples reach {levels.peak:.0f} where floats reach 1, so they are integers; pass them in the integer "
            "type they were recorded in, or divide them by its full scale."
        )
        yield Finding("integers", sentence, "note" if normalize and not facts.bad else "warning")
    elif levels.clipped > CLIPPED:
        sentence = f"{levels.clipped:.1%} of its samples are clipped; record it with less gain."
        yield Finding("clipped", sentence, "warning")
    if abs(levels.mean) > DIRECT_CURRENT * levels.rms:
        sentence = f"it has a direct current of {levels.mean:+.2f}; filter out what lies below 50 Hz."
        yield Finding("current", sentence, "note" if normalize and not facts.bad else "warning")
    if facts.silent_channels:
        sentence = (
            f"{facts.silent_channels} of its {facts.channels} channels {'is' if facts.silent_channels == 1 else 'are'} "
            "silent, which makes the mix quieter; pass the others alone."
        )
        yield Finding("channel", sentence, hurts)
    if facts.checkpoint.sample_rate >= 16_000 and levels.above < TELEPHONE_POWER:
        sentence = (
            "it has no sound above 4 kHz, as from a telephone or a file of 8 kHz, while the model was trained at "
            f"{facts.checkpoint.sample_rate} Hz; record at that rate, or take a model trained on telephone speech."
        )
        yield Finding("band", sentence, "note")


def _of_result(facts: Facts) -> Iterator[Finding]:
    """Why a recording of decent sound came out badly."""
    levels, heard, checkpoint = facts.levels, facts.heard, facts.checkpoint
    faster = _faster(facts.speeds)
    if faster:
        rate = facts.source_rate or checkpoint.sample_rate
        sentence = (
            f"the model is far surer of it at {'half' if faster < 1 else 'twice'} the speed: its sample rate is "
            f"declared as {rate} Hz, but seems to be {round(rate * faster)} Hz; declare that."
        )
        yield Finding("speed", sentence, "warning")
    elif levels.flatness > FLATTEST and facts.bad:
        sentence = (
            f"its spectrum is as flat as noise ({levels.flatness:.2f} of 1), so there is little speech in it; "
            "check the microphone, and that raw samples were read in their own type and byte order."
        )
        yield Finding("noise", sentence, "warning")
    elif facts.bad and levels.seconds < SHORTEST:
        sentence = f"it lasts {levels.seconds:.2f} s, too short for a word; pass a longer recording."
        yield Finding("short", sentence, "warning")
    elif facts.bad and not checkpoint.normalize and checkpoint.config.feat_extract_norm == "layer":
        sentence = (
            f"{checkpoint.name} is of a kind that is trained on normalised sound, but its preprocessor_config.json "
            "says not to; set do_normalize to true there."
        )
        yield Finding("normalisation", sentence, "warning")
    elif not facts.text.strip():
        kind = "steady as of music or machines" if levels.swing < STEADY else f"{levels.active:.0%} of the time"
        sentence = (
            f"there is sound, {kind}, but the model hears no words in it, or is sure of too few to tell them "
            f"({heard.blank:.0%} blanks, letters of probability {heard.letters:.2f}); check that "
            "somebody speaks, near enough and in the model's language."
        )
        yield Finding("nothing", sentence, "warning")


def _faster(speeds: Mapping[float, Heard]) -> float | None:
    """The speed at which the model is much surer than as it stands; None where it is not."""
    sure = {speed: heard.letters for speed, heard in speeds.items() if heard.spoken >= LETTERS}
    best = max(sure, key=lambda speed: sure[speed], default=1.0)
    return best if best != 1 and sure[best] > max(SURE, sure.get(1.0, 0.0) + SURER) else None


def _other_case(facts: Facts) -> Iterator[Finding]:
    """Where the text is known: whether it can match at all."""
    vocabulary, said = facts.checkpoint.vocabulary, facts.said
    if vocabulary is None or not said or not facts.text:
        return
    case = vocabulary_case(vocabulary)
    if case != "as is" and said not in (said.lower() if case == "lower" else said.upper(), ""):
        writes, has = ("small letters", "capitals") if case == "lower" else ("capitals", "small letters")
        sentence = (
            f"{facts.checkpoint.name} writes {writes}, but its text has {has}, so that hardly a word can match; "
            "compare both in one letter case."
        )
        yield Finding("case", sentence, "warning")
