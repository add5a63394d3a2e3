"""An evaluation on the terminal: tables, confusions, and the worst utterances with their errors marked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sonant.cli.terminal import clock
from sonant.text import Pair
from sonant.train.scores import Comparison, Difference, Evaluation, Normalisation, Rate, Scored

MOST_GROUPS = 30
"""Values of a field that are shown at most."""
WIDE = 160
"""Columns where standard output is no terminal."""
STYLES = {" ": "", "S": "yellow", "D": "red", "I": "magenta"}
"""Colours of a hit, a substitution, a deletion and an insertion."""
_MARGIN = 7
"""Columns in front of an alignment."""


class Report:
    """Prints one or two evaluations to standard output."""

    def __init__(self, worst: int, confusions: int) -> None:
        self.worst = worst
        self.confusions = confusions
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)

    def print(self, evaluations: Sequence[Evaluation], comparison: Comparison | None, by: Sequence[str]) -> None:
        """All of it: rates, the comparison, then each model's groups, confusions and worst utterances."""
        self._say(headline(evaluations[0]))
        self.console.print(rate_table("model", [(evaluation.model, evaluation) for evaluation in evaluations]))
        if comparison:
            for line in comparison_lines(comparison, evaluations[1]):
                self._say(line)
        for evaluation in evaluations:
            if len(evaluations) > 1:
                self._say(f"\n{evaluation.model}", "bold")
            self._details(evaluation, by)

    def _details(self, evaluation: Evaluation, by: Sequence[str]) -> None:
        for field in by:
            groups = [(value or "(none)", group) for value, group in evaluation.by(field).items()]
            self.console.print(rate_table(field, groups[:MOST_GROUPS]))
            if len(groups) > MOST_GROUPS:
                self._say(f"and {len(groups) - MOST_GROUPS} more, which --format json lists")
        for name, counts in (("words", evaluation.word_confusions), ("characters", evaluation.letter_confusions)):
            if shown := counts[: self.confusions]:
                self.console.print(confusion_table(name, shown))
        for scored in evaluation.worst(self.worst):
            errors, words = counted(scored.words.total, "error"), counted(scored.words.length, "word")
            self._say(f"\n{scored.name}: {errors} in {words}", "bold")
            for line in aligned(scored, self.console.width):
                self.console.print(line, soft_wrap=True)

    def _say(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)


def headline(evaluation: Evaluation) -> str:
    """What was heard, and how it was compared."""
    heard = f"{counted(len(evaluation.utterances), 'utterance')}, {clock(evaluation.duration)} of audio"
    missing = f", {len(evaluation.failures)} more not heard" if evaluation.failures else ""
    over = f"intervals over {counted(evaluation.num_units, evaluation.unit)}"
    return f"{heard}{missing}; compared {rules(evaluation.normalisation)}; {over}"


def rules(normalisation: Normalisation) -> str:
    """What is not compared."""
    if normalisation.raw:
        return "as the texts stand"
    left_out = ["letter case"] if normalisation.case != "as is" else []
    left_out += ["digits"] if not normalisation.digits else []
    return f"without {' and '.join([*left_out, 'punctuation'])}"


def rate_table(name: str, rows: Sequence[tuple[str, Evaluation]]) -> Table:
    """Error rates, a row an evaluation."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(name, overflow="fold")
    for title in ("utterances", "words", "WER", "95 %", "sub", "del", "ins", "CER", "95 %"):
        table.add_column(title, justify="right", no_wrap=True)
    for value, evaluation in rows:
        words, letters = evaluation.words, evaluation.letters
        kinds = (words.errors.substitutions, words.errors.deletions, words.errors.insertions)
        table.add_row(
            Text(value),
            *map(str, (len(evaluation.utterances), words.errors.length)),
            *(percent(words.value), interval(words), *map(str, kinds)),
            *(percent(letters.value), interval(letters)),
        )
    return table


def comparison_lines(comparison: Comparison, second: Evaluation) -> Iterator[str]:
    """The second model against the first, in sentences."""
    for name, difference in (("WER", comparison.words), ("CER", comparison.letters)):
        yield f"{second.model} against the first, {name}: {points(difference)}"
    yield (
        f"fewer wrong words in {comparison.better} of {counted(comparison.num_utterances, 'utterance')}, "
        f"more in {comparison.worse}"
    )


def points(difference: Difference) -> str:
    """A difference with its interval and the two tests."""
    low, high = f"{100 * difference.low:+.2f}", f"{100 * difference.high:+.2f}"
    chances = (f"{p:.3g}" if p >= 1e-6 else "under 1e-6" for p in (difference.bootstrap, difference.matched_pairs))
    tests = "p = {} by paired bootstrap, {} by matched pairs".format(*chances)
    return f"{100 * difference.value:+.2f} points ({low} to {high}); {tests}"


def confusion_table(name: str, counts: Sequence[tuple[Pair[str], int]]) -> Table:
    """Said, heard, how often."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in (f"{name} said", "heard"):
        table.add_column(title, overflow="fold")
    table.add_column("times", justify="right")
    for (said, heard), count in counts:
        table.add_row(Text(visible(said)), Text(visible(heard)), str(count))
    return table


def aligned(scored: Scored, width: int) -> Iterator[Text]:
    """What was said above what was heard above the errors' kinds, S, D and I, in lines of so many columns at most."""
    lines = [Text(head.ljust(_MARGIN)) for head in ("said", "heard", "")]
    for said, heard in scored.pairs:
        kind = "I" if said is None else "D" if heard is None else " " if said == heard else "S"
        words = (said or "", heard or "", kind)
        size = max(map(cell_len, words))
        if lines[0].cell_len > _MARGIN and lines[0].cell_len + size > width:
            yield from _ended(lines)
            lines = [Text(" " * _MARGIN) for _ in words]
        for line, word in zip(lines, words, strict=True):
            line.append(word, STYLES[kind]).append(" " * (size - cell_len(word) + 1))
    yield from _ended(lines)


def _ended(lines: list[Text]) -> Iterator[Text]:
    for line in lines:
        line.rstrip()
        yield line


def visible(text: str | None) -> str:
    """A word or character as a table shows it."""
    return "(nothing)" if text is None else "(space)" if text == " " else text


def percent(value: float) -> str:
    """`4.17 %`."""
    return f"{100 * value:.2f} %"


def interval(rate: Rate) -> str:
    """`3.1 - 5.2`, or a dash where there is none."""
    return "-" if rate.low is None or rate.high is None else f"{100 * rate.low:.1f} - {100 * rate.high:.1f}"


def counted(number: int, noun: str) -> str:
    """`1 word`, `2 words`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
