"""The stream's state machine over a model whose letters are the loudness of its frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sonant import audio
from sonant.checkpoints import Checkpoint
from sonant.decode import Decoder
from sonant.decode.beam import BeamDecoder
from sonant.decode.greedy import GreedyDecoder
from sonant.decode.sieve import SURE, Sieve
from sonant.decode.words import timed
from sonant.errors import AudioError, OptionError
from sonant.model.config import EncoderConfig
from sonant.stream import Stream, StreamEvent, StreamSpec
from sonant.types import Emissions, FloatArray, Vocabulary, Word, WordTimes

VOCABULARY = Vocabulary(("-", "|", "A", "B", "C"), blank=0, separator=1)
CONFIG = EncoderConfig()
RATE, HOP, SEEN = 16000, CONFIG.hop, CONFIG.receptive_field
MODEL = Checkpoint("loudness", CONFIG, {}, VOCABULARY, normalize=False)
STEP = 0.1


def sound(text: str) -> FloatArray:
    """A frame a character."""
    levels = np.array([VOCABULARY.index[char] for char in text], np.float32) * 0.1
    return np.concatenate([np.repeat(levels, HOP), np.zeros(SEEN - HOP, np.float32)])


def hear(waveforms: Sequence[FloatArray], unsure: int = 0, changes: int = 0) -> list[FloatArray]:
    """What that model emits; the last `unsure` frames, with too little after them, seem to be other letters."""
    emitted: list[FloatArray] = []
    for samples in waveforms:
        frames = np.lib.stride_tricks.sliding_window_view(samples, SEEN)[::HOP]
        ids = np.rint(frames[:, HOP // 2] * 10).astype(int)
        late = ids[len(ids) - unsure :]
        late[late > 1] = 2 + (late[late > 1] - 2 + 1) % 3
        log_probs = np.full((len(ids), len(VOCABULARY)), np.log(0.0125), np.float32)
        log_probs[np.arange(len(ids)), ids] = np.log(0.95)
        emitted.append(log_probs)
    return emitted


def open_stream(emit=hear, rate: int | None = None, decoder: Decoder | None = None, **times: float) -> Stream:
    spec = StreamSpec(**{"step": STEP, "window": 2.0, "margin": 0.3, "endpoint": 0.4, "hold": 0.0, **times})
    return Stream(MODEL, emit, decoder or GreedyDecoder(), spec, rate)


def run(stream: Stream, pieces: Iterable[NDArray]) -> list[StreamEvent]:
    return [event for piece in pieces for event in stream.feed(piece)] + stream.finish()


def cut(samples: FloatArray, cuts: list[int]) -> list[FloatArray]:
    return np.split(samples, sorted(c % (len(samples) + 1) for c in cuts))


def finals(events: Iterable[StreamEvent]) -> list[str]:
    return [word.text for event in events if event.kind == "final" for word in event.words]


def segments(events: Iterable[StreamEvent]) -> list[str]:
    """The texts of segments, one a line."""
    texts, words = [], []
    for event in events:
        if event.kind == "final":
            words += [word.text for word in event.words]
            if event.segment_end:
                texts.append(" ".join(words))
                words = []
    assert not words
    return texts


PARTS = ["AB", "A-A", "CCAB", "B", "|", "||", "-" * 7, "-" * 25, "-" * 60]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=15).map(lambda parts: "".join(["-", *parts]))


@given(TEXTS, st.lists(st.integers(0, 10**7), max_size=30))
@settings(max_examples=25)
def test_it_does_not_matter_in_what_pieces_samples_come(text: str, cuts: list[int]) -> None:
    samples = sound(text)
    assert run(open_stream(), cut(samples, cuts)) == run(open_stream(), [samples])


@given(TEXTS)
@settings(max_examples=25)
def test_a_stream_says_what_the_whole_says(text: str) -> None:
    """Of a model that hears each frame for itself."""
    samples = sound(text)
    [whole] = GreedyDecoder().decode(Emissions(hear([samples])[0], 0.02, VOCABULARY))
    # a pause closes words, so that a longer endpoint than the decoder's own pause changes nothing
    events = run(open_stream(endpoint=0.6, margin=0.7), [samples])
    found = [word for event in events if event.kind == "final" for word in event.words]
    assert [word.text for word in found] == [word.text for word in whole.words]
    np.testing.assert_allclose([w.start for w in found], [w.start for w in whole.words], atol=1e-9)
    np.testing.assert_allclose([w.end for w in found], [w.end for w in whole.words], atol=1e-9)


@given(TEXTS, st.lists(st.integers(0, 10**7), max_size=5), st.booleans())
@example("-AB||A-A--------------CCAB", [], True)
@settings(max_examples=15)
def test_a_beam_search_is_fed_in_any_pieces_and_says_what_it_says_of_the_whole(
    text: str, cuts: list[int], closed: bool
) -> None:
    samples = sound(text) + np.float32(0.001)  # nowhere silent
    decoder = BeamDecoder(VOCABULARY, lexicon=["AB", "CAB", "B", "BB"] if closed else None)
    patient = {"endpoint": 100.0, "lead": 1000.0}  # else a reading that is far behind may not come back
    events = run(open_stream(decoder=decoder, **patient), cut(samples, cuts))
    assert events == run(open_stream(decoder=decoder, **patient), [samples])
    [whole] = decoder.decode(Emissions(hear([samples])[0], 0.02, VOCABULARY))
    assert finals(events) == [word.text for word in Sieve().feed(whole.words)]


def test_letters_that_change_while_more_comes_are_never_final() -> None:
    text = "--AB|BA|CAB|" * 20 + "-" * 15
    unsure = run(open_stream(lambda clips: hear(clips, unsure=12)), [sound(text)])
    sure = run(open_stream(), [sound(text)])
    assert finals(unsure) == finals(sure)
    assert [e for e in unsure if e.kind == "partial"] != [e for e in sure if e.kind == "partial"]


def final_times(stream: Stream, text: str) -> list[float]:
    """Seconds that had been fed when each word of `text` was final."""
    times = list[float]()
    for block in np.split(sound(text), range(HOP, len(text) * HOP, HOP)):
        times += [stream.seconds] * len(finals(stream.feed(block)))
    assert finals(stream.finish()) == []
    return times


def test_words_are_final_once_two_hearings_agree_or_at_the_margin() -> None:
    text = "--AB|" + "-" * 150
    spelled = 4 * 0.02
    [agreed] = final_times(open_stream(margin=1.0, endpoint=5.0), text)
    assert spelled + STEP < agreed < spelled + 3 * STEP
    [held] = final_times(open_stream(margin=1.0, endpoint=5.0, hold=0.3), text)
    assert agreed + 0.2 < held < agreed + 0.4
    turn = iter(range(10**6))

    def wavering(clips: Sequence[FloatArray]) -> list[FloatArray]:
        """Another word in every other hearing."""
        emitted = hear(clips)
        if next(turn) % 2:
            for log_probs in emitted:
                log_probs[:, 3:] = log_probs[:, :2:-1]
        return emitted

    [late] = final_times(open_stream(wavering, margin=1.0, endpoint=5.0), text)
    assert spelled + 1.0 < late < spelled + 1.0 + 3 * STEP


def test_agreement_settles_whole_words_alone() -> None:
    """The last word has no end yet, however often it is read."""
    stream = open_stream(margin=1.5)
    assert finals(stream.feed(sound("--AB|" + "C" * 60))) == ["AB"]
    assert finals(stream.feed(sound("B|" + "-" * 40))) == ["CB"]


def test_a_pause_ends_a_segment_once_and_makes_its_words_final() -> None:
    samples = sound("AB|C" + "-" * 40 + "B|A" + "-" * 200)
    stream = open_stream(margin=1.0)
    events = stream.feed(samples)
    assert segments(events) == ["AB C", "B A"]
    ends = [event for event in events if event.segment_end]
    assert [round(event.end, 2) for event in ends] == [0.08, 0.94]
    assert stream.finish() == []


def test_a_segment_ends_though_its_words_were_final() -> None:
    events = run(open_stream(margin=0.1), [sound("AB|" + "-" * 60)])
    first, end = (event for event in events if event.kind == "final")
    assert (first.text, first.segment_end) == ("AB", False)
    assert (end.words, end.segment_end) == ((), True)
    assert end.start == end.end == pytest.approx(0.5)


def test_partials_are_what_follows_the_finals() -> None:
    """At every moment finals and the last partial together are the reading of what was heard."""
    samples = sound("AB|BA|CAB|" * 6)
    stream = open_stream()
    said: list[str] = []
    for i, block in enumerate(np.split(samples, range(1600, len(samples), 1600))):
        tail: list[str] = []
        events = stream.feed(block)
        for event in events:
            words = [word.text for word in event.words]
            said += words if event.kind == "final" else []
            tail = words if event.kind == "partial" else []
        if events:
            frames = CONFIG.num_frames(min((i + 1) * 1600, len(samples))) // 5 * 5
            [whole] = GreedyDecoder().decode(Emissions(hear([samples])[0][:frames], 0.02, VOCABULARY))
            assert said + tail == [word.text for word in whole.words]


def test_the_newest_word_is_held_back_until_it_is_spelled_out() -> None:
    text = "--ABC" + "-" * 9 + "|" + "-" * 50
    shown = [e.text for e in run(open_stream(step=0.02, margin=1.5, hold=0.1), [sound(text)]) if e.kind == "partial"]
    assert shown == ["ABC"]
    shown = [e.text for e in run(open_stream(step=0.02, margin=1.5), [sound(text)]) if e.kind == "partial"]
    assert shown == ["A", "AB", "ABC"]


def test_unsure_words_are_shown_later() -> None:
    text = "--C|AB" + "-" * 60

    def shown_after(trust: float, doubt: float) -> float:
        """Seconds after which the second word was seen, whose letters are so probable."""

        def unsure(clips: Sequence[FloatArray]) -> list[FloatArray]:
            emitted = hear(clips)
            for log_probs in emitted:
                log_probs[(log_probs[:, 2] > -1) | (log_probs[:, 3] > -1), 2:4] += np.log(trust / 0.95)
            return emitted

        stream = open_stream(unsure, step=0.02, margin=1.5, endpoint=5.0, doubt=doubt)
        for block in np.split(sound(text), range(HOP, len(sound(text)), HOP)):
            if any(word.text == "AB" for event in stream.feed(block) for word in event.words):
                return stream.seconds
        raise AssertionError("it was never shown")

    sure = shown_after(0.9, doubt=0.5)
    assert shown_after(0.5, doubt=0.0) == sure
    assert shown_after(0.5, doubt=0.5) == pytest.approx(sure + 0.5, abs=0.04)


def test_a_tail_that_vanishes_is_told() -> None:
    def doubting(clips: Sequence[FloatArray]) -> list[FloatArray]:
        return hear([np.where(np.arange(len(c)) > len(c) - 2000, 0.2, 0).astype(np.float32) for c in clips])

    kinds = {(event.kind, event.text) for event in open_stream(doubting, margin=0.5).feed(np.full(16000, 0.001, "f"))}
    assert kinds == {("partial", "A")}


def test_an_hour_in_gives_what_the_first_minute_gives() -> None:
    """Minutes without a pause, of a period that is a whole number of steps."""
    period = "AB|BA|CAB|" * 20  # 4 s
    stream = open_stream(window=1.0)
    block = np.repeat(np.array([VOCABULARY.index[char] for char in period], np.float32) * 0.1, HOP)
    told: list[list[tuple[object, ...]]] = []
    for i in range(50):
        events = stream.feed(block)
        told.append(
            [
                (e.kind, e.text, e.segment_end, [round(t - i * 4.0, 6) for w in e.words for t in (w.start, w.end)])
                for e in events
            ]
        )
    assert all(later == told[1] for later in told[2:])
    assert len(stream._state.stable) < 1100  # of 3,000
    assert len(stream._samples) <= 2 * RATE


def test_memory_holds_the_window_alone() -> None:
    stream = open_stream(window=1.0)
    for _ in range(300):
        stream.feed(np.zeros(RATE // 2, np.float32))
    assert len(stream._samples) <= 1.1 * RATE
    assert sum(map(len, stream._pending)) <= STEP * RATE


@pytest.mark.parametrize("level", [0.0, 3e-5])
def test_silence_invents_no_words_whatever_the_model_says(level: float) -> None:
    def babble(clips: Sequence[FloatArray]) -> list[FloatArray]:
        return hear([np.full(len(clip), 0.2, np.float32) for clip in clips])

    noise = np.random.default_rng(0).uniform(-level, level, 4 * RATE).astype(np.float32)
    assert run(open_stream(babble), [noise]) == []
    assert finals(run(open_stream(babble), [np.full(4 * RATE, 0.01, np.float32)])) == ["A"]


def unsure_of(letters: str, clips: Sequence[FloatArray]) -> list[FloatArray]:
    """What that model emits, were it unsure of some letters."""
    emitted = hear(clips)
    for log_probs in emitted:
        for token in map(VOCABULARY.index.__getitem__, letters):
            log_probs[log_probs.argmax(1) == token, token] = np.log(0.5)
    return emitted


def unsure_stream(sure: float = SURE) -> Stream:
    """Of noise: `A` alone is doubtful."""
    spec = StreamSpec(step=STEP, window=2.0, margin=1.0, endpoint=0.8)
    return Stream(MODEL, lambda clips: unsure_of("A", clips), GreedyDecoder(), spec, sure=sure)


def test_words_near_too_few_sure_ones_are_no_words() -> None:
    def heard(text: str, sure: float = SURE) -> list[str]:
        return " ".join(segments(run(unsure_stream(sure), [sound(text)]))).split()

    gap, noise = "-" * 45, "--A|A|A"
    assert heard(noise + gap + "A|A" + gap) == []
    assert heard(noise + gap + "A|A" + gap, sure=0.0) == [*"AAAAA"]
    assert heard(noise + "-" * 405 + "A|AB|A|A" + gap + "A" + gap) == ["A", "AB", "A", "A", "A"]
    # one of five, those before it waiting for it
    assert heard("--" + "A|" * 4 + "B|" + "A|" * 4 + gap) == [*"AAAAB"]
    assert heard("--B|" + "A|" * 8 + gap) == [*"BAAAA"]
    assert heard("--" + "A|" * 5 + "B|" + "A|" * 4 + gap) == []


def test_what_is_in_doubt_holds_up_nothing_for_long() -> None:
    stream = unsure_stream()
    stream.feed(sound("--A|" + "-" * 100))
    assert stream.final_until == pytest.approx(0.04)
    stream.feed(np.zeros(8 * RATE, np.float32))
    assert stream.final_until > 8.0


def test_what_a_pause_follows_is_heard_in_full() -> None:
    """The gate for silence lies well behind the last sound."""
    events = run(open_stream(), [np.concatenate([sound("--AB|CA"), np.zeros(RATE, np.float32)])])
    assert finals(events) == ["AB", "CA"]


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_are_resampled_in_any_pieces(rate: int) -> None:
    text = "".join(char * 8 for char in "-AB-|-CA-|-BB-|" * 3)
    samples = audio.from_array(sound(text), RATE, rate)
    whole = run(open_stream(rate=rate), [samples])
    assert run(open_stream(rate=rate), cut(samples, [1, 2, 700, 701, 5000, 12345])) == whole
    assert finals(whole) == ["AB", "CA", "B"] * 3


def test_integers_are_what_floats_are() -> None:
    samples = sound("AB|CA|" * 5)
    expected = run(open_stream(), [samples])
    assert run(open_stream(), [(samples * 32768).astype(np.int16)]) == expected
    assert run(open_stream(), [samples.astype(np.float64)]) == expected


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.0, np.nan, 0.0], np.float32), "one of nan came in the block that begins at 0.100 s"),
        (np.array([0.0, -np.inf], np.float32), "one of -inf"),
        (np.zeros((100, 2), np.float32), r"mix the channels first"),
        (np.zeros(5, np.int64), "but int64 came"),
        (np.zeros(5, bool), "but bool came"),
        (["a"], "convert"),
    ],
)
def test_what_is_no_sound_is_refused_and_changes_nothing(samples: object, message: str) -> None:
    good = sound("AB|" * 20)
    stream = open_stream()
    events = stream.feed(good[:1600])
    with pytest.raises(AudioError, match=message):
        stream.feed(samples)
    assert events + run(stream, [good[1600:]]) == run(open_stream(), [good])


def test_the_end_is_the_end() -> None:
    with open_stream() as stream:
        assert stream.feed([]) == []
        stream.feed(sound("AB"))
        assert [event.text for event in stream.finish()] == ["AB"]
        assert stream.finish() == []
    with pytest.raises(OptionError, match="before it is finished"):
        stream.feed(sound("A"))


@pytest.mark.parametrize("count", [0, 1, SEEN - 1])
def test_less_than_a_frame_says_nothing(count: int) -> None:
    assert run(open_stream(), [np.ones(count, np.float32)]) == []


def test_events_are_in_order() -> None:
    events = run(open_stream(), [sound(("AB|C" + "-" * 30) * 10)])
    words = [word for event in events if event.kind == "final" for word in event.words]
    assert all(before.end <= after.start for before, after in pairwise(words))
    assert all(event.start == event.words[0].start for event in events if event.words)


@pytest.mark.parametrize(
    "times",
    [{"step": 0.0}, {"step": float("nan")}, {"margin": -1.0}, {"endpoint": 0.0}, {"window": 0.3}, {"window": np.inf}],
)
def test_times_that_cannot_be_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="A stream's"):
        open_stream(**times)


def test_a_rate_that_cannot_be_is_refused() -> None:
    with pytest.raises(AudioError, match="sample rate of 0 Hz"):
        open_stream(rate=0)


def test_a_decoder_that_cannot_tell_what_is_stable_is_refused() -> None:
    class Simple:
        name = "simple"

        def start(self, vocabulary: Vocabulary) -> object:
            return object()

    with pytest.raises(OptionError, match="which words are stable, but simple does not"):
        Stream(MODEL, hear, Simple(), StreamSpec())  # pyright: ignore[reportArgumentType]


@given(TEXTS, st.lists(st.integers(0, 10**7), max_size=8))
@settings(max_examples=15)
def test_words_are_placed_where_a_model_s_word_times_have_them(text: str, cuts: list[int]) -> None:
    times = WordTimes(offset=0.01, reach=0.03)
    own = {"sonant": {"word_times": {"offset": times.offset, "reach": times.reach}}}
    model = replace(MODEL, settings=own)
    samples = sound(text)
    stream = Stream(model, hear, GreedyDecoder(), StreamSpec(STEP, 2.0, 0.7, 0.6, 0.1))
    told: list[Word] = []
    for piece in cut(samples, cuts):
        until = stream.final_until
        events = stream.feed(piece)
        assert all(word.start >= until for event in events if event.kind == "final" for word in event.words)
        told += [word for event in events if event.kind == "final" for word in event.words]
    told += [word for event in stream.finish() for word in event.words]
    [whole] = GreedyDecoder().decode(Emissions(hear([samples])[0], 0.02, VOCABULARY))
    said = timed(whole.words, times, stream._heard * 0.02)
    assert [word.text for word in told] == [word.text for word in said]
    np.testing.assert_allclose([(w.start, w.end) for w in told], [(w.start, w.end) for w in said], atol=1e-9)
