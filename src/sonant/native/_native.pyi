from collections.abc import Callable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

def runs(
    log_probs: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], float]: ...

class TextError(ValueError): ...
class TemporaryFileError(RuntimeError): ...

class Estimate(TypedDict):
    num_sentences: int
    num_words: int
    num_skipped: int
    num_types: int
    found: list[int]
    kept: list[int]
    discounts: list[tuple[float, float, float]]
    estimated: list[bool]

class KneserNey:
    def __init__(
        self,
        *,
        order: int,
        thresholds: list[int],
        allowed_words: list[str] | None,
        skip_marks: bool,
        memory: int,
        folder: str,
    ) -> None: ...
    def begin(self, name: str) -> None: ...
    def feed(self, piece: bytes) -> None: ...
    def end(self) -> None: ...
    def finish(
        self,
        *,
        write_arpa: Callable[[bytes], object] | None,
        write_lm: Callable[[bytes], object] | None,
        progress: Callable[[str, int, int], object] | None,
    ) -> Estimate: ...
