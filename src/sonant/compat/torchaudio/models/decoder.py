"""`torchaudio.models.decoder`: flashlight's beam search in torchaudio's calls, over sonant's own.

The scores are sonant's and differ from flashlight's: neither its silence score, `log_add` nor `beam_size_token` has an
equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from sonant.compat.torchaudio.absent import refuse
from sonant.decode.beam import BeamDecoder, BeamState
from sonant.errors import OptionError, VocabularyError
from sonant.types import Emissions, Hypothesis, Vocabulary

__all__ = ["CTCDecoder", "CTCHypothesis", "ctc_decoder"]

__getattr__ = partial(refuse, __name__)

_FRAME_SECONDS = 0.02
"""torchaudio's decoder does not know it; frames come out as they went in."""


@dataclass(frozen=True)
class CTCHypothesis:
    """One reading of an emission."""

    tokens: Tensor
    """Indices (L,), words with the silence token around them."""
    words: list[str]
    score: float
    timesteps: Tensor
    """Frames (L,) of the tokens; that of a silence is where the word before it ends."""


class CTCDecoder:
    """Beam search over emissions (B, T, V); made by `ctc_decoder`."""

    def __init__(self, search: BeamDecoder, silence: int | None) -> None:
        self._search, self._silence = search, silence
        self._state: BeamState | None = None

    def __call__(self, emissions: Tensor, lengths: Tensor | None = None) -> list[list[CTCHypothesis]]:
        """The readings of each row, best first; `lengths` (B,) are its real frames, all where None."""
        if emissions.ndim != 3 or emissions.device.type != "cpu":
            raise OptionError(
                f"Emissions must be (batch, frames, labels) on the CPU, but {tuple(emissions.shape)} on "
                f"{emissions.device} came; add the batch, or call .cpu()."
            )
        counts = [emissions.shape[1]] * len(emissions) if lengths is None else [int(n) for n in lengths]
        found: list[list[CTCHypothesis]] = []
        for row, count in zip(emissions, counts, strict=True):
            self.decode_begin()
            self.decode_step(row[:count])
            self.decode_end()
            found.append(self.get_final_hypothesis())
        return found

    def decode_begin(self) -> None:
        """Begin a recording that comes in pieces."""
        self._state = self._search.start(self._search.vocabulary)

    def decode_step(self, emissions: Tensor) -> None:
        """Hear the next frames (T, V), logits or log-probabilities."""
        log_probs = emissions.detach().float().log_softmax(-1).numpy()
        self._begun().feed(Emissions(log_probs, _FRAME_SECONDS, self._search.vocabulary))

    def decode_end(self) -> None:
        """End the recording; here nothing is left to do."""
        self._begun()

    def get_final_hypothesis(self) -> list[CTCHypothesis]:
        """The readings of what was heard, best first."""
        return [self._converted(reading) for reading in self._begun().finish()]

    def idxs_to_tokens(self, idxs: Tensor) -> list[str]:
        """The texts of tokens."""
        return [self._search.vocabulary.tokens[int(i)] for i in idxs]

    def _begun(self) -> BeamState:
        if self._state is None:
            raise OptionError("A recording must have begun, but none has; call decode_begin first.")
        return self._state

    def _converted(self, reading: Hypothesis) -> CTCHypothesis:
        silence, index = self._silence, self._search.vocabulary.index
        tokens: list[int] = [] if silence is None else [silence]
        times = [0.0] * len(tokens)
        for word in reading.words:
            tokens += [index[letter.text] for letter in word.letters]
            times += [letter.start for letter in word.letters]
            if silence is not None:
                tokens.append(silence)
                times.append(word.end)
        frames = torch.tensor([round(time / _FRAME_SECONDS) for time in times], dtype=torch.int32)
        words = [word.text for word in reading.words]
        return CTCHypothesis(torch.tensor(tokens, dtype=torch.int64), words, reading.score, frames)


def ctc_decoder(
    lexicon: str | PathLike[str] | None,
    tokens: str | PathLike[str] | list[str],
    lm: str | PathLike[str] | None = None,
    lm_dict: str | None = None,
    nbest: int = 1,
    beam_size: int = 50,
    beam_size_token: int | None = None,
    beam_threshold: float = 50,
    lm_weight: float = 2,
    word_score: float = 0,
    unk_score: float = float("-inf"),
    sil_score: float = 0,
    log_add: bool = False,
    blank_token: str = "-",
    sil_token: str = "|",
    unk_word: str = "<unk>",
) -> CTCDecoder:
    """A decoder for these tokens (a list, or a file of one a line), with a lexicon and a KenLM or ARPA file, or not.

    `beam_size_token`, `log_add` and `unk_word` change nothing. Raises `OptionError` for `sil_score` and `lm_dict`,
    which are not offered, and `VocabularyError` for tokens without blank.
    """
    del beam_size_token, log_add, unk_word
    if sil_score or lm_dict is not None:
        raise OptionError("sil_score and lm_dict are not offered, but one came; leave it out, and pass a KenLM file.")
    listed = tokens if isinstance(tokens, list) else Path(tokens).read_text(encoding="utf-8").split()
    if blank_token not in listed:
        raise VocabularyError(f"The tokens must hold the blank {blank_token!r}, but do not; pass blank_token.")
    silence = listed.index(sil_token) if sil_token in listed else None
    vocabulary = Vocabulary(tuple(listed), listed.index(blank_token), silence)
    unknown = None if unk_score == float("-inf") else -unk_score
    search = BeamDecoder(
        vocabulary,
        lm,
        lexicon,
        nbest=nbest,
        beam_size=beam_size,
        score_threshold=beam_threshold,
        lm_weight=lm_weight,
        word_bonus=word_score,
        unknown_penalty=unknown,
    )
    return CTCDecoder(search, silence)
