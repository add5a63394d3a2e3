"""Small folders in Hugging Face's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from sonant.model.config import EncoderConfig
from sonant.types import Vocabulary

CONFIG = EncoderConfig(hidden_size=4, num_attention_heads=1, num_conv_pos_embedding_groups=1, vocab_size=4)
VOCABULARY = Vocabulary(("<pad>", "|", "a", "b"), blank=0, separator=1)
PLAIN = {"<pad>": 0, "|": 1, "a": 2, "b": 3}


def head(outputs: int) -> dict[str, np.ndarray]:
    """The weights of a model as far as opening it looks at them."""
    return {"lm_head.weight": np.ones((outputs, 4), np.float32), "lm_head.bias": np.zeros(outputs, np.float32)}


def write(folder: Path, outputs: int | None = 4, **files: object) -> Path:
    """A folder with a model of so many outputs, and JSON files by their names without the suffix."""
    folder.mkdir(exist_ok=True)
    save_file(head(outputs) if outputs else {"wav2vec2.masked_spec_embed": np.ones(4)}, folder / "model.safetensors")
    for name, values in {"config": {"model_type": "wav2vec2"}, **files}.items():
        (folder / f"{name}.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return folder
