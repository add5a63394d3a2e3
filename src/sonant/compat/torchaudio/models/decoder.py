"""`torchaudio.models.decoder`: flashlight's beam search in torchaudio's calls, over sonant's own.

The readings are flashlight's with `log_add=True`, given beams wide enough: what differs is told by `ctc_decoder`.
"""

from __future__ import annotations

from functools import partial
from math import inf, log
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sonant.compat.torchaudio.absent import refuse
from sonant.compat.torchaudio.utils import download_asset
from sonant.decode.beam import BeamDecoder, BeamState
from sonant.errors import OptionError, VocabularyError
from sonant.types import Emissions, Hypothesis, Vocabulary

__all__ = ["CTCDecoder", "CTCHypothesis", "PretrainedFiles", "ctc_decoder", "download_pretrained_files"]

__getattr__ = partial(refuse, __name__)

_FRAME_SECONDS = 0.02
"""torchaudio's decoder does not know it; frames come out as they went in."""
_NEVER = -1e4
"""The score of a token that is not tried."""


class CTCHypothesis(NamedTuple):
    """One reading of an emission."""

    tokens: Tensor
    """Indices (L,), words with the silence token around them."""
    words: list[str]
    """Of the lexicon; without one (where torchaudio gives none) what stands between silences."""
    score: float
    timesteps: Tensor
    """Frames (L,) of the tokens, counted from 1; that of a silence is where the word before it ends."""


class PretrainedFiles(NamedTuple):
    """What a decoder is made of."""

    lexicon: str
    tokens: str
    lm: str | None


def download_pretrained_files(model: str) -> PretrainedFiles:
    """The files of `librispeech-4-gram`, `librispeech-3-gram` or `librispeech` where torchaudio keeps them.

    Nothing is downloaded: raises `AudioError` naming what is missing, and `OptionError` for other names.
    """
    if model not in ("librispeech", "librispeech-3-gram", "librispeech-4-gram"):
        raise OptionError(
            f"Decoder files are librispeech, librispeech-3-gram or librispeech-4-gram, but {model!r} was asked for; "
            "name one of these."
        )
    lexicon, tokens = (download_asset(f"decoder-assets/{model}/{name}.txt") for name in ("lexicon", "tokens"))
    lm = None if model == "librispeech" else download_asset(f"decoder-assets/{model}/lm.bin")
    return PretrainedFiles(lexicon, tokens, lm)


class CTCDecoder:
    """Beam search over emissions (B, T, V); made by `ctc_decoder`."""

    def __init__(
        self, search: BeamDecoder, *, closed: bool, num_tried: int | None, silence_score: float, unknown: str
    ) -> None:
        self._search, self._silence = search, search.vocabulary.separator
        self._closed, self._unknown = closed, unknown
        self._num_tried, self._silence_score = num_tried, silence_score
        self._state: BeamState | None = None
        self._offset = 0.0
        """What the scores lost where rows were made log-probabilities."""

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
        self._state, self._offset = self._search.start(self._search.vocabulary), 0.0

    def decode_step(self, emissions: Tensor) -> None:
        """Hear the next frames (T, V), logits or log-probabilities."""
        state = self._begun()
        scores = emissions.detach().float()
        if scores.ndim != 2 or scores.shape[1] != len(self._search.vocabulary):
            raise OptionError(
                f"A piece of an emission must be (frames, {len(self._search.vocabulary)}), but {tuple(scores.shape)} "
                "came; pass one recording, with the labels of the model."
            )
        if self._num_tried is not None:
            tried = torch.zeros_like(scores, dtype=torch.bool)
            tried.scatter_(1, scores.topk(min(self._num_tried, scores.shape[1])).indices, True)
            tried[:, [index for index in (self._search.vocabulary.blank, self._silence) if index is not None]] = True
            scores = scores.where(tried, _NEVER)
        if self._silence is not None and self._silence_score:
            scores = scores.clone()
            scores[:, self._silence] += self._silence_score
        state.feed(Emissions(scores.log_softmax(-1).numpy(), _FRAME_SECONDS, self._search.vocabulary))
        self._offset += float(scores.double().logsumexp(-1).sum())

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
        frames = [0] * len(tokens)
        for word in reading.words:
            tokens += [index[letter.text] for letter in word.letters]
            frames += [_frame(letter.start) for letter in word.letters]
            if silence is not None:
                tokens.append(silence)
                frames.append(_frame(word.end))
        known = set(self._search.words) if self._closed else None
        words = [word.text if known is None or word.text in known else self._unknown for word in reading.words]
        timesteps = torch.tensor(frames, dtype=torch.int32)
        return CTCHypothesis(torch.tensor(tokens, dtype=torch.int64), words, reading.score + self._offset, timesteps)


def _frame(seconds: float) -> int:
    return round(seconds / _FRAME_SECONDS) + 1


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

    `lm_weight` is that of logarithms to base 10, as KenLM gives them. Three things differ: alignments of a text are
    always added up (`log_add`); words outside the lexicon, possible with an `unk_score`, may be any letters, not only
    beginnings of the lexicon's words; and `tokens` tells each silence between words once.
    Raises `OptionError` for a language model without a lexicon, for one that is no file, and for `lm_dict`, and
    `VocabularyError` for tokens without the blank.
    """
    del log_add
    if lm_dict is not None or (lm and not (lexicon and isinstance(lm, str | PathLike))):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionError(
            "A language model is a KenLM or ARPA file of words beside a lexicon, but an object, an lm_dict or a file "
            "without lexicon came; build one of words with `sonant lm build`, and pass the lexicon."
        )
    listed = tokens if isinstance(tokens, list) else _read_tokens(tokens)
    if blank_token not in listed:
        raise VocabularyError(f"The tokens must hold the blank {blank_token!r}, but do not; pass blank_token.")
    if beam_size_token is not None and beam_size_token < 1:
        raise OptionError(f"beam_size_token must be at least 1, but is {beam_size_token}; leave it out for all tokens.")
    silence = listed.index(sil_token) if sil_token in listed else None
    search = BeamDecoder(
        Vocabulary(tuple(listed), listed.index(blank_token), silence),
        lm or None,
        lexicon or None,
        nbest=nbest,
        beam_size=beam_size,
        score_threshold=beam_threshold,
        token_threshold=inf,
        blank_skip=1.0,
        recombine=False,  # as flashlight, which keeps every text apart
        lm_weight=lm_weight / log(10),
        word_bonus=word_score if lexicon else 0.0,
        unknown_penalty=None if unk_score == -inf else -unk_score,
        letter_penalty=0.0,
    )
    return CTCDecoder(
        search, closed=bool(lexicon), num_tried=beam_size_token, silence_score=sil_score, unknown=unk_word
    )


def _read_tokens(path: str | PathLike[str]) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"Tokens must be a list, or a UTF-8 file of one a line, but {path} is none; name another."
        ) from error
    for number, line in enumerate(lines, 1):
        if len(line.split()) > 1:
            raise OptionError(f"Tokens must stand one on a line, but {path}, line {number}, has several; leave one.")
    return [line.strip() for line in lines if line.strip()]
