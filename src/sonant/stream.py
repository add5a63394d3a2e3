"""Live audio to words: a state machine that is fed samples and gives events; no clocks, threads or sockets inside.

wav2vec 2.0 looks both ways, so what it says of a sound changes while the next ones come in. The last seconds are
therefore encoded anew every step. Frames are settled once two hearings in a row read the same words there, or once they
lie a margin back: the decoder hears them once and for all, and the words that all its readings share are final. What
comes after them is read on a copy of the decoder, and is tentative. Steps lie on the grid of samples, so that it does
not matter in what pieces they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from sonant.audio import Resampler, mono_block
from sonant.audio.samples import check_form
from sonant.checkpoints import Checkpoint
from sonant.decode import Decoder, LiveState
from sonant.decode.sieve import SURE, Sieve
from sonant.decode.words import timed
from sonant.errors import OptionError
from sonant.types import Emissions, FloatArray, Word
from sonant.windows import Level

# N samples, T frames, V tokens

GUARD = 0.2
"""Seconds before the newest sound in which a word may just be beginning, though the model hears none yet."""
LONGEST = 60.0
"""Seconds after which a decoder is started anew at the next gap between words, so that its memory does not grow."""
FADE = 30.0
"""Seconds after which a sound counts half as much in the level that silence is told by."""
EXPECTED = 0.01
"""Root mean square that a stream is taken for until it has been heard: quiet speech."""
SILENCE = 10 ** (-70 / 20)
"""Peak below which nothing can be heard: where there is no more than that, nobody says anything."""
TRUSTED = 0.6
"""Confidence of a word that is shown once it is spelled out; with more, words are taken back less and come later."""
NEARBY = 0.24
"""Seconds around a frame that must be silent for it to be."""


@dataclass(frozen=True)
class StreamSpec:
    """How a stream is cut and when its words are final; all in seconds."""

    step: float = 0.32
    """New sound after which the model hears again; shorter ones show words earlier and cost more."""
    window: float = 8.0
    """What the model hears each time; longer ones cost more and tell it more."""
    margin: float = 1.0
    """What must follow a sound for its letters to be final, though no two hearings in a row agree on its word."""
    endpoint: float = 0.8
    """Pause that ends a segment, and makes all words before it final."""
    hold: float = 0.2
    """What must follow a word for it to be shown and agreed on; shorter ones show words before they are spelled to the
    end."""
    doubt: float = 0.7
    """The same for a word that the model is less sure of; shorter ones show such words earlier and take more back."""
    lead: float = 4.0
    """How much likelier (natural logarithm) the best reading must be than all that differ from it for its words to be
    final; where infinite, there must be no other left."""

    def __post_init__(self) -> None:
        rest = (self.margin, self.hold, self.doubt, self.lead)
        if not (0.02 <= self.step < inf and 0 < self.endpoint < inf and all(each >= 0 for each in rest)):
            raise OptionError(
                f"A stream's step must be at least 0.02 s, its endpoint above 0 s, margin, hold, doubt and lead at "
                f"least 0, but they are {self.step}, {self.endpoint}, {', '.join(map(str, rest))}; leave them out."
            )
        if not self.margin + self.step < self.window < inf:
            raise OptionError(
                f"A stream's window must be longer than its step and margin together, but {self.window} s is not "
                f"longer than {self.step} s and {self.margin} s; take a longer window."
            )


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """What has become known: words that are final, or what the words after them seem to be."""

    kind: Literal["partial", "final"]
    """`final`: these words follow those of the finals before, and no event changes them; they take the place of the
    last partial. `partial`: what has been heard after the last final, as it seems now, in place of the last partial."""
    words: tuple[Word, ...]
    """Times count from the beginning of the stream. Empty where a tail has vanished, or a segment ends after its words
    were final."""
    start: float
    """Seconds from the beginning of the stream to the first word; without words, to the newest sound."""
    end: float
    """Seconds to the end of the last word; without words, to the newest sound."""
    segment_end: bool = False
    """Whether a pause follows: the segment, which all finals since the last such event make up, is complete."""
    space: str = " "
    """What stands between two words."""

    @property
    def text(self) -> str:
        return self.space.join(word.text for word in self.words)


class Stream:
    """Words of live audio as it comes; made by `Recognizer.stream`, for one stream and one thread at a time.

    Memory does not grow with the stream's length.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        emit: Callable[[Sequence[FloatArray]], list[FloatArray]],
        decoder: Decoder,
        spec: StreamSpec,
        sample_rate: int | None = None,
        sure: float = SURE,
    ) -> None:
        config, rate = checkpoint.config, checkpoint.sample_rate
        self.vocabulary = checkpoint.require_vocabulary()
        self.spec = spec
        self.sample_rate = rate if sample_rate is None else sample_rate
        """Hertz of the samples that are fed."""
        check_form("A stream", self.sample_rate, 1)
        self.frame_seconds = config.hop / rate
        self._config, self._rate, self._normalize = config, rate, checkpoint.normalize
        self._emit, self._decoder = emit, decoder
        self._step, self._margin, self._endpoint = map(self._frames, (spec.step, spec.margin, spec.endpoint))
        self._window = max(self._frames(spec.window), self._step + self._margin + 1)
        self._guard = self._frames(GUARD)
        separator = () if self.vocabulary.separator is None else (self.vocabulary.separator,)
        self._mute = [*self.vocabulary.silent, *separator]
        self._resampler = Resampler(self.sample_rate, rate)
        self._finished = False

        self._fed = 0  # samples that came in, at their own rate
        self._samples = np.zeros(0, np.float32)  # of the window
        self._pending: list[FloatArray] = []  # since the last step
        self._received = 0  # samples at the model's rate
        self._first = 0  # the stream's frame at the window's beginning
        self._heard = 0  # frames of the last step
        self._level = Level(half_life=FADE * rate)
        self._level.count, self._level.squares = rate, rate * EXPECTED**2

        self._settled = 0  # frames that the decoder has heard
        self._spoke: int | None = None  # the last frame with a letter since the segment's beginning
        self._said = False  # whether the segment has words
        self._before: tuple[str, ...] = ()  # the words that the last hearing read beyond the final ones
        self._shown: tuple[str, ...] = ()  # those of them that are shown
        self._sieve = Sieve(sure)
        self._times = checkpoint.word_times
        self._last: tuple[Word, ...] = ()  # the newest final word, as its letters were heard
        self._told_until = 0.0  # where it ends as it was said
        self._tail: tuple[Word, ...] = ()
        self._until = 0.0
        self._restart()

    def feed(self, samples: ArrayLike) -> list[StreamEvent]:
        """What has become known by the next samples (N,): floats, or integers, which their full scale divides.

        They are mono, at the stream's rate, as many as there are. Raises `AudioError` for others, and for samples that
        are no numbers; the stream is then as before.
        """
        if self._finished:
            raise OptionError("A stream must be fed before it is finished, but more samples came; open another one.")
        block = mono_block(samples, self._fed / self.sample_rate)
        self._fed += len(block)
        return self._take(self._resampler.feed(block))

    def finish(self) -> list[StreamEvent]:
        """The last events: all that has been heard becomes final. A second call gives none."""
        if self._finished:
            return []
        events = self._take(self._resampler.finish())
        self._finished = True
        num_frames = self._config.num_frames(self._received)
        if num_frames > self._settled:
            events += self._hear(num_frames, last=True)
        return events + list(self._end_segment())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished = True

    @property
    def seconds(self) -> float:
        """Sound that has been fed."""
        return self._fed / self.sample_rate

    @property
    def final_until(self) -> float:
        """Seconds from the beginning before which no word begins that is yet to become final."""
        return self.seconds if self._finished else max(self._until - self._times.reach - self._times.offset, 0.0)

    def _frames(self, seconds: float) -> int:
        return max(round(seconds / self.frame_seconds), 1)

    def _take(self, block: FloatArray) -> list[StreamEvent]:
        """Samples at the model's rate; a step wherever its last sample has come."""
        events: list[StreamEvent] = []
        while True:
            frames = self._heard + self._step
            missing = (frames - 1) * self._config.hop + self._config.receptive_field - self._received
            self._pending.append(block[:missing].copy())
            self._received += len(self._pending[-1])
            if len(block) < missing:
                return events
            block = block[missing:]
            events += self._hear(frames)

    def _hear(self, num_frames: int, last: bool = False) -> list[StreamEvent]:
        """Encode the window that ends with so many frames of the stream, and say what came of it."""
        new = np.concatenate([np.zeros(0, np.float32), *self._pending])
        self._pending = []
        if len(new):
            self._level.add(new)
        first = max(self._first, num_frames - self._window)
        self._samples = np.concatenate([self._samples, new])[(first - self._first) * self._config.hop :]
        self._first, self._heard = first, num_frames
        samples = self._level.normalise(self._samples) if self._normalize else self._samples
        [log_probs] = self._emit([samples])
        begin = self._settled - first
        log_probs = self._gated(log_probs[begin:], begin)
        return list(self._events(log_probs, num_frames - self._margin, last))

    def _gated(self, log_probs: FloatArray, begin: int) -> FloatArray:
        """Emissions (T, V) of the window's frames from `begin` on, with certain blanks where there is silence."""
        hop = self._config.hop
        reach = round(NEARBY * self._rate)
        loud = np.flatnonzero(np.abs(self._samples) > SILENCE)
        centres = (np.arange(len(log_probs)) + begin) * hop + self._config.receptive_field // 2
        audible = np.searchsorted(loud, centres + reach, "right") > np.searchsorted(loud, centres - reach, "left")
        if audible.all():
            return log_probs
        certain = np.full(log_probs.shape[1], -30.0, np.float32)
        certain[self.vocabulary.blank] = 0.0
        return np.where(audible[:, None], log_probs, certain)

    def _events(self, log_probs: FloatArray, limit: int, last: bool) -> Iterator[StreamEvent]:
        """Settle frames before `limit`, of words agreed on, and before a pause's end; `log_probs` begin at the settled.

        At the `last` hearing all of them.
        """
        base = self._settled
        spoken = (np.flatnonzero(~np.isin(log_probs.argmax(1), self._mute)) + base).tolist()
        for cut in self._pauses(spoken):
            self._settle(log_probs[self._settled - base : cut - base])
            yield from self._end_segment()
        if last:
            self._settle(log_probs[self._settled - base :])
            return
        if self._settled - self._began > LONGEST / self.frame_seconds and not self._words_left():
            self._restart()
        ahead = log_probs[self._settled - base :]
        reading = self._reading(ahead)
        limit = max(limit, self._settled + self._agreed(reading, ahead))
        self._settle(log_probs[self._settled - base : max(limit - base, 0)])
        self._spoke = max((f for f in spoken if self._began <= f < self._settled), default=self._spoke)
        self._state.decide(self.spec.lead)
        final = self._state.stable[self._taken :]
        if common_prefix(_texts(final), _texts(reading)) < len(final):  # that reading was given up
            reading = self._reading(log_probs[self._settled - base :])
        yield from self._final(final, reading[len(final) :][:1])
        yield from self._partial(reading[len(final) :])

    def _reading(self, log_probs: FloatArray) -> tuple[Word, ...]:
        """What the settled frames and those that follow them seem to say, beyond what is final."""
        state = self._state.copy()
        if len(log_probs):
            state.feed(Emissions(log_probs, self.frame_seconds, self.vocabulary, self._settled))
        return state.finish()[0].words[self._taken :]

    def _agreed(self, reading: tuple[Word, ...], log_probs: FloatArray) -> int:
        """How many of the frames (T, V) hold whole words that this hearing and the one before it have read alike."""
        before, self._before = self._before, _texts(self._spelled_out(reading))
        separator = self.vocabulary.separator
        for i in reversed(range(common_prefix(before, self._before))):
            begin = max(round(reading[i].end / self.frame_seconds) - self._settled, 0)
            if separator is None:
                return begin
            end = round(reading[i + 1].start / self.frame_seconds) - self._settled if i + 1 < len(reading) else None
            gap = log_probs[begin:end]
            # right behind the separator: the next word's letters may yet move by a frame
            if len(gap) and gap[best := int(gap[:, separator].argmax())].argmax() == separator:
                return begin + best + 1
        return 0

    def _spelled_out(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        latest = self._heard * self.frame_seconds - self.spec.hold
        while words and words[-1].end > latest:
            words = words[:-1]
        return words

    def _to_show(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """The first of the words that are spelled out: those shown before, and others that are sure or older."""
        texts = _texts(words)
        latest = self._heard * self.frame_seconds - self.spec.doubt
        count = common_prefix(self._shown, texts)
        while count < len(words) and (words[count].confidence >= TRUSTED or words[count].end <= latest):
            count += 1
        self._shown = texts[:count]
        return words[:count]

    def _pauses(self, spoken: Sequence[int]) -> list[int]:
        """Frames at which segments end: so long after the last letter that only a pause can be meant."""
        cuts: list[int] = []
        rest = max(self._endpoint - self._guard, 0)
        last = self._spoke
        for frame in [*spoken, self._heard]:
            if last is not None and frame - last > self._endpoint:
                cuts.append(max(last + 1 + rest, self._settled))
            last = frame
        return cuts

    def _settle(self, log_probs: FloatArray) -> None:
        if len(log_probs):
            self._state.feed(Emissions(log_probs, self.frame_seconds, self.vocabulary, self._settled))
            self._settled += len(log_probs)

    def _end_segment(self) -> Iterator[StreamEvent]:
        """The words that are left, and a decoder that knows nothing of them."""
        yield from self._final(self._words_left(), segment_end=True)
        self._restart()
        self._said, self._spoke, self._before, self._shown = False, None, (), ()

    def _words_left(self) -> tuple[Word, ...]:
        """What the settled frames say, as it seems, beyond what is final."""
        return self._state.copy().finish()[0].words[self._taken :]

    def _final(
        self, words: tuple[Word, ...], after: tuple[Word, ...] = (), segment_end: bool = False
    ) -> Iterator[StreamEvent]:
        self._taken += len(words)
        self._before, self._shown = self._before[len(words) :], self._shown[len(words) :]
        told = self._sieve.feed(words)
        self._said = self._said or bool(told)
        if told or (segment_end and self._said):
            self._tail = ()
            said = self._said_at(told, after)
            if told:
                self._last, self._told_until = told[-1:], said[-1].end
            yield self._event("final", said, segment_end)

    def _partial(self, words: tuple[Word, ...]) -> Iterator[StreamEvent]:
        """What follows the final words, as it seems."""
        until = min([self._settled * self.frame_seconds, *(word.start for word in words[:1])])
        self._sieve.forget(until)
        self._until = min(until, self._sieve.since)
        words = self._said_at(self._sieve.copy().feed(self._to_show(self._spelled_out(words))))
        if words != self._tail:
            self._tail = words
            yield self._event("partial", words)

    def _said_at(self, words: tuple[Word, ...], after: tuple[Word, ...] = ()) -> tuple[Word, ...]:
        """Words as they are said, from words as they are heard, behind what is final and before the word `after`."""
        beside = (*self._last, *words, *after)
        said = timed(beside, self._times, self._heard * self.frame_seconds, self._told_until)
        return tuple(said[len(self._last) : len(self._last) + len(words)])

    def _event(self, kind: Literal["partial", "final"], words: tuple[Word, ...], end: bool = False) -> StreamEvent:
        now = self._heard * self.frame_seconds
        times = (words[0].start, words[-1].end) if words else (now, now)
        return StreamEvent(kind, words, *times, end, self.vocabulary.space)

    def _restart(self) -> None:
        """A new decoder state, from the first frame that is not settled."""
        state = self._decoder.start(self.vocabulary)
        if not isinstance(state, LiveState):
            raise OptionError(
                f"A stream needs a decoder that tells which words are stable, but {self._decoder.name} does not; "
                "take GreedyDecoder or BeamDecoder."
            )
        self._state: LiveState = state
        self._taken = 0  # words of this state that are final
        self._began = self._settled


def _texts(words: Sequence[Word]) -> tuple[str, ...]:
    return tuple(word.text for word in words)


def common_prefix(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
