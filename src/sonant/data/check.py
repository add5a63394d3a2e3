"""What would spoil a training, found before it: faults of audio, of texts, and between the parts of a data set."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import log
from pathlib import Path

import numpy as np

from sonant.data.manifest import Utterance
from sonant.data.memory import SoundMemory
from sonant.data.pool import ordered_map
from sonant.data.sound import CLIPPED, FLATTEST, QUIETEST, Sound
from sonant.errors import VocabularyError
from sonant.model.config import EncoderConfig
from sonant.text import encode, needed_frames, normalise
from sonant.types import Progress, Vocabulary

LATE = 0.1
"""Seconds by which a declared duration may differ."""
FEWEST = 20
"""Utterances that it takes to know the usual pace."""
NAMED = 5
"""Utterances of a kind that the text of a report names."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be wrong."""

    title: str
    stops: float | None = None
    """The share of the utterances above which it would spoil a training; None: it never does."""
    drops: bool = True
    """Whether a cleaned manifest goes without the utterance."""
    note: bool = False
    """Worth knowing, but nothing to mend."""


KINDS: Mapping[str, Kind] = {
    "unreadable": Kind("audio that cannot be read", 0.05),
    "damaged": Kind("audio that is truncated or damaged", 0.2),
    "duration": Kind("a duration that is not the audio's", 0.2, drops=False),
    "rate": Kind("a sample rate that is not the audio's", 0.2, drops=False),
    "silent": Kind("silence", 0.05),
    "clipped": Kind("clipped audio", drops=False),
    "noise": Kind("noise in the place of speech (a wrong byte order?)", 0.05),
    "no text": Kind("no text", 0.2),
    "letters": Kind("letters outside the vocabulary", 0.2),
    "frames": Kind("more letters than frames (an infinite CTC loss)", 0.05),
    "pace": Kind("an unlikely number of letters a second (a wrong text?)", 0.1),
    "twin": Kind("the same audio as another utterance"),
    "leaked audio": Kind("audio that is in the other manifest, too", 0.0),
    "leaked speaker": Kind("a speaker who is in the other manifest, too", drops=False),
    "leaked text": Kind("a text that is in the other manifest, too", drops=False, note=True),
    "narrow": Kind("a sample rate below the model's", drops=False, note=True),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one utterance."""

    kind: str
    """A key of `KINDS`."""
    index: int
    """Which utterance of the manifest, from 0."""
    name: str
    """The utterance's file, and where in it."""
    detail: str
    """What was found."""


@dataclass(frozen=True)
class Report:
    """What is wrong with a manifest."""

    utterances: Sequence[Utterance]
    seconds: Sequence[float]
    """The length of each as decoded; 0 where it could not be read."""
    faults: Sequence[Fault]
    """In the order of `KINDS`, then of the manifest."""

    @property
    def counts(self) -> Counter[str]:
        """Utterances of each kind of fault, notes included."""
        return Counter(kind for kind, _ in {(fault.kind, fault.index) for fault in self.faults})

    @property
    def clean(self) -> bool:
        """Whether there is nothing to mend."""
        return all(KINDS[fault.kind].note for fault in self.faults)

    @property
    def fatal(self) -> str | None:
        """Why a training with this manifest would be spoiled, as a sentence; None where it would not."""
        total = len(self.utterances)
        reasons = [
            f"{count} of {total} utterances have {kind.title}"
            for name, kind in KINDS.items()
            if kind.stops is not None and (count := self.counts[name]) > kind.stops * total
        ]
        if not reasons and total and not any(True for _ in self.cleaned()):
            reasons = ["no utterance is left without a fault"]
        if not total:
            reasons = ["the manifest is empty"]
        if not reasons:
            return None
        return f"This would spoil a training: {'; '.join(reasons)}; mend the data, or leave them out."

    def cleaned(self) -> Iterator[Utterance]:
        """The utterances that can be trained on, with their true durations."""
        bad = {fault.index for fault in self.faults if KINDS[fault.kind].drops}
        wrong = {fault.index for fault in self.faults if fault.kind == "duration"}
        for index, utterance in enumerate(self.utterances):
            if index not in bad:
                mended = replace(utterance, duration=round(self.seconds[index], 4))
                yield mended if index in wrong or utterance.duration is None else utterance

    def to_text(self) -> str:
        """For people: a line a kind, then some utterances of it."""
        hours = sum(self.seconds) / 3600
        lines = [f"{len(self.utterances)} utterances, {hours:.2f} hours"]
        for name, count in self._counted():
            found = [fault for fault in self.faults if fault.kind == name]
            lines.append(f"{'note: ' if KINDS[name].note else ''}{count} with {KINDS[name].title}")
            lines += [f"    {fault.name}: {fault.detail}" for fault in found[:NAMED]]
            lines += [f"    and {len(found) - NAMED} more"] if len(found) > NAMED else []
        lines.append(self.fatal or ("No fault was found." if self.clean else "Training can go on."))
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """For programs: all faults, in one object."""
        values = {
            "utterances": len(self.utterances),
            "hours": round(sum(self.seconds) / 3600, 4),
            "clean": self.clean,
            "fatal": self.fatal,
            "counts": dict(self._counted()),
            "faults": [{"kind": f.kind, "line": f.index + 1, "name": f.name, "detail": f.detail} for f in self.faults],
        }
        return json.dumps(values, ensure_ascii=False, indent=1) + "\n"

    def _counted(self) -> Iterator[tuple[str, int]]:
        counts = self.counts
        return ((name, counts[name]) for name in KINDS if counts[name])


def check_manifest(
    utterances: Sequence[Utterance],
    *,
    against: Sequence[Utterance] = (),
    vocabulary: Vocabulary | None = None,
    config: EncoderConfig | None = None,
    sample_rate: int = 16_000,
    labelled: bool | None = None,
    threads: int | None = None,
    memory: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Decode and examine every utterance, also `against` those of another part, the test set for one.

    With a `vocabulary` letters outside it are found, once texts are normalised. `config` says how many frames a model
    makes (wav2vec 2.0's otherwise), `sample_rate` what it hears. Texts are checked where `labelled`; where that is
    None, if any utterance has one. Takes about a hundredth of the audio's length on one processor; with a file as
    `memory`, what was measured before is not decoded again.
    """
    with SoundMemory(memory) as known:
        measure = partial(known.examine, sample_rate=sample_rate)
        sounds, others = _examine([utterances, against], measure, threads, progress)
    if labelled is None:
        labelled = vocabulary is not None or any(u.text for u in utterances)
    found: list[tuple[str, int, str]] = []
    for index, (utterance, sound) in enumerate(zip(utterances, sounds, strict=True)):
        found += [(kind, index, detail) for kind, detail in sound_faults(utterance, sound, sample_rate)]
    if labelled:
        config = config or EncoderConfig()
        for index, (utterance, sound) in enumerate(zip(utterances, sounds, strict=True)):
            frames = None if sound.error else config.num_frames(round(sound.seconds * sample_rate))
            found += [(kind, index, detail) for kind, detail in text_faults(utterance, frames, vocabulary)]
        found += _paces(utterances, sounds)
    found += _twins(utterances, sounds)
    found += _leaks(utterances, sounds, against, others)
    order = list(KINDS)
    found.sort(key=lambda fault: (order.index(fault[0]), fault[1]))
    faults = [Fault(kind, index, utterances[index].name, detail) for kind, index, detail in found]
    return Report(utterances, [sound.seconds for sound in sounds], faults)


def sound_faults(utterance: Utterance, sound: Sound, sample_rate: int) -> Iterator[tuple[str, str]]:
    """Kinds and details of what is wrong with an utterance's audio."""
    if sound.error:
        yield "unreadable", sound.error
        return
    for warning in sound.warnings:
        yield "damaged", warning
    if utterance.duration is not None and abs(utterance.duration - sound.seconds) > LATE:
        yield "duration", f"it declares {utterance.duration:.2f} s, but lasts {sound.seconds:.2f} s"
    declared = utterance.extra.get("sample_rate", utterance.extra.get("sampling_rate"))
    if declared is not None and sound.rate is not None and declared != sound.rate:
        yield "rate", f"it declares {declared} Hz, but has {sound.rate} Hz"
    if sound.rate is not None and sound.rate < sample_rate:
        yield "narrow", f"it has {sound.rate} Hz, the model hears {sample_rate} Hz"
    if sound.peak < QUIETEST:
        yield "silent", f"its peak is {sound.peak:.1e} of full scale"
        return
    if sound.clipped > CLIPPED:
        yield "clipped", f"{sound.clipped:.1%} of its samples are at full scale"
    if sound.flatness > FLATTEST:
        yield "noise", f"its spectrum is as flat as noise ({sound.flatness:.2f} of 1)"


def text_faults(utterance: Utterance, frames: int | None, vocabulary: Vocabulary | None) -> Iterator[tuple[str, str]]:
    """Kinds and details of what is wrong with an utterance's text; `frames` None where nothing was heard."""
    tokens: Sequence[object] = " ".join((utterance.text or "").split())
    if vocabulary is not None:
        kept = "".join(t for t in vocabulary.tokens if len(t) == 1 and not t.isalnum() and t != "|")
        text, _ = normalise(utterance.text or "", case="as is", keep=kept)
        try:
            tokens = encode(text, vocabulary)
        except VocabularyError as error:
            yield "letters", str(error)
            return
    if not tokens:
        yield "no text", f"its text is {utterance.text!r}"
    needed = needed_frames(tokens)
    if frames is not None and needed > frames:
        yield "frames", f"its text needs {needed} frames, its audio has {frames}"


def _examine(
    parts: Sequence[Sequence[Utterance]],
    measure: Callable[[Utterance], Sound],
    threads: int | None,
    progress: Progress | None,
) -> list[list[Sound]]:
    """The sounds of each part's utterances, measured by `threads` threads."""
    every = [u for part in parts for u in part]
    lengths = [u.duration or 0.0 for u in every]
    total, done = sum(lengths) if all(lengths) else None, 0.0
    found: list[Sound] = []
    for _, sound in ordered_map(measure, every, threads):
        found.append(sound)
        done += sound.seconds
        if progress:
            progress(done, total)
    cuts = np.cumsum([0, *(len(part) for part in parts)])
    return [found[first:last] for first, last in pairwise(cuts)]


def _paces(utterances: Sequence[Utterance], sounds: Sequence[Sound]) -> Iterator[tuple[str, int, str]]:
    """Letters a second beyond six deviations of their logarithm, and at least twice or half the median."""
    paces = {
        index: letters / sound.seconds
        for index, (utterance, sound) in enumerate(zip(utterances, sounds, strict=True))
        if sound.seconds and (letters := sum(map(str.isalnum, utterance.text or "")))
    }
    if len(paces) < FEWEST:
        return
    middle = float(np.median(list(paces.values())))
    spread = 1.4826 * float(np.median([abs(log(pace / middle)) for pace in paces.values()]))  # as a normal's deviation
    for index, pace in paces.items():
        if abs(log(pace / middle)) > max(6 * spread, log(2)):
            yield "pace", index, f"{pace:.1f} letters a second, {middle:.1f} are usual"


def _twins(utterances: Sequence[Utterance], sounds: Sequence[Sound]) -> Iterator[tuple[str, int, str]]:
    first: dict[bytes, int] = {}
    for index, sound in enumerate(sounds):
        if sound.digest and sound.peak >= QUIETEST:
            other = first.setdefault(sound.digest, index)
            if other != index:
                texts = "" if utterances[other].text == utterances[index].text else ", whose text differs"
                yield "twin", index, f"the same as {utterances[other].name}{texts}"


def _leaks(
    utterances: Sequence[Utterance], sounds: Sequence[Sound], against: Sequence[Utterance], others: Sequence[Sound]
) -> Iterator[tuple[str, int, str]]:
    """What both parts have."""
    names: dict[str, dict[object, str]] = defaultdict(dict)
    for utterance, sound in zip(against, others, strict=True):
        for kind, value in _traits(utterance, sound):
            names[kind].setdefault(value, utterance.name)
    for index, (utterance, sound) in enumerate(zip(utterances, sounds, strict=True)):
        for kind, value in _traits(utterance, sound):
            if value in names[kind]:
                what = "" if isinstance(value, bytes) else f"{value!r}, "
                yield f"leaked {kind}", index, f"{what}as in {names[kind][value]}"


def _traits(utterance: Utterance, sound: Sound) -> Iterator[tuple[str, object]]:
    if sound.digest and sound.peak >= QUIETEST:
        yield "audio", sound.digest
    if utterance.speaker:
        yield "speaker", utterance.speaker
    if text := " ".join((utterance.text or "").lower().split()):
        yield "text", text
