"""What a checkpoint's `config.json` says of its architecture, under Hugging Face's names.

The families differ in seven things: the norm of the convolutions, their bias, where the layer norms stand, the norm of
the projection, the depth and kernel of the positional convolution, its norm, and relative positions or adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from reprlib import repr as shown
from typing import Any, Literal, NoReturn

from sonant.errors import CheckpointError

Family = Literal["wav2vec2", "hubert", "wavlm", "data2vec-audio"]
FAMILIES: tuple[Family, ...] = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
ACTIVATIONS = ("gelu", "relu", "silu")
MAX_SIZE = 2**20
"""More than any width or kernel can sensibly be; what lies above is damage, or meant to exhaust the machine."""
MAX_LAYERS = 1000


@dataclass(frozen=True)
class EncoderConfig:
    """An architecture of the wav2vec 2.0 family; the defaults are wav2vec 2.0 base."""

    model_type: Family = "wav2vec2"
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    """Activation of the transformer's feed-forward networks."""
    layer_norm_eps: float = 1e-5
    """Of the transformer and the projection; the convolutions' norms always use 1e-5."""

    conv_dim: tuple[int, ...] = (512,) * 7
    """Channels of each convolution; one width a layer, so that small models may widen with depth."""
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    """`group`: one norm over time after the first convolution; `layer`: one over channels after each."""
    feat_extract_activation: str = "gelu"
    """Activation of the convolutions, the positional one included."""
    feat_proj_layer_norm: bool = True

    num_conv_pos_embeddings: int = 128
    """Kernel of the positional convolution; its depth where `conv_pos_kernel_size` is given."""
    num_conv_pos_embedding_groups: int = 16
    conv_pos_kernel_size: int | None = None
    """data2vec: the kernel of each of several positional convolutions."""
    conv_pos_batch_norm: bool = False
    """HuBERT variants: a batch norm before the positional convolution in place of its weight norm."""

    do_stable_layer_norm: bool = False
    """True: layer norms stand before attention and feed-forward, and one after the last layer."""
    num_buckets: int | None = None
    """WavLM: buckets of the gated relative position bias."""
    max_bucket_distance: int = 800
    adapter_attn_dim: int | None = None
    """MMS: width of the language adapter in each layer."""

    vocab_size: int | None = None
    """Outputs of the CTC head; None where there is no head."""

    feat_proj_dropout: float = 0.0
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    final_dropout: float = 0.0
    layerdrop: float = 0.0

    def __post_init__(self) -> None:
        """Raise `CheckpointError` for what cannot be built, or what transformers would read otherwise."""
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                _refuse(name, f"one of {', '.join(allowed)}", getattr(self, name))
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) <= MAX_LAYERS:
            raise CheckpointError(
                f"conv_dim, conv_kernel and conv_stride must have one entry a layer (at most {MAX_LAYERS}), but have "
                f"{len(self.conv_dim)}, {len(self.conv_kernel)} and {len(self.conv_stride)}; mend config.json."
            )
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else () if value is None else (value,)
            if not all(least <= number <= most for number in numbers) or value == ():
                _refuse(name, f"between {least:g} and {most:g}", value)
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                _refuse(name, f"a divisor of hidden_size ({self.hidden_size})", getattr(self, name))
        for name, only in _FIXED[self.model_type].items():
            if getattr(self, name) != only:
                _refuse(name, f"{only} in {self.model_type} models", getattr(self, name))
        if self.pos_depth > MAX_LAYERS:
            _refuse("num_conv_pos_embeddings", f"at most {MAX_LAYERS} layers", self.num_conv_pos_embeddings)
        if self.model_type == "data2vec-audio" and self.conv_pos_kernel_size is None:
            _refuse("conv_pos_kernel_size", "a size in data2vec-audio models", None)
        if self.model_type == "wavlm" and not 0 < (self.num_buckets or 0) // 4 < self.max_bucket_distance:
            _refuse("num_buckets", "a number under four times max_bucket_distance in wavlm models", self.num_buckets)

    @property
    def prefix(self) -> str:
        """What Hugging Face puts before the encoder's parameter names in models with a head."""
        return self.model_type.replace("-", "_")

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return prod(self.conv_stride)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees, and the fewest a model can take."""
        span, hop = 1, 1
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            span += (kernel - 1) * hop
            hop *= stride
        return span

    def num_frames(self, num_samples: int) -> int:
        """Frames that a waveform of so many samples gives."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return max(num_samples, 0)

    @property
    def pos_kernel(self) -> int:
        return self.conv_pos_kernel_size or self.num_conv_pos_embeddings

    @property
    def pos_depth(self) -> int:
        return self.num_conv_pos_embeddings if self.conv_pos_kernel_size else 1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Read a Hugging Face `config.json`; fields that do not shape the encoder are ignored.

        Raises `CheckpointError` for a family or variant that this encoder is not.
        """
        family = values.get("model_type")
        if family not in FAMILIES:
            raise CheckpointError(
                f"config.json must name one of the families {', '.join(FAMILIES)} as model_type, but says "
                f"{shown(family)}; sonant reads wav2vec 2.0 and its kin only."
            )
        if values.get("add_adapter"):
            raise CheckpointError(
                "config.json must not ask for convolutions behind the encoder (add_adapter), which are not supported, "
                "but does; use a model without."
            )
        known: dict[str, Any] = dict(_DEFAULTS | _FAMILY_DEFAULTS[family])
        for f in fields(cls):
            value = values.get(f.name)
            if value is not None:
                known[f.name] = _checked(f.name, value, f.default)
        return cls(**known | _FIXED[family])

    def class_name(self, head: str) -> str:
        """What transformers calls a model of this family with a head, such as `ForXVector`."""
        return _CLASS_NAMES[self.model_type] + head

    def to_dict(self) -> dict[str, Any]:
        """The fields as transformers reads them back."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items() if v is not None}
        values["num_feat_extract_layers"] = len(self.conv_dim)
        values["architectures"] = [self.class_name("ForCTC" if self.vocab_size else "Model")]
        return values


