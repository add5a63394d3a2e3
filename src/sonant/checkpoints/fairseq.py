"""fairseq's `.pt` files: wav2vec 2.0, XLS-R, HuBERT and data2vec-audio, pre-trained or with a CTC head; WavLM's own.

They hold the weights as `model` and the settings as `cfg` (dictionaries or omegaconf's nodes) or, the older ones, as
`args` (a Namespace). What settings leave open is read off the shapes; the tokens of a head are those of the dictionary
in the file, or of `dict.ltr.txt` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sonant.checkpoints import Checkpoint
from sonant.checkpoints.arrays import Readable, StoredArray
from sonant.checkpoints.pickles import Inert
from sonant.checkpoints.shapes import WEIGHT_NORM, checkpoint_of, infer_config
from sonant.checkpoints.torch_files import named_arrays
from sonant.checkpoints.vocabularies import read_vocabulary
from sonant.errors import CheckpointError, VocabularyError
from sonant.model.config import MAX_LAYERS, Family, PretrainConfig
from sonant.types import Vocabulary

_ANCHOR = "feature_extractor.conv_layers.0.0.weight"
"""A tensor that all of its models have, under a name that no other library gives."""
_NAMES = [(re.compile(old), new) for old, new in (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"post_extract_proj\.", "feature_projection.projection."),
    (r"layer_norm\.", "feature_projection.layer_norm."),
    (r"mask_emb$", "masked_spec_embed"),
    (r"encoder\.pos_conv\.(\d+)\.0\.", r"encoder.pos_conv_embed.layers.\1.conv."),  # data2vec's several
    (r"encoder\.pos_conv\.0\.(weight_[gv]|parametrizations|bias)", r"encoder.pos_conv_embed.conv.\1"),
    (r"encoder\.layers\.(\d+)\.self_attn\.relative_attention_bias\.", r"encoder.layers.\1.attention.rel_attn_embed."),
    (r"encoder\.layers\.(\d+)\.self_attn\.grep_linear\.", r"encoder.layers.\1.attention.gru_rel_pos_linear."),
    (r"encoder\.layers\.(\d+)\.self_attn\.grep_a$", r"encoder.layers.\1.attention.gru_rel_pos_const"),
    (r"encoder\.layers\.(\d+)\.self_attn\.", r"encoder.layers.\1.attention."),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.layers.\1.layer_norm."),
    (r"encoder\.layers\.(\d+)\.fc1\.", r"encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"encoder\.layers\.(\d+)\.fc2\.", r"encoder.layers.\1.feed_forward.output_dense."),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.", r"encoder.layers.\1.final_layer_norm."),
    (r"encoder\.layer_norm\.", "encoder.layer_norm."),
)]  # fmt: skip
"""How names begin, and what transformers writes there; names that begin otherwise are of no use to an encoder."""
_BATCH_NORM = [(re.compile(old), new) for old, new in (
    (r"encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.batch_norm."),
    (r"encoder\.pos_conv\.1\.", "encoder.pos_conv_embed.conv."),
)]  # fmt: skip
_PRETRAINING: dict[str, list[tuple[re.Pattern[str], str]]] = {
    "wav2vec2": [(re.compile(old), new) for old, new in (
        (r"quantizer\.vars$", "quantizer.codevectors"),
        (r"quantizer\.weight_proj\.", "quantizer.weight_proj."),
        (r"project_q\.", "project_q."),
        (r"final_proj\.", "project_hid."),
    )],
    "hubert": [(re.compile(r"(final_proj\.|label_embs_concat$)"), r"\1")],
}  # fmt: skip
"""What only pre-training uses, by family."""
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "swish": "silu"}


def recognises(values: object) -> bool:
    """Whether a file's content is a checkpoint of fairseq, or of WavLM's authors."""
    return isinstance(values, dict) and any(name.endswith(_ANCHOR) for name in _state(values))  # pyright: ignore[reportUnknownArgumentType]


def open_file(path: Path, name: str, values: object) -> Checkpoint:
    """The model of a file with this content.

    Raises `CheckpointError` for tensors or settings that fit no model, `VocabularyError` for a head without tokens.
    """
    settings = Settings(values)
    family, arrays = _standard(name, _state(values), settings)
    config = infer_config(name, arrays, family, settings.architecture())
    vocabulary = None if config.vocab_size is None else _vocabulary(path, name, config.vocab_size, values, settings)
    return checkpoint_of(
        name,
        config,
        arrays,
        vocabulary,
        sample_rate=_rate(settings.find("sample_rate", int)),
        normalize=bool(settings.find("normalize", bool)),
        settings=_pretraining(arrays, settings),
    )


def _state(values: object) -> dict[str, StoredArray]:
    """The tensors by name."""
    return named_arrays(cast("dict[object, object]", values).get("model")) if isinstance(values, dict) else {}


class Settings:
    """What a file says of its model: in `cfg` or `args`, and for a fine-tuned model also in those of its origin."""

    def __init__(self, values: object) -> None:
        whole = entries(values)
        cfg, args = entries(whole.get("cfg")), entries(whole.get("args"))
        model = entries(cfg.get("model"))
        origin = entries(model.get("w2v_args")) or entries(args.get("w2v_args"))
        # the origin's own come first: what fine-tuning repeats of them may be defaults
        self.places = [entries(origin.get("model")), origin, model, args, cfg]
        self.task = entries(cfg.get("task"))

    def find(self, name: str, *kinds: type) -> Any:
        """A setting of one of these types from where it is first given; None where nothing gives one."""
        places = (
            [self.task, *self.places[2:], *self.places[:2]] if name in ("normalize", "sample_rate") else self.places
        )
        for place in places:
            value = plain(place.get(name))
            if type(value) in kinds:
                return value
        return None

    def architecture(self) -> dict[str, Any]:
        """The fields of `config.json` that are said here."""
        known: dict[str, Any] = {}
        for field, name in _ARCHITECTURE.items():
            value = self.find(name, bool if field == "do_stable_layer_norm" else int)
            if value is not None:
                known[field] = value
        activation = self.find("activation_fn", str)
        if activation is not None:
            known["hidden_act"] = _ACTIVATIONS.get(activation, activation)
        layers = self.find("conv_feature_layers", str)
        if layers is not None:
            known["conv_stride"] = read_strides(layers)
        return known


_ARCHITECTURE = {
    "num_attention_heads": "encoder_attention_heads",
    "do_stable_layer_norm": "layer_norm_first",
    "max_bucket_distance": "max_distance",
}


def entries(value: object) -> Mapping[str, Any]:
    """What a configuration holds one level down: a dictionary, a Namespace, a node of omegaconf; nothing for others."""
    if isinstance(value, Inert):
        value = value.attributes.get("_content") if value.name.startswith("omegaconf.") else value.attributes
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def plain(value: object) -> object:
    """A number or text, out of omegaconf's node or an enumeration's member if it is in one."""
    if isinstance(value, Inert) and value.name.startswith("omegaconf."):
        value = value.attributes.get("_val")
    if isinstance(value, Inert) and len(value.args) == 1:
        value = value.args[0]
    return value


def read_strides(text: str) -> tuple[int, ...]:
    """The strides of `[(512, 10, 5)] + [(512, 3, 2)] * 4 + ...`, Python that is read and never run."""
    strides: list[int] = []
    group = r"\[\s*((?:\(\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\)\s*,?\s*)+)\](?:\s*\*\s*(\d{1,4}))?"
    if len(text) > 10_000 or not re.fullmatch(rf"\s*{group}(?:\s*\+\s*{group})*\s*", text):
        raise CheckpointError(f"conv_feature_layers must be lists of three numbers a layer, but is {text[:80]!r}.")
    for layers, times in re.findall(group, text):
        group_strides = [int(stride[-7:]) for stride in re.findall(r"(\d+)\s*\)", layers)]
        strides += group_strides * min(int(times or 1), MAX_LAYERS)
        if len(strides) > MAX_LAYERS:
            break
    return tuple(strides)


def _standard(name: str, state: Mapping[str, StoredArray], settings: Settings) -> tuple[Family, dict[str, Readable]]:
    """The family, and the tensors by transformers' names without its prefix."""
    place = next(key for key in state if key.endswith(_ANCHOR)).removesuffix(_ANCHOR)
    own = {key.removeprefix(place): array for key, array in state.items() if key.startswith(place)}
    if any(".adapter_layer.W_a" in key for key in own):
        raise CheckpointError(
            f"{name} holds language adapters as fairseq keeps them, which are not supported; "
            "take the same model from the hub: facebook/mms-1b-all."
        )
    kind = settings.find("_name", str) or settings.find("arch", str) or ""
    if "encoder.layers.0.self_attn.relative_attention_bias.weight" in own:
        family = "wavlm"
    elif "encoder.pos_conv.0.0.weight" in own:
        family = "data2vec-audio"
        if settings.find("layer_norm_first", bool):
            raise CheckpointError(f"{name} must have its layer norms last, as all of data2vec, but has them first.")
    else:
        family = "hubert" if "label_embs_concat" in own or "hubert" in kind else "wav2vec2"
    normed = "encoder.pos_conv.0.running_mean" in own
    table = [*(_BATCH_NORM if normed else []), *_NAMES, *_PRETRAINING.get(family, [])]
    head = place.removesuffix("w2v_model.") + "proj."
    arrays: dict[str, Readable] = {}
    if head + "weight" in state:
        arrays = {f"lm_head.{end}": state[head + end] for end in ("weight", "bias") if head + end in state}
        table = [rule for rule in table if rule not in _PRETRAINING.get(family, [])]
    for key, array in own.items():
        new = next((old.sub(new, key, count=1) for old, new in table if old.match(key)), None)
        if new is not None:
            arrays[WEIGHT_NORM.get(new, new)] = array
    return family, arrays


