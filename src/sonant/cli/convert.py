"""`sonant convert`: any checkpoint or training to a folder in Hugging Face's layout."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sonant.cli.options import Debug, Language
from sonant.cli.terminal import DONE, reporting


class Dtype(StrEnum):
    """How numbers are stored."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def run(
    source: Annotated[
        str, typer.Argument(help="A model as for transcribe, a .pth of torchaudio, a .pt of fairseq, or a training.")
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to write, new or empty.")],
    dtype: Annotated[Dtype, typer.Option(help="How the weights are stored.")] = Dtype.float32,
    language: Language = None,
    debug: Debug = False,
) -> None:
    """Write a model as a folder that transformers and sonant load with the same results, and print its name."""
    with reporting(debug):
        from sonant.checkpoints import open_checkpoint
        from sonant.checkpoints.conversion import convert

        checkpoint = open_checkpoint(source, language=language, progress=sys.stderr.isatty())
        convert(checkpoint, folder, dtype.value)
        print(folder)
    raise SystemExit(DONE)
