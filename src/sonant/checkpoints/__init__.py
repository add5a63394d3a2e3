"""Any published checkpoint as one value: architecture, numpy weights under Hugging Face's names, vocabulary, input form.

Nothing here imports PyTorch, and no pickle is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sonant.model.config import EncoderConfig
from sonant.types import Vocabulary


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model as it lies on disk; weights are read when they are asked for."""

    name: str
    """What the user called it: a folder, a file or a hub name."""
    config: EncoderConfig
    tensors: Mapping[str, NDArray[Any]]
    """Weights by the names of transformers' `...ForCTC` (`wav2vec2.encoder.layers.0...`, `lm_head.weight`), float32."""
    vocabulary: Vocabulary | None
    """None where the checkpoint has no CTC head."""
    sample_rate: int = 16000
    """Hertz that the model was trained at."""
    normalize: bool = True
    """Whether it wants each clip at mean 0 and variance 1."""
    language: str | None = None
    """ISO 639 code where the checkpoint says it."""
    note: str | None = None
    """One line for the user's first use: what the model can and cannot do."""
