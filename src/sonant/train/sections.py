"""The sections of a recipe: frozen values with their defaults; nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sonant.data.plan import Batches

__all__ = ["Augment", "Batches", "Data", "Model", "Optim", "Pretrain", "Run", "Schedule", "TaskSection"]


@dataclass(frozen=True)
class Data:
    """What is heard."""

    train: tuple[str, ...] = ()
    """Manifests of the training set."""
    dev: tuple[str, ...] = ()
    """Manifests that choose the best model; none: the last one is taken."""
    dev_rows: int = 1000
    """Utterances of `dev` that are heard at most, spread over it."""
    min_seconds: float = 0.1
    max_seconds: float = 30.0
    """Utterances outside these bounds are left out of training; longer ones without transcripts are cut."""
    sample_rate: int = 16000
    """Hertz, for a model from scratch; a checkpoint has its own."""
    normalize: bool = True
    """Whether rows are brought to mean 0 and variance 1, for a model from scratch; a checkpoint says so itself."""
    case: Literal["lower", "upper", "as is"] = "lower"
    """Letter case of the transcripts where the vocabulary is built from them."""
    keep: str = "'"
    """Marks that stay inside words."""
    digits: bool = True
    """Whether numbers written in digits stay."""
    spaces: bool = True
    """False for scripts that write no spaces between words."""
    language: str = ""
    """ISO 639 code, for the model card."""


@dataclass(frozen=True)
class Model:
    """What learns."""

    start: str = ""
    """A folder or a hub name to begin with; empty: from scratch."""
    base: str = "wav2vec2_base"
    """From scratch: a published architecture, a function of `sonant.model.config`."""
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields of `EncoderConfig` that differ; with `start`, such as keep its weights' shapes (dropouts, layerdrop)."""


@dataclass(frozen=True)
class TaskSection:
    """What is learnt."""

    name: str = "ctc"
    """`ctc`; from speech alone `contrastive` (wav2vec 2.0's) or `clusters` (HuBERT's); `classify`, labels of clips;
    `xvector`, vectors of voices."""
    head: Literal["fresh", "keep"] = "fresh"
    """Whether a checkpoint's vocabulary and CTC head (and language adapters), or its quantiser, are kept or made anew.
    """
    train_only: Literal["", "adapter"] = ""
    """`adapter`: only the language adapters and the head learn (arXiv:2305.13516)."""
    freeze_convolutions: bool = True
    """Whether a checkpoint's convolutions stay as they are; from scratch they always learn."""
    freeze_transformer_steps: int = 0
    """Steps at the beginning in which only the head learns."""
    class_weights: bool = True
    """Of `classify`: whether all labels count alike, however rare; False: all clips do."""
    tdnn_dim: tuple[int, ...] = (512, 512, 512, 512, 1500)
    """Of `xvector`: widths of the layers over frames; the last one's mean and deviation make the vector."""
    tdnn_kernel: tuple[int, ...] = (5, 3, 3, 1, 1)
    """Frames that each layer sees, `tdnn_dilation` apart."""
    tdnn_dilation: tuple[int, ...] = (1, 2, 3, 1, 1)
    xvector_output_dim: int = 512
    """Width of the vector."""
    crop_seconds: float = 3.0
    """Of `xvector`: how much of a clip a step hears, while the encoder stays as it is; 0: all of it."""
    mel_weight: float = 0.0
    """From scratch: weight of predicting log-mel bands from the convolutions, which teaches them a spectrum first."""
    mel_share: float = 0.35
    """Share of the steps after which that weight has sunk to 0."""


@dataclass(frozen=True)
class Pretrain:
    """How speech alone is learnt from; `augment.mask_time` says how much of it is hidden."""

    config: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of `contrastive`: fields of `PretrainConfig` that differ from the checkpoint's, or from the paper's."""
    temperatures: tuple[float, ...] = (2.0, 0.5)
    """Of the Gumbel softmax, first and last."""
    anneal: float = 0.7
    """Share of the steps in which it falls from one to the other."""
    clusters: int = 100
    """Of `clusters`: how many labels there are."""
    teacher: str = ""
    """A folder or a hub name whose states are clustered; empty: MFCC are."""
    teacher_layer: int = 6
    cluster_frames: int = 200_000
    """Frames that the clusters are made of."""
    unmasked: float = 0.0
    """Weight of naming the clusters of frames that are not hidden."""
    penalty: float = 10.0
    """Weight of the convolutions' mean square."""


