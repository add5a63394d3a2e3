"""Beam search: the reading that emissions, a lexicon, a language model and hotwords together make the likeliest.

The search itself is compiled (`native/beam.h`); here are its settings, the checks of what comes in, and words out of
what comes back. Shapes: T frames, V tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import asdict, dataclass
from math import exp, inf, isfinite
from numbers import Integral, Real
from os import PathLike
from typing import Any

from sonant import native
from sonant.decode.checks import checked
from sonant.decode.hotwords import Phrases, has_bounds, hotword_phrases
from sonant.decode.lexicon import Lexicon, letters_lexicon, read_lexicon, spell, writable
from sonant.decode.lm import LanguageModel, open_lm
from sonant.decode.priors import blank_skip, prior_offsets
from sonant.decode.words import PAUSE
from sonant.errors import OptionError, VocabularyError
from sonant.types import Emissions, Hypothesis, Letter, Vocabulary, Word

LETTER_FIELDS = tuple(Letter.__dataclass_fields__)
WORD_FIELDS = tuple(Word.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """What the search weighs and how far it looks. All scores are natural logarithms."""

    lm_weight: float = 1.0
    """Factor of the language model's log-probabilities."""
    word_bonus: float = 1.0
    """Added for each word; models without it prefer few long words."""
    unknown_penalty: float | None = 4.0
    """Taken off for each word outside the lexicon; None (or infinity) makes such words impossible."""
    letter_penalty: float = 3.0
    """Taken off for each letter of a word outside the lexicon; without it, words run together."""
    prior_weight: float = 0.0
    """How much of how often each token comes anyway (`priors`) is taken out of what the model says: 0.3 to 0.6 where it
    is unsure and would rather write nothing, or what is frequent, than guess."""
    beam_size: int = 100
    """Hypotheses that are kept from frame to frame, at most."""
    score_threshold: float = 16.0
    """Hypotheses so far below the best one are given up; what decides on speed."""
    token_threshold: float = 12.0
    """Tokens so far below the best one of a frame are not tried."""
    blank_skip: float = 0.999
    """Frames whose blank is likelier than this hold nothing else; 1 looks at every frame."""
    recombine: bool = True
    """Whether texts that no model can tell apart any more share a place in the beam. Without it the score of a text
    is exact, given beam and thresholds wide enough, but long recordings fill the beam with old alternatives."""
    nbest: int = 1
    """Readings of different texts that `finish` gives, at most."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> BeamSettings:
        """From values by name; `OptionError` for a name that is none, as for values that cannot be."""
        if unknown := sorted(values.keys() - cls.__dataclass_fields__.keys()):
            raise OptionError(
                f"The settings of a beam are {', '.join(cls.__dataclass_fields__)}, but {unknown[0]} was "
                "given; name one of them."
            )
        return cls(**values)

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            wanted, kind = ("a whole number", Integral) if name in ("beam_size", "nbest") else ("a number", Real)
            if not isinstance(value, kind) and (name, value) != ("unknown_penalty", None):
                raise OptionError(f"{name} must be {wanted}, but is {value!r}; leave it out for the default.")
        numbers = {name: getattr(self, name) for name in ("lm_weight", "word_bonus", "letter_penalty", "prior_weight")}
        for name, value in numbers.items():
            if not isfinite(value):
                raise OptionError(f"{name} must be a finite number, but is {value}; leave it out for the default.")
        for name in ("score_threshold", "token_threshold"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} must be above 0, but is {getattr(self, name)}; infinity tries everything.")
        for name in ("beam_size", "nbest"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, but is {getattr(self, name)}; leave it out.")
        if not 0 < self.blank_skip <= 1:
            raise OptionError(f"blank_skip must be a probability, but is {self.blank_skip}; 1 looks at every frame.")
        if self.unknown_penalty != self.unknown_penalty:
            raise OptionError("unknown_penalty must be a number or None, but is nan; None closes the vocabulary.")


@dataclass(frozen=True)
class _Words:
    """What a search listens for."""

    lexicon: Lexicon
    in_model: list[str]
    """Each word of the lexicon as the language model writes it."""
    phrases: Phrases
    boosts: list[float]
    free: bool
    """Whether any text goes."""


class BeamDecoder:
    """Beam search over any `Emissions`; safe to share between threads.

    `lm` is a file (or an open `LanguageModel`), `lexicon` a file or lines for `read_lexicon`. Without a lexicon, the
    words of the model that the vocabulary can spell are the lexicon; without a model, too, any text goes. Words outside
    the lexicon cost `unknown_penalty` and `letter_penalty`. `hotwords` maps words and phrases to what each adds to a
    score (8 is much, 3 a little); they join the lexicon. Of the model's words, only `known_words` are no unknown ones,
    where they are given and no lexicon is. `priors` are what `prior_weight` takes out: the probability of each token,
    whatever is said (`token_priors`). Further settings: `BeamSettings`.

    Raises `OptionError` for settings and files that cannot be, and `VocabularyError` for a lexicon, a model or hotwords
    that the vocabulary cannot spell.
    """

    name = "beam"

    def __init__(
        self,
        vocabulary: Vocabulary,
        lm: str | PathLike[str] | LanguageModel | None = None,
        lexicon: str | PathLike[str] | Iterable[str] | None = None,
        hotwords: Mapping[str, float] | None = None,
        *,
        known_words: Iterable[str] | None = None,
        priors: Mapping[str, float] | None = None,
        **settings: Any,
    ) -> None:
        self.vocabulary = vocabulary
        self.settings = BeamSettings.of(settings)
        self.priors = priors
        self.lm = open_lm(lm) if isinstance(lm, str | PathLike) else lm
        self._listens_for = self._words_of(lexicon, hotwords or {}, known_words)
        self.words = self._listens_for.lexicon.words
        self._search = self._build(self._listens_for)

    @property
    def described(self) -> dict[str, object]:
        """The settings, the model's file, how many words and hotwords there are: what JSON can hold."""
        settings = {
            name: value if value is None or isfinite(value) else str(value)
            for name, value in asdict(self.settings).items()
        }
        lm = None if self.lm is None else str(self.lm.path)
        counts = {"words": len(self.words), "hotwords": len(self._listens_for.boosts)}
        return {"decoder": self.name, "lm": lm, **counts, **settings}

    def reweighed(self, **settings: Any) -> BeamDecoder:
        """The same words and model under some other settings or `priors`, without reading anything again."""
        other = copy(self)
        other.priors = settings.pop("priors", self.priors)
        other.settings = BeamSettings.of({**asdict(self.settings), **settings})
        other._search = other._build(self._listens_for)  # noqa: SLF001  # of its own class
        return other

    def expecting(self, hotwords: Mapping[str, float]) -> BeamDecoder:
        """The same search with more hotwords; phrases that the vocabulary cannot spell are left out."""
        old, vocabulary = self._listens_for, self.vocabulary
        lexicon = Lexicon([*old.lexicon.words], [*old.lexicon.spellings], {**old.lexicon.numbers})
        known = {word.casefold() for word in lexicon.words}
        can = {
            phrase: boost
            for phrase, boost in hotwords.items()
            if all(word.casefold() in known or spell(word, vocabulary) for word in phrase.split())
        }
        phrases, boosts = hotword_phrases(can, lexicon, vocabulary, join=not old.free)
        numbered = [(tokens, len(old.boosts) + number) for tokens, number in phrases]
        in_model = [*old.in_model, *lexicon.words[len(old.in_model) :]]
        other = copy(self)
        words = _Words(lexicon, in_model, [*old.phrases, *numbered], [*old.boosts, *boosts], old.free)
        other.words = lexicon.words
        other._listens_for, other._search = words, self._build(words)  # noqa: SLF001  # of its own class
        return other

    def decode(self, emissions: Emissions) -> list[Hypothesis]:
        """The readings of a whole recording, best first."""
        state = self.start(emissions.vocabulary)
        state.feed(emissions)
        return state.finish()

    def decode_many(self, many: Sequence[Emissions], threads: int = 1) -> list[list[Hypothesis]]:
        """The readings of each of many recordings, over threads."""
        if threads < 1:
            raise OptionError(f"threads must be at least 1, but is {threads}; leave it out.")
        if threads == 1:
            return [self.decode(emissions) for emissions in many]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.decode, many))

    def start(self, vocabulary: Vocabulary) -> BeamState:
        """Begin a recording that comes in pieces."""
        if vocabulary.tokens != self.vocabulary.tokens:
            raise VocabularyError(
                "A decoder hears emissions of its own vocabulary, but these have other tokens; "
                "make the decoder with the vocabulary of the model."
            )
        return BeamState(self, native.BeamState(self._search))

    def _words_of(
        self,
        source: str | PathLike[str] | Iterable[str] | None,
        hotwords: Mapping[str, float],
        known_words: Iterable[str] | None,
    ) -> _Words:
        vocabulary = self.vocabulary
        given: list[str] | None = None
        if source is not None:
            lexicon = read_lexicon(source, vocabulary)
        elif self.lm is not None:
            chosen = None if known_words is None else frozenset(known_words)
            words = (word for word in self.lm.words() if chosen is None or word in chosen)
            lexicon, given = letters_lexicon(words, vocabulary)
        else:
            lexicon = Lexicon()
        free = source is None and self.lm is None
        in_model = given or list(lexicon.words)
        phrases, boosts = hotword_phrases(hotwords, lexicon, vocabulary, join=not free)
        in_model += lexicon.words[len(in_model) :]  # hotwords that joined
        return _Words(lexicon, in_model, phrases, boosts, free)

    def _build(self, words: _Words) -> native.BeamSearch:
        vocabulary, settings, free = self.vocabulary, self.settings, words.free
        unknown = inf if settings.unknown_penalty is None else settings.unknown_penalty
        offsets = prior_offsets(self.priors, settings.prior_weight, vocabulary)
        numbers = {name: getattr(settings, name) for name in BeamSettings.__dataclass_fields__}
        search = native.BeamSearch(
            written=[writable(i, vocabulary) for i in range(len(vocabulary))],
            blank=vocabulary.blank,
            separator=-1 if vocabulary.separator is None else vocabulary.separator,
            lexicon=words.lexicon.spellings,
            lm_words=words.in_model,
            lm=None if self.lm is None else self.lm.native,
            phrases=words.phrases,
            boosts=words.boosts,
            settings={
                **numbers,
                "offsets": offsets,
                "blank_skip": blank_skip(settings.blank_skip, offsets, vocabulary),
                "open": free or unknown < inf,
                "unknown_penalty": 0.0 if free else min(unknown, 1e6),
                "letter_penalty": 0.0 if free else settings.letter_penalty,
                "rivals": settings.nbest > 1,
                "bounded": has_bounds(vocabulary),
            },
        )
        if self.lm is not None and not (words.lexicon.words and search.words_known()):
            raise VocabularyError(
                "A language model must have words that the vocabulary or the lexicon has, but this one shares none; "
                "look whether letter case and language are the same."
            )
        return search


