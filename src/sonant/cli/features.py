"""`sonant features`: what a model makes of audio, layer by layer, or its speech units."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli.options import Debug, Device, Engine, EngineName, Model, Precision, Threads
from sonant.cli.terminal import DONE, FAILED, ProgressBar, reporting, result_names, say
from sonant.errors import OutputError, SonantError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sonant.features import Spool
    from sonant.recognizer import Recognizer


class Dtype(StrEnum):
    """Numbers in which states are written."""

    float32 = "float32"
    float16 = "float16"


def run(
    files: Annotated[list[str], typer.Argument(help="Audio or video files; - reads standard input.")],
    output: Annotated[
        Path, typer.Option(help="DIR for DIR/talk/layer_6.npy; or one FILE.npz or FILE.parquet of all inputs.")
    ],
    layers: Annotated[
        str | None, typer.Option(help="all (where not given), or such as 6,9; 0 is what enters the first layer.")
    ] = None,
    units: Annotated[
        bool, typer.Option("--units", help="Codes of a pre-trained wav2vec 2.0 model, (frames, codebooks).")
    ] = False,
    dtype: Annotated[Dtype, typer.Option(help="Numbers of the states.")] = Dtype.float32,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out inputs that DIR has already.")] = False,
    model: Model = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto takes bf16 where the processor has it, but fp32 for units.")
    ] = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Write the states of a model's layers, or its speech units, frame by frame (50 a second for most models).

    Files may have any length and format; what one gives appears whole or not at all. A file that fails is named on
    standard error, the others are still heard, and the exit code is 1.
    """
    with reporting(debug):
        from sonant.features import Spool, open_writer, parse_layers
        from sonant.recognizer import load

        names = result_names(files)
        asked = parse_layers(layers or "all") if layers or not units else ()
        if units and precision is Precision.auto:
            precision = Precision.fp32
        asr = load(
            model, engine=engine, device=device, precision=precision, threads=threads, progress=sys.stderr.isatty()
        )
        wanted, arrays = choose_arrays(asr, asked, units)
        failed = 0
        with open_writer(output, several=len(names) > 1, frame_seconds=asr.frame_seconds) as writer:
            for file, name in names.items():
                if resume and writer.has(name, arrays):
                    continue
                try:
                    with Spool(writer.folder, dtype) as spool:
                        collect(asr, file, wanted, units, spool)
                        writer.add(name, spool)
                except OutputError:
                    raise  # it would fail for every other input as well
                except SonantError as error:
                    if debug:
                        raise
                    say(str(error))
                    failed += 1
    raise SystemExit(FAILED if failed else DONE)


def choose_arrays(asr: Recognizer, asked: Sequence[int] | None, units: bool) -> tuple[Sequence[int], list[str]]:
    """The layers, and what their arrays and that of the units are called; an error where the model lacks any."""
    from sonant.engines import choose_layers
    from sonant.features import UNITS, Quantizer, layer_name

    wanted = choose_layers(asr.checkpoint, asked)
    arrays = [layer_name(layer) for layer in wanted]
    if units:
        Quantizer(asr.checkpoint)
        arrays.append(UNITS)
    return wanted, arrays


def collect(asr: Recognizer, file: str, layers: Sequence[int], units: bool, spool: Spool) -> None:
    """One file's arrays, with a progress bar."""
    bar = ProgressBar(file)
    try:
        for piece in asr.feature_pieces(file, layers=layers, units=units, progress=bar):
            spool.append(piece)
    finally:
        bar.close()
