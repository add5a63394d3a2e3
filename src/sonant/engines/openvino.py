"""The engine for CPUs: the encoder as an OpenVINO graph (`sonant.engines.graph`), without PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from openvino import Core, InferRequest, Model, Tensor

from sonant.checkpoints import Checkpoint, of_language
from sonant.engines import Precision, check_finite, check_precision, choose_layers
from sonant.engines.graph import FirstLayer, GraphBuilder, distance_buckets
from sonant.errors import EngineError, OptionError
from sonant.types import FloatArray


class OpenVinoEngine:
    """A checkpoint in OpenVINO; see `sonant.engines.Engine` for what its methods promise.

    Clips are computed one after the other, which is faster on a CPU than a batch. `precision` is `fp32`, `bf16`, or
    `auto` (bf16 where the processor has it); `threads` is a number of processor cores (all, where None). It may be
    called from several threads, which then wait for each other. Raises `EngineError` for a precision that this machine
    lacks, `CheckpointError` for weights that do not fit.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"The number of threads must be at least 1, but is {threads}; leave it out for all.")
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.threads = threads
        self._core = Core()
        self.precision: Precision = find_precision(precision, self._core)
        self._lock = threading.Lock()
        self._builder = GraphBuilder(checkpoint)
        self._first_layer = FirstLayer(checkpoint)
        self._states: tuple[int, InferRequest] | None = None
        self._moments: tuple[Sequence[int], InferRequest] | None = None
        self._requests: list[InferRequest] = []
        self._log_probs = None if checkpoint.vocabulary is None else self._compile(self._builder.log_probs())

    def emit(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-probabilities (T, V) of each waveform, in the order given; none of one shorter than a frame.

        Raises `CheckpointError` for a model without a CTC head, and `EngineError` where numbers run out of range or
        memory does not suffice.
        """
        num_tokens = len(self.checkpoint.require_vocabulary())
        assert self._log_probs is not None
        emitted: list[FloatArray] = []
        for waveform in waveforms:
            if not self.config.num_frames(len(waveform)):
                emitted.append(np.zeros((0, num_tokens), np.float32))
                continue
            (log_probs,) = self._infer(self._log_probs, waveform, [0])
            check_finite(log_probs, self.checkpoint, len(waveform))
            emitted.append(log_probs)
        return emitted

    def states(self, waveform: FloatArray, layers: Sequence[int] | None = None) -> list[FloatArray]:
        """States (T, D) of the layers asked for (all, where None): 0 enters the first layer, i is layer i's output.

        The first call prepares the model once more, up to the last layer asked for; a later one only for deeper layers.
        """
        wanted = choose_layers(self.checkpoint, layers)
        if not self.config.num_frames(len(waveform)):
            return [np.zeros((0, self.config.hidden_size), np.float32) for _ in wanted]
        return self._infer(self._reaching(max(wanted, default=0)), waveform, wanted)

    def adapt(self, checkpoint: Checkpoint) -> None:
        """Take over the language of a checkpoint that is the same model otherwise.

        Adapters and head are inputs of the graphs, so that nothing is compiled again. Raises `CheckpointError` where a
        weight does not fit, and leaves everything as it was.
        """
        taken = [(request, language_weights(request, checkpoint)) for request in self._requests]
        with self._lock:
            for request, weights in taken:
                for place, tensor in weights.items():
                    request.set_input_tensor(place, tensor)
            self.checkpoint, self.config = checkpoint, checkpoint.config
            self._builder = GraphBuilder(checkpoint)

    def convolved(self, waveform: FloatArray) -> FloatArray:
        """What the convolutions give (T, C), normalised where the family does that; the first call prepares it."""
        if not self.config.num_frames(len(waveform)):
            return np.zeros((0, self.config.conv_dim[-1]), np.float32)
        (convolved,) = self._infer(self._convolved, waveform, [0])
        return convolved

    def moments(self, waveform: FloatArray, layers: Sequence[int]) -> list[FloatArray]:
        """Means and mean squares (T, 2 C) of what convolutions give, by the frame; other layers are prepared anew."""
        frames = self.config.num_frames(len(waveform))
        if not frames:
            return [np.zeros((0, 2 * self.config.conv_dim[layer]), np.float32) for layer in layers]
        known = self._moments
        if known is None or known[0] != layers:
            self._moments = known = layers, self._compile(self._builder.moments(layers))
        found = self._infer(known[1], waveform, range(len(layers)))
        return [moments[:frames] for moments in found]

    @cached_property
    def _convolved(self) -> InferRequest:
        return self._compile(self._builder.convolved())

    def _reaching(self, depth: int) -> InferRequest:
        """The graph of the states up to a layer, or further."""
        known = self._states
        if known is None or known[0] < depth:
            self._states = known = depth, self._compile(self._builder.states(depth))
        return known[1]

    def _compile(self, model: Model) -> InferRequest:
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # or several processes with one thread each share the first core
            # OpenVINO keeps what it prepares for each length of clip: by default gigabytes, after thousands of clips
            "CPU_RUNTIME_CACHE_CAPACITY": 64,
        }
        if self.threads is not None:
            options["INFERENCE_NUM_THREADS"] = self.threads
        request = self._core.compile_model(model, "CPU", options).create_infer_request()
        for place, tensor in language_weights(request, self.checkpoint).items():
            request.set_input_tensor(place, tensor)  # which stays for all clips to come
        self._requests.append(request)
        # OpenVINO 2026.4 attends wrongly ever after where the first clip that it sees is a single frame: show it two
        self._infer(request, np.zeros(self.config.receptive_field + self.config.hop, np.float32), [])
        return request

    def _infer(self, request: InferRequest, waveform: FloatArray, outputs: Sequence[int]) -> list[FloatArray]:
        """Copies of some of a graph's outputs for one clip."""
        config = self.config
        try:
            inputs: list[object] = [*self._first_layer.inputs(waveform)]
            if config.num_buckets is not None and len(request.model_inputs) > len(inputs):
                num_frames = config.num_frames(len(waveform))
                inputs.append(distance_buckets(num_frames, config.num_buckets, config.max_bucket_distance))
            with self._lock:
                request.infer(inputs, share_inputs=True)
                return [np.array(request.get_output_tensor(i).data, np.float32) for i in outputs]
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and "alloc" not in str(error):
                raise
            raise EngineError(
                f"{self.checkpoint.name} needs more memory than is free for a clip of {len(waveform)} samples; "
                "take shorter windows, or close other programs."
            ) from error


def language_weights(request: InferRequest, checkpoint: Checkpoint) -> dict[int, Tensor]:
    """A language's weights for those inputs of a graph that take them, by the inputs' places."""
    weights: dict[int, Tensor] = {}
    for i, port in enumerate(request.model_inputs):
        name = port.node.friendly_name
        if of_language(name):
            outputs = checkpoint.config.vocab_size or 0
            shape = tuple(size.get_length() if size.is_static else outputs for size in port.partial_shape)
            weights[i] = Tensor(checkpoint.weight(name, shape).copy())
    return weights


def find_precision(name: str, core: Core) -> Precision:
    """The precision a name stands for on this processor; `EngineError` where it is not to be had."""
    check_precision(name)
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if name == "bf16" and not has_bf16:
        raise EngineError(
            "The precision bf16 was asked for, but this processor has no instructions for it; take fp32 or auto."
        )
    return "bf16" if has_bf16 and name != "fp32" else "fp32"


def best_precision() -> Precision:
    """What `auto` stands for on this processor."""
    return find_precision("auto", Core())
