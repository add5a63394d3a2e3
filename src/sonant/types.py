"""The values that stages hand to each other: frozen, numpy alone, units in every field's docstring.

Nothing here computes; `Transcript.save` and `read` are the doors to the formats in `sonant.subtitles`, `_repr_html_` to
what notebooks show, in `sonant.plots`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sonant.errors import OptionError, VocabularyError

if TYPE_CHECKING:
    from sonant.subtitles import Case, CueSpec

FloatArray = NDArray[np.float32]
Progress = Callable[[float, float | None], None]
"""Is told how much is done, in seconds of audio where nothing else is said, and of how much, where that is known."""


@dataclass(frozen=True)
class Vocabulary:
    """The output tokens of a model, in the order of its logits."""

    tokens: tuple[str, ...]
    """One text a logit."""
    blank: int
    """Index of CTC's blank (Hugging Face's pad token)."""
    separator: int | None = None
    """Index of the token between words; None where every token is a word of its own (scripts without spaces)."""
    unknown: int | None = None
    """Index of the token that stands for letters outside the vocabulary."""
    silent: frozenset[int] = frozenset()
    """Indices that are never written: sentence marks, and the blank."""

    def __post_init__(self) -> None:
        for name, index in (("blank", self.blank), ("separator", self.separator), ("unknown", self.unknown)):
            if index is not None and not 0 <= index < len(self.tokens):
                raise VocabularyError(
                    f"The {name} must be one of the {len(self.tokens)} tokens, but its index is {index}; "
                    "pass the vocabulary the model was trained with."
                )
        object.__setattr__(self, "silent", self.silent | {self.blank})

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """From a token's text to its index."""
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def space(self) -> str:
        """What stands between two words of a written text.

        Nothing in scripts without spaces, whose every token is a letter; a space between the phonemes of models that
        write these.
        """
        mute = {*self.silent, self.unknown}
        written = [token for i, token in enumerate(self.tokens) if i not in mute]
        return "" if self.separator is None and all(len(token) == 1 for token in written) else " "


@dataclass(frozen=True, eq=False)
class Emissions:
    """What a model heard: log-probabilities of its tokens, frame by frame."""

    log_probs: FloatArray
    """(T, V), natural logarithm, each row a distribution."""
    frame_seconds: float
    """Seconds from one frame to the next."""
    vocabulary: Vocabulary
    first: int = 0
    """The file's frame that is row 0."""

    def __post_init__(self) -> None:
        shape = np.shape(self.log_probs)
        if len(shape) != 2 or shape[1] != len(self.vocabulary):
            raise VocabularyError(
                f"Emissions must have one column a token, ({len(self.vocabulary)} here), but have the shape {shape}; "
                "pass the vocabulary of the model that emitted them."
            )

    def __len__(self) -> int:
        return len(self.log_probs)

    @property
    def start(self) -> float:
        """Seconds from the beginning of the file to row 0."""
        return self.first * self.frame_seconds

    @property
    def duration(self) -> float:
        """Seconds that the frames cover."""
        return len(self) * self.frame_seconds

    def _repr_html_(self) -> str:
        """What a notebook shows: a picture of the first minute."""
        from sonant.plots.notebook import emissions_html

        return emissions_html(self)


@dataclass(frozen=True, slots=True)
class Letter:
    """One token where it was heard."""

    text: str
    start: float
    """Seconds from the beginning of the file."""
    end: float
    """Seconds from the beginning of the file."""
    confidence: float
    """The highest probability the token has in its frames."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word where it was heard."""

    text: str
    start: float
    """Seconds from the beginning of the file."""
    end: float
    """Seconds from the beginning of the file."""
    confidence: float
    """Geometric mean of its letters' confidences, 0 to 1."""
    letters: tuple[Letter, ...] = ()
    speaker: str | None = None
    """Who says it, where that is known: a name, `unknown`, or `speaker 1` and so on."""


@dataclass(frozen=True, slots=True)
class WordTimes:
    """How the times of a model's letters become those of words: CTC hears letters late, and shorter than they are."""

    offset: float = 0.0
    """Seconds by which the model is late."""
    reach: float = 0.0
    """Seconds that a word goes on beyond its letters, on both sides; where there is less room, two words meet."""

    def __post_init__(self) -> None:
        if not (isfinite(self.offset) and 0 <= self.reach < inf):
            raise OptionError(
                "The times of words take a finite offset and a reach of 0 or more, in seconds, but "
                f"{self.offset} and {self.reach} came; leave them out."
            )


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One reading of some emissions."""

    words: tuple[Word, ...]
    score: float
    """Natural logarithm of what the decoder maximised; comparable within one decoder and file only."""
    space: str = " "
    """What stands between two words."""
    acoustic: float = 0.0
    """The part of the score that the emissions give: natural logarithm of the text's probability, as far as it was
    searched; 0 where a decoder does not tell it apart."""
    lm: float = 0.0
    """Natural logarithm of the probability that the language model gives the text, unweighted; 0 without a model."""

    @property
    def text(self) -> str:
        return self.space.join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class Segment:
    """Words with no long pause between them, of one speaker where speakers are known."""

    words: tuple[Word, ...]
    space: str = " "

    @property
    def text(self) -> str:
        return self.space.join(word.text for word in self.words)

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end

    @property
    def speaker(self) -> str | None:
        """Who says its first word, and so all of it as `label_speakers` cuts segments."""
        return self.words[0].speaker


@dataclass(frozen=True)
class Transcript:
    """What was said in a file, and how it was found out."""

    segments: tuple[Segment, ...]
    duration: float
    """Seconds of audio."""
    language: str | None = None
    """ISO 639 code where the model knows it."""
    source: str | None = None
    """The file's name; None for arrays."""
    model: str = ""
    """Name or folder of the model."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Engine, device, precision, decoder and windows that gave this result."""
    warnings: tuple[str, ...] = ()
    """What was odd about the audio: sentences, each once."""
    alternatives: tuple[Hypothesis, ...] = ()
    """Other readings of the whole file, the best first, where the decoder was asked for several."""

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        space = self.segments[0].space if self.segments else " "
        return space.join(segment.text for segment in self.segments)

    def save(
        self,
        path: str | PathLike[str],
        *,
        case: Case | None = None,
        cues: CueSpec | None = None,
        karaoke: bool = False,
    ) -> None:
        """Write to `path` in the format its suffix names, whole or not at all.

        Subtitles are `.srt`, `.vtt` and `.ass`: cut into `cues`, in sentence case unless another `case` is given
        (`lower`, `upper`, `asis`), with `karaoke` (not SRT) each word at its time. `.json` holds all of the
        transcript, `.txt` its words, `.tsv`, `.ctm` and `.TextGrid` words with times.
        Raises `OptionError` for an unknown suffix and `OutputError` where it cannot be written.
        """
        from sonant import subtitles

        subtitles.save(self, path, case=case, cues=cues, karaoke=karaoke)

    @staticmethod
    def read(path: str | PathLike[str]) -> Transcript:
        """The transcript that `save` or another program wrote, as far as the format carries it.

        Raises `OptionError` for what cannot be read, with the line.
        """
        from sonant import subtitles

        return subtitles.read(path)

    def _repr_html_(self) -> str:
        """What a notebook shows: the audio, if it is a small file, and the words, coloured where in doubt."""
        from sonant.plots.notebook import transcript_html

        return transcript_html(self)
