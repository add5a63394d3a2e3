"""Folders in Hugging Face's layout, read and written.

They hold `config.json`, the weights in one file or several, token files (`vocabularies`), `preprocessor_config.json`.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from sonant.checkpoints import Checkpoint
from sonant.checkpoints.adapters import adapted
from sonant.checkpoints.arrays import DTYPES, Storage, StoredArray, Tensors, contiguous, map_file, narrow, widen
from sonant.checkpoints.vocabularies import TOKEN_FILES, read_json, read_languages, read_vocabulary, token_files
from sonant.errors import CheckpointError, OutputError, VocabularyError
from sonant.files import write_text
from sonant.model.config import EncoderConfig
from sonant.types import Vocabulary, WordTimes

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
WEIGHT_FILES = tuple(name + end for name in _WEIGHTS for end in ("", ".index.json"))
"""The first of these that a folder has holds its weights; an index names the files that hold them."""
SIDE_FILES = (*TOKEN_FILES, "preprocessor_config.json", "processor_config.json", "README.md")
"""What else is read of a folder, where it is there."""
_SAFETENSORS_TYPES = {
    "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "BOOL": "bool", "C64": "complex64",
    "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32", "I64": "int64",
    "U64": "uint64",
}  # fmt: skip
_SAFETENSORS_NAMES = {name: code for code, name in _SAFETENSORS_TYPES.items()}
# What a bare encoder's names begin with; in models with a head the family's prefix stands before.
_ENCODER_PARTS = ("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed")
# torch.nn.utils.weight_norm, which PyTorch has since replaced, called the two factors g and v.
_OLD_NAMES = {
    ".conv.weight_g": ".conv.parametrizations.weight.original0",
    ".conv.weight_v": ".conv.parametrizations.weight.original1",
}


def open_folder(
    folder: Path,
    name: str,
    language: str | None = None,
    find: Callable[[str], Path | None] | None = None,
    find_decoding: Callable[[], Path | None] | None = None,
) -> Checkpoint:
    """The model in a folder, in one of its languages if it has several; weights are read when they are asked for.

    `find` gives the files of languages where they are not in the folder yet, `find_decoding` the folder once it has the
    language model. Raises `CheckpointError` for a folder
    without `config.json` or weights, or with any that no model can have, and for a language that the model lacks.
    """
    if not (folder / "config.json").exists():
        raise CheckpointError(
            f"{folder} must hold a model in Hugging Face's layout, but has no config.json; "
            "name the folder that has config.json and model.safetensors."
        )
    values = read_json(folder / "config.json")
    config = EncoderConfig.from_dict(values)
    stored = _stored_arrays(folder)
    arrays = {new: stored[old] for old, new in standard_names(stored, config.prefix).items()}
    languages = read_languages(folder) if config.adapter_attn_dim else ()
    if language is not None and languages:
        arrays = adapted(folder, name, arrays, config.prefix, language, find)
    head = arrays.get("lm_head.weight")
    vocabulary, spoken = None, None
    if head is not None:
        if len(head.shape) != 2 or not head.shape[0]:
            raise CheckpointError(f"lm_head.weight of {name} must have a row a token, but has the shape {head.shape}.")
        vocabulary, spoken = read_vocabulary(folder, head.shape[0], language if languages else None)
    own = values.get("sonant")
    own = cast("dict[str, Any]", own) if isinstance(own, dict) else {}
    sample_rate, normalize = _input_form(folder)
    opened = Checkpoint(
        name=name,
        config=replace(config, vocab_size=None if vocabulary is None else len(vocabulary)),
        tensors=Tensors(arrays),
        vocabulary=vocabulary,
        sample_rate=sample_rate,
        normalize=normalize,
        language=spoken or _line(own.get("language")) or _language_of_card(folder / "README.md"),
        note=_line(own.get("note")),
        settings=values,
        languages=languages,
        reopen=(lambda language: open_folder(folder, name, language, find, find_decoding)) if languages else None,
        find_folder=find_decoding or (lambda: folder),
    )
    return opened if language is None else opened.in_language(language)


def _stored_arrays(folder: Path) -> dict[str, StoredArray]:
    """Every tensor of the folder's weight files under the name it has there."""
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).exists()), None)
    if found is None:
        raise CheckpointError(
            f"{folder} must hold weights as model.safetensors or pytorch_model.bin, but has neither; fetch it again."
        )
    arrays: dict[str, StoredArray] = {}
    for path in [found] if found.suffix != ".json" else shards(found):
        arrays |= read_arrays(path)
    return arrays


