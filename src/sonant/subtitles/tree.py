"""JSON, which holds all of a transcript and gives it back.

The JSON of a transcript, its keys always all there and in this order; times are seconds with three decimals,
confidences have four:

    {"text": "two words", "duration": 1.5, "language": "en", "source": "talk.mp3", "model": "...",
     "settings": {"engine": "openvino", ...}, "warnings": ["..."], "space": " ",
     "segments": [{"start": 0.1, "end": 1.2, "text": "two words", "words": [
        {"text": "two", "start": 0.1, "end": 0.5, "confidence": 0.9876, "letters": [
            {"text": "t", "start": 0.1, "end": 0.14, "confidence": 0.9912}, ...]}, ...]}]}

Where speakers are known, each segment and each word has a `speaker` behind its other keys.
Where the decoder was asked for several readings, `alternatives` holds the others, each with `text`, `score`,
`acoustic`, `lm` and `words`. `language` and `source` may be null; `space` stands between words, and is empty for
scripts that write none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from sonant.errors import OptionError
from sonant.subtitles.spread import segments_by_speaker
from sonant.types import Hypothesis, Letter, Segment, Transcript, Word


def to_json(transcript: Transcript, *, indent: int | None = 1) -> str:
    """All of the transcript, in the layout above; on one line where `indent` is None."""
    tree = {
        "text": transcript.text,
        "duration": _time(transcript.duration),
        "language": transcript.language,
        "source": transcript.source,
        "model": transcript.model,
        "settings": dict(transcript.settings),
        "warnings": list(transcript.warnings),
        "space": transcript.segments[0].space if transcript.segments else " ",
        "segments": [
            {
                "start": _time(segment.start),
                "end": _time(segment.end),
                "text": segment.text,
                "words": [
                    {**_heard(word), "letters": [_heard(letter) for letter in word.letters]} | _speaker(word)
                    for word in segment.words
                ],
            }
            | _speaker(segment)
            for segment in transcript.segments
        ],
    }
    if transcript.alternatives:
        tree["alternatives"] = [_reading(hypothesis) for hypothesis in transcript.alternatives]
    return json.dumps(tree, indent=indent, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def from_json(text: str) -> Transcript:
    """The transcript that `to_json` wrote; unknown keys are passed over.

    Raises `OptionError` for anything else, with the place where it differs.
    """
    try:
        tree = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise OptionError(
            f"A transcript as JSON was expected, but this is none ({error}); pass what was saved."
        ) from error
    space = _get(tree, "space", str, "the transcript")
    return Transcript(
        segments=tuple(part for node in _nodes(tree, "segments", "the transcript") for part in _segments(node, space)),
        duration=_number(tree, "duration", "the transcript"),
        language=_get(tree, "language", str | None, "the transcript"),
        source=_get(tree, "source", str | None, "the transcript"),
        model=_get(tree, "model", str, "the transcript"),
        settings=_get(tree, "settings", dict, "the transcript"),
        warnings=tuple(_checked(node, str, "a warning") for node in _nodes(tree, "warnings", "the transcript")),
        alternatives=tuple(_hypothesis(node, space) for node in tree.get("alternatives", ())),
    )


def _time(seconds: float) -> float:
    return round(float(seconds), 3)


def _heard(part: Word | Letter) -> dict[str, Any]:
    return {
        "text": part.text,
        "start": _time(part.start),
        "end": _time(part.end),
        "confidence": round(float(part.confidence), 4),
    }


def _speaker(part: Segment | Word) -> dict[str, str]:
    return {"speaker": part.speaker} if part.speaker else {}


def _reading(hypothesis: Hypothesis) -> dict[str, Any]:
    scores = {key: round(float(getattr(hypothesis, key)), 4) for key in ("score", "acoustic", "lm")}
    return {"text": hypothesis.text, **scores, "words": [_heard(word) for word in hypothesis.words]}


def _hypothesis(node: object, space: str) -> Hypothesis:
    words = tuple(Word(*_parts(child, "a word")) for child in _nodes(node, "words", "an alternative"))
    score, acoustic, lm = (_number(node, key, "an alternative") for key in ("score", "acoustic", "lm"))
    return Hypothesis(words, score, space, acoustic, lm)


def _segments(node: object, space: str) -> Iterator[Segment]:
    """A segment, or several where speakers change in it."""
    words = tuple(_word(child) for child in _nodes(node, "words", "a segment"))
    if not words:
        raise OptionError("A segment of a transcript must have words, but one has none; pass what was saved.")
    yield from segments_by_speaker(words, space)


def _word(node: object) -> Word:
    letters = tuple(Letter(*_parts(child, "a letter")) for child in _nodes(node, "letters", "a word"))
    parts = _parts(node, "a word")
    known = "speaker" in cast("dict[str, object]", node)
    return Word(*parts, letters, _get(node, "speaker", str | None, "a word") if known else None)


def _parts(node: object, where: str) -> tuple[str, float, float, float]:
    start, end, confidence = (_number(node, key, where) for key in ("start", "end", "confidence"))
    return _get(node, "text", str, where), start, end, confidence


def _nodes(node: object, key: str, where: str) -> list[object]:
    return _get(node, key, list, where)


def _number(node: object, key: str, where: str) -> float:
    value = _get(node, key, int | float, where)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if isinstance(value, bool) or not math.isfinite(number):
        raise OptionError(f"{key!r} of {where} must be a number, but one is not; pass what was saved.")
    return number


def _get(node: object, key: str, kind: Any, where: str) -> Any:
    if not isinstance(node, dict) or key not in node:
        raise OptionError(f"A transcript as JSON must have {key!r} in {where}, but it is missing; pass what was saved.")
    return _checked(cast("dict[str, object]", node)[key], kind, f"{key!r} of {where}")


def _checked(value: object, kind: Any, what: str) -> Any:
    if not isinstance(value, kind):
        name = getattr(kind, "__name__", str(kind))
        raise OptionError(
            f"A transcript as JSON must have {what} as {name}, but it is {type(value).__name__}; pass what was saved."
        )
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
