"""How `transcribe` finds out which language is spoken: its option, and the model that tells languages apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli.terminal import load_model, say
from sonant.errors import OptionError

if TYPE_CHECKING:
    from sonant.recognizer import Recognizer
    from sonant.types import Transcript

HEARD = 60.0
"""Seconds of a file, from its beginning, by which its language is judged."""
DetectOption = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Find each file's language by this model, such as mms-lid-126, and hear in it."),
]


@dataclass(frozen=True)
class Detector:
    """A model that tells languages apart, beside one that transcribes."""

    model: Recognizer

    @classmethod
    def open(cls, name: str, **options: object) -> Detector:
        """The model of that name; `CheckpointError` where its labels are no languages."""
        from sonant.identify import read_classifier, require_languages

        model = load_model(name, lm=False, **options)
        read_classifier(model.checkpoint)
        require_languages(model.checkpoint)
        return cls(model)

    def set(self, asr: Recognizer, file: str) -> str:
        """The language of a file, in which `asr` hears from now on if it has several.

        Raises `OptionError` where it has several, but not this one.
        """
        from sonant import audio
        from sonant.text import language_code

        rate = self.model.checkpoint.sample_rate
        found = self.model.classify(audio.read(file, rate, duration=HEARD), rate).label
        own = asr.checkpoint
        if own.languages:
            asr.set_language(match_language(found, own.languages, file, own.name))
        elif own.language and language_code(own.language) != language_code(found):
            say(f"{file} sounds like {found}, but {own.name} hears {own.language}; take a model of that language.")
        return found


def match_language(code: str, languages: tuple[str, ...], file: str, model: str) -> str:
    """The name that a model has for a language: its code, or the one name that begins with it."""
    known = [name for name in languages if name == code] or [
        name for name in languages if name.partition("-")[0] == code.partition("-")[0]
    ]
    if len(known) == 1:
        return known[0]
    if known:
        raise OptionError(
            f"{file} must be in a language that {model} has in one script, but sounds like {code}, which it has as "
            f"{' and '.join(known)}; name one by --language."
        )
    raise OptionError(
        f"{file} must be in one of the {len(languages)} languages of {model}, but sounds like {code}; "
        "name one by --language."
    )


def with_language(transcript: Transcript, found: str) -> Transcript:
    """The transcript in the language that was found, by the model's own name for it if it has one."""
    from sonant.text import language_code

    same = transcript.language is not None and language_code(transcript.language) == language_code(found)
    return transcript if same else replace(transcript, language=found)