def read_arrays(path: Path) -> dict[str, StoredArray]:
    """Every tensor of one weight file under the name it has there; its suffix tells the format."""
    return _safetensors_arrays(path) if path.suffix == ".safetensors" else _torch_arrays(path)


def shards(index: Path) -> list[Path]:
    """The files that an index names, in its own folder."""
    names = read_json(index).get("weight_map")
    names = set(cast("dict[str, object]", names).values()) if isinstance(names, dict) else set[object]()
    paths: list[Path] = []
    for name in sorted(map(str, names)):
        if Path(name).name != name or Path(name).suffix not in (".safetensors", ".bin"):
            raise CheckpointError(f"{index} must name weight files beside itself, but names {name!r}; fetch it again.")
        paths.append(index.parent / name)
    if not paths:
        raise CheckpointError(f"{index} must name the files of the weights, but names none; fetch it again.")
    return paths


def _safetensors_arrays(path: Path) -> dict[str, StoredArray]:
    """The tensors of a safetensors file; its library checks the header, but reads no bfloat16 without PyTorch."""
    from safetensors import SafetensorError, safe_open

    data = map_file(path)
    try:
        with safe_open(path, framework="numpy"):
            pass
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        arrays: dict[str, StoredArray] = {}
        for name, entry in header.items():
            if entry["dtype"] not in _SAFETENSORS_TYPES:
                raise CheckpointError(f"{path} must hold numbers of a known kind, but {name} is {entry['dtype']}.")
            shape = tuple(entry["shape"])
            storage = Storage(data, _SAFETENSORS_TYPES[entry["dtype"]], math.prod(shape))
            storage.place(start + entry["data_offsets"][0])
            arrays[name] = StoredArray(storage, 0, shape, contiguous(shape))
    except (SafetensorError, ValueError, OSError) as error:
        reason = _line(str(error))
        raise CheckpointError(
            f"{path} must be a safetensors file, but is damaged ({reason}); fetch it again."
        ) from error
    return arrays


