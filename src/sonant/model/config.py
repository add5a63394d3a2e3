"""What a checkpoint's `config.json` says of its architecture, under Hugging Face's names.

The families differ in seven things: the norm of the convolutions, their bias, where the layer norms stand, the norm of
the projection, the depth and kernel of the positional convolution, its norm, and relative positions or adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from math import prod
from typing import Any, Literal

from sonant.errors import CheckpointError

Family = Literal["wav2vec2", "hubert", "wavlm", "data2vec-audio"]
FAMILIES: tuple[Family, ...] = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
ACTIVATIONS = ("gelu", "relu", "silu")


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
        if self.model_type not in FAMILIES:
            raise CheckpointError(f"model_type must be one of {', '.join(FAMILIES)}, but is {self.model_type!r}.")
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0:
            raise CheckpointError(
                "conv_dim, conv_kernel and conv_stride must have one entry a layer, but have "
                f"{len(self.conv_dim)}, {len(self.conv_kernel)} and {len(self.conv_stride)}; mend config.json."
            )
        positive = (self.hidden_size, self.num_attention_heads, self.intermediate_size, self.num_conv_pos_embeddings,
                    self.num_conv_pos_embedding_groups, *self.conv_dim, *self.conv_kernel, *self.conv_stride)  # fmt: skip
        if min(positive) < 1 or self.num_hidden_layers < 0:
            raise CheckpointError("Sizes in config.json must be positive, but one is not; mend config.json.")
        for name, parts in (
            ("num_attention_heads", self.num_attention_heads),
            ("num_conv_pos_embedding_groups", self.num_conv_pos_embedding_groups),
        ):
            if self.hidden_size % parts:
                raise CheckpointError(
                    f"hidden_size must be a multiple of {name}, but {self.hidden_size} is none of {parts}; mend config.json."
                )
        for activation in (self.hidden_act, self.feat_extract_activation):
            if activation not in ACTIVATIONS:
                raise CheckpointError(f"Activations must be one of {', '.join(ACTIVATIONS)}, but one is {activation!r}.")

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
                f"config.json must name one of the families {', '.join(FAMILIES)} as model_type, but says {family!r}; "
                "sonant reads wav2vec 2.0 and its kin only."
            )
        if values.get("add_adapter"):
            raise CheckpointError("Models with convolutional adapters (add_adapter) are not supported; use one without.")
        known: dict[str, Any] = dict(_FAMILY_DEFAULTS[family])
        for f in fields(cls):
            value = values.get(f.name)
            if value is not None:
                known[f.name] = _checked(f.name, value, f.default)
        if family == "data2vec-audio":
            known["feat_extract_norm"] = "layer"  # transformers ignores the field there: each convolution has its norm
        elif family != "wavlm":
            known.pop("num_buckets", None)
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """The fields as transformers reads them back."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items() if v is not None}
        values["num_feat_extract_layers"] = len(self.conv_dim)
        values["architectures"] = [_CLASS_NAMES[self.model_type] + ("ForCTC" if self.vocab_size else "Model")]
        return values


_CLASS_NAMES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "data2vec-audio": "Data2VecAudio"}

# What transformers takes where config.json is silent, as far as it differs from the defaults above.
_FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "wav2vec2": {},
    "hubert": {},
    "wavlm": {"num_buckets": 320, "max_bucket_distance": 800},
    "data2vec-audio": {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19},
}


def _checked(name: str, value: Any, default: Any) -> Any:
    """A field's value in the type its default has; `CheckpointError` where it has another."""
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and all(type(v) is int for v in value):  # pyright: ignore[reportUnknownVariableType]
            return tuple(value)  # pyright: ignore[reportUnknownArgumentType]
    elif default is None or default is MISSING:
        if type(value) is int:
            return value
    elif isinstance(default, float):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif type(value) is type(default):
        return value
    raise CheckpointError(f"{name} in config.json must be like {default!r}, but is {value!r}; mend config.json.")


# The published architectures, each a diff from its base.


def wav2vec2_base() -> EncoderConfig:
    """arXiv:2006.11477, base: 95 M parameters."""
    return EncoderConfig()


def wav2vec2_large() -> EncoderConfig:
    """arXiv:2006.11477, large trained on LibriSpeech: 317 M parameters."""
    return replace(wav2vec2_base(), hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)


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
    return replace(
        data2vec_audio_base(), hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )
