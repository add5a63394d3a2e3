"""`sonant doctor`: what is installed here, and why a transcript is empty or bad."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sonant.cli.options import Debug, Device
from sonant.cli.terminal import DONE, cache_folder, reporting


def run(
    files: Annotated[
        list[str] | None, typer.Argument(help="Recordings to look at; none for what is installed.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model to hear them with; as in `sonant transcribe`.")] = None,
    text: Annotated[str | None, typer.Option(help="What is said in them, if you know.")] = None,
    language: Annotated[str | None, typer.Option(help="Of an MMS model: fra, deu, ...")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="For programs: JSON, an object a file.")] = False,
    debug: Debug = False,
) -> None:
    """Say what is installed here, for a bug report; or, with files, what is wrong with them and what to do."""
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
    raise SystemExit(DONE)