@dataclass(frozen=True)
class PretrainConfig:
    """What wav2vec 2.0 pre-training adds to an architecture, from the same `config.json`; defaults are the paper's.

    How much is masked is no part of it: published files hold the values of fine-tuning there.
    """

    num_codevectors_per_group: int = 320
    """V of arXiv:2006.11477."""
    num_codevector_groups: int = 2
    """G of the paper: codebooks whose entries are joined into one target."""
    codevector_dim: int = 256
    """Width of a joined target before its projection."""
    proj_codevector_dim: int = 256
    """Width in which targets and the transformer's output are compared."""
    num_negatives: int = 100
    """K of the paper: wrong answers beside the right one."""
    contrastive_logits_temperature: float = 0.1
    diversity_loss_weight: float = 0.1
    feature_penalty_weight: float = 10.0
    """Of the convolutions' mean square; transformers does not know it. lv60 models were trained with 0."""
    feat_quantizer_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Raise `CheckpointError` for what cannot be built."""
        for name, (least, most) in _PRETRAIN_RANGES.items():
            if not least <= getattr(self, name) <= most:
                _refuse(name, f"between {least:g} and {most:g}", getattr(self, name))
        if self.codevector_dim % self.num_codevector_groups:
            _refuse("num_codevector_groups", f"a divisor of codevector_dim ({self.codevector_dim})",
                    self.num_codevector_groups)  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PretrainConfig:
        """Read the fields of pre-training from a Hugging Face `config.json`; `CheckpointError` for impossible ones."""
        given = {f.name: (values.get(f.name), f.default) for f in fields(cls)}
        return cls(**{name: _checked(name, value, old) for name, (value, old) in given.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """The fields as transformers reads them back; they go beside those of the encoder."""
        return asdict(self)


_CLASS_NAMES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "data2vec-audio": "Data2VecAudio"}

_CHOICES = {
    "model_type": FAMILIES,
    "feat_extract_norm": ("group", "layer"),
    "hidden_act": ACTIVATIONS,
    "feat_extract_activation": ACTIVATIONS,
}
_DROPOUTS = (
    "feat_proj_dropout",
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
    "final_dropout",
    "layerdrop",
)
_SIZES = ("hidden_size", "num_attention_heads", "intermediate_size", "conv_dim", "conv_kernel", "conv_stride",
          "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "conv_pos_kernel_size", "max_bucket_distance",
          "adapter_attn_dim", "vocab_size")  # fmt: skip
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_SIZES, (1, MAX_SIZE)),
    "num_hidden_layers": (0, MAX_LAYERS),
    "num_buckets": (4, MAX_SIZE),  # fewer leave no exact bucket on either side
    "layer_norm_eps": (1e-20, 1.0),
    **dict.fromkeys(_DROPOUTS, (0.0, 1.0)),
}

_PRETRAIN_RANGES: dict[str, tuple[float, float]] = {
    "num_codevectors_per_group": (2, MAX_SIZE),
    **dict.fromkeys(("num_codevector_groups", "codevector_dim", "proj_codevector_dim", "num_negatives"), (1, MAX_SIZE)),
    "contrastive_logits_temperature": (1e-4, 1e4),
    **dict.fromkeys(("diversity_loss_weight", "feature_penalty_weight"), (0.0, 1e6)),
    "feat_quantizer_dropout": (0.0, 1.0),
}

# What transformers takes where config.json is silent (it leaves out what is at its default), unless it is as above.
_DEFAULTS: dict[str, Any] = {**dict.fromkeys(_DROPOUTS, 0.1), "feat_proj_dropout": 0.0, "vocab_size": 32}
_FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "wav2vec2": {},
    "hubert": {},
    "wavlm": {"num_buckets": 320, "max_bucket_distance": 800},
    "data2vec-audio": {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19},
}
# What a family's classes in transformers do whatever config.json says.
_FIXED: dict[str, dict[str, Any]] = {
    "wav2vec2": {
        "feat_proj_layer_norm": True, "conv_pos_batch_norm": False, "conv_pos_kernel_size": None, "num_buckets": None,
    },
    "hubert": {"conv_pos_kernel_size": None, "num_buckets": None},
    "wavlm": {
        "feat_proj_layer_norm": True, "conv_pos_batch_norm": False, "conv_pos_kernel_size": None,
        "adapter_attn_dim": None,
    },
    "data2vec-audio": {
        "feat_proj_layer_norm": True, "conv_pos_batch_norm": False, "num_buckets": None, "adapter_attn_dim": None,
        "feat_extract_norm": "layer", "do_stable_layer_norm": False,
    },
}  # fmt: skip


def _refuse(name: str, expected: str, value: Any) -> NoReturn:
    raise CheckpointError(f"{name} in config.json must be {expected}, but is {shown(value)}; mend config.json.")


def _checked(name: str, value: Any, default: Any) -> Any:
    """A field's value in the type its default has; `CheckpointError` where it has another."""
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and all(type(v) is int for v in value):
            return tuple(value)
        _refuse(name, "a list of whole numbers", value)
    if isinstance(default, float):
        if type(value) in (int, float):
            return float(min(value, MAX_SIZE))  # a longer whole number fits no float
        _refuse(name, "a number", value)
    kind = int if default is None else type(default)
    if type(value) is not kind:
        _refuse(name, {int: "a whole number", bool: "true or false", str: "a text"}[kind], value)
    return value


