"""A data set in parts whose speakers differ."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sonant.data.manifest import Utterance
from sonant.errors import DataError, OptionError

OVER = 1.1
"""How far above its size a part may come while another speaker is added to it."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a part is to be: one of the two."""

    share: float | None = None
    """0 to 1, of the seconds of all."""
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Size:
        """`0.1` and `10%` are shares; `2h`, `30m` and `90s` are times. Raises `OptionError` for others."""
        units = {"h": 3600.0, "m": 60.0, "s": 1.0, "%": 0.01}
        number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "")
        try:
            value = float(number) * units.get(unit, 1.0)
        except ValueError:
            value = 0.0
        if not (0 < value < 1 if unit in ("", "%") else 0 < value < float("inf")):
            raise OptionError(f"A part must be a share such as 0.1 or 10%, or a time such as 2h, but is {text!r}.")
        return cls(share=value) if unit in ("", "%") else cls(seconds=value)


def split_manifest(
    utterances: Sequence[Utterance], parts: Mapping[str, Size], *, rest: str = "train", seed: int = 0
) -> dict[str, list[Utterance]]:
    """The utterances of each part, and of the `rest`, in their order; no speaker is in two of them.

    Where nobody is named, a file stands for its speaker. The same `seed` gives the same split on every machine. Parts
    come within a tenth above their size, or below it by what their speakers say. Raises `DataError` where there are
    too few speakers for that.
    """
    voices: dict[str, float] = defaultdict(float)
    for utterance in utterances:
        if utterance.duration is None:
            raise DataError(f"Every utterance must declare its duration, but {utterance.name} does not; prepare again.")
        voices[_voice(utterance)] += utterance.duration
    total = sum(voices.values())
    if len(voices) <= len(parts):
        raise DataError(
            f"{len(parts) + 1} parts of different speakers were asked for, but there are {len(voices)} speakers; "
            "ask for fewer parts, or name the speakers."
        )
    left = sorted(voices)
    random.Random(seed).shuffle(left)  # no secret
    owner: dict[str, str] = {}
    for name, size in parts.items():
        wanted = size.seconds if size.seconds is not None else (size.share or 0.0) * total
        taken = _fill(left, voices, wanted)
        if not taken or len(taken) == len(left):
            smallest = min(voices[voice] for voice in left)
            raise DataError(
                f"The part {name} of {wanted:.1f} s must consist of whole speakers and leave some, but of the "
                f"{len(left)} left the smallest has {smallest:.1f} s of {total:.1f} s; choose another size."
            )
        owner |= dict.fromkeys(taken, name)
        left = [voice for voice in left if voice not in owner]
    found: dict[str, list[Utterance]] = {name: [] for name in (rest, *parts)}
    for utterance in utterances:
        found[owner.get(_voice(utterance), rest)].append(utterance)
    return found


def _fill(left: Sequence[str], voices: Mapping[str, float], wanted: float) -> list[str]:
    """Speakers in their order as long as they fit."""
    taken: list[str] = []
    seconds = 0.0
    for voice in left:
        if seconds < wanted and seconds + voices[voice] <= OVER * wanted:
            taken.append(voice)
            seconds += voices[voice]
    return taken


def _voice(utterance: Utterance) -> str:
    return f"speaker {utterance.speaker}" if utterance.speaker else f"file {utterance.audio}"
