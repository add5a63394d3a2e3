"""Who says which word: voices of a conversation, named by those who are enrolled, or told apart and numbered.

Windows over the words become vectors, like vectors a voice, and each word gets the voice of its place, on the path
through all words that fits best with few changes. Shapes: N windows, S speakers, E width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, takewhile
from os import PathLike
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sonant.audio import Source
from sonant.errors import OptionError
from sonant.identify import VoiceHead, read_voice_head, voice_threshold
from sonant.pooling import PooledHead
from sonant.recognizer import Recognizer
from sonant.types import FloatArray, Progress, Segment, Transcript, Word
from sonant.voices import Voices

UNKNOWN = "unknown"
"""The speaker of words whose voice nobody has enrolled."""
WINDOW, HOP, LEAST = 1.5, 0.75, 0.6
"""Seconds of a window, between two of them, and of the shortest one, over a word that stands alone."""
PAUSE = 0.6
"""Seconds between two words over which no window reaches."""
SHARE, FEWEST = 0.03, 2
"""Of all windows that a voice has at least, and how many: what is less was noise, or two at once."""
MOST = 1000
"""Groups that are compared with each other at once."""
CHANGE = 0.5
"""What a change of speakers costs, in scalar products of a word."""
Integers = NDArray[np.intp]


def label_speakers(
    transcript: Transcript,
    source: Source,
    ear: Recognizer,
    sample_rate: float | None = None,
    *,
    speakers: int | Literal["auto"] = "auto",
    voices: str | PathLike[str] | None = None,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> Transcript:
    """The transcript of a recording with the speaker of each word, its segments cut where speakers change.

    `ear` is a model that tells voices apart, as `ear.embed` needs one; it hears the source once more. Speakers are
    `speaker 1`, `speaker 2` and so on in the order in which they speak: so many as `speakers` says, or as there seem
    to be, two voices being one from a mean score of `threshold`, or the head's. Where `voices` is a store that `ear`
    enrolled, they are those in it whose voice scores `threshold`, or else the model's own, or more, and `unknown`.
    Raises `CheckpointError` for a model without such a head, `OptionError` for voices of another, and what `embed`
    raises.
    """
    head = read_voice_head(ear.checkpoint)
    if speakers != "auto" and speakers < 1:
        raise OptionError(f"There must be one speaker or more, but {speakers} came; give a number, or auto.")
    known, alike = None, head.alike if threshold is None else threshold  # the one of strangers is far stricter
    if voices is not None:
        least = voice_threshold(ear.checkpoint) if threshold is None else threshold
        if least is None:
            raise OptionError("Voices are known from a score on, but there is no threshold; give one.")
        known, alike = Voices.of_model(voices, head.fingerprint, ear.checkpoint.name), least
        if not known.names:
            raise OptionError(f"Somebody must be enrolled in {voices} to be named, but nobody is; enrol somebody.")
    words = transcript.words
    if not words:
        return transcript
    windows = windows_over(words, transcript.duration)
    frames = np.round(windows / ear.frame_seconds).astype(np.intp)
    vectors = vectors_of(head, ear.hear(head, source, sample_rate, progress), frames)
    count = None if known or speakers == "auto" else speakers
    wide = widened(vectors, windows)
    wide = wide[wide.any(1)]
    centres = refined(unit(cluster(wide, count, alike)), wide)
    transcript = replace(transcript, settings={**transcript.settings, "voice_model": ear.checkpoint.name})
    path: list[int] = best_path(words, windows, vectors @ centres.T).tolist()
    if known:
        names = named(centres, known, alike)
        return with_speakers(transcript, [names[who] for who in path])
    return with_speakers(transcript, numbered(path))


def windows_over(words: Sequence[Word], duration: float) -> NDArray[np.float64]:
    """Where windows (N, 2) begin and end, in seconds, in order: over all words, none over a pause."""
    found: list[tuple[float, float]] = []
    begin = 0
    for i in range(1, len(words) + 1):
        if i < len(words) and words[i].start - words[i - 1].end < PAUSE:
            continue
        start, end = words[begin].start, max(word.end for word in words[begin:i])
        missing = max(LEAST - (end - start), 0.0) / 2
        start, end = max(start - missing, 0.0), min(end + missing, duration)
        count = 1 + max(int(np.ceil((end - start - WINDOW) / HOP)), 0)
        width = min(WINDOW, end - start)
        found += [(float(first), float(first) + width) for first in np.linspace(start, end - width, count)]
        begin = i
    return np.array(sorted(found))


def vectors_of(head: VoiceHead | PooledHead, pieces: Iterable[FloatArray], frames: Integers) -> FloatArray:
    """The voice (N, E) in each window of frames (N, 2) that come piece after piece; 0 where too few came."""
    vectors = np.zeros((len(frames), head.width), np.float32)
    kept, first, done = None, 0, 0
    for piece in pieces:
        kept = piece if kept is None else np.concatenate([kept, piece])
        while done < len(frames) and frames[done, 1] <= first + len(kept):
            vectors[done] = _vector(head, kept[frames[done, 0] - first : frames[done, 1] - first])
            done += 1
        gone = min(frames[done, 0] - first if done < len(frames) else len(kept), len(kept))
        kept, first = kept[gone:], first + gone
    for i in range(done, len(frames)):  # the last word may end a frame beyond the last
        if kept is not None and frames[i, 0] >= first:
            vectors[i] = _vector(head, kept[frames[i, 0] - first :])
    return vectors


def _vector(head: VoiceHead | PooledHead, piece: FloatArray) -> FloatArray | float:
    return head.embed([piece]) if len(piece) >= head.least_frames else 0.0


def unit(vectors: NDArray[np.floating]) -> FloatArray:
    """Vectors (..., E) at length 1."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def widened(vectors: FloatArray, windows: NDArray[np.float64]) -> FloatArray:
    """The voice (N, E) in each window with its neighbours that overlap: a voice is known better by 3 s than by half."""
    joined = (windows[1:, 0] < windows[:-1, 1])[:, None]
    wide = vectors.copy()
    wide[1:] += joined * vectors[:-1]
    wide[:-1] += joined * vectors[1:]
    return unit(wide)


