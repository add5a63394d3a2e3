"""The engine for GPUs, and for CPUs where it is asked for: the PyTorch encoder in inference mode."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sonant.checkpoints import Checkpoint, of_language
from sonant.engines import Precision, check_finite, check_precision, choose_layers
from sonant.errors import EngineError, OptionError
from sonant.model.config import EncoderConfig
from sonant.model.convolutions import TimeNormConvLayer
from sonant.model.encoder import Encoder
from sonant.model.heads import CtcModel, load_weights
from sonant.types import FloatArray

BATCH_BYTES = 2 << 30
"""What the first convolution of a batch may take of a GPU; it takes the most."""


class TorchEngine:
    """A checkpoint in PyTorch; see `sonant.engines.Engine` for what its methods promise.

    `device` is `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`; `precision` is `fp32`, `bf16`, or
    `auto` (bf16 where the processor has it); `threads` sets those of the whole process. Raises `EngineError` for a
    device or precision that this machine lacks, `CheckpointError` for weights that do not fit.
    """

    name = "torch"

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            if threads < 1:
                raise OptionError(f"The number of threads must be at least 1, but is {threads}; leave it out for all.")
            torch.set_num_threads(threads)
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.device = find_device(device)
        self.precision: Precision = find_precision(precision, self.device)
        with torch.device("meta"):
            model = Encoder(self.config) if checkpoint.vocabulary is None else CtcModel(self.config)
        with self._computing():
            load_weights(model, checkpoint, self.device)
            if self.precision == "bf16":
                narrow(model)
        model.eval()
        self.batch_samples = 0.0 if self.device == "cpu" else batch_samples(self.config)
        self._encoder = model if isinstance(model, Encoder) else model.backbone
        self._head = None if isinstance(model, Encoder) else model.lm_head

    def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-probabilities (T, V) of each waveform, in the order given; on GPUs in batches of like lengths.

        A waveform shorter than one frame gives none. Raises `CheckpointError` for a model without a CTC head, and
        `EngineError` where numbers run out of range or memory does not suffice.
        """
        num_tokens = len(self.checkpoint.require_vocabulary())
        assert self._head is not None
        emitted = [np.zeros((0, num_tokens), np.float32)] * len(waveforms)
        for rows in self._batches(waveforms):
            with self._computing():
                encoded = self._encoder(*self._batch([waveforms[i] for i in rows]))
                log_probs = F.log_softmax(self._head(encoded.last).float(), -1).cpu().numpy()
            for i, row in zip(rows, log_probs, strict=True):
                emitted[i] = row[: self.config.num_frames(len(waveforms[i]))].copy()
                check_finite(emitted[i], self.checkpoint, len(waveforms[i]))
        return emitted

    def states(self, waveform: FloatArray, layers: Sequence[int] | None = None) -> list[FloatArray]:
        """States (T, D) of the layers asked for (all, where None): 0 enters the first layer, i is layer i's output."""
        wanted = choose_layers(self.checkpoint, layers)
        if not self.config.num_frames(len(waveform)):
            return [np.zeros((0, self.config.hidden_size), np.float32) for _ in wanted]
        with self._computing():
            states = self._encoder(*self._batch([waveform]), all_states=True).states
            return [states[layer][0].float().cpu().numpy() for layer in wanted]

    def adapt(self, checkpoint: Checkpoint) -> None:
        """Take over the language of a checkpoint that is the same model otherwise; the other weights stay in place.

        Raises `CheckpointError` where a weight does not fit, and leaves everything as it was.
        """
        assert self._head is not None
        outputs = len(checkpoint.require_vocabulary())
        places = dict(self._encoder.named_parameters()) | {f"lm_head.{k}": p for k, p in self._head.named_parameters()}
        taken: dict[str, Tensor] = {}
        with self._computing():
            for name, old in places.items():
                if of_language(name):
                    shape = (outputs, *old.shape[1:]) if name.startswith("lm_head.") else tuple(old.shape)
                    taken[name] = torch.tensor(checkpoint.weight(name, shape), dtype=old.dtype, device=old.device)
            for name, new in taken.items():
                places[name].data = new
        self._head.out_features = outputs
        self.checkpoint, self.config = checkpoint, checkpoint.config

    def convolved(self, waveform: FloatArray) -> FloatArray:
        """What the convolutions give (T, C), normalised where the family does that."""
        if not self.config.num_frames(len(waveform)):
            return np.zeros((0, self.config.conv_dim[-1]), np.float32)
        with self._computing():
            samples, lengths = self._batch([waveform])
            convolved, _ = self._encoder.feature_extractor(samples, lengths.to(self.device))
            return self._encoder.feature_projection(convolved)[1][0].float().cpu().numpy()

    def moments(self, waveform: FloatArray, layers: Sequence[int]) -> list[FloatArray]:
        """Means and mean squares (T, 2 C) of what convolutions give, by the frame."""
        frames = self.config.num_frames(len(waveform))
        if not frames:
            return [np.zeros((0, 2 * self.config.conv_dim[layer]), np.float32) for layer in layers]
        found: dict[int, FloatArray] = {}
        with self._computing():
            x, lengths = self._batch([waveform])
            x, lengths = x[..., None], lengths.to(self.device)
            for i, layer in enumerate(self._encoder.feature_extractor.conv_layers[: max(layers) + 1]):
                x, lengths = layer(x, lengths)
                if i in layers:
                    hop = prod(self.config.conv_stride[i + 1 :])
                    y = x[0].float().unfold(0, hop, hop)[:frames]  # (T, C, hop)
                    found[i] = torch.cat([y.mean(2), y.square().mean(2)], 1).cpu().numpy()
        return [found[layer] for layer in layers]

    def _batches(self, waveforms: Sequence[FloatArray]) -> Iterator[list[int]]:
        """Indices of waveforms to compute together, longest first."""
        heard = [i for i, waveform in enumerate(waveforms) if self.config.num_frames(len(waveform))]
        batch: list[int] = []
        for i in sorted(heard, key=lambda i: -len(waveforms[i])):
            if batch and (len(batch) + 1) * len(waveforms[batch[0]]) > self.batch_samples:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _batch(self, waveforms: Sequence[FloatArray]) -> tuple[Tensor, Tensor]:
        """Samples padded to one length (B, N) on the device, and their lengths (B,) on the host."""
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        padded = torch.zeros(len(waveforms), int(lengths.max()))
        for row, waveform in zip(padded.numpy(), waveforms, strict=True):
            row[: len(waveform)] = waveform
        return padded.to(self.device), lengths

    @contextmanager
    def _computing(self) -> Generator[None]:
        """Inference in the engine's precision; running out of memory becomes an `EngineError`."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.precision == "bf16":
                stack.enter_context(torch.autocast(self.device.split(":")[0], torch.bfloat16))
            elif self.device.startswith("cuda"):
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            try:
                yield
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise EngineError(
                    f"{self.checkpoint.name} needs more memory than {self.device} has free; "
                    "take shorter windows, bf16 or another device, or close other programs."
                ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch asked for more memory than there is; its allocators say so in three ways."""
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(phrase in str(error) for phrase in phrases)