def _rate(value: int | None) -> int:
    """Hertz; 16000 where a file is silent."""
    if value is not None and not 1000 <= value <= 1_000_000:
        raise CheckpointError(f"sample_rate must be a rate in hertz, but is {value}; mend the file's cfg.")
    return value or 16000


def _pretraining(arrays: Mapping[str, Readable], settings: Settings) -> dict[str, Any]:
    """The fields of `config.json` that pre-training adds, where the file has its weights."""
    if "quantizer.codevectors" not in arrays:
        return {}
    groups = settings.find("latent_groups", int) or 2
    shape, projected = arrays["quantizer.codevectors"].shape, arrays.get("project_q.weight")
    if len(shape) != 3 or groups < 1 or shape[1] % groups or projected is None or len(projected.shape) != 2:
        raise CheckpointError(f"The codebooks must be {groups} of equal size, but have the shape {shape}.")
    values = {
        "num_codevectors_per_group": shape[1] // groups,
        "num_codevector_groups": groups,
        "codevector_dim": shape[2] * groups,
        "proj_codevector_dim": projected.shape[0],
        "num_negatives": settings.find("num_negatives", int),
        "contrastive_logits_temperature": settings.find("logit_temp", float),
    }
    return PretrainConfig.from_dict(values).to_dict() | {"architectures": ["Wav2Vec2ForPreTraining"]}


