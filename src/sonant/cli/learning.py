"""`sonant identify --learn`: a model that knows voices, from a manifest with speakers, without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sonant.cli.terminal import DONE, FAILED, ProgressBar, say
from sonant.errors import AudioError, DataError, OutputError

if TYPE_CHECKING:
    from sonant.recognizer import Recognizer
    from sonant.types import FloatArray


def learn(asr: Recognizer, manifest: Path, folder: Path) -> int:
    """Hear every utterance once, learn what tells its speakers apart, and write the model; the exit code."""
    import numpy as np

    from sonant.checkpoints.conversion import convert
    from sonant.data.manifest import read_manifest, read_utterance
    from sonant.pooling import Moments, convolutions
    from sonant.train.linear import PIECE, learn_voices, statistics_of, with_voices

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} must be a new or an empty folder, but something is there; choose another.")
    utterances = list(read_manifest(manifest))
    if missing := sum(utterance.speaker is None for utterance in utterances):
        raise DataError(
            f"Every utterance must name its speaker, but {missing} of {len(utterances)} do not; leave them out."
        )
    rate, rows = asr.checkpoint.sample_rate, round(PIECE / asr.frame_seconds)
    layers = convolutions(asr.checkpoint)
    ears = Moments(asr.checkpoint, layers)
    found: list[list[FloatArray]] = []
    speakers: list[str] = []
    clips: list[int] = []
    failed, done, bar = 0, 0.0, ProgressBar(asr.checkpoint.name)
    total = sum(utterance.duration or 0.0 for utterance in utterances)
    try:
        for utterance in utterances:
            try:
                pieces = asr.hear(ears, read_utterance(utterance, rate), rate)
                heard = statistics_of(pieces, ears, rows)
            except AudioError as error:
                say(str(error))
                failed += 1
                continue
            found.append(heard)
            speakers += [str(utterance.speaker)] * len(heard[0])
            clips += [len(found)] * len(heard[0])
            done += utterance.duration or 0.0
            bar(done, total or None)
    finally:
        bar.close()
    if not found:
        raise DataError(f"Nothing could be heard of what {manifest} names; check its paths.")
    statistics = {at: np.concatenate(each) for at, each in zip(layers, zip(*found, strict=True), strict=True)}
    voice = learn_voices(
        statistics, speakers, clips, tell=lambda at, rate: say(f"{at}: equal error rate {100 * rate:.1f} %")
    )
    convert(with_voices(asr.checkpoint, voice), folder)
    told = f"{len(set(speakers))} speakers: equal error rate {100 * voice.eer:.1f} % on those left out"
    say(f"{told} (pieces of {PIECE:g} s), threshold {voice.threshold:.3f}")
    print(folder)
    return FAILED if failed else DONE
