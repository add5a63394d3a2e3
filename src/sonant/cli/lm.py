"""`sonant lm`: n-gram language models, from other formats to sonant's own, and what they think of a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli.terminal import ProgressBar, reporting
from sonant.cli.transcribe import Format
from sonant.errors import DataError
from sonant.files import unpacked

if TYPE_CHECKING:
    from sonant.decode.lm import LanguageModel, Perplexity

verbs = typer.Typer(no_args_is_help=True, help="N-gram language models: convert and question them.")

Model = Annotated[Path, typer.Argument(help="One of sonant's own files, an ARPA file (also packed), a KenLM binary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@verbs.command("convert", short_help="ARPA or KenLM to a file that opens at once.")
def convert(
    model: Model,
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    debug: Debug = False,
) -> None:
    """Write a model as a file that is mapped into memory, opens in milliseconds and is shared between processes."""
    with reporting(debug):
        from sonant.decode.lm import convert_lm

        with megabytes_bar(str(model)) as bar:
            converted = convert_lm(model, output, bar)
        print(f"{described(converted)} in {output}")


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

        with megabytes_bar(str(model)) as bar:
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
def megabytes_bar(name: str) -> Generator[Callable[[float, float | None], None]]:
    """A bar that is told bytes and shows megabytes."""
    bar = ProgressBar(name, "MB")
    try:
        yield lambda done, total: bar(done / 1e6, total and total / 1e6)
    finally:
        bar.close()


def lines_of(path: Path | None) -> Iterator[str]:
    """Sentences of a file, also packed, or of standard input; bytes that are no UTF-8 become unknown words."""
    if path is None:
        yield from (line.decode(errors="replace").strip() for line in sys.stdin.buffer)
        return
    try:
        with path.open("rb") as file:
            yield from (line.decode(errors="replace").strip() for line in unpacked(file))
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read ({reason}); name a text of one sentence a line.") from error


def described(model: LanguageModel) -> str:
    """`3-gram model of 100 words (100, 250 and 90 n-grams)`."""
    counts = [f"{count:,}" for count in model.counts]
    listed = " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)
    return f"{model.order}-gram model ({listed} n-grams)"


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