# The published architectures, each a diff from its base.

_LARGE: dict[str, Any] = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
}  # fmt: skip


def wav2vec2_base() -> EncoderConfig:
    """arXiv:2006.11477, base: 95 M parameters."""
    return EncoderConfig()


def wav2vec2_large() -> EncoderConfig:
    """arXiv:2006.11477, large trained on LibriSpeech: 317 M parameters."""
    return replace(wav2vec2_base(), **_LARGE)


def wav2vec2_large_lv60() -> EncoderConfig:
    """Large trained on Libri-Light; XLSR-53 and XLS-R 300M have the same shape."""
    return replace(wav2vec2_large(), feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)


def xls_r_1b() -> EncoderConfig:
    """arXiv:2111.09296, 1 B."""
    return replace(wav2vec2_large_lv60(), hidden_size=1280, num_hidden_layers=48, intermediate_size=5120)


def xls_r_2b() -> EncoderConfig:
    """arXiv:2111.09296, 2 B."""
    return replace(xls_r_1b(), hidden_size=1920, intermediate_size=7680)


def mms_1b(vocab_size: int = 154) -> EncoderConfig:
    """arXiv:2305.13516, 1 B with one language's adapter and head."""
    return replace(xls_r_1b(), adapter_attn_dim=16, vocab_size=vocab_size)


def hubert_base() -> EncoderConfig:
    """arXiv:2106.07447, base."""
    return replace(wav2vec2_base(), model_type="hubert")


def hubert_large() -> EncoderConfig:
    """arXiv:2106.07447, large."""
    return replace(wav2vec2_large_lv60(), model_type="hubert")


def hubert_xlarge() -> EncoderConfig:
    """arXiv:2106.07447, extra large: 964 M parameters."""
    return replace(hubert_large(), hidden_size=1280, num_hidden_layers=48, intermediate_size=5120)


def wavlm_base() -> EncoderConfig:
    """arXiv:2110.13900, base and base plus."""
    return replace(wav2vec2_base(), model_type="wavlm", num_buckets=320)


def wavlm_large() -> EncoderConfig:
    """arXiv:2110.13900, large."""
    return replace(
        wav2vec2_large(), model_type="wavlm", num_buckets=320, feat_extract_norm="layer", do_stable_layer_norm=True
    )


def data2vec_audio_base() -> EncoderConfig:
    """arXiv:2202.03555, base."""
    return replace(
        wav2vec2_base(),
        model_type="data2vec-audio",
        feat_extract_norm="layer",
        conv_pos_kernel_size=19,
        num_conv_pos_embeddings=5,
    )


def data2vec_audio_large() -> EncoderConfig:
    """arXiv:2202.03555, large."""
    return replace(data2vec_audio_base(), **_LARGE)