def _vocabulary(path: Path, name: str, outputs: int, values: object, settings: Settings) -> Vocabulary:
    """The tokens of a head: from the file, or from a dictionary beside it."""
    labels = settings.find("labels", str) or "ltr"
    ending = labels if re.fullmatch(r"\w{1,20}", labels) else "ltr"
    beside = [path.with_name(f"dict.{end}.txt") for end in dict.fromkeys((ending, "ltr"))]
    task = entries(entries(values).get("task_state"))
    symbols = entries(task.get("target_dictionary")).get("symbols")
    if not isinstance(symbols, list):
        found = next((file for file in beside if file.exists()), None)
        if found is None and path.with_name("vocab.json").exists():
            return read_vocabulary(path.parent, outputs)[0]
        if found is None:
            missing = beside[0]
            raise VocabularyError(
                f"A model of fairseq with {outputs} outputs must come with its dictionary, but there is no {missing}; "
                "fetch it from where the model is published."
            )
        symbols = ["<s>", "<pad>", "</s>", "<unk>", *read_dictionary(found)]
    symbols = cast("list[object]", symbols)
    tokens = [symbol for symbol in symbols if isinstance(symbol, str)]
    if len(tokens) != outputs or len(symbols) != outputs or len(set(tokens)) < outputs:
        raise VocabularyError(
            f"The model {name} has {outputs} outputs but its dictionary lists {len(symbols)} tokens (each must be "
            "there once); pass the dictionary it was trained with."
        )
    # fairseq's blank is its <s>; transformers calls the blank <pad>, and so do folders that are written from here
    if tokens[:2] == ["<s>", "<pad>"]:
        tokens[:2] = ["<pad>", "<s>"]
    index = {token: i for i, token in enumerate(tokens)}
    marks = {i for token, i in index.items() if token in ("<s>", "</s>", "<pad>") or token.startswith("madeupword")}
    return Vocabulary(
        tuple(tokens), blank=0, separator=index.get("|"), unknown=index.get("<unk>"), silent=frozenset(marks)
    )


def read_dictionary(path: Path) -> list[str]:
    """The symbols of a `dict.ltr.txt`: a line each, with its count."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise VocabularyError(
            f"{path} must be a text in UTF-8, but cannot be read ({error}); fetch it again."
        ) from error
    symbols: list[str] = []
    for line in text.splitlines():
        line = line.removesuffix(" #fairseq:overwrite")
        symbol, _, count = line.rstrip().rpartition(" ")
        if not symbol or not count.isdecimal():
            raise VocabularyError(f"{path} must have a symbol and its count in each line, but has {line[:40]!r}.")
        symbols.append(symbol)
    return symbols
