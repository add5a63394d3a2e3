"""How often a model writes each token whatever is said, and what a beam search makes of it.

A model trained by CTC learns the frequencies of its tokens, the blank's above all, as well as their sounds; a language
model knows frequencies better. Divided by them, probabilities say how much the sound speaks for a token, as in hybrids
of neural networks and hidden Markov models (Bourlard and Morgan, 1994).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, log

import numpy as np

from sonant.decode.lexicon import writable
from sonant.errors import OptionError
from sonant.types import Emissions, Vocabulary

LEAST = 1e-5
"""Of tokens that come more seldom than this nobody knows how often."""


def token_priors(emissions: Iterable[Emissions]) -> dict[str, float]:
    """The mean of a model's probabilities over all frames, token by token; those below `LEAST` are left out."""
    total, num_frames, tokens = np.zeros(1), 0, ()
    for each in emissions:
        total = total + np.exp(each.log_probs, dtype=np.float64).sum(0)
        num_frames, tokens = num_frames + len(each), each.vocabulary.tokens
    priors = total / max(num_frames, 1)
    return {token: round(float(prior), 6) for token, prior in zip(tokens, priors, strict=False) if prior >= LEAST}


def prior_offsets(priors: Mapping[str, float] | None, weight: float, vocabulary: Vocabulary) -> list[float]:
    """What the priors add to each token's log-probability, (V,); empty where they do not count.

    Raises `OptionError` where they count, but are not known.
    """
    if not weight:
        return []
    if priors is None:
        raise OptionError(
            f"prior_weight is {weight:g} and takes out how often tokens come, but nobody says how often; pass priors, "
            "or let `sonant lm tune` find both."
        )
    silent = (vocabulary.blank, vocabulary.separator)
    return [
        -weight * log(max(priors.get(token, 0.0), LEAST)) if i in silent or writable(i, vocabulary) else 0.0
        for i, token in enumerate(vocabulary.tokens)
    ]


def blank_skip(probability: float, offsets: list[float], vocabulary: Vocabulary) -> float:
    """How likely the blank must be, so that what is left to others, after their offsets, is as little as before."""
    if not offsets:
        return probability
    return 1 - (1 - probability) * exp(offsets[vocabulary.blank] - max(offsets))
