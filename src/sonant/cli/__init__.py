"""`sonant VERB ...`: one module a verb, imported once the verb is known, so that `--help` is quick."""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import getdoc
from typing import Annotated

import typer

from sonant import __version__

VERBS = {
    "transcribe": "Audio or video files to text.",
    "align": "Where in a recording the words of its text are said.",
    "live": "A microphone, a stream or a file to captions, while it plays.",
    "serve": "A page for the browser, and the protocols of many clients.",
    "features": "States of a model's layers, or speech units, to files.",
    "plot": "A recording as a model hears it, or the curves of trainings, as a picture.",
    "data": "Corpora to manifests: prepare, check, count, cut, split, shard and label them.",
    "identify": "Whose voice is in a recording, or which mood, language or command.",
    "evaluate": "How well a model transcribes, alone or against another.",
    "lm": "N-gram language models: build, convert, question and tune them.",
    "train": "A recipe and transcribed speech to a model.",
    "batch": "Any number of recordings, by many workers, in a job that can be gone on with.",
    "convert": "Any checkpoint or training to a folder that transformers loads.",
    "doctor": "What is installed here, and why a transcript is empty or bad.",
}
"""Every verb with the line that `sonant --help` shows, in the order of a user's life."""


def main() -> None:
    """Run the command line; exit code 0 done, 1 some inputs failed, 2 wrong usage."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_options)
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    for verb, line in VERBS.items():
        module = import_module(f"sonant.cli.{verb}") if verb == wanted else None
        if module and hasattr(module, "verbs"):  # verbs of a verb: `sonant data check`
            app.add_typer(module.verbs, name=verb, short_help=line)
        else:
            app.command(verb, short_help=line)(module.run if module else _not_asked)
    for part in (app, *(group.typer_instance for group in app.registered_groups if group.typer_instance)):
        for command in part.registered_commands:
            command.help = _unwrapped(command.callback)
    app(prog_name="sonant")


def _unwrapped(function: object) -> str:
    """A docstring with a line a paragraph, which terminals of any width break for themselves."""
    return "\n\n".join(" ".join(part.split()) for part in (getdoc(function) or "").split("\n\n"))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sonant {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version)
    ] = False,
) -> None:
    """wav2vec 2.0 from raw audio to text."""


def _not_asked() -> None:
    raise AssertionError("only the verb that was asked for runs")