class BeamState:
    """A recording as far as it has been heard; pieces in any cut give what the whole gives."""

    def __init__(
        self,
        decoder: BeamDecoder,
        state: native.BeamState,
        first: int = 0,
        frame_seconds: float | None = None,
        stable: Sequence[Word] = (),
    ) -> None:
        self._decoder, self._state = decoder, state
        self._first, self._frame_seconds = first, frame_seconds
        self._stable = list(stable)

    def feed(self, emissions: Emissions) -> None:
        """Hear the next piece; float types and layouts are converted.

        Raises `OptionError` for what are no log-probabilities; the state is then as before.
        """
        vocabulary = self._decoder.vocabulary
        first = self._first + self._state.num_frames if self._frame_seconds else emissions.first
        log_probs = checked(emissions.log_probs, len(vocabulary), first)
        if self._frame_seconds is None:
            self._frame_seconds, self._first = emissions.frame_seconds, emissions.first
        self._state.feed(log_probs, round(PAUSE / self._frame_seconds))

    @property
    def stable(self) -> tuple[Word, ...]:
        """The words that the best reading will begin with, whatever comes; their times may yet move by a frame."""
        parts = self._state.stable(len(self._stable))
        self._stable += self._words(parts)
        return tuple(self._stable)

    def decide(self, lead: float) -> None:
        """Make stable what all readings within `lead` (natural logarithm) of the best one begin with."""
        self._state.decide(lead)

    def copy(self) -> BeamState:
        """One that goes on from here by itself."""
        return BeamState(self._decoder, self._state.copy(), self._first, self._frame_seconds, self._stable)

    def finish(self) -> list[Hypothesis]:
        """The readings of all that was fed, best first; more may be fed after it."""
        space = self._decoder.vocabulary.space
        found: dict[str, Hypothesis] = {}
        for score, acoustic, lm, parts in self._state.finish(self._decoder.settings.nbest):
            hypothesis = Hypothesis(tuple(self._words(parts)), score, space, acoustic, lm)
            found.setdefault(hypothesis.text, hypothesis)
        return list(found.values())

    def _words(self, parts: native.Parts) -> list[Word]:
        numbers, ends, tokens, starts, stops, peaks = parts
        texts, listed = self._decoder.vocabulary.tokens, self._decoder.words
        first, seconds = self._first, self._frame_seconds or 0.0
        written = [texts[token] for token in tokens]
        began = [(first + start) * seconds for start in starts]
        ended = [(first + stop) * seconds for stop in stops]
        letters = native.records(Letter, LETTER_FIELDS, (written, began, ended, [exp(peak) for peak in peaks]))
        spans = list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []
        return native.records(
            Word,
            WORD_FIELDS,
            (
                [
                    listed[number] if number >= 0 else "".join(written[begin:end])
                    for number, (begin, end) in zip(numbers, spans, strict=True)
                ],
                [began[begin] for begin, _ in spans],
                [ended[end - 1] for _, end in spans],
                # the geometric mean, as `word_of` has it
                [exp(sum(peaks[begin:end]) / (end - begin)) for begin, end in spans],
                [tuple(letters[begin:end]) for begin, end in spans],
                [None] * len(spans),
            ),
        )
