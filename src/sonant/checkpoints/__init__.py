"""Any published checkpoint as one value: architecture, numpy weights, vocabulary, input form.

Weights go by Hugging Face's names. Nothing here imports PyTorch, and no pickle is ever executed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sonant.errors import CheckpointError, OptionError
from sonant.model.config import EncoderConfig
from sonant.types import FloatArray, Vocabulary, WordTimes

if TYPE_CHECKING:
    from sonant.checkpoints.decoding import Decoding

PACKAGE = Path(__file__).parents[1]  # importlib.resources says the same, but takes 25 ms to import
BUILT_IN = "built-in"
"""The name of the model that comes along."""


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
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Its whole `config.json`, of which `config` is the part that shapes the encoder."""
    languages: tuple[str, ...] = ()
    """Names of the languages that it has adapters for (MMS), `language` among them; none for other models."""
    reopen: Callable[[str], Checkpoint] | None = None
    """From one of `languages` to this model in it."""
    find_folder: Callable[[], Path | None] | None = None
    """Where what it says of decoding lies, downloaded if need be; None for a model in a single file."""

    def require_vocabulary(self) -> Vocabulary:
        """The tokens of its CTC head; `CheckpointError` for a model that was only pre-trained and has none."""
        if self.vocabulary is None:
            raise CheckpointError(
                f"{self.name} was only pre-trained and has no CTC head, so it cannot write text; "
                "fine-tune it, or pass a model that was."
            )
        return self.vocabulary

    def in_language(self, language: str) -> Checkpoint:
        """The same model with the adapters, the head and the vocabulary of one of its `languages`.

        Raises `CheckpointError` for a language that it does not have.
        """
        if language == self.language:
            return self
        if self.reopen is None:
            raise CheckpointError(
                f"{self.name} must have language adapters to be asked for {language!r}, but has none; "
                "leave the language out, or take a model such as facebook/mms-1b-all."
            )
        return self.reopen(language)

    def decoding(self) -> Decoding | None:
        """The language model that comes with it, downloaded if need be; None where there is none for its language.

        Raises `CheckpointError` for one that is damaged, or that belongs to other tokens.
        """
        from sonant.checkpoints.decoding import read_decoding

        folder = self.find_folder() if self.find_folder else None
        return read_decoding(folder, self) if folder else None

    @property
    def word_times(self) -> WordTimes:
        """How its letters stand to the words that are said, as `config.json` has it under `sonant`, or else as heard.

        Raises `CheckpointError` for what cannot be.
        """
        own = self.settings.get("sonant")
        given = cast("dict[str, Any]", own).get("word_times") if isinstance(own, dict) else None
        try:
            return WordTimes() if given is None else WordTimes(**{name: float(given[name]) for name in given})
        except (TypeError, ValueError, OptionError):
            raise CheckpointError(
                f"The config.json of {self.name} must give word_times an offset and a reach in seconds, but gives "
                f"{given!r}; find them anew by `sonant evaluate --alignments`."
            ) from None

    def rows(self, name: str) -> int:
        """The first size of a weight; 0 where it is missing, which whoever reads the weight then says."""
        array = self.tensors.get(name)
        return array.shape[0] if array is not None and array.ndim == 2 else 0

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
            finite = np.isfinite(array.sum()) or np.isfinite(array).all()  # the sum is quick, but may overflow
        if not finite:
            raise CheckpointError(
                f"The tensor {name} of the checkpoint {self.name} must be finite, but holds NaN or infinity; "
                "its training diverged or the file is damaged."
            )
        return array


def open_checkpoint(
    source: str | PathLike[str] | None = None,
    *,
    language: str | None = None,
    revision: str | None = None,
    progress: bool = False,
) -> Checkpoint:
    """The model in a folder of Hugging Face's layout, on its hub (`facebook/wav2vec2-base-960h`), or `built-in`.

    None stands for what the environment variable SONANT_MODEL names, and for the built-in model where it names nothing.
    The folder of a training stands for the model in it. It may also be a file of torchaudio (`.pth`) or fairseq
    (`.pt`), which is known by what it holds. The short names of `sonant.models()` (`base-960h`) stand for models of the
    hub. A model of the hub is downloaded once, at `revision` if given, and found in the cache from then on; `progress`
    shows a bar on stderr. `language` chooses one of an MMS model's languages (`fra`). Raises `CheckpointError` where
    there is no such model or it cannot be read.
    """
    from sonant.checkpoints import catalogue, hub, huggingface

    source = os.environ.get("SONANT_MODEL") or BUILT_IN if source is None else source
    if source == BUILT_IN:
        return huggingface.open_folder(builtin_folder(), BUILT_IN, language)
    path = Path(source)
    with suppress(RuntimeError):  # no home of that name
        path = path.expanduser()
    try:
        if path.is_dir():
            return huggingface.open_folder(model_folder(path), str(source), language)
        is_file = path.exists()
    except OSError as error:  # no right to look, a name too long
        raise CheckpointError(
            f"{source} cannot be read ({error.strerror or error}); check its spelling and its rights."
        ) from error
    if is_file:
        opened = open_file(path, str(source))
        return opened if language is None else opened.in_language(language)
    name = catalogue.published_name(str(source)) or str(source)
    if not hub.is_name(name) or not isinstance(source, str):
        raise CheckpointError(
            "A model must be a folder, a file or a name of Hugging Face's hub, such as facebook/wav2vec2-base-960h, "
            f"but there is no folder {source}; check its spelling, or take one of the published models, such as "
            f"{', '.join(catalogue.nearest_names(str(source)))}."
        )
    folder = hub.fetch(name, revision, progress)
    find, decoding = (partial(part, name, folder.name, progress) for part in (hub.fetch_file, hub.fetch_decoding))
    return huggingface.open_folder(folder, name, language, find, decoding)


def open_file(path: Path, name: str) -> Checkpoint:
    """The model in a single file: torchaudio's or fairseq's, whatever its name ends in.

    Raises `CheckpointError` for a file of another kind, or one that is damaged.
    """
    from sonant.checkpoints import fairseq, torchaudio
    from sonant.checkpoints.torch_files import read_torch_file

    if path.suffix != ".safetensors":
        values = read_torch_file(path)
        for library in (torchaudio, fairseq):
            if library.recognises(values):
                try:
                    return library.open_file(path, name, values)
                except ValueError as error:  # a tensor's part that is not there
                    raise CheckpointError(f"{name} must hold a whole model, but {error}; fetch it again.") from error
    raise CheckpointError(
        f"A model in one file must be torchaudio's or fairseq's, but {name} is neither; "
        "name the folder that holds it with its config.json."
    )


def model_folder(folder: Path) -> Path:
    """A model's folder itself, or the one inside the folder of a training."""
    return folder / "model" if not (folder / "config.json").exists() and (folder / "model").is_dir() else folder


def of_language(name: str) -> bool:
    """Whether a tensor of an MMS model belongs to one of its languages: a layer's adapter, or the head."""
    return name.startswith("lm_head.") or ".adapter_layer." in name


def builtin_folder() -> Path:
    """The folder of the model that comes with the package."""
    folder = PACKAGE / "builtin" / "english"
    if not folder.is_dir():
        raise CheckpointError(f"The built-in model must be in {folder}, but is not; install sonant again.")
    return folder
