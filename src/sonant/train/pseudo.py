"""Self-training: what a model hears in speech that nobody wrote down, kept where it is sure of itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import exp, log

from sonant.data.manifest import Utterance, read_utterance
from sonant.errors import AudioError, OptionError
from sonant.recognizer import Recognizer
from sonant.types import Progress, Transcript


def label_utterances(
    recognizer: Recognizer,
    utterances: Iterable[Utterance],
    min_confidence: float,
    failed: list[str],
    progress: Progress | None = None,
) -> Iterator[Utterance]:
    """The utterances with the model's text, where it is at least so confident; `confidence` and `model` beside it.

    What cannot be heard is told in `failed`, a sentence each; where no word is heard, nothing is kept.
    """
    if not 0 <= min_confidence <= 1:
        raise OptionError(f"A confidence is between 0 and 1, but {min_confidence:g} came; choose one, mostly 0.9.")
    rate = recognizer.checkpoint.sample_rate
    done = 0.0
    for utterance in utterances:
        try:
            transcript = recognizer.transcribe(read_utterance(utterance, rate), rate)
        except AudioError as error:
            failed.append(f"{utterance.name}: {error}")
            continue
        done += transcript.duration
        if progress:
            progress(done, None)
        sure = confidence(transcript)
        if transcript.text and sure >= min_confidence:
            extra = {**utterance.extra, "confidence": round(sure, 4), "model": transcript.model}
            yield replace(utterance, text=transcript.text, duration=transcript.duration, extra=extra)


def confidence(transcript: Transcript) -> float:
    """The geometric mean of the letters' confidences, 0 to 1; 0 where no word was heard."""
    letters = [(len(word.letters), word.confidence) for word in transcript.words]
    count = sum(number for number, _ in letters)
    return exp(sum(number * log(max(sure, 1e-30)) for number, sure in letters) / count) if count else 0.0
