"""`sonant transcribe`: audio or video files to text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli.options import (
    Beam,
    Debug,
    Device,
    Engine,
    EngineName,
    EnginePrecision,
    Greedy,
    Hotwords,
    Language,
    LanguageModel,
    Lexicon,
    Model,
    Precision,
    Sure,
    Threads,
    decoding_options,
)
from sonant.cli.spoken import DetectOption, Detector, with_language
from sonant.cli.terminal import DONE, FAILED, ProgressBar, load_model, reporting, say
from sonant.cli.who import (
    FalseAcceptOption,
    SpeakersOption,
    ThresholdOption,
    VoiceModelOption,
    VoicesOption,
    Who,
)
from sonant.cli.writing import (
    CaseOption,
    FormatOption,
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
from sonant.errors import OptionError, SonantError

if TYPE_CHECKING:
    from sonant.cli.who import Ear
    from sonant.recognizer import Recognizer
    from sonant.types import Transcript


def list_models(wanted: bool) -> None:
    """Print the published models by their short names, and end."""
    if not wanted:
        return
    from sonant.checkpoints.catalogue import models

    rows = [("name", "hub or torchaudio", "task", "million", "languages", "licence", "WER")]
    for model in models():
        errors = " / ".join(f"{rate:g}" for rate in model.wer)
        shown = (model.name, model.hub or model.bundle or "", model.task, str(model.parameters))
        rows.append((*shown, model.languages or "", model.licence or "", errors))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    raise typer.Exit


Output = Annotated[Path | None, typer.Option(help="Folder for one file an input, in place of standard output.")]
Listing = Annotated[
    bool,
    typer.Option("--list-models", help="Show the published models and exit.", callback=list_models, is_eager=True),
]


def run(
    files: Annotated[list[str], typer.Argument(help="Audio or video files; - reads standard input.")],
    model: Model = None,
    format: FormatOption = TranscriptFormat.text,
    output: Output = None,
    case: CaseOption = None,
    karaoke: KaraokeOption = False,
    width: WidthOption = None,
    lines: LinesOption = None,
    reading_speed: ReadingSpeedOption = None,
    min_duration: MinDurationOption = None,
    max_duration: MaxDurationOption = None,
    gap: GapOption = None,
    mux: Video = None,
    speakers: SpeakersOption = None,
    voices: VoicesOption = None,
    voice_model: VoiceModelOption = None,
    threshold: ThresholdOption = None,
    false_accept: FalseAcceptOption = None,
    lm: LanguageModel = None,
    lexicon: Lexicon = None,
    hotword: Hotwords = None,
    beam: Beam = None,
    nbest: Annotated[int, typer.Option(help="Readings of each file, in JSON.", min=1)] = 1,
    greedy: Greedy = False,
    sure: Sure = None,
    language: Language = None,
    detect_language: DetectOption = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    _listing: Listing = False,
    debug: Debug = False,
) -> None:
    """Transcribe audio or video files of any length and format.

    Transcripts go to standard output, or into --output DIR under the files' names. A file that fails is named on
    standard error, the others are still transcribed, and the exit code is 1.
    """
    with reporting(debug):
        decoding = decoding_options(lm, lexicon, hotword or [], beam, nbest, greedy, sure)
        cues = {"width": width, "lines": lines, "reading_speed": reading_speed, "gap": gap}
        cues |= {"min_duration": min_duration, "max_duration": max_duration}
        writer = Writer(format, case, karaoke, cues, mux)
        writer.check(files, output)
        who = Who(speakers, voices, voice_model, threshold, false_accept)
        who.check(files)
        check_detection(detect_language, language, files)
        targets = name_outputs(files, output, format) if output else {}
        runtime = {"engine": engine, "device": device, "precision": precision, "threads": threads}
        asr = load_model(model, language=language, **runtime, **decoding)
        ear = who.open(asr, **runtime)
        detector = Detector.open(detect_language, **runtime) if detect_language else None
        failed = transcribe_all(asr, detector, ear, files, targets, writer, debug)
    raise SystemExit(FAILED if failed else DONE)


def check_detection(detector: str | None, language: str | None, files: list[str]) -> None:
    """Raise `OptionError` for options that do not go together."""
    if detector and language:
        raise OptionError("--language says what --detect-language finds out; choose one of both.")
    if detector and "-" in files:
        raise OptionError("A language is found by hearing a file first, but - comes once; save it to a file first.")


def transcribe_all(
    asr: Recognizer,
    detector: Detector | None,
    ear: Ear | None,
    files: list[str],
    targets: dict[str, Path],
    writer: Writer,
    debug: bool,
) -> int:
    """Each file in turn, printed or saved; how many failed."""
    failed = printed = 0
    for file in targets or files:
        try:
            found = detector.set(asr, file) if detector else None
            transcript = transcribe(asr, file)
            if found:
                transcript = with_language(transcript, found)
            if ear:
                transcript = ear.label(transcript, file)
            if writer.mux:
                writer.write_video(transcript, file)
            if file in targets:
                writer.save(transcript, targets[file])
            elif not writer.mux:
                writer.print(transcript, file if len(files) > 1 else None, gap=printed > 0)
                printed += 1
        except SonantError as error:
            if debug:
                raise
            say(str(error))
            failed += 1
    return failed


def transcribe(asr: Recognizer, file: str) -> Transcript:
    """One file, with a progress bar, its warnings said."""
    bar = ProgressBar(file)
    try:
        transcript = asr.transcribe(file, progress=bar)
    finally:
        bar.close()
    for warning in transcript.warnings:
        say(warning)
    return transcript
