"""Options that several verbs share: the model, what runs it, and how its emissions are decoded."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from sonant.errors import OptionError

HOTWORD_BOOST = 8.0
"""What a hotword adds to a score where no boost is given: much, but not enough for what was never said."""


class Format(StrEnum):
    """What is written."""

    text = "text"
    json = "json"


class Precision(StrEnum):
    """Arithmetic of the encoder."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class EngineName(StrEnum):
    """What runs the encoder."""

    auto = "auto"
    openvino = "openvino"
    torch = "torch"


Model = Annotated[
    str | None,
    typer.Option(help="A folder, a Hugging Face name or a short one; the built-in model where not given."),
]
Language = Annotated[str | None, typer.Option(help="One of an MMS model's languages, such as fra.")]
Engine = Annotated[EngineName, typer.Option(help="What runs the model.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")]
EnginePrecision = Annotated[Precision, typer.Option(help="auto takes bf16 where the processor has it.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads; all where not given.", min=1)]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

LanguageModel = Annotated[
    str | None, typer.Option(help="An n-gram language model: sonant's own, ARPA (also packed) or KenLM's.")
]
Lexicon = Annotated[
    str | None, typer.Option(help="A file of words, one a line, each perhaps with its spelling in tokens.")
]
Hotwords = Annotated[
    list[str] | None, typer.Option(metavar="NAME[=BOOST]", help="A word or phrase to expect; may be repeated.")
]
Beam = Annotated[int | None, typer.Option(help="Hypotheses that a beam search keeps.", min=1)]
Greedy = Annotated[bool, typer.Option("--greedy", help="Leave out the language model that comes with the model.")]

Sure = Annotated[
    float | None,
    typer.Option(help="Probability of letters that only words have, 0.9 where not given; 0 writes all.", min=0, max=1),
]


def decoding_options(
    lm: str | None,
    lexicon: str | None,
    hotwords: list[str],
    beam: int | None,
    nbest: int,
    greedy: bool,
    sure: float | None,
) -> dict[str, Any]:
    """What `load` is told of decoding; `OptionError` for options that cannot go together."""
    least = {} if sure is None else {"sure": sure}
    settings = ({"beam_size": beam} if beam else {}) | ({"nbest": nbest} if nbest > 1 else {})
    if not greedy:
        return {"lm": lm, "lexicon": lexicon, "hotwords": dict(map(parse_hotword, hotwords)), "beam": settings, **least}
    if lm or lexicon or hotwords or settings:
        raise OptionError("--greedy writes what each frame sounds like, but more was asked for; leave out one of both.")
    return {"lm": False, **least}


def parse_hotword(given: str) -> tuple[str, float]:
    """A phrase and its boost, from `PHRASE` or `PHRASE=BOOST`."""
    phrase, equals, boost = given.rpartition("=")
    if not equals:
        return given, HOTWORD_BOOST
    try:
        return phrase, float(boost)
    except ValueError:
        raise OptionError(f"--hotword must be like NAME=8, but {given!r} was given; write a number after =.") from None
