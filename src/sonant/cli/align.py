"""`sonant align`: where in a recording the words of its text are said."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli.options import Debug, Device, Engine, EngineName, EnginePrecision, Language, Model, Precision, Threads
from sonant.cli.terminal import DONE, FAILED, ProgressBar, load_model, reporting, say
from sonant.errors import OptionError

if TYPE_CHECKING:
    from sonant.alignment import Alignment
    from sonant.recognizer import Recognizer
    from sonant.types import Transcript

NAMED = 5
"""Words and stretches that messages name at most."""


class AlignedFormat(StrEnum):
    """What is written."""

    json = "json"
    srt = "srt"
    vtt = "vtt"
    ass = "ass"
    tsv = "tsv"
    ctm = "ctm"
    textgrid = "textgrid"


class StarName(StrEnum):
    """Where speech may stand that the text lacks."""

    lines = "lines"
    words = "words"
    none = "none"


def run(
    audio: Annotated[str, typer.Argument(help="An audio or video file; - reads standard input.")],
    text: Annotated[Path, typer.Argument(help="What is said in it: a UTF-8 text, best a line a sentence.")],
    model: Model = None,
    format: Annotated[AlignedFormat | None, typer.Option(help="JSON where neither it nor a suffix says.")] = None,
    output: Annotated[Path | None, typer.Option(help="A file to write, in place of standard output.")] = None,
    star: Annotated[
        StarName, typer.Option(help="Where speech may stand that the text lacks: between lines, words or nowhere.")
    ] = StarName.lines,
    all_words: Annotated[
        bool, typer.Option("--all-words", help="Give every word a place, even if it is not heard.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Do without the proof that no other way is likelier.")] = False,
    max_memory: Annotated[int, typer.Option(help="Megabytes to remember; fewer are slower.", min=0)] = 1024,
    language: Language = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Find the words of a text in the recording where they are said, with times and confidences.

    Each line of the text becomes a segment or subtitle; case and punctuation are kept. Words that are not heard and
    speech that the text lacks are told on standard error. The exit code is 1 where the text is not of this recording.
    """
    with reporting(debug):
        suffix = suffix_of(format, output)
        lines = read_lines(text)

        asr = load_model(model, language=language, engine=engine, device=device, precision=precision, threads=threads)
        bar = ProgressBar(audio)
        told: list[float] = [0.0]

        def progress(done: float, total: float | None) -> None:
            told[0] = done
            bar(done, total)

        try:
            found = asr.align(
                audio, lines, star=star.value, leave_out=not all_words, exact=not fast, max_memory=max_memory << 20,
                progress=progress,
            )  # fmt: skip
        finally:
            bar.close()
        transcript = transcript_of(found, asr, audio, told[0])
        write(transcript, suffix, output)
    raise SystemExit(FAILED if found.status == "mismatch" else DONE)


def suffix_of(format: AlignedFormat | None, output: Path | None) -> str:
    """The suffix of what is written; `OptionError` where the output's is another."""
    if output is None:
        return f".{format or AlignedFormat.json}"
    suffix = output.suffix.lower()
    if suffix.removeprefix(".") not in AlignedFormat.__members__ or (format and suffix != f".{format}"):
        expected = f".{format}" if format else ", ".join(f".{name}" for name in AlignedFormat)
        raise OptionError(f"--output must end in {expected}, but {output} does not; rename it.")
    return suffix


def read_lines(path: Path) -> str:
    """A text as it lies in a file."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"{path} must be a text, but cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} must be UTF-8, but byte {error.start} is not; save it as UTF-8.") from error


def write(transcript: Transcript, suffix: str, output: Path | None) -> None:
    """To a file, or to standard output in the format of a suffix; what is odd to standard error."""
    from sonant.subtitles import render, save, to_json

    for warning in transcript.warnings:
        say(warning)
    if output:
        save(transcript, output, case="asis")
    else:
        written = to_json(transcript, indent=None) if suffix == ".json" else render(transcript, suffix, case="asis")
        print(written, end="", flush=True)


def transcript_of(found: Alignment, asr: Recognizer, audio: str, duration: float) -> Transcript:
    """The text as a transcript of the recording, with what is odd about it."""
    from sonant.types import Transcript

    return Transcript(
        segments=found.lines,
        duration=duration,
        language=asr.checkpoint.language,
        source=None if audio == "-" else audio,
        model=asr.checkpoint.name,
        settings={**asr.settings, "decoder": "align", "status": found.status, "score": round(found.score, 3)},
        warnings=tuple(oddities(found)),
    )


def oddities(found: Alignment) -> list[str]:
    """What does not fit: a sentence each for words, speech and the search."""
    told: list[str] = []
    words = found.words
    if found.status == "mismatch":
        told.append("Text and recording do not belong together: more than a fifth of the words are not heard.")
    if found.unheard:
        named = ", ".join(f"“{words[i].text}” near {words[i].start:.1f} s" for i in found.unheard[:NAMED])
        more = f" and {len(found.unheard) - NAMED} more" if len(found.unheard) > NAMED else ""
        told.append(f"{len(found.unheard)} of {len(words)} words are not heard: {named}{more}.")
    if found.untold:
        named = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in found.untold[:NAMED])
        more = f" and {len(found.untold) - NAMED} more" if len(found.untold) > NAMED else ""
        told.append(f"The text lacks what is said at {named}{more}.")
    return told