def refined(centres: FloatArray, vectors: FloatArray, rounds: int = 3) -> FloatArray:
    """Centres (S, E) of the vectors that are nearest to each, so many times over (k-means on the sphere)."""
    for _ in range(rounds):
        nearest = (vectors @ centres.T).argmax(1) if len(vectors) else np.zeros(0, np.intp)
        sums = [vectors[nearest == who].sum(0) for who in range(len(centres))]
        centres = np.where(np.any(sums, 1)[:, None], unit(np.stack(sums)), centres)
    return centres


def cluster(
    vectors: FloatArray, count: int | None = None, alike: float = VoiceHead.alike, most: int = MOST
) -> FloatArray:
    """The sums (S, E) of the voices in unit vectors (N, E): `count`, or as many as are not `alike`; one at least.

    Agglomerative clustering with average linkage. Of more than `most` vectors the nearest are merged as they come, so
    that memory holds `most` squared.
    """
    sums, sizes = np.zeros((0, vectors.shape[1]), np.float32), np.zeros(0, np.float32)
    for first in range(0, len(vectors), max(most // 2, 1)):
        block = vectors[first : first + max(most // 2, 1)]
        sums, sizes = np.concatenate([sums, block]), np.concatenate([sizes, np.ones(len(block), np.float32)])
        if first + len(block) < len(vectors):
            sums, sizes = merged(sums, sizes, merges(sums, sizes, left=most // 2))
    if len(sums) < 2:
        return sums if len(sums) else np.zeros((1, vectors.shape[1]), np.float32)
    steps = merges(sums, sizes)
    least = max(SHARE * len(vectors), FEWEST)
    if count is None:
        steps = list(takewhile(lambda step: step[2] >= alike, steps))
    else:
        steps = steps[: _coarsest(sizes, steps, count, least)]
    sums, sizes = merged(sums, sizes, steps)
    order = np.argsort(-sizes, kind="stable")
    return sums[order[: max(int((sizes >= least).sum()), 1) if count is None else count]]


def merges(sums: FloatArray, sizes: FloatArray, left: int = 1) -> list[tuple[int, int, float]]:
    """Which two groups become the first of both, and how alike they are, until so many are left.

    Groups have sums (M, E) of unit vectors and sizes (M,).
    """
    scores = (sums @ sums.T) / np.outer(sizes, sizes)
    np.fill_diagonal(scores, -np.inf)
    sizes, steps = sizes.copy(), list[tuple[int, int, float]]()
    for _ in range(len(sums) - max(left, 1)):
        i, j = sorted(divmod(int(scores.argmax()), len(sums)))
        steps.append((i, j, float(scores[i, j])))
        # the mean over all pairs of two groups that become one (average linkage)
        row = (scores[i] * sizes[i] + scores[j] * sizes[j]) / (sizes[i] + sizes[j])
        scores[i], scores[:, i], scores[j], scores[:, j] = row, row, -np.inf, -np.inf
        scores[i, i] = -np.inf
        sizes[i] += sizes[j]
    return steps


def merged(
    sums: FloatArray, sizes: FloatArray, steps: Iterable[tuple[int, int, float]]
) -> tuple[FloatArray, FloatArray]:
    """The sums and sizes of the groups that are left after some merges."""
    sums, sizes = sums.copy(), sizes.copy()
    for i, j, _ in steps:
        sums[i] += sums[j]
        sizes[i], sizes[j] = sizes[i] + sizes[j], 0
    return sums[sizes > 0], sizes[sizes > 0]


def _coarsest(sizes: FloatArray, steps: Sequence[tuple[int, int, float]], count: int, least: float) -> int:
    """After how many merges `count` groups of `least` or more are left for the last time, or else `count` of any."""
    sizes, found = sizes.copy(), None
    for done, (i, j, _) in enumerate(steps, 1):
        sizes[i], sizes[j] = sizes[i] + sizes[j], 0
        if (sizes >= least).sum() >= count:
            found = done
    return max(len(sizes) - count, 0) if found is None else found


def best_path(words: Sequence[Word], windows: NDArray[np.float64], scores: FloatArray) -> Integers:
    """The speaker (W,) of each word, from the scores (N, S) of windows: the path with the highest sum less changes."""
    fits = np.stack(list(_word_scores(words, windows, scores)))
    back = np.zeros(fits.shape, np.intp)
    best: FloatArray = fits[0]
    own: Integers = np.arange(int(scores.shape[1]))
    for i in range(1, len(words)):
        change = CHANGE if words[i].start - words[i - 1].end < PAUSE else CHANGE / 2
        other = int(best.argmax())
        moved = best[other] - change
        back[i] = np.where(moved > best, other, own)
        best = fits[i] + np.maximum(moved, best)
    path = np.zeros(len(words), np.intp)
    path[-1] = best.argmax()
    for i in range(len(words) - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def _word_scores(words: Sequence[Word], windows: NDArray[np.float64], scores: FloatArray) -> Iterator[FloatArray]:
    """The scores (S,) of the windows over each word's middle, those counting most in whose middle it is."""
    middles, first = windows.mean(1), 0
    for word in words:
        middle = (word.start + word.end) / 2
        while first + 1 < len(windows) and windows[first, 1] <= middle:
            first += 1
        last = first + 1
        while last < len(windows) and windows[last, 0] < middle:
            last += 1
        distances = np.abs(middles[first:last] - middle)
        weights = np.maximum(1 - 2 * distances / np.diff(windows[first:last])[:, 0], 1e-3)
        yield weights @ scores[first:last] / weights.sum()


def named(centres: FloatArray, voices: Voices, threshold: float) -> list[str]:
    """Who each voice (S, E) is: the nearest that is enrolled, or `unknown` where it scores less than `threshold`."""
    nearest = [voices.scores(centre)[0] for centre in centres]
    return [name if score >= threshold else UNKNOWN for name, score in nearest]


def numbered(path: Sequence[int]) -> list[str]:
    """`speaker 1` for the first that speaks, and so on."""
    order = {who: i for i, who in enumerate(dict.fromkeys(path), 1)}
    return [f"speaker {order[who]}" for who in path]


def with_speakers(transcript: Transcript, names: Sequence[str]) -> Transcript:
    """The transcript whose words have these speakers; segments are cut where they change."""
    given = iter(names)
    segments: list[Segment] = []
    for segment in transcript.segments:
        words = [replace(word, speaker=next(given)) for word in segment.words]
        segments += [Segment(tuple(turn), segment.space) for _, turn in groupby(words, key=lambda word: word.speaker)]
    return replace(transcript, segments=tuple(segments))
