"""How `transcribe` says who speaks: its options, and the model that tells voices apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sonant.cli.terminal import ProgressBar, load_model
from sonant.errors import OptionError

if TYPE_CHECKING:
    from sonant.recognizer import Recognizer
    from sonant.types import Transcript

_PANEL = "Speakers"
SpeakersOption = Annotated[
    str | None,
    typer.Option(metavar="auto|N", help="Tell so many speakers apart, and number them.", rich_help_panel=_PANEL),
]
VoicesOption = Annotated[
    Path | None, typer.Option(help="Name the speakers that identify --enroll put there.", rich_help_panel=_PANEL)
]
VoiceModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="What tells voices apart; the model itself if not given.", rich_help_panel=_PANEL
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        help="Score from which two voices are one; where not given, as fits the model.", rich_help_panel=_PANEL
    ),
]
FalseAcceptOption = Annotated[
    float | None,
    typer.Option(
        help="Share of strangers that may be taken for somebody: 0.01.", min=1e-6, max=0.5, rich_help_panel=_PANEL
    ),
]


@dataclass(frozen=True)
class Who:
    """Whether speakers are wanted, and how they are told apart."""

    speakers: str | None
    voices: Path | None
    model: str | None
    threshold: float | None
    false_accept: float | None

    @property
    def wanted(self) -> bool:
        return self.speakers is not None or self.voices is not None

    @property
    def count(self) -> int | Literal["auto"]:
        """How many speakers there are; `OptionError` for what is no number."""
        if self.speakers in (None, "auto"):
            return "auto"
        if not self.speakers.isdecimal() or int(self.speakers) < 1:
            raise OptionError(f"--speakers is auto or how many there are, but {self.speakers!r} came; write a number.")
        return int(self.speakers)

    def check(self, files: list[str]) -> None:
        """Raise `OptionError` for options that do not go together, before any work."""
        _ = self.count
        if self.voices and self.speakers:
            raise OptionError("--voices names speakers, --speakers numbers them; choose one of both.")
        if self.threshold is not None and not (self.voices or (self.count == "auto" and self.speakers)):
            raise OptionError("--threshold is for --voices and --speakers auto; give it with one of both, or not.")
        if self.false_accept is not None and not self.voices:
            raise OptionError("--false-accept says whom --voices names; give it with that, or not.")
        if self.threshold is not None and self.false_accept is not None:
            raise OptionError("--false-accept sets the threshold of --voices; give it, or --threshold.")
        if self.model and not self.wanted:
            raise OptionError("--voice-model tells speakers apart; give it with --speakers or --voices.")
        if self.wanted and "-" in files:
            raise OptionError(
                "A recording is heard twice to know who speaks, but - comes once; save it to a file first."
            )

    def open(self, asr: Recognizer, **options: object) -> Ear | None:
        """What labels transcripts of `asr`, its own model loaded with `options`; None where nobody asks."""
        if not self.wanted:
            return None
        from sonant.cli.identify import open_voices, threshold_of
        from sonant.identify import has_voice_head

        ear = load_model(self.model, lm=False, **options) if self.model else asr
        if not has_voice_head(ear.checkpoint):
            raise OptionError(
                f"Speakers are told apart by a model with a head for voices, but {ear.checkpoint.name} has "
                "none; name one by --voice-model, such as microsoft/wavlm-base-plus-sv."
            )
        least = self.threshold
        if self.voices:
            known = open_voices(ear, self.voices)
            least = known.threshold(self.false_accept) if self.false_accept else threshold_of(ear, self.threshold)
        return Ear(ear, self, least)


@dataclass(frozen=True)
class Ear:
    """Labels transcripts with who speaks."""

    model: Recognizer
    who: Who
    threshold: float | None

    def label(self, transcript: Transcript, file: str) -> Transcript:
        """The transcript of a file with its speakers, under a progress bar."""
        from sonant.speakers import label_speakers

        bar = ProgressBar(f"voices of {file}")
        try:
            return label_speakers(
                transcript,
                file,
                self.model,
                speakers=self.who.count,
                voices=self.who.voices,
                threshold=self.threshold,
                progress=bar,
            )
        finally:
            bar.close()
