"""How verbs write transcripts: the formats, the options of subtitles, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonant.cli.terminal import result_names, say
from sonant.errors import OptionError

if TYPE_CHECKING:
    from sonant.subtitles import Case as CaseName
    from sonant.subtitles import CueSpec
    from sonant.types import Transcript


class TranscriptFormat(StrEnum):
    """What is written."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    ass = "ass"
    tsv = "tsv"
    ctm = "ctm"
    textgrid = "textgrid"


SUFFIXES = {format: f".{format}" for format in TranscriptFormat} | {
    TranscriptFormat.text: ".txt",
    TranscriptFormat.textgrid: ".TextGrid",
}
"""How files of a format end."""
_JOINABLE = (TranscriptFormat.text, TranscriptFormat.json, TranscriptFormat.ctm)
"""Formats that may hold several files, one after another."""


class Case(Enum):
    """Letter case of words."""

    sentence = "sentence"
    lower = "lower"
    upper = "upper"
    asis = "asis"


_PANEL = "Subtitles"
FormatOption = Annotated[
    TranscriptFormat, typer.Option(help="Text, a line a segment; JSON, a line a file; subtitles; or words in tables.")
]
CaseOption = Annotated[
    Case | None,
    typer.Option(
        help="Letter case; sentence for subtitles, as the model writes otherwise.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
KaraokeOption = Annotated[
    bool, typer.Option("--karaoke", help="Words light up as they are said (vtt, ass).", rich_help_panel=_PANEL)
]
WidthOption = Annotated[
    int | None, typer.Option(help="Columns of a line; 42. Wide characters take two.", rich_help_panel=_PANEL, min=1)
]
LinesOption = Annotated[int | None, typer.Option(help="Lines shown at once; 2.", rich_help_panel=_PANEL, min=1)]
ReadingSpeedOption = Annotated[
    float | None, typer.Option(help="Characters read in a second; 17.", rich_help_panel=_PANEL)
]
MinDurationOption = Annotated[
    float | None, typer.Option(help="Seconds a cue stays at least; 0.833.", rich_help_panel=_PANEL)
]
MaxDurationOption = Annotated[
    float | None, typer.Option(help="Seconds a cue stays at most; 7.", rich_help_panel=_PANEL)
]
GapOption = Annotated[float | None, typer.Option(help="Seconds between two cues; 0.083.", rich_help_panel=_PANEL)]
Video = Annotated[
    Path | None,
    typer.Option(metavar="VIDEO", help="Copy the input to this .mp4, .mov, .mkv or .webm, with subtitles."),
]


@dataclass(frozen=True)
class Writer:
    """Writes transcripts as the options say."""

    format: TranscriptFormat
    case: Case | None
    karaoke: bool
    cues: Mapping[str, float | None]
    """Fields of a `CueSpec`; None where not given."""
    mux: Path | None = None

    @property
    def spec(self) -> CueSpec:
        """The form of the cues; `OptionError` where there can be none such."""
        from sonant.subtitles import CueSpec

        return CueSpec(**{name: value for name, value in self.cues.items() if value is not None})  # pyright: ignore[reportArgumentType]

    @property
    def _case(self) -> CaseName | None:
        return self.case.value if self.case else None

    def check(self, files: list[str], output: Path | None) -> None:
        """Raise `OptionError` for options that do not go together, before any work."""
        _ = self.spec
        if self.mux:
            from sonant.mux import check_target

            if len(files) != 1 or files[0] == "-":
                raise OptionError("--mux copies one video, but several or none were named; mux them one by one.")
            check_target(files[0], self.mux, karaoke=self.karaoke)
        elif len(files) > 1 and output is None and self.format not in _JOINABLE:
            raise OptionError(
                f"A {self.format} file holds one recording, but {len(files)} were named; add --output FOLDER."
            )

    def text(self, transcript: Transcript) -> str:
        """The transcript as it is printed."""
        from sonant.subtitles import in_case, render, to_json

        if self.format is TranscriptFormat.json:
            return to_json(in_case(transcript, self.case.value if self.case else "asis"), indent=None)
        suffix = SUFFIXES[self.format]
        return render(transcript, suffix, case=self._case, cues=self.spec, karaoke=self.karaoke)

    def print(self, transcript: Transcript, title: str | None, gap: bool) -> None:
        """To standard output; several texts each under its file's name."""
        text = self.text(transcript)
        if self.format is TranscriptFormat.text:
            heading = f"==> {title} <==\n" if title else ""
            text = ("\n" if gap and title else "") + heading + (text or "\n")
        print(text, end="", flush=True)

    def save(self, transcript: Transcript, path: Path) -> None:
        """To a file, whole or not at all."""
        transcript.save(path, case=self._case, cues=self.spec, karaoke=self.karaoke)

    def write_video(self, transcript: Transcript, source: str) -> None:
        """A copy of the video with subtitles; what could not be copied is said."""
        from sonant.mux import mux

        assert self.mux is not None
        for line in mux(source, self.mux, transcript, case=self._case, cues=self.spec, karaoke=self.karaoke):
            say(line)


def name_outputs(files: list[str], folder: Path, format: TranscriptFormat) -> dict[str, Path]:
    """Where each file's result goes: `talk.txt`, or `talk.mp3.txt` beside a `talk.wav`."""
    from tempfile import TemporaryFile

    targets = {file: folder / (name + SUFFIXES[format]) for file, name in result_names(files).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # known now, not after hours of audio
            pass
    except OSError as error:
        raise OptionError(
            f"--output must be a folder that can be written, but {folder} is not ({error.strerror}); name another."
        ) from error
    return targets
