"""Emissions of utterances, computed once and kept in the cache folder: float16, a file an utterance."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sonant.data.manifest import Utterance, read_utterance, split_archive
from sonant.errors import AudioError, OutputError
from sonant.files import cache_folder, open_output
from sonant.recognizer import Recognizer
from sonant.train.evaluate import fingerprint
from sonant.types import Emissions, FloatArray, Progress


def emit_all(
    recognizer: Recognizer, utterances: Sequence[Utterance], progress: Progress | None = None
) -> tuple[list[Emissions | None], list[str]]:
    """What a model hears in each utterance, None where it hears nothing, and why it does not.

    What was kept is taken as it is, as long as weights, settings and the file (by size and time) are the same; so an
    interrupted run goes on. Where the cache cannot be written, nothing is kept. `progress` is told the seconds heard,
    and of how many if all utterances declare their own.
    """
    folder = cache_folder() / "emissions" / fingerprint(recognizer)
    durations = [utterance.duration for utterance in utterances]
    total = None if None in durations else sum(filter(None, durations))
    found: list[Emissions | None] = []
    reasons: list[str] = []
    done = 0.0
    for utterance in utterances:
        try:
            emissions = _emit(recognizer, utterance, folder)
            done += emissions.duration
            found.append(emissions)
        except AudioError as error:
            found.append(None)
            reasons.append(str(error))
        if progress:
            progress(done, total)
    return found, reasons


def _emit(recognizer: Recognizer, utterance: Utterance, folder: Path) -> Emissions:
    path = folder / f"{_key(utterance)}.npy"
    log_probs = _kept(path, len(recognizer.vocabulary))
    if log_probs is None:
        if utterance.offset is None and split_archive(utterance.audio) is None:
            heard = recognizer.emissions(utterance.audio)
        else:
            rate = recognizer.checkpoint.sample_rate
            heard = recognizer.emissions(read_utterance(utterance, rate), rate)
        narrow = heard.log_probs.astype(np.float16)
        log_probs = narrow.astype(np.float32)  # the same, whether kept or not
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open_output(path) as file:
                np.save(file, narrow)
        except (OSError, OutputError):
            pass  # heard again next time
    return Emissions(log_probs, recognizer.frame_seconds, recognizer.vocabulary)


def _kept(path: Path, num_tokens: int) -> FloatArray | None:
    """What lies in a file; None where there is none, or it is damaged."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = array.dtype == np.float16 and array.ndim == 2 and array.shape[1] == num_tokens
    return array.astype(np.float32) if fits else None


def _key(utterance: Utterance) -> str:
    """A name for a stretch of a file as that is now; `AudioError` where there is no such file."""
    archive = split_archive(utterance.audio)
    try:
        status = Path(archive[0] if archive else utterance.audio).stat()
    except OSError as error:
        raise AudioError(f"{utterance.audio} cannot be read ({error.strerror}); check the path.") from error
    place = os.path.abspath(utterance.audio), utterance.offset, utterance.duration  # noqa: PTH100  # keeps links
    return hashlib.sha256(json.dumps([*place, status.st_size, status.st_mtime_ns]).encode()).hexdigest()[:32]
