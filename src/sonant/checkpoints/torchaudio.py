"""torchaudio's `.pth` files: the weights of its wav2vec 2.0, HuBERT and WavLM models, and nothing beside them.

The architecture is read off the shapes. What the bundles of `torchaudio.pipelines` know beside the weights (labels,
rows of the head that mean nothing, whether clips are normalised) stands in the tables below. torchaudio builds HuBERT
as wav2vec 2.0, from which it does not differ there; so such files open as wav2vec 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from sonant.checkpoints import Checkpoint
from sonant.checkpoints.arrays import ChosenRows, Readable, StoredArray
from sonant.checkpoints.shapes import WEIGHT_NORM, checkpoint_of, infer_config
from sonant.checkpoints.torch_files import named_arrays
from sonant.checkpoints.vocabularies import read_vocabulary
from sonant.errors import CheckpointError, VocabularyError
from sonant.types import Vocabulary

_ANCHOR = "encoder.feature_projection.projection.weight"
"""A tensor that all of its models have, under a name that no other library gives."""


class Labels(NamedTuple):
    """The letters of a bundle, which follow the blank, and which rows of its head mean nothing."""

    name: str
    """Of the corpus; where the number of rows leaves several, a file's own name decides by it."""
    language: str | None
    letters: str
    dropped: tuple[int, ...] = (1, 2, 3)
    """Rows that training never used (sentence marks, unknown, a stray digit); the bundle takes them away."""

    @property
    def outputs(self) -> tuple[int, int]:
        """Rows of the published file, and those that the bundle leaves."""
        return 1 + len(self.letters) + len(self.dropped), 1 + len(self.letters)


BLANK = "-"
"""The bundles' name for CTC's blank, always the first label."""
LABELS = (
    Labels("librispeech", "en", "|ETAONIHSRDLUMWCFGYPBVK'XJQZ"),
    Labels("mms", None, "aienoutsrmkldghybpwcvjzf'qx"),  # the aligner of many languages
    Labels("voxpopuli", "en", "|etoiansrhldcumpfgwybvkxjqz", (1, 2, 3, 31)),
    Labels("voxpopuli", "de", "|enirstadhulgcmobwfkzpvüäöjßyxq", (1, 2, 3, 35)),
    Labels("voxpopuli", "es", "|eaosnrildctupmbqygvhófíájzñéxúkwü", (1, 2, 3, 35)),
    Labels("voxpopuli", "fr", "|esnitraouldcpmévqfgbhxàjèyêzôkçœûùîâwïëüæ"),
    Labels("voxpopuli", "it", "|eiaontrlscdupmgvhzfbqàèùéòìkyxwjóíï"),
)
"""Of the published fine-tuned models; where nothing else decides, the first whose rows are as many is a file's own."""


def recognises(values: object) -> bool:
    """Whether a file's content are torchaudio's weights, maybe in a wrapper's names."""
    return any(name.endswith(_ANCHOR) for name in _state(values))


def open_file(path: Path, name: str, values: object) -> Checkpoint:
    """The model of a file with this content.

    Raises `CheckpointError` for tensors that fit no model, `VocabularyError` for a head whose labels are not known.
    """
    arrays = _standard(_state(values))
    family = "wavlm" if "encoder.layers.0.attention.rel_attn_embed.weight" in arrays else "wav2vec2"
    config = infer_config(name, arrays, family)
    vocabulary, language = None, None
    if config.vocab_size is not None:
        vocabulary, language, dropped = _vocabulary(path, name, config.vocab_size)
        kept = tuple(i for i in range(config.vocab_size) if i not in dropped)
        if dropped:
            for part in ("lm_head.weight", "lm_head.bias"):
                whole = arrays.get(part)
                if not isinstance(whole, StoredArray) or whole.shape[:1] != (config.vocab_size,):
                    raise CheckpointError(f"{name} must have a bias for each row of its head; fetch it again.")
                arrays[part] = ChosenRows(whole, kept)
            config = replace(config, vocab_size=len(kept))
    normalize = config.feat_extract_norm == "layer"  # as in every bundle
    return checkpoint_of(name, config, arrays, vocabulary, normalize=normalize, language=language)


def _state(values: object) -> dict[str, StoredArray]:
    """The tensors by name: of the file itself or of the training checkpoint around them."""
    if isinstance(values, dict):
        held = cast("dict[object, object]", values)
        for key in ("state_dict", "model"):
            inner = named_arrays(held.get(key))
            if any(name.endswith(_ANCHOR) for name in inner):
                return inner
        return named_arrays(held)
    return {}


def _standard(state: Mapping[str, StoredArray]) -> dict[str, Readable]:
    """The tensors by transformers' names without the family's prefix."""
    wrapper = next(name for name in state if name.endswith(_ANCHOR)).removesuffix(_ANCHOR)
    arrays: dict[str, Readable] = {}
    for key, array in state.items():
        if key == f"{wrapper.removesuffix('wav2vec2.')}mask_generator.mask_embedding":
            arrays["masked_spec_embed"] = array
        if not key.startswith(wrapper):
            continue
        key = key.removeprefix(wrapper)
        key = re.sub(r"^encoder\.feature_projection\.", "feature_projection.", key)
        key = re.sub(r"^encoder\.transformer\.", "encoder.", key)
        key = re.sub(r"^aux\.", "lm_head.", key)
        key = WEIGHT_NORM.get(key, key)
        joined = re.fullmatch(r"(encoder\.layers\.\d+\.attention)\.attention\.in_proj_(weight|bias)", key)
        if joined:
            arrays |= _split(joined[1], joined[2], array)
        else:
            arrays[re.sub(r"\.attention\.attention\.", ".attention.", key)] = array
    return arrays


def _split(place: str, kind: str, joined: StoredArray) -> dict[str, StoredArray]:
    """WavLM's queries, keys and values, which lie in one tensor there."""
    if not joined.shape or joined.shape[0] % 3:
        raise CheckpointError(f"{place}.in_proj_{kind} must hold three parts, but has the shape {joined.shape}.")
    width = joined.shape[0] // 3
    return {f"{place}.{part}_proj.{kind}": joined.part(i * width, (i + 1) * width) for i, part in enumerate("qkv")}


def _vocabulary(path: Path, name: str, outputs: int) -> tuple[Vocabulary, str | None, tuple[int, ...]]:
    """The labels of a head with so many rows, their language, and the rows to leave out."""
    if (path.parent / "vocab.json").exists():
        vocabulary, language = read_vocabulary(path.parent, outputs)
        return vocabulary, language, ()
    fitting = [labels for labels in LABELS if outputs in labels.outputs]
    named = [labels for labels in fitting if labels.name in path.name.lower()]
    spoken = [labels for labels in named if re.search(rf"[_-]{labels.language}$", path.stem.lower())]
    for labels in [*spoken, *named, *fitting]:
        vocabulary = Vocabulary((BLANK, *labels.letters), blank=0, separator=labels.letters.find("|") + 1 or None)
        return vocabulary, labels.language, labels.dropped if outputs > len(vocabulary) else ()
    raise VocabularyError(
        f"The model {name} has {outputs} outputs, but no published model of torchaudio has as many; "
        "put a vocab.json with its labels beside the file."
    )