@dataclass(frozen=True)
class Optim:
    """The optimiser."""

    kind: Literal["adamw", "muon"] = "adamw"
    """Muon makes the steps of matrices and kernels orthogonal: from random weights, a third of the steps or fewer."""
    lr: float = 1e-4
    """Learning rate at its peak."""
    betas: tuple[float, ...] = (0.9, 0.98)
    """AdamW's, as `eps`."""
    eps: float = 1e-8
    weight_decay: float = 0.01
    """Not for norms, biases and other vectors."""
    clip: float = 1.0
    """Largest gradient norm; 0: no limit."""
    average: float = 0.0
    """Decay of a running mean of the weights, which is then evaluated and saved; 0: none."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the steps."""

    kind: Literal["constant", "tri-stage", "cosine", "linear", "inverse"] = "cosine"
    steps: int = 10_000
    warmup: float = 0.1
    """Share of the steps in which the rate rises."""
    hold: float = 0.4
    """Share of the steps at the peak, for `tri-stage`."""
    initial: float = 0.01
    """Rate of the first step, as a share of the peak."""
    final: float = 0.05
    """Rate of the last step, as a share of the peak, for `tri-stage` and `cosine`."""


@dataclass(frozen=True)
class Augment:
    """How rows are varied; all probabilities are a row's, after the ramp."""

    clean: float = 0.0
    """Share of the steps at the beginning without noise, rooms, bands and masks."""
    ramp: float = 0.0
    """Share of the steps over which their probabilities then rise to their full value."""
    speed: float = 0.0
    """Rows are played up to this share faster or slower (0.1: 0.905 to 1.105 times)."""
    gain_db: float = 0.0
    """Decibels louder or softer at most."""
    noise: float = 0.0
    """Probability of white or coloured noise, or of one of `noise_files`."""
    noise_db: tuple[float, ...] = (8.0, 40.0)
    """Least and greatest ratio of speech to noise, decibels."""
    noise_files: tuple[str, ...] = ()
    """Manifests of recorded noise."""
    room: float = 0.0
    """Probability of a synthetic room."""
    band: float = 0.0
    """Probability of a limited band, as of telephones and cheap microphones."""
    mask_time: float = 0.0
    """Share of the frames that masked spans would hide if they never overlapped (arXiv:2006.11477, appendix B)."""
    mask_time_length: int = 10
    mask_channel: float = 0.0
    """The same of the channels."""
    mask_channel_length: int = 64


@dataclass(frozen=True)
class Run:
    """Where and how it runs."""

    seed: int = 0
    check: bool = True
    """Whether a new run first looks for faults of its data, which takes about a hundredth of the audio's length."""
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int = 0
    """Processor threads; 0: as many as PyTorch takes."""
    shard: bool = False
    """Whether each rank holds its part of the model alone (PyTorch's FSDP); all then drop the same layers."""
    checkpoint_layers: bool = False
    """Whether layers are computed anew in the backward pass: one forward pass more, and far less memory."""
    log_steps: int = 20
    save_minutes: float = 5.0
    evaluate_minutes: float = 0.0
    """Minutes between evaluations on `data.dev`; 0: by `evaluate_steps` alone."""
    evaluate_steps: int = 1000
    max_skipped: int = 10
    """Steps in a row that may be left out because their gradients are not finite."""
    max_unreadable: int = 100
    """Utterances that may turn out to be unreadable."""
    on_collapse: Literal["stop", "restart"] = "stop"
    """What a pre-training does that is lost: stop, or go back to the last good state with a lower rate."""
    restarts: int = 2
    """How often it may."""
    restart_rate: float = 0.5
    """Of the rate, what is left after each."""
    memory: float = 2.0
    """Gigabytes of decoded audio that are kept from one epoch to the next."""
    states: float = 4.0
    """Gigabytes on disk for what an encoder that stays as it is makes of clips, kept for later epochs and runs."""
    store: Literal["float32", "float16", "bfloat16"] = "float32"
    """How the resulting weights are stored."""
    tensorboard: bool = False
    """Whether the metrics are also written as TensorBoard's files, to the run's folder `tensorboard`."""
