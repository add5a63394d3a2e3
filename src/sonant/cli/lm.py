"""`sonant lm`: n-gram language models, from text or other formats to sonant's own, and what they think of a text.

`sonant lm tune` is in `tune.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sonant.cli.options import Format
from sonant.cli.terminal import ProgressBar, millions_bar, reporting, say
from sonant.cli.tune import tune
from sonant.errors import DataError, OptionError
from sonant.files import UNPACKING_FAULTS, unpacked

if TYPE_CHECKING:
    import io

    from sonant.decode.lm import Perplexity

verbs = typer.Typer(no_args_is_help=True, help="N-gram language models: build, convert, question and tune them.")
verbs.command("tune", short_help="Weights for a model, found on speech.")(tune)

Model = Annotated[Path, typer.Argument(help="One of sonant's own files, an ARPA file (also packed), a KenLM binary.")]
Small = Annotated[bool, typer.Option("--small", help="A quarter of the bytes; scores are rounded a little.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@verbs.command("build", short_help="Text to a model.")
def build(
    texts: Annotated[list[str], typer.Argument(help="One sentence a line, plain or packed; - for standard input.")],
    output: Annotated[
        Path | None, typer.Option(help="The model, as a file that opens at once, or named .arpa for others.")
    ] = None,
    arpa: Annotated[Path | None, typer.Option(help="The model as an ARPA file, beside the other.")] = None,
    order: Annotated[int, typer.Option(help="The most words an n-gram has.")] = 4,
    prune: Annotated[str, typer.Option(help="Drop n-grams that occur at most so often, by length: 0,0,1,2.")] = "0",
    vocabulary: Annotated[Path | None, typer.Option(help="A list of words; n-grams with others are dropped.")] = None,
    skip_marks: Annotated[
        bool, typer.Option("--skip-marks", help="Pass over <s>, </s> and <unk> in the text.")
    ] = False,
    small: Small = False,
    memory: Annotated[str, typer.Option(help="For buffers; the more, the faster.")] = "1G",
    temp: Annotated[Path | None, typer.Option(help="Folder for temporary files, up to fifteen times the text.")] = None,
    debug: Debug = False,
) -> None:
    """Estimate a model by modified Kneser-Ney smoothing, as KenLM's lmplz does, from text of any size."""
    with reporting(debug):
        from sonant.decode.estimate import estimate_lm, parse_bytes, read_words

        with stages_bar() as bar:
            built = estimate_lm(
                [cast("io.BufferedReader", sys.stdin.buffer) if text == "-" else text for text in texts],
                output=output, arpa=arpa, order=order, prune=thresholds(prune),
                vocabulary=read_words(vocabulary) if vocabulary else None, skip_marks=skip_marks, small=small,
                memory=parse_bytes(memory), temporary=temp, progress=bar,
            )  # fmt: skip
        for note in built.notes:
            say(note)
        places = " and ".join(str(path) for path in (output, arpa) if path)
        print(f"{described(built.kept)} from {built.num_words:,} words in {places}")


@verbs.command("convert", short_help="ARPA or KenLM to a file that opens at once.")
def convert(
    model: Model,
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    small: Small = False,
    debug: Debug = False,
) -> None:
    """Write a model as a file that is mapped into memory, opens in milliseconds and is shared between processes."""
    with reporting(debug):
        from sonant.decode.lm import convert_lm

        with millions_bar(str(model)) as bar:
            converted = convert_lm(model, output, bar, small=small)
        print(f"{described(converted.counts)} in {output}")


@verbs.command("query", short_help="What a model thinks of a text.")
def query(
    model: Model,
    text: Annotated[Path | None, typer.Argument(help="One sentence a line; standard input where not given.")] = None,
    format: Annotated[Format, typer.Option(help="Lines; or a JSON object a line, with the score of each word.")] = (
        Format.text
    ),
    totals: Annotated[bool, typer.Option("--totals", help="Leave out what is said of each sentence.")] = False,
    debug: Debug = False,
) -> None:
    """Score sentences: natural log-probability, number of unknown words, text; then the perplexity of them all.

    The last line counts sentences, words and unknown words, with the perplexity over all of them and over known words
    only; the end of a sentence is foreseen like a word.
    """
    with reporting(debug):
        from sonant.decode.lm import Perplexity, open_lm

        with millions_bar(str(model)) as bar:
            opened = open_lm(model, bar)
        whole = Perplexity()
        for line in lines_of(text):
            scored = opened.score(line)
            sentence = Perplexity.of(scored)
            whole += sentence
            if totals or not sentence.sentences:
                continue
            if format is Format.json:
                print(json.dumps({"text": line, "score": sentence.score, **scored._asdict()}, ensure_ascii=False))
            else:
                print(f"{sentence.score:.4f}\t{sentence.unknown}\t{line}")
        print(totals_json(whole) if format is Format.json else totals_text(whole))


@contextmanager
def stages_bar() -> Generator[Callable[[str, int, int | None], None]]:
    """A bar after another, one for each stage that lasts."""
    bars: dict[str, ProgressBar] = {}

    def show(stage: str, done: int, total: int | None) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = ProgressBar(stage, "MB" if stage == "reading" else "million")
        bars[stage](done / 1e6, total and total / 1e6)

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()


def lines_of(path: Path | None) -> Iterator[str]:
    """Sentences of a file, also packed, or of standard input; bytes that are no UTF-8 become unknown words."""
    if path is None:
        yield from (line.decode(errors="replace").strip() for line in sys.stdin.buffer)
        return
    try:
        with path.open("rb") as file:
            yield from (line.decode(errors="replace").strip() for line in unpacked(file))
    except UNPACKING_FAULTS as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read ({reason}); name a text of one sentence a line.") from error


def thresholds(text: str) -> list[int]:
    """`0,0,1` as numbers."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(f"Pruning must be numbers with commas between them, but is {text!r}; 0,0,1,2.") from None


def described(counts: Sequence[int]) -> str:
    """`3-gram model (100, 250 and 90 n-grams)`."""
    each = [f"{count:,}" for count in counts]
    listed = " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)
    return f"{len(each)}-gram model ({listed} n-grams)"


def totals_text(whole: Perplexity) -> str:
    """Counts and perplexities on one line."""
    return (
        f"{whole.sentences} sentences, {whole.words} words, {whole.unknown} unknown; perplexity "
        f"{whole.including_unknown:.2f}, without unknown words {whole.excluding_unknown:.2f}"
    )


def totals_json(whole: Perplexity) -> str:
    """The same as one JSON object."""
    perplexities = {
        "perplexity": whole.including_unknown,
        "perplexity_without_unknown": whole.excluding_unknown,
    }
    return json.dumps({"totals": {**asdict(whole), **perplexities}})