def batch_samples(config: EncoderConfig) -> float:
    """Samples, padding included, that a GPU computes at once; a CPU is faster with one clip after the other."""
    bytes_a_sample = 3 * 4 * config.conv_dim[0] / config.conv_stride[0]  # output, norm and activation, float32
    return BATCH_BYTES / bytes_a_sample


def find_device(name: str) -> str:
    """The device a name stands for: `cpu`, `cuda:0`, `mps`; `EngineError` where it is not to be had."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return "cuda:0" if gpus else "mps" if has_mps else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and (number.isdecimal() or name == "cuda"):
        if int(number or 0) < gpus:
            return f"cuda:{int(number or 0)}"
        raise EngineError(
            f"The device {name} was asked for, but PyTorch finds {gpus} CUDA devices here; "
            "check the driver and that PyTorch was built for CUDA, or take the device cpu."
        )
    if name == "mps" and not has_mps:
        raise EngineError(
            "The device mps was asked for, but PyTorch finds no Apple GPU that it can use here; take the device cpu."
        )
    if name not in ("cpu", "mps"):
        raise EngineError(f"A device must be auto, cpu, cuda, cuda:N or mps, but is {name!r}; choose one of these.")
    return name


def find_precision(name: str, device: str) -> Precision:
    """The precision a name stands for on a device; `EngineError` where it is not to be had."""
    check_precision(name)
    if name == "bf16" and device == "mps":
        raise EngineError("The precision bf16 was asked for, but the torch engine has only fp32 on mps; take fp32.")
    if name == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return "bf16" if name == "bf16" else "fp32"


def has_bf16(device: str) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device == "cpu":
        if not hasattr(torch.cpu, "get_capabilities"):  # older ones do not say
            return False
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)


def narrow(model: nn.Module) -> None:
    """Keep the weights that autocast would narrow at every call as bfloat16; norms and statistics stay float32."""
    exact = {layer.conv for layer in model.modules() if isinstance(layer, TimeNormConvLayer)}
    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")  # weight norm: divides in float32, then narrows
        if isinstance(module, nn.Linear | nn.Conv1d) and module not in exact:
            module.to(torch.bfloat16)


def list_devices() -> list[str]:
    """What PyTorch can run a model on here: `cpu`, and GPUs with their names."""
    found = ["cpu"]
    found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])