def _torch_arrays(path: Path) -> dict[str, StoredArray]:
    """The tensors of a state dict that PyTorch saved."""
    from sonant.checkpoints.torch_files import named_arrays, read_torch_file

    values = read_torch_file(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold names and tensors, but holds something else; fetch it again.")
    arrays = named_arrays(cast("object", values))
    if not arrays:
        raise CheckpointError(f"{path} must hold names and tensors, but holds no tensor by name; fetch it again.")
    return arrays


def standard_names(names: Iterable[str], prefix: str) -> dict[str, str]:
    """From the names in a file to those of transformers' `...ForCTC`."""
    bare = not any(name.startswith(prefix + ".") for name in names)
    standard: dict[str, str] = {}
    for name in names:
        new = f"{prefix}.{name}" if bare and name.startswith(_ENCODER_PARTS) else name
        for old_end, new_end in _OLD_NAMES.items():
            if new.endswith("pos_conv_embed" + old_end):
                new = new.removesuffix(old_end) + new_end
        standard[name] = new
    return standard


def _input_form(folder: Path) -> tuple[int, bool]:
    """Hertz, and whether the model wants its clips normalised."""
    path = folder / "preprocessor_config.json"
    values: Any = read_json(path)
    if not path.exists():  # transformers 5 puts it into one file with the rest of the processor
        path = folder / "processor_config.json"
        values = read_json(path).get("feature_extractor")
    if not isinstance(values, dict):
        values = {}
    values = cast("dict[str, Any]", values)
    rate, normalize = values.get("sampling_rate", 16000), values.get("do_normalize", True)
    if not isinstance(rate, (int, float)) or not 1000 <= rate <= 1_000_000 or rate != int(rate):
        raise CheckpointError(f"sampling_rate in {path} must be a rate in hertz, but is {rate!r}; mend it.")
    if not isinstance(normalize, bool):
        raise CheckpointError(f"do_normalize in {path} must be true or false, but is {normalize!r}; mend it.")
    return int(rate), normalize


def _language_of_card(path: Path) -> str | None:
    """The language that a model card's front matter names, if it names one alone."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")[:20_000]
    except OSError:
        return None
    match = re.match(r"---\s*\n(.*?\n)---\s*$", text, re.DOTALL | re.MULTILINE)
    line = r"^language:[ \t]*(?:\n[ \t]*-[ \t]*)?[\"']?([a-z]{2,3}(?:-[A-Za-z]{2,8})?)[\"']?[ \t]*\n(?![ \t]*-[ \t])"
    found = re.search(line, match[1], re.MULTILINE) if match else None
    return found[1] if found else None


def _line(text: object) -> str | None:
    """One printable line, at most 300 characters long: what a file says may be shown in a terminal."""
    if not isinstance(text, str):
        return None
    return "".join(c if c.isprintable() else " " for c in text)[:300].strip() or None


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
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder that `open_checkpoint` and transformers load alike, whole or not at all.

    `tensors` go by the names of transformers' `...ForCTC`; the floating ones are stored as `dtype`. `settings` are more
    fields of `config.json`, or other values for some. The folder must be new or empty. Raises `OutputError` where it
    cannot be written, `CheckpointError` for numbers beyond `dtype`.
    """
    folder = Path(folder)
    if vocabulary is not None and config.vocab_size != len(vocabulary):
        raise VocabularyError(
            f"The model has {config.vocab_size} outputs but the vocabulary lists {len(vocabulary)} tokens; "
            "pass the vocabulary it was trained with."
        )
    texts = {"config.json": _config_json(config, vocabulary, note, language) | dict(settings or {})}
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
    with _new_folder(Path(folder)) as partial:
        for name, values in texts.items():
            text = json.dumps(values, ensure_ascii=False, indent=2, sort_keys=name != "vocab.json")
            (partial / name).write_text(text + "\n", encoding="utf-8")
        _write_safetensors(partial / "model.safetensors", tensors, dtype)


def save_word_times(folder: Path, times: WordTimes) -> None:
    """Write into the `config.json` of a model's folder how its letters stand to the words that are said.

    Raises `OutputError` where it cannot be written.
    """
    values = read_json(folder / "config.json")
    own = values.get("sonant")
    values["sonant"] = {**(own if isinstance(own, dict) else {}), "word_times": asdict(times)}
    write_text(folder / "config.json", json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


@contextmanager
def _new_folder(folder: Path) -> Generator[Path]:
    """A folder to write into, which gets its name when all is written, and is gone if anything fails."""
    partial = folder.with_name(f".{folder.name}-{os.getpid()}.partial")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} must be a new or an empty folder, but something is there; choose another.")
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rmdir()  # Windows does not rename over a folder
        partial.rename(folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror or error
        raise OutputError(f"{folder} could not be written ({reason}); nothing was left there.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


def _write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]], dtype: str) -> None:
    """Write arrays in safetensors' format: the length of a JSON header, the header, the numbers, widest types first."""
    kinds = {name: dtype if array.dtype.kind == "f" else str(array.dtype) for name, array in tensors.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    names = sorted(tensors, key=lambda name: (-DTYPES[kinds[name]].itemsize, name))
    end = 0
    for name in names:
        shape = tensors[name].shape
        start, end = end, end + math.prod(shape) * DTYPES[kinds[name]].itemsize
        header[name] = {"dtype": _SAFETENSORS_NAMES[kinds[name]], "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of eight bytes
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(_stored(name, tensors[name], kinds[name]).tobytes())


def _stored(name: str, array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """An array as it will lie in the file."""
    with np.errstate(over="ignore"):
        stored = narrow(array.astype(np.float32)) if dtype == "bfloat16" else array.astype(DTYPES[dtype])
    if not (np.isfinite(array).all() and np.isfinite(widen(stored) if dtype == "bfloat16" else stored).all()):
        raise CheckpointError(
            f"The tensor {name} must be finite to be saved as {dtype}, but holds NaN, infinity or too large a number; "
            "train again, or save as float32."
        )
    return stored
