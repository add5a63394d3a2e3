"""`forced_align` and `merge_tokens` of `torchaudio.functional` over sonant's aligner, which takes hours at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
import torch
from torch import Tensor

from sonant import native
from sonant.errors import AlignmentError, OptionError
from sonant.text import needed_frames

_FLOATS = (torch.float64, torch.float32, torch.float16)


class ForcedAlignError(AlignmentError, RuntimeError):
    """What torchaudio's aligner raises a `RuntimeError` for."""


@dataclass
class TokenSpan:
    """A token, its first frame, one past its last, and the mean of its scores."""

    token: int
    start: int
    end: int
    score: float

    def __len__(self) -> int:
        return self.end - self.start


def forced_align(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | None = None,
    target_lengths: Tensor | None = None,
    blank: int = 0,
) -> tuple[Tensor, Tensor]:
    """The likeliest token of each frame (1, T), of the type of `targets` (1, L), and its score, that of `log_probs`.

    `log_probs` are (1, T, C), compared in single precision. Of ways that are equally likely, staying is taken before
    going on, the nearer token before the further; torchaudio 2.11 then may take one that is not the likeliest. Raises
    `ForcedAlignError` (a `RuntimeError`) and `OptionError` (a `ValueError`) where torchaudio raises these, and where no
    way is possible.
    """
    _check(log_probs, targets, blank)
    for lengths, size, name in (
        (input_lengths, log_probs.shape[1], "input"),
        (target_lengths, targets.shape[1], "target"),
    ):
        if lengths is not None and lengths.ndim != 1:
            raise ForcedAlignError(f"{name}_lengths must be 1-D (batch_size,), but has {lengths.ndim} dimensions.")
        if lengths is not None and int(lengths.max()) != size:
            raise ForcedAlignError(
                f"{name} length mismatch: the longest must be {size}, but is {int(lengths.max())}; cut off the padding."
            )
    values = np.ascontiguousarray(log_probs[0].detach().cpu().float().numpy())
    tokens = targets[0].cpu().numpy().astype(np.int32)
    num_frames, repeats = len(values), needed_frames(tokens.tolist()) - len(tokens)
    if num_frames < len(tokens) + repeats:
        raise ForcedAlignError(
            f"targets length is too long for CTC. Found log_probs length: {num_frames}, targets length: {len(tokens)}, "
            f"and number of repeats: {repeats}"
        )
    fault, frame = native.first_fault(values)
    proof, starts, ends, _, _ = native.align(values, tokens, blank) if not fault else (0, tokens, tokens, 0.0, 0)
    if not proof:
        where = f"frame {frame} has NaN, infinity or no token that is possible" if fault else "no way is possible"
        raise ForcedAlignError(f"log_probs must let the targets be said, but {where}; look at what the model emitted.")
    path = np.full(num_frames, blank)
    for token, start, end in zip(tokens, starts, ends, strict=True):
        path[start:end] = token
    paths = torch.as_tensor(path)[None].to(targets)
    return paths, log_probs.gather(2, paths.to(log_probs.device, torch.int64)[..., None])[..., 0]


class Tokenizer:
    """The words of a normalised transcript as indices of their letters: what `MMS_FA.get_tokenizer()` gives."""

    def __init__(self, dictionary: Mapping[str, int]) -> None:
        self.dictionary = dictionary

    def __call__(self, transcript: Sequence[str]) -> list[list[int]]:
        """One list a word; raises `OptionError` for a letter that the model lacks."""
        for word in transcript:
            for letter in word:
                if letter not in self.dictionary:
                    raise OptionError(
                        f"The words of a transcript must have letters of the model, but {word!r} has {letter!r}; "
                        "romanise them in lower case, or put the star in their place."
                    )
        return [[self.dictionary[letter] for letter in word] for word in transcript]


class Aligner:
    """Where an emission holds the words of a tokenised transcript: what `MMS_FA.get_aligner()` gives."""

    def __init__(self, blank: int) -> None:
        self.blank = blank

    def __call__(self, emission: Tensor, tokens: Sequence[Sequence[int]]) -> list[list[TokenSpan]]:
        """A list of spans a word, their scores mean probabilities, from log-probabilities (T, C); raises as those."""
        if emission.ndim != 2:
            raise OptionError(f"The input emission must be 2D. Found: {emission.shape}")
        flat = torch.tensor([[token for word in tokens for token in word]], dtype=torch.int32)
        paths, scores = forced_align(emission[None], flat, blank=self.blank)
        spans = iter(merge_tokens(paths[0], scores[0].exp(), self.blank))
        return [list(islice(spans, len(word))) for word in tokens]


def _check(log_probs: Tensor, targets: Tensor, blank: int) -> None:
    """Raises what torchaudio raises for other shapes and types."""
    if log_probs.ndim != 3:
        raise ForcedAlignError(
            f"log_probs must be 3-D (batch_size, input length, num classes), but has {log_probs.ndim} dimensions."
        )
    if targets.ndim != 2:
        raise ForcedAlignError(f"targets must be 2-D (batch_size, target length,), but has {targets.ndim} dimensions.")
    for name, tensor in (("log_probs", log_probs), ("targets", targets)):
        if tensor.shape[0] != 1:
            raise ForcedAlignError(
                f"The batch dimension for {name} must be 1 at the current version. It is {tensor.shape[0]}; align one "
                "by one."
            )
    if log_probs.dtype not in _FLOATS:
        raise ForcedAlignError(f"log_probs must be float64, float32 or float16 (half) type, but is {log_probs.dtype}.")
    if targets.dtype not in (torch.int32, torch.int64):
        raise ForcedAlignError(f"targets must be int32 or int64 type, but is {targets.dtype}.")
    if not 0 <= blank < log_probs.shape[2]:
        raise ForcedAlignError(f"blank must be within [0, num classes), but is {blank} of {log_probs.shape[2]}.")
    if (targets == blank).any():
        raise OptionError(f"targets Tensor shouldn't contain blank index. Found {targets}.")
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < log_probs.shape[2]:
        raise OptionError("targets values must be less than the CTC dimension, and not below 0; look at the blank.")


def merge_tokens(tokens: Tensor, scores: Tensor, blank: int = 0) -> list[TokenSpan]:
    """The tokens that the frames of a path (T,) spell, each with its frames and the mean of its `scores` (T,)."""
    if tokens.ndim != 1 or scores.ndim != 1:
        raise OptionError("`tokens` and `scores` must be 1D Tensor.")
    if len(tokens) != len(scores):
        raise OptionError("`tokens` and `scores` must be the same length.")
    found: list[TokenSpan] = []
    start = 0
    for token, run in groupby(tokens.cpu().numpy()):
        end = start + sum(1 for _ in run)
        if token != blank:
            found.append(TokenSpan(int(token), start, end, float(scores[start:end].mean())))
        start = end
    return found
