"""Any published checkpoint as one value: architecture, numpy weights under Hugging Face's names, vocabulary, input form.

Nothing here imports PyTorch, and no pickle is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import numpy as np

from sonant.errors import CheckpointError
from sonant.model.config import EncoderConfig
from sonant.types import FloatArray, Vocabulary


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model as it lies on disk; weights are read when they are asked for."""

    name: str
    """What the user called it: a folder, a file or a hub name."""
    config: EncoderConfig
    tensors: Mapping[str, FloatArray]
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

    def weight(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        """A weight by its name without the family's prefix (`encoder.layers.0...`, `lm_head.weight`), read-only.

        Raises `CheckpointError` where it is missing, has another shape, or holds numbers that are not finite.
        """
        key = f"{self.config.prefix}.{name}"
        if key not in self.tensors and name in self.tensors:
            key = name
        array = self.tensors.get(key)
        if array is None:
            raise CheckpointError(
                f"The checkpoint {self.name} must have a tensor {name} of shape {shape}, but has none of that name; "
                "fetch it again, or mend its config.json."
            )
        if array.shape != shape:
            raise CheckpointError(
                f"The tensor {name} of the checkpoint {self.name} must have the shape {shape}, but has {array.shape}; "
                "its config.json belongs to another model."
            )
        with np.errstate(all="ignore"):
            finite = bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())  # a sum may overflow; rarely needed
        if not finite:
            raise CheckpointError(
                f"The tensor {name} of the checkpoint {self.name} must be finite, but holds NaN or infinity; "
                "its training diverged or the file is damaged."
            )
        return array
