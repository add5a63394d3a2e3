"""Any checkpoint as a folder in Hugging Face's layout, tensor by tensor: memory holds one of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from os import PathLike
from typing import Literal, cast

import numpy as np

from sonant.checkpoints import Checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.types import FloatArray, WordTimes

Dtype = Literal["float32", "float16", "bfloat16"]
# What config.json says of how its file was written, and what is written anew.
_OUTDATED = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "vocab_size", "sonant",
             "pad_token_id", "bos_token_id", "eos_token_id", "auto_map", "quantization_config")  # fmt: skip


def convert(checkpoint: Checkpoint, folder: str | PathLike[str], dtype: Dtype = "float32") -> None:
    """Write a checkpoint as a new folder that transformers and sonant load alike, whole or not at all.

    An MMS model is written in the language that it was opened in. Raises `OutputError` for a folder that is not new or
    cannot be written, `CheckpointError` for numbers beyond `dtype`.
    """
    config = checkpoint.config
    architectures = checkpoint.settings.get("architectures")
    written = config.to_dict()
    settings = {name: value for name, value in checkpoint.settings.items() if name not in (*_OUTDATED, *written)}
    if architectures == ["Wav2Vec2ForPreTraining"] and "quantizer.codevectors" in checkpoint.tensors:
        settings["architectures"] = architectures
    elif head := head_of(checkpoint):
        settings["architectures"] = [config.class_name(head)]
    given = checkpoint.settings.get("sonant")
    own = dict(cast("dict[str, object]", given)) if isinstance(given, dict) else {}
    own |= {"language": checkpoint.language, "note": checkpoint.note}
    if checkpoint.word_times != WordTimes():
        own["word_times"] = asdict(checkpoint.word_times)
    if own := {name: value for name, value in own.items() if value is not None}:
        settings["sonant"] = own
    save_checkpoint(
        folder,
        config,
        _Prefixed(checkpoint),
        checkpoint.vocabulary,
        sample_rate=checkpoint.sample_rate,
        normalize=checkpoint.normalize,
        dtype=dtype,
        note=checkpoint.note,
        language=checkpoint.language,
        settings=settings,
    )


def head_of(checkpoint: Checkpoint) -> str | None:
    """What transformers calls a model with its head, behind the family's name; None without one, or with a CTC head."""
    names = checkpoint.tensors.keys()
    if "tdnn.0.kernel.weight" in names:
        return "ForXVector"
    if "classifier.weight" in names and checkpoint.vocabulary is None:
        return "ForSequenceClassification" if "projector.weight" in names else "ForAudioFrameClassification"
    return None


class _Prefixed(Mapping[str, FloatArray]):
    """A checkpoint's tensors as they are read, with the mask vector of training for models that came without."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.tensors = checkpoint.tensors
        self.mask = f"{checkpoint.config.prefix}.masked_spec_embed"
        self.width = checkpoint.config.hidden_size

    def __getitem__(self, name: str) -> FloatArray:
        if name == self.mask and name not in self.tensors:
            # drawn as a new model's is: only training reads it, and transformers warns where it is missing
            return np.random.default_rng(0).uniform(size=self.width).astype(np.float32)
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.tensors
        if self.mask not in self.tensors:
            yield self.mask

    def __len__(self) -> int:
        return len(self.tensors) + (self.mask not in self.tensors)
