"""`load` a model, then `transcribe`: the order of the main job, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from os import PathLike
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from sonant import audio, diagnose, windows
from sonant.alignment import MEMORY, Alignment, Star, align
from sonant.audio import AudioStream, Source
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.decode import Decoder
from sonant.decode.greedy import GreedyDecoder
from sonant.decode.sieve import SURE, Sieve
from sonant.decode.words import segments_of, timed
from sonant.engines import Engine, choose_layers, open_engine
from sonant.errors import AudioError, CheckpointError, OptionError
from sonant.features import UNITS, Layers, Quantizer, layer_name, parse_layers
from sonant.identify import Classification, read_classifier, read_voice_head
from sonant.pooling import Hearing
from sonant.stream import Stream, StreamSpec
from sonant.types import Emissions, FloatArray, Progress, Transcript, Vocabulary
from sonant.windows import Window, WindowSpec

T = TypeVar("T")

WINDOWS_AT_ONCE = 16
"""Windows that a GPU is given together; a CPU is faster with one at a time."""


def load(
    source: str | PathLike[str] | None = None,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    language: str | None = None,
    revision: str | None = None,
    window: WindowSpec | None = None,
    lm: str | PathLike[str] | Literal[False] | None = None,
    lexicon: str | PathLike[str] | Iterable[str] | None = None,
    hotwords: Mapping[str, float] | None = None,
    beam: Mapping[str, Any] | None = None,
    sure: float = SURE,
    progress: bool = False,
    lm_progress: Progress | None = None,
) -> Recognizer:
    """A recogniser from a model: a folder in Hugging Face's layout, a name on its hub, or (None) the built-in one.

    A file of torchaudio or fairseq is a model too. `language` chooses one of an MMS model's languages (`fra`).
    `engine` is `openvino` (CPUs, the default) or `torch`; `device` is `cpu`, `cuda`, `cuda:1`, `mps`; `precision` is
    `fp32` or `bf16`, and `auto` takes bf16 where the processor has it. `progress` shows a download on stderr.
    A language model `lm`, a `lexicon`, `hotwords` or settings of the `beam` take the place of greedy decoding by a beam
    search: `sonant.BeamDecoder` says what they may be. So does a language model that comes with the model, unless
    another is named, or False. Where a language model must be converted first,
    `lm_progress` is told how much of it is, as `open_lm` counts.
    Models make words of noise and music too, but are `sure` of no letter in them: where fewer than one word in five,
    within eight seconds, has a letter of that probability, words are left out. 0 leaves out none.
    Raises `CheckpointError` for a model that cannot be found, read or trusted, and `EngineError` for what this machine
    lacks.
    """
    checkpoint = open_checkpoint(source, language=language, revision=revision, progress=progress)
    decoder = choose_decoder(checkpoint, lm, lexicon, hotwords, beam, lm_progress)
    opened = open_engine(checkpoint, engine=engine, device=device, precision=precision, threads=threads)
    recognizer = Recognizer(checkpoint, opened, decoder, window, sure)
    if not lm and lexicon is None and not hotwords:  # nothing that belongs to one language alone
        recognizer.redecode = partial(choose_decoder, lm=lm, beam=beam)
    return recognizer


def choose_decoder(
    checkpoint: Checkpoint,
    lm: str | PathLike[str] | Literal[False] | None = None,
    lexicon: str | PathLike[str] | Iterable[str] | None = None,
    hotwords: Mapping[str, float] | None = None,
    beam: Mapping[str, Any] | None = None,
    lm_progress: Progress | None = None,
) -> Decoder:
    """The beam search that is asked for, or that the model comes with; otherwise the greedy decoder."""
    own = checkpoint.decoding() if lm is None else None
    if own is None and not lm and lexicon is None and not hotwords and not beam:
        return GreedyDecoder()
    from sonant.decode.beam import BeamDecoder, BeamSettings
    from sonant.decode.lm import open_lm

    vocabulary, beam = checkpoint.require_vocabulary(), beam or {}
    if own is None:
        opened = open_lm(lm, lm_progress) if lm else None
        return BeamDecoder(vocabulary, opened, lexicon, hotwords, **beam)
    try:
        BeamSettings.of(own.settings)
    except OptionError as error:
        raise CheckpointError(f"{own.source} cannot be followed, for it is wrong: {error}") from error
    known = None
    if own.known_words and lexicon is None:
        from sonant.decode.estimate import read_words

        known = read_words(own.known_words)
    listed = own.lexicon if lexicon is None else lexicon
    opened = open_lm(own.lm, lm_progress)
    given: dict[str, Any] = {"known_words": known, "priors": own.priors, **own.settings, **beam}
    return BeamDecoder(vocabulary, opened, listed, hotwords, **given)


class Recognizer:
    """Audio to text with one model; safe to keep for any number of files."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        engine: Engine,
        decoder: Decoder | None = None,
        window: WindowSpec | None = None,
        sure: float = SURE,
    ) -> None:
        Sieve(sure)  # says what is wrong with it
        self.checkpoint = checkpoint
        self.engine = engine
        self.decoder: Decoder = decoder or GreedyDecoder()
        self._first: Decoder = self.decoder  # a user may set another
        self.window = window or WindowSpec()
        self.sure = sure
        self.frame_seconds = checkpoint.config.hop / checkpoint.sample_rate
        self.redecode: Callable[[Checkpoint], Decoder] | None = None
        """What makes the decoder anew for another language; None keeps it."""
        self.group = 1 if engine.device == "cpu" else WINDOWS_AT_ONCE

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens; `CheckpointError` for a model that was only pre-trained and has none."""
        return self.checkpoint.require_vocabulary()

    def set_language(self, language: str) -> None:
        """Hear another of an MMS model's languages (`deu`) from now on; the rest of the model stays where it is.

        Call it between files, not while one is transcribed. A language model that came with the model goes with its
        language. A `BeamDecoder` with words of your own was made for the letters of the old language and refuses
        others: set `decoder` anew. Raises `CheckpointError` for a language that the model does not have, and leaves
        everything as it was.
        """
        checkpoint = self.checkpoint.in_language(language)
        if checkpoint is not self.checkpoint:
            decoder = self.redecode(checkpoint) if self.redecode and self.decoder is self._first else self.decoder
            self.engine.adapt(checkpoint)
            self.checkpoint = checkpoint
            if decoder is not self.decoder:
                self.decoder, self._first = decoder, decoder

    def transcribe(
        self, source: Source, sample_rate: float | None = None, *, progress: Progress | None = None
    ) -> Transcript:
        """What is said in a file (path, bytes, file object) or in samples of `sample_rate` hertz.

        Samples may have any float or integer type and any number of channels up to eight; files may have any length,
        and memory does not grow with it. Raises `AudioError` for what cannot be read or heard.
        """
        state, times = self.decoder.start(self.vocabulary), self.checkpoint.word_times
        with audio.open_audio(source, self.checkpoint.sample_rate, array_rate=sample_rate) as stream:
            ear = diagnose.Ear(stream, self.checkpoint)
            for emissions in self.pieces(stream, ear.blocks()):
                state.feed(emissions)
                ear.emissions.add(emissions)
                if progress:
                    progress(emissions.start + emissions.duration, stream.duration)
            best, *others = (replace(h, words=Sieve(self.sure).feed(h.words)) for h in state.finish())
            duration = stream.num_samples / stream.sample_rate
            findings = diagnose.diagnose(ear.facts(best.text))
            return Transcript(
                segments=tuple(segments_of(best.words, best.space, times=times, last=duration)),
                duration=duration,
                language=self.checkpoint.language,
                source=stream.name if isinstance(source, str | PathLike) else None,
                model=self.checkpoint.name,
                settings=self.settings,
                warnings=(*stream.warnings, *diagnose.warnings(findings, stream.name)),
                alternatives=tuple(replace(o, words=tuple(timed(o.words, times, duration))) for o in others),
            )

    def align(
        self,
        source: Source,
        text: str | Sequence[str],
        sample_rate: float | None = None,
        *,
        star: Star = "lines",
        leave_out: bool = True,
        exact: bool = True,
        max_memory: int = MEMORY,
        progress: Progress | None = None,
    ) -> Alignment:
        """The words of a text, or of its lines, where a file or samples hold them: `sonant.align` says what else.

        Sources as in `transcribe`. The model's language and its `word_times` are taken into account. The emissions are
        held in memory (of 32 tokens 23 MB an hour), the audio is not.
        """
        return align(
            self.emissions(source, sample_rate, progress=progress),
            text,
            language=self.checkpoint.language,
            star=star,
            leave_out=leave_out,
            exact=exact,
            max_memory=max_memory,
            times=self.checkpoint.word_times,
        )

    def emissions(
        self, source: Source, sample_rate: float | None = None, *, progress: Progress | None = None
    ) -> Emissions:
        """The log-probabilities of a whole file or array, (T, V); sources and errors as in `transcribe`."""
        with audio.open_audio(source, self.checkpoint.sample_rate, array_rate=sample_rate) as stream:
            return windows.concatenate(self._reported(self.pieces(stream), stream, progress))

    def features(self, source: Source, sample_rate: float | None = None, *, layers: Layers = "all") -> list[FloatArray]:
        """The states (T, D) of the transformer's layers, in the order asked for; sources and errors as in `transcribe`.

        0 is what enters the first layer, i what layer i gives: transformers' `hidden_states[i]`, the last one after
        the norm that ends the encoder (`last_hidden_state`). Files of any length are heard in windows, but the states
        are held in memory: see `feature_pieces`. Raises `OptionError` for a layer that the model lacks.
        """
        names = [layer_name(layer) for layer in choose_layers(self.checkpoint, parse_layers(layers))]
        pieces = list(self.feature_pieces(source, sample_rate, layers=layers))
        return [np.concatenate([piece[name] for piece in pieces]) for name in names]

    def units(self, source: Source, sample_rate: float | None = None) -> NDArray[np.int32]:
        """The entry that each codebook of a pre-trained wav2vec 2.0 model chooses for a frame, (T, G).

        Close calls fall differently in bf16: `load(precision="fp32")` gives those of the paper. Raises
        `CheckpointError` for a model without codebooks, as HuBERT is and most fine-tuned ones are.
        """
        pieces = self.feature_pieces(source, sample_rate, layers=(), units=True)
        return np.concatenate([piece[UNITS] for piece in pieces])

    def feature_pieces(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        layers: Layers = "all",
        units: bool = False,
        progress: Progress | None = None,
    ) -> Generator[dict[str, NDArray[Any]]]:
        """`features` as `layer_6`, and `units` if wanted, piece after piece, as a file is read; at least one piece.

        Windows are cut as for `transcribe` and joined by frames, so pieces follow one another without gap or overlap.
        """
        wanted = choose_layers(self.checkpoint, parse_layers(layers))
        names = [layer_name(layer) for layer in wanted]
        quantizer = Quantizer(self.checkpoint) if units else None
        with audio.open_audio(source, self.checkpoint.sample_rate, array_rate=sample_rate) as stream:
            for window in self._windows(stream):
                states = self.engine.states(window.samples, wanted) if names else []
                piece: dict[str, NDArray[Any]] = dict(zip(names, (s[window.keep] for s in states), strict=True))
                if quantizer:
                    piece[UNITS] = quantizer(self.engine.convolved(window.samples)[window.keep])
                yield piece
                if progress:
                    progress((window.first + window.keep.stop) * self.frame_seconds, stream.duration)

    def classify(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        step: float | None = None,
        progress: Progress | None = None,
    ) -> Classification:
        """The labels of a recording (a mood, a command, a language, who speaks), as a whole and every `step` seconds.

        Where no step is given, clips are judged every 5 s and labels of frames at each frame. Sources as in
        `transcribe`. Raises `CheckpointError` for a model that is no classifier, `AudioError` for silence.
        """
        head = read_classifier(self.checkpoint)
        pieces = self.hear(head, source, sample_rate, progress)
        return head.classify(pieces, self.frame_seconds, **({} if step is None else {"step": step}))

    def embed(
        self, source: Source, sample_rate: float | None = None, *, progress: Progress | None = None
    ) -> FloatArray:
        """The voice in a recording as a vector (E,) of length 1: of one voice they have a high scalar product.

        Sources as in `transcribe`. Raises `CheckpointError` for a model that was not trained to tell voices apart,
        `AudioError` for silence and for less than half a second.
        """
        head = read_voice_head(self.checkpoint)
        return head.embed(self.hear(head, source, sample_rate, progress))

    def hear(
        self, head: Hearing, source: Source, sample_rate: float | None, progress: Progress | None = None
    ) -> Generator[FloatArray]:
        """What a head makes of each frame (T, D), piece after piece; `AudioError` at the end of what is silent."""
        with audio.open_audio(source, self.checkpoint.sample_rate, array_rate=sample_rate) as stream:
            ear = diagnose.Ear(stream, self.checkpoint)
            for window in self._windows(stream, ear.blocks()):
                yield head.hear(self.engine, window.samples)[window.keep]
                if progress:
                    progress((window.first + window.keep.stop) * self.frame_seconds, stream.duration)
            if ear.sound.levels().peak < diagnose.QUIETEST:
                raise AudioError(f"{stream.name} must hold a voice, but is silent; check the microphone and its level.")

    def stream(
        self,
        *,
        step: float = StreamSpec.step,
        window: float = StreamSpec.window,
        margin: float = StreamSpec.margin,
        endpoint: float = StreamSpec.endpoint,
        hold: float = StreamSpec.hold,
        doubt: float = StreamSpec.doubt,
        lead: float = StreamSpec.lead,
        sample_rate: int | None = None,
        decoder: Decoder | None = None,
    ) -> Stream:
        """Live captions: feed it samples as they come, of the model's rate or `sample_rate`, and it gives events.

        The last `window` seconds are heard anew every `step` seconds. Words are shown once `hold` seconds follow them,
        unsure ones `doubt` seconds, and are final when the next step reads them again, or `margin` seconds follow them,
        and no reading that differs comes within `lead` of the best; segments end with pauses of `endpoint` seconds.
        Raises `OptionError` for times and decoders that cannot be.
        """
        spec = StreamSpec(step, window, margin, endpoint, hold, doubt, lead)
        return Stream(self.checkpoint, self.engine.emit, decoder or self.decoder, spec, sample_rate, self.sure)

    def pieces(self, stream: AudioStream, blocks: Iterable[FloatArray] | None = None) -> Iterator[Emissions]:
        """Emissions of a stream as it is read, piece after piece; at least one. `blocks` are its own, passed on."""
        yield from windows.join(self._emit(self._windows(stream, blocks)), self.vocabulary, self.frame_seconds)

    def _windows(self, stream: AudioStream, blocks: Iterable[FloatArray] | None = None) -> Iterator[Window]:
        """At least one window of a stream."""
        checkpoint = self.checkpoint
        cut = windows.split(
            blocks or stream, checkpoint.config, checkpoint.sample_rate, checkpoint.normalize, self.window
        )
        first = next(cut, None)
        if first is None:
            needed = checkpoint.config.receptive_field / checkpoint.sample_rate
            raise AudioError(
                f"{stream.name} is shorter than the {needed:g} s that a model hears at once; pass a longer recording."
            )
        yield from _prepend(first, cut)

    @property
    def settings(self) -> dict[str, object]:
        """What a transcript depends on beside audio and model."""
        return {
            "engine": self.engine.name,
            "device": self.engine.device,
            "precision": self.engine.precision,
            **self.decoder.described,
            "sure": self.sure,
            "window_seconds": self.window.seconds,
            "margin_seconds": self.window.margin,
        }

    @staticmethod
    def _reported(pieces: Iterable[Emissions], stream: AudioStream, progress: Progress | None) -> Iterator[Emissions]:
        for piece in pieces:
            yield piece
            if progress:
                progress(piece.start + piece.duration, stream.duration)

    def _emit(self, cut: Iterator[Window]) -> Iterator[tuple[Window, FloatArray]]:
        while group := list(islice(cut, self.group)):
            yield from zip(group, self.engine.emit([window.samples for window in group]), strict=True)


def _prepend(first: T, rest: Iterable[T]) -> Iterator[T]:
    yield first
    yield from rest
