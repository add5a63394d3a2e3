"""`sonant doctor`: what is installed here, and why a transcript is empty or bad."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sonant.cli.options import Debug, Device, Language, Model
from sonant.cli.terminal import DONE, FAILED, cache_folder, reporting


def run(
    files: Annotated[
        list[str] | None, typer.Argument(help="Recordings to look at; none for what is installed.")
    ] = None,
    model: Model = None,
    text: Annotated[str | None, typer.Option(help="What is said in them, if you know.")] = None,
    language: Language = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="For programs: JSON, an object a file.")] = False,
    debug: Debug = False,
) -> None:
    """Say what is installed here, for a bug report; or, with files, what is wrong with them and what to do.

    The exit code is 1 where a file or the model could not be read at all.
    """
    unread = False
    with reporting(debug):
        from sonant.doctor import describe_installation, examine, installation_text

        if not files:
            report = describe_installation(cache_folder())
            print(
                json.dumps(report, ensure_ascii=False, indent=1) + "\n" if as_json else installation_text(report),
                end="",
            )
        for file in files or []:
            found = examine(file, model, said=text, language=language, device=device)
            print(found.to_json() if as_json else found.to_text(), end="")
            unread |= found.facts is None
    raise SystemExit(FAILED if unread else DONE)
