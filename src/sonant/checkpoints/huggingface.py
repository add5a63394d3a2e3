"""Folders in Hugging Face's layout, read and written: `config.json`, weights, token files, `preprocessor_config.json`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints.arrays import narrow
from sonant.checkpoints.vocabularies import token_files
from sonant.errors import CheckpointError, OutputError, VocabularyError
from sonant.model.config import EncoderConfig
from sonant.types import Vocabulary


def save_checkpoint(
    folder: str | os.PathLike[str],
    config: EncoderConfig,
    tensors: Mapping[str, NDArray[Any]],
    vocabulary: Vocabulary | None,
    *,
    sample_rate: int = 16000,
    normalize: bool = True,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    note: str | None = None,
    language: str | None = None,
) -> None:
    """Write a folder that `open_checkpoint` and transformers load alike, whole or not at all.

    `tensors` go by the names of transformers' `...ForCTC`; the floating ones are stored as `dtype`. The folder must be
    new or empty. Raises `OutputError` where it cannot be written, `CheckpointError` for numbers that `dtype` cannot hold.
    """
    folder = Path(folder)
    if vocabulary is not None and config.vocab_size != len(vocabulary):
        raise VocabularyError(
            f"The model has {config.vocab_size} outputs but the vocabulary lists {len(vocabulary)} tokens; "
            "pass the vocabulary it was trained with."
        )
    texts = {"config.json": _config_json(config, vocabulary, note, language)}
    texts["preprocessor_config.json"] = {
        "do_normalize": normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": config.feat_extract_norm == "layer",
        "sampling_rate": sample_rate,
    }
    if vocabulary is not None:
        texts.update(token_files(vocabulary))
    stored = {name: _stored(name, array, dtype) for name, array in tensors.items()}
    partial = folder.with_name(f".{folder.name}-{os.getpid()}.partial")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} must be a new or an empty folder, but something is there; choose another.")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, values in texts.items():
            text = json.dumps(values, ensure_ascii=False, indent=2, sort_keys=name != "vocab.json")
            (partial / name).write_text(text + "\n", encoding="utf-8")
        _write_safetensors(partial / "model.safetensors", stored)
        shutil.copymode(partial / "config.json", partial / "model.safetensors")  # the library makes it for its owner alone
        if folder.exists():
            folder.rmdir()  # Windows does not rename over a folder
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder} could not be written ({error.strerror or error}); nothing was left there.") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _config_json(
    config: EncoderConfig, vocabulary: Vocabulary | None, note: str | None, language: str | None
) -> dict[str, Any]:
    """What `config.json` says; transformers carries the key `sonant` along and ignores it."""
    values = config.to_dict()
    # float32: the type to compute in; without it transformers computes in the type that is stored
    values |= {"dtype": "float32", "bos_token_id": None, "eos_token_id": None}
    if vocabulary is not None:
        values["pad_token_id"] = vocabulary.blank
    own = {name: text for name, text in (("language", language), ("note", note)) if text is not None}
    return values | ({"sonant": own} if own else {})


def _stored(name: str, array: NDArray[Any], dtype: str) -> tuple[str, NDArray[Any]]:
    """An array as it will lie in the file, and safetensors' name of its type."""
    if array.dtype.kind != "f":
        return str(array.dtype), np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        stored = array.astype("float16" if dtype == "float16" else "float32", order="C")
    if not np.isfinite(stored).all():
        raise CheckpointError(
            f"The tensor {name} must be finite to be saved as {dtype}, but holds NaN, infinity or a number that {dtype} "
            "cannot hold; train again, or save as float32."
        )
    return dtype, narrow(stored) if dtype == "bfloat16" else stored


def _write_safetensors(path: Path, stored: Mapping[str, tuple[str, NDArray[Any]]]) -> None:
    """Write arrays; `stored` keeps them alive while the library reads their memory."""
    from safetensors import SafetensorError, TensorSpec, serialize_file

    specs = {
        name: TensorSpec(dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes)
        for name, (dtype, array) in stored.items()
    }
    try:
        serialize_file(specs, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
