"""What samples may be: their rates, channels, types and values, and how they become mono float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sonant.errors import AudioError
from sonant.types import FloatArray

# N samples

Pieces = Iterator[tuple[int, FloatArray]]
"""Sample rates with mono samples (N,), of any length at a time."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 192_000
MOST_CHANNELS = 8
LOUDEST = 2.0**32
"""Above any scale that samples come in; the squares of still larger ones would not fit float32."""


def check_form(name: str, rate: int, channels: int) -> None:
    """Raise `AudioError` for a rate or a number of channels that no recording has."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name} has a sample rate of {rate} Hz, but {LOWEST_RATE} to {HIGHEST_RATE} Hz can be read; "
            "correct its header or convert it."
        )
    if not 0 < channels <= MOST_CHANNELS:
        raise AudioError(
            f"{name} has {channels} channels, but 1 to {MOST_CHANNELS} can be mixed into one; "
            "pick or mix the ones with speech first."
        )


def mono(channels: Sequence[NDArray[Any]]) -> FloatArray:
    """The mean of channels (N,) of one type, integers divided by its full scale; always a copy."""
    scale = 1.0 if channels[0].dtype.kind == "f" else 2.0 ** (8 * channels[0].dtype.itemsize - 1)
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is refused by `checked`
        total = _signed(channels[0]).astype(np.float32)
        for channel in channels[1:]:  # ten times as fast as a mean over an axis of two
            total += _signed(channel)
        total /= np.float32(scale * len(channels))
    return total


def mono_block(samples: ArrayLike, start: float = 0.0) -> FloatArray:
    """The next samples (N,) of a stream, of which `start` seconds came before, as float32; integers as in `mono`.

    Raises `AudioError` for other shapes and types, and for samples that are no numbers or beyond any scale.
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise AudioError(
            f"A stream takes mono samples of shape (N,), but {array.shape} came; mix the channels first, "
            "as by samples.mean(axis=1)."
        )
    if array.dtype.kind not in "fiu" or (array.dtype.kind in "iu" and array.itemsize > 4):
        raise AudioError(
            f"A stream takes samples as floats or as integers of 8 to 32 bits, but {array.dtype} came; convert them."
        )
    if not array.size:
        return np.zeros(0, np.float32)
    block = mono([array])
    if not np.abs(block).max() <= LOUDEST:  # not a number fails this too
        first = int(np.argmin(np.abs(block) <= LOUDEST))
        raise AudioError(
            f"A stream takes samples that are numbers of some scale, but one of {block[first]} came in the block that "
            f"begins at {start:.3f} s; repair that place first."
        )
    return block


class Mixer:
    """Mixes channels into one, and keeps how loud each of them is and what is left of them in the mix."""

    def __init__(self) -> None:
        self.powers: list[float] = [0.0]
        """The sum of the squares of each channel, full scale being 1."""
        self.mixed = 0.0
        """That of the mix; 0 for a single channel, which is not measured."""

    def mix(self, channels: Sequence[NDArray[Any]]) -> FloatArray:
        """What `mono` gives."""
        mixed = mono(channels)
        if len(channels) > 1:
            if len(self.powers) != len(channels):  # some files change their form
                self.powers, self.mixed = [0.0] * len(channels), 0.0
            for i, channel in enumerate(channels):
                alone = mono([channel])
                with np.errstate(over="ignore"):
                    self.powers[i] += float(np.dot(alone, alone))
            with np.errstate(over="ignore"):
                self.mixed += float(np.dot(mixed, mixed))
        return mixed

    @property
    def silent(self) -> int:
        """Channels that are 50 dB and more below the loudest: unplugged, or nothing but their noise."""
        return sum(power < 1e-5 * max(self.powers) for power in self.powers)

    @property
    def cancelled(self) -> bool:
        """Whether channels of opposite phase leave less than a hundredth of their power in the mix."""
        loud = [power for power in self.powers if power >= 1e-5 * max(self.powers)]
        return len(loud) > 1 and self.mixed < 0.01 * sum(loud) / len(self.powers) ** 2


def _signed(channel: NDArray[Any]) -> NDArray[Any]:
    """Unsigned integers around 0 instead of the middle of their range."""
    if channel.dtype.kind != "u":
        return channel
    native = channel.astype(channel.dtype.newbyteorder("="))
    half = native.dtype.type(2 ** (8 * native.itemsize - 1))
    return (native ^ half).view(f"i{native.itemsize}")


def seconds(pieces: Pieces, length: float = 1.0) -> Pieces:
    """The same samples, `length` seconds at a time; a shorter piece where the rate changes, and at the end."""
    held: list[FloatArray] = []
    count = rate = size = 0
    for piece_rate, piece in pieces:
        if count and piece_rate != rate:
            yield rate, np.concatenate(held)
            held, count = [], 0
        rate = piece_rate
        size = max(round(rate * length), 1)
        held.append(piece)
        count += len(piece)
        if count >= size:
            joined = np.concatenate(held)
            whole = count - count % size
            yield from ((rate, joined[start : start + size]) for start in range(0, whole, size))
            held, count = [joined[whole:]], count - whole
    if count:
        yield rate, np.concatenate(held)


def checked(pieces: Pieces, name: str) -> Pieces:
    """The same samples; raises `AudioError` with the time of the first that is no number, or beyond any scale."""
    clock = 0.0
    for rate, piece in pieces:
        if not np.abs(piece).max() <= LOUDEST:  # not a number fails this too
            first = int(np.argmin(np.abs(piece) <= LOUDEST))
            raise AudioError(
                f"{name} has a sample of {piece[first]} at {clock + first / rate:.3f} s, which is no sound; "
                "repair or cut that place first."
            )
        clock += len(piece) / rate
        yield rate, piece


def reason(error: BaseException) -> str:
    """Why, in the words of the system or the library, to stand inside a sentence."""
    return getattr(error, "strerror", None) or str(error).strip().rstrip(".") or type(error).__name__
