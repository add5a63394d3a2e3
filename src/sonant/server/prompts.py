"""OpenAI's `prompt` as words to expect: what these models can make of it, where they decode with a beam."""

from __future__ import annotations

import re

from sonant.decode import Decoder
from sonant.decode.beam import BeamDecoder

BOOST = 8.0
"""What each adds to a score, as `--hotword` does."""
LONGEST, MOST = 4, 100
"""Words of one phrase, and phrases; longer parts of a prompt are sentences, which are no names."""
_ENDS = re.compile(r"[^\w\s'’&-]+|\n+")


def phrases_of(prompt: str) -> list[str]:
    """The names and terms of a prompt: what stands between its commas, ends of sentences and lines, if it is short."""
    parts = (" ".join(part.split()) for part in _ENDS.split(prompt))
    short = (part for part in parts if part and len(part.split()) <= LONGEST)
    return list(dict.fromkeys(short))[:MOST]


def expecting(decoder: Decoder, prompt: str) -> Decoder:
    """The decoder, or one that expects a prompt's words where it is a beam: greedy decoding expects nothing."""
    if not isinstance(decoder, BeamDecoder) or not (phrases := phrases_of(prompt)):
        return decoder
    return decoder.expecting(dict.fromkeys(phrases, BOOST))
