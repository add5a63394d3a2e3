"""`sonant evaluate --alignments`: how far the times of words lie from known ones, and a model's own shift."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonant.cli.terminal import ProgressBar, say
from sonant.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sonant.data.manifest import Utterance
    from sonant.recognizer import Recognizer

NAMES = {
    "as_heard": "as letters are heard",
    "stored": "as the model says",
    "held_out": "estimated, on other utterances",
}
"""What the rows of `train.word_times.report` are called."""


def evaluate_times(
    asr: Recognizer, utterances: list[Utterance], folder: Path, by: list[str]
) -> tuple[dict[str, Any], bool]:
    """What is found on the utterances whose words have known times, and whether something could not be heard."""
    from sonant.train.kept import emit_all
    from sonant.train.word_times import align_known, report

    if not folder.is_dir():
        raise OptionError(f"--alignments must be a folder of TextGrids or the like, but {folder} is none; name it.")
    bar = ProgressBar(asr.checkpoint.name)
    try:
        heard, reasons = emit_all(asr, utterances, bar)
    finally:
        bar.close()
    words = align_known(asr, utterances, heard, folder)
    for reason in (*reasons, *words.failures):
        say(reason)
    found = {"model": asr.checkpoint.name, **report(words, asr.checkpoint.word_times, by)}
    return found, bool(reasons or words.failures)


def place_of(model: str) -> Path:
    """The folder whose `config.json` will say the times; `OptionError`, before any work, where there is none."""
    from sonant.checkpoints import model_folder

    folder = model_folder(Path(model).expanduser())
    if not (folder / "config.json").is_file():
        raise OptionError(
            f"Times of words are kept in the model's config.json, but {model} is no folder with one; make one of it by "
            "sonant convert."
        )
    return folder


def tell_times(found: list[dict[str, Any]], output: Path | None, as_json: bool) -> None:
    """Print what was found of one or two models, as tables or JSON, and keep it in the folder, if any."""
    result = found[0] | ({"against": found[1]} if len(found) > 1 else {})
    if output:
        from sonant.files import make_folder, write_text

        make_folder(output)
        write_text(output / "word_times.json", json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        return
    for each in found:
        print("\n".join(lines_of(each)))


def lines_of(found: dict[str, Any]) -> Iterator[str]:
    """A table of one model: errors in milliseconds, of beginnings and of ends."""
    words = next(found[name]["words"] for name in NAMES if name in found)
    yield f"{found['model']}: {found['utterances']} utterances, {words:,} words with known times"
    yield ""
    yield f"{'':32}{'':8}{'median':>8}{'95 %':>8}{'<20 ms':>9}{'<50 ms':>9}{'<100 ms':>9}{'shift':>9}"
    yield from _rows(found)
    for field, groups in found["by"].items():
        for value, group in groups.items():
            yield f"{field} {value or '(none)'}"
            yield from _rows(group)
    times = found["times"]["estimated"]
    yield ""
    yield f"estimated on all: offset {1000 * times['offset']:.0f} ms, reach {1000 * times['reach']:.0f} ms"


def _rows(group: dict[str, Any]) -> Iterator[str]:
    for name, title in NAMES.items():
        if name not in group:
            continue
        for edge in ("start", "end"):
            row = group[name][edge]
            shares = "".join(f"{100 * row[f'within_{limit}_ms']:7.1f} %" for limit in (20, 50, 100))
            yield f"{title:32}{edge:8}{row['median_ms']:8.1f}{row['p95_ms']:8.1f}{shares}{row['shift_ms']:+9.1f}"
            title = ""  # once for both
