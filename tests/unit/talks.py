"""Transcripts to be written, made of words alone."""

from __future__ import annotations

from sonant.types import Letter, Segment, Transcript, Word

SPEECH = (
    "FOUR SCORE AND SEVEN YEARS AGO OUR FATHERS BROUGHT FORTH ON THIS CONTINENT A NEW NATION CONCEIVED IN LIBERTY "
    "AND DEDICATED TO THE PROPOSITION THAT ALL MEN ARE CREATED EQUAL"
)


def segment(text: str, start: float = 0.0, pace: float = 0.06, pause: float = 0.08, space: str = " ") -> Segment:
    """The words of a text, one after another, each with its letters; characters where `space` is empty."""
    words: list[Word] = []
    for said in text.split() if space else text:
        letters: list[Letter] = []
        for letter in said:
            letters.append(Letter(letter, round(start, 3), round(start + pace, 3), 0.5))
            start += pace
        words.append(Word(said, letters[0].start, letters[-1].end, 0.5, tuple(letters)))
        start += pause
    return Segment(tuple(words), space)


def talk(*texts: str, language: str | None = None, space: str = " ", pace: float = 0.06) -> Transcript:
    """A segment a text, a second apart."""
    segments: list[Segment] = []
    clock = 0.25
    for text in texts:
        segments.append(segment(text, clock, pace, space=space))
        clock = round(segments[-1].end + 1.0, 3)
    return Transcript(tuple(segments), clock, language=language, source="my talk.mp4")
