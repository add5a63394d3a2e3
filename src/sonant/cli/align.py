"""`sonant align`: where in recordings the words of their texts are said."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant.cli.options import Debug, Device, Engine, EngineName, EnginePrecision, Language, Model, Precision, Threads
from sonant.cli.pairs import pair_texts, read_text
from sonant.cli.terminal import DONE, FAILED, ProgressBar, load_model, reporting, say
from sonant.cli.writing import (
    SUFFIXES,
    Case,
    GapOption,
    KaraokeOption,
    LinesOption,
    MaxDurationOption,
    MinDurationOption,
    ReadingSpeedOption,
    TranscriptFormat,
    Video,
    WidthOption,
    Writer,
    name_outputs,
)
from sonant.errors import AlignmentError, OptionError, SonantError

if TYPE_CHECKING:
    from sonant.alignment import Alignment
    from sonant.recognizer import Recognizer
    from sonant.types import Transcript

NAMED = 5
"""Words and stretches that messages name at most."""


class StarName(StrEnum):
    """Where speech may stand that the text lacks."""

    lines = "lines"
    words = "words"
    none = "none"


def run(
    files: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO TEXT", help="A recording and its text; of several, texts have the same names."),
    ],
    model: Model = None,
    format: Annotated[TranscriptFormat | None, typer.Option(help="JSON where neither it nor a suffix says.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="A file; or a folder for one file a recording. Else standard output.")
    ] = None,
    case: Annotated[
        Case, typer.Option(help="Letter case; as the text has it where not given.", rich_help_panel="Subtitles")
    ] = Case.asis,
    karaoke: KaraokeOption = False,
    width: WidthOption = None,
    lines: LinesOption = None,
    reading_speed: ReadingSpeedOption = None,
    min_duration: MinDurationOption = None,
    max_duration: MaxDurationOption = None,
    gap: GapOption = None,
    mux: Video = None,
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
    speech that the text lacks are told on standard error. A recording that fails is named there, and the others are
    still aligned. The exit code is 1 where one failed, or its text is of another recording.
    """
    with reporting(debug):
        pairs = pair_texts(files)
        cues = {"width": width, "lines": lines, "reading_speed": reading_speed, "gap": gap}
        cues |= {"min_duration": min_duration, "max_duration": max_duration}
        written = format_of(format, output)
        writer = Writer(written, case, karaoke, cues, mux)
        writer.check([recording for recording, _ in pairs], output)
        targets = name_targets(pairs, output, written) if output else {}
        asr = load_model(model, language=language, engine=engine, device=device, precision=precision, threads=threads)
        search = {"star": star.value, "leave_out": not all_words, "exact": not fast, "max_memory": max_memory << 20}
        failed = align_all(asr, pairs, targets, writer, search, debug)
    raise SystemExit(FAILED if failed else DONE)


def is_file(output: Path) -> bool:
    """Whether --output means a file, and not a folder of them."""
    return bool(output.suffix) and not output.is_dir()


def format_of(format: TranscriptFormat | None, output: Path | None) -> TranscriptFormat:
    """What is written; `OptionError` where the output's suffix is none that is known, or another."""
    if output is None or not is_file(output):
        return format or TranscriptFormat.json
    for name, suffix in SUFFIXES.items():
        if suffix.lower() == output.suffix.lower() and format in (None, name):
            return name
    expected = SUFFIXES[format] if format else ", ".join(SUFFIXES.values())
    raise OptionError(f"--output must end in {expected}, but {output} does not; rename it.")


def name_targets(pairs: list[tuple[str, str]], output: Path, written: TranscriptFormat) -> dict[str, Path]:
    """The file for each recording's words; `OptionError` where one could not be written, or is a text itself."""
    if not is_file(output):
        targets = name_outputs([recording for recording, _ in pairs], output, written)
    elif not output.parent.is_dir():
        raise OptionError(f"--output must lie in a folder that exists, but {output.parent} does not; create it.")
    elif len(pairs) > 1:
        raise OptionError(f"--output must be a folder for {len(pairs)} recordings, but {output} is a file; name one.")
    else:
        targets = {pairs[0][0]: output}
    for _, text in pairs:
        if any(Path(text).resolve() == target.resolve() for target in targets.values()):
            raise OptionError(f"{text} would be overwritten by what was found; choose another --output.")
    return targets


def align_all(
    asr: Recognizer,
    pairs: list[tuple[str, str]],
    targets: Mapping[str, Path],
    writer: Writer,
    search: Mapping[str, Any],
    debug: bool,
) -> int:
    """Each recording with its text in turn, printed or saved; how many failed or do not belong together."""
    failed = printed = 0
    for recording, text in pairs:
        try:
            transcript, fits = align_one(asr, recording, read_text(text), search)
            if writer.mux:
                writer.write_video(transcript, recording)
            if recording in targets:
                writer.save(transcript, targets[recording])
            elif not writer.mux:
                writer.print(transcript, recording if len(pairs) > 1 else None, gap=printed > 0)
                printed += 1
            failed += not fits
        except SonantError as error:
            if debug:
                raise
            say(f"{text}: {error}" if isinstance(error, AlignmentError) else str(error))
            failed += 1
    return failed


def align_one(asr: Recognizer, recording: str, text: str, search: Mapping[str, Any]) -> tuple[Transcript, bool]:
    """One recording, with a progress bar, what is odd said; and whether its text belongs to it."""
    bar = ProgressBar(recording)
    told: list[float] = [0.0]

    def progress(done: float, total: float | None) -> None:
        told[0] = done
        bar(done, total)

    try:
        found = asr.align(recording, text, progress=progress, **search)
    finally:
        bar.close()
    transcript = transcript_of(found, asr, recording, told[0])
    for warning in transcript.warnings:
        say(f"{recording}: {warning}")
    return transcript, found.status != "mismatch"


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
    if unspelled := [word.text for word in words if word.letters and not any(letter.text for letter in word.letters)]:
        named = ", ".join(f"“{text}”" for text in unspelled[:NAMED])
        more = f" and {len(unspelled) - NAMED} more" if len(unspelled) > NAMED else ""
        told.append(
            f"{len(unspelled)} of {len(words)} words cannot be spelled in the model's letters and match any sound: "
            f"{named}{more}; sonant[align] spells numbers and other scripts."
        )
    if found.untold:
        named = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in found.untold[:NAMED])
        more = f" and {len(found.untold) - NAMED} more" if len(found.untold) > NAMED else ""
        told.append(f"The text lacks what is said at {named}{more}.")
    return told
