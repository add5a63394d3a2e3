"""The encoder of all five families as an OpenVINO graph, built from a checkpoint's numpy weights.

It computes what `sonant.model.encoder` computes for one clip; the tests hold the two together. The first convolution
sees its windows of samples, gathered and centred by `FirstLayer` in numpy, where a group norm's statistics stay exact.

Shapes: N samples, T frames (T0 after the first convolution), C channels of the convolutions, K the first one's kernel,
D hidden size, H heads. Convolutions are (1, C, 1, T): OpenVINO keeps images channels last from end to end, but not
sequences.
"""

# pyright: reportUnknownMemberType=false
# (openvino's operators do not say what types their arguments have)

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import openvino.opset13 as ops
from numpy.typing import NDArray
from openvino import Model, Node
from openvino.op import Parameter

from sonant.checkpoints import Checkpoint, of_language
from sonant.types import FloatArray

CONV_EPS = 1e-5
"""Of every norm in the convolutions and of the language adapters, whatever config.json says."""
BLOCK = 2048
"""Windows that one product of the covariance takes: numpy computes it on this thread, without waking others."""


class FirstLayer:
    """What the graph is fed with: the first convolution's windows and, for models with a group norm, its scales.

    A channel with weights w sees w.v at each window v of samples, so over time its mean is w.mean(v) and its variance
    w' cov(v) w: centred windows and one small covariance replace statistics over the layer's output.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint.config
        self.kernel, self.stride = config.conv_kernel[0], config.conv_stride[0]
        self.weight: NDArray[np.float64] | None = None
        if config.feat_extract_norm == "group":
            width = config.conv_dim[0]
            weight = checkpoint.weight("feature_extractor.conv_layers.0.conv.weight", (width, 1, self.kernel))
            self.weight = weight[:, 0].astype(np.float64)
            self.gain = checkpoint.weight("feature_extractor.conv_layers.0.layer_norm.weight", (width,)).copy()

    def inputs(self, waveform: FloatArray) -> list[FloatArray]:
        """(N,) samples to windows (1, K, 1, T0) and, where there is a group norm, scales (1, C, 1, 1)."""
        num_windows = (len(waveform) - self.kernel) // self.stride + 1
        windows = np.empty((self.kernel, num_windows), np.float32)
        for i, row in enumerate(windows):
            row[:] = waveform[i : i + (num_windows - 1) * self.stride + 1 : self.stride]
        if self.weight is None:
            return [windows[None, :, None]]
        windows -= windows.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
        covariance = np.zeros((self.kernel, self.kernel))
        for start in range(0, num_windows, BLOCK):
            block = windows[:, start : start + BLOCK].astype(np.float64)  # the quadratic form cancels digits
            covariance += block @ block.T
        variance = ((self.weight @ covariance) * self.weight).sum(1) / num_windows
        scale = (self.gain / np.sqrt(variance + CONV_EPS)).astype(np.float32)
        return [windows[None, :, None], scale[None, :, None, None]]


def distance_buckets(num_frames: int, num_buckets: int, max_distance: int) -> NDArray[np.int32]:
    """WavLM's buckets (T, T) of the distance from each query to each key; as in `sonant.model.encoder`."""
    half = num_buckets // 2
    exact = half // 2
    distance = np.arange(1 - num_frames, num_frames)
    far = np.abs(distance)
    log = np.log(np.maximum(far, 1).astype(np.float32) / exact) / np.float32(np.log(max_distance / exact))
    large = np.minimum(exact + (log * (half - exact)).astype(np.int64), half - 1)
    bucket = (distance > 0) * half + np.where(far < exact, far, large)
    rows = np.lib.stride_tricks.sliding_window_view(bucket.astype(np.int32), num_frames)
    return np.ascontiguousarray(rows[::-1])


class GraphBuilder:
    """Builds graphs that share a checkpoint's weights; raises `CheckpointError` where one is missing or misshapen."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.weight = checkpoint.weight
        self.spoken: list[Parameter] = []
        """Inputs of the graph in the making that are weights of a language."""

    def log_probs(self) -> Model:
        """A graph whose one output is log-probabilities (T, V)."""
        assert self.config.vocab_size, "a model without head has no log-probabilities"
        inputs, states = self.encoder()
        logits = self.linear(states[-1], "lm_head", self.config.hidden_size, self.config.vocab_size)
        return graph([*inputs, *self.spoken], [ops.log_softmax(logits, -1)])

    def states(self, depth: int) -> Model:
        """A graph with an output (T, D) for what enters the first layer, and one for each of the first `depth`."""
        inputs, states = self.encoder(depth)
        return graph([*inputs, *self.spoken], states)

    def convolved(self) -> Model:
        """A graph whose one output is what the convolutions give, normalised where the family does that, (T, C)."""
        inputs, x = self.front()
        return graph(inputs, [x])

    def moments(self, layers: Sequence[int]) -> Model:
        """A graph with an output (T', 2 C) for each of these convolutions: by the frame, its mean and mean square.

        T' is T, or more where a convolution's outputs go on after the last frame.
        """
        outputs: list[Node] = []
        inputs, convolved = self.convolutions(max(layers))
        for layer in layers:
            x, hop = convolved[layer], [1, prod(self.config.conv_stride[layer + 1 :])]
            means = [ops.avg_pool(y, hop, [0, 0], [0, 0], hop, True) for y in (x, x * x)]
            outputs.append(frames_first(ops.concat(means, 1)))
        return graph(inputs, outputs)

    def front(self) -> tuple[list[Parameter], Node]:
        """Inputs, and what the projection to the transformer's width is given, (1, T, C)."""
        config = self.config
        inputs, convolved = self.convolutions(len(config.conv_dim) - 1)
        x = frames_first(convolved[-1])
        if config.feat_proj_layer_norm:
            x = self.layer_norm(x, "feature_projection.layer_norm", config.conv_dim[-1], config.layer_norm_eps)
        return inputs, x

    def encoder(self, depth: int | None = None) -> tuple[list[Parameter], list[Node]]:
        """Inputs, and the states (1, T, D) that `sonant.model.encoder` calls so, up to layer `depth` (None: all)."""
        config, width = self.config, self.config.hidden_size
        self.spoken = []
        depth, buckets = config.num_hidden_layers if depth is None else depth, None
        inputs, x = self.front()
        if config.num_buckets is not None and depth:
            inputs.append(buckets := ops.parameter([-1, -1], np.int32, "buckets"))
        x = self.linear(x, "feature_projection.projection", config.conv_dim[-1], width)
        x = x + self.positions(x)
        if not config.do_stable_layer_norm:
            x = self.layer_norm(x, "encoder.layer_norm", width, config.layer_norm_eps)
        bias = None if buckets is None else self.position_bias(buckets)
        states = [x]
        for i in range(depth):
            layer = self.norm_first if config.do_stable_layer_norm else self.norm_last
            states.append(layer(states[-1], f"encoder.layers.{i}", bias))
        if config.do_stable_layer_norm and depth == config.num_hidden_layers:
            states[-1] = self.layer_norm(states[-1], "encoder.layer_norm", width, config.layer_norm_eps)
        return inputs, states

    def convolutions(self, last: int) -> tuple[list[Parameter], list[Node]]:
        """Inputs, and what each convolution up to the last one wanted gives, (1, C, 1, T) of its own."""
        config, width = self.config, 1
        x = ops.parameter([1, config.conv_kernel[0], 1, -1], np.float32, "windows")
        given, scale, convolved = [x], None, list[Node]()
        if config.feat_extract_norm == "group":
            given.append(scale := ops.parameter([1, config.conv_dim[0], 1, 1], np.float32, "scale"))
        for i, kernel in enumerate(config.conv_kernel[: last + 1]):
            inputs, width = width, config.conv_dim[i]
            name = f"feature_extractor.conv_layers.{i}"
            weight = self.weight(f"{name}.conv.weight", (width, inputs, kernel))
            bias = self.weight(f"{name}.conv.bias", (width,)) if config.conv_bias else np.zeros(width, np.float32)
            if config.feat_extract_norm == "layer":  # so that the norm has no mean left to take
                weight, bias = centred(weight), centred(bias)
            x = convolve(x, weight, config.conv_stride[i]) if i else convolve(x, weight.reshape(width, kernel, 1))
            if config.feat_extract_norm == "layer":
                x = self.channel_norm(x + channels(bias), name, width)
            elif scale is not None and i == 0:  # the norm's mean takes the convolution's bias away
                shift = self.weight(f"{name}.layer_norm.bias", (width,))
                x = x * scale + channels(shift)
            elif config.conv_bias:
                x = x + channels(bias)
            x = activate(x, config.feat_extract_activation)
            convolved.append(x)
        return given, convolved

    def channel_norm(self, x: Node, name: str, width: int) -> Node:
        """A layer norm over the channels of (1, C, 1, T) with mean 0 over them; MVN would need transpositions."""
        length = ops.reduce_l2(x, integers(1), keep_dims=True)
        scale = number(width**0.5) / ops.sqrt(length * length + number(CONV_EPS * width))
        weight = channels(self.weight(f"{name}.layer_norm.weight", (width,)))
        bias = channels(self.weight(f"{name}.layer_norm.bias", (width,)))
        return x * scale * weight + bias

    def positions(self, x: Node) -> Node:
        """(1, T, D) to what tells each frame its place."""
        config, width = self.config, self.config.hidden_size
        shape = (width, width // config.num_conv_pos_embedding_groups, config.pos_kernel)
        name = "encoder.pos_conv_embed"
        if config.conv_pos_kernel_size:
            for i in range(config.pos_depth):
                weight = self.weight(f"{name}.layers.{i}.conv.weight", shape)
                x = normalized(self.grouped_conv(x, weight, f"{name}.layers.{i}.conv.bias"), CONV_EPS)
                x = activate(x, config.feat_extract_activation)
            return x
        if config.conv_pos_batch_norm:
            x = self.batch_norm(x, f"{name}.batch_norm")
            weight = self.weight(f"{name}.conv.weight", shape)
        else:
            gain = self.weight(f"{name}.conv.parametrizations.weight.original0", (1, 1, shape[2]))
            direction = self.weight(f"{name}.conv.parametrizations.weight.original1", shape)
            length = np.sqrt(np.square(direction, dtype=np.float64).sum((0, 1), keepdims=True))
            weight = (direction * (gain / length)).astype(np.float32)
        return activate(self.grouped_conv(x, weight, f"{name}.conv.bias"), config.feat_extract_activation)

    def grouped_conv(self, x: Node, weight: FloatArray, bias: str) -> Node:
        """(1, T, D) to the same, by weights (D, D / groups, kernel)."""
        kernel = weight.shape[2]
        x = ops.unsqueeze(ops.transpose(x, integers(0, 2, 1)), integers(2))
        margins = kernel // 2, (kernel - 1) // 2  # an even kernel would yield a frame too many
        x = convolve(x, weight, margins=margins, groups=self.config.num_conv_pos_embedding_groups)
        x = x + channels(self.weight(bias, (self.config.hidden_size,)))
        return frames_first(x)

    def batch_norm(self, x: Node, name: str) -> Node:
        """(1, T, D) by the statistics of training."""
        names = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, var = (self.weight(f"{name}.{part}", (self.config.hidden_size,)) for part in names)
        scale = (weight / np.sqrt(var + CONV_EPS)).astype(np.float32)
        return x * constant(scale) + constant((bias - mean * scale).astype(np.float32))

    def position_bias(self, buckets: Node) -> Node:
        """WavLM's bias by distance, (H, T, T), from the bucket of each; every layer gates it for itself."""
        assert self.config.num_buckets is not None
        shape = (self.config.num_buckets, self.config.num_attention_heads)
        table = self.weight("encoder.layers.0.attention.rel_attn_embed.weight", shape)
        return ops.gather(constant(table.T), buckets, integers(1))

    def norm_last(self, x: Node, name: str, bias: Node | None) -> Node:
        """A layer whose norms follow attention and feed-forward; (1, T, D) to the same."""
        width, eps = self.config.hidden_size, self.config.layer_norm_eps
        x = self.layer_norm(x + self.attention(x, f"{name}.attention", bias), f"{name}.layer_norm", width, eps)
        return self.layer_norm(x + self.feed_forward(x, name), f"{name}.final_layer_norm", width, eps)

    def norm_first(self, x: Node, name: str, bias: Node | None) -> Node:
        """A layer whose norms precede attention and feed-forward; (1, T, D) to the same."""
        width, eps = self.config.hidden_size, self.config.layer_norm_eps
        y = self.layer_norm(x, f"{name}.layer_norm", width, eps)
        x = x + self.attention(y, f"{name}.attention", bias)
        x = x + self.feed_forward(self.layer_norm(x, f"{name}.final_layer_norm", width, eps), name)
        if not self.config.adapter_attn_dim:
            return x
        y = self.layer_norm(x, f"{name}.adapter_layer.norm", width, CONV_EPS)
        y = ops.relu(self.linear(y, f"{name}.adapter_layer.linear_1", width, self.config.adapter_attn_dim))
        return x + self.linear(y, f"{name}.adapter_layer.linear_2", self.config.adapter_attn_dim, width)

    def attention(self, x: Node, name: str, bias: Node | None) -> Node:
        """(1, T, D) to the same, with WavLM's bias (H, T, T) where there is one."""
        width, heads = self.config.hidden_size, self.config.num_attention_heads
        # written out: OpenVINO makes one kernel of it, faster here than its own operator for attention
        q = self.split(self.linear(x, f"{name}.q_proj", width, width, factor=(width // heads) ** -0.5))
        k, v = (self.split(self.linear(x, f"{name}.{part}_proj", width, width)) for part in "kv")
        scores = ops.matmul(q, k, transpose_a=False, transpose_b=True)
        if bias is not None:
            scores = scores + self.gate(x, name) * bias
        y = ops.matmul(ops.softmax(scores, -1), v, transpose_a=False, transpose_b=False)
        y = ops.reshape(ops.transpose(y, integers(0, 2, 1, 3)), integers(0, 0, width), special_zero=True)
        return self.linear(y, f"{name}.out_proj", width, width)

    def split(self, x: Node) -> Node:
        """(1, T, D) to (1, H, T, D / H)."""
        shape = integers(0, 0, self.config.num_attention_heads, -1)
        return ops.transpose(ops.reshape(x, shape, special_zero=True), integers(0, 2, 1, 3))

    def gate(self, x: Node, name: str) -> Node:
        """(1, T, D) to each query's weight on the position bias, (1, H, T, 1); arXiv:2110.13900, eq. (4)."""
        heads = self.config.num_attention_heads
        size = self.config.hidden_size // heads
        weight = self.weight(f"{name}.gru_rel_pos_linear.weight", (8, size)).reshape(2, 4, size).sum(1)
        bias = self.weight(f"{name}.gru_rel_pos_linear.bias", (8,)).reshape(2, 4).sum(1)
        gain = self.weight(f"{name}.gru_rel_pos_const", (1, heads, 1, 1))
        y = ops.matmul(self.split(x), constant(weight), transpose_a=False, transpose_b=True)
        y = ops.sigmoid(y + constant(bias))
        a, b = (ops.gather(y, integers(i), integers(3)) for i in (0, 1))
        return a * (b * constant(gain) - number(1.0)) + number(2.0)

    def feed_forward(self, x: Node, name: str) -> Node:
        """(1, T, D) to the same."""
        width, inner = self.config.hidden_size, self.config.intermediate_size
        y = self.linear(x, f"{name}.feed_forward.intermediate_dense", width, inner)
        return self.linear(activate(y, self.config.hidden_act), f"{name}.feed_forward.output_dense", inner, width)

    def linear(self, x: Node, name: str, inputs: int, outputs: int, factor: float = 1.0) -> Node:
        """(..., inputs) to (..., outputs), times a factor."""
        weight = self.operand(f"{name}.weight", (outputs, inputs), factor)
        bias = self.operand(f"{name}.bias", (outputs,), factor)
        return ops.matmul(x, weight, transpose_a=False, transpose_b=True) + bias

    def layer_norm(self, x: Node, name: str, width: int, eps: float) -> Node:
        """A layer norm over the last axis."""
        weight, bias = self.operand(f"{name}.weight", (width,)), self.operand(f"{name}.bias", (width,))
        return normalized(x, eps) * weight + bias

    def operand(self, name: str, shape: tuple[int, ...], factor: float = 1.0) -> Node:
        """A weight times a factor; an input of the graph where it belongs to one of several languages."""
        if self.checkpoint.languages and of_language(name):
            outputs = -1 if name.startswith("lm_head.") else shape[0]  # languages differ in their letters
            parameter = ops.parameter([outputs, *shape[1:]], np.float32)
            parameter.set_friendly_name(name)  # the operator's own argument of that name has no effect
            self.spoken.append(parameter)
            return parameter
        weight = self.weight(name, shape)
        return constant(weight if factor == 1.0 else weight * np.float32(factor))


def graph(inputs: list[Parameter], outputs: list[Node]) -> Model:
    """What computes outputs (1, T, ...) from inputs, as (T, ...)."""
    results = [ops.squeeze(output, integers(0)) for output in outputs]
    return Model(results, inputs, "sonant")  # pyright: ignore[reportGeneralTypeIssues]  # so its stub says


def frames_first(x: Node) -> Node:
    """(1, C, 1, T) to (1, T, C)."""
    return ops.transpose(ops.squeeze(x, integers(2)), integers(0, 2, 1))


def convolve(x: Node, weight: FloatArray, stride: int = 1, margins: tuple[int, int] = (0, 0), groups: int = 1) -> Node:
    """(1, C, 1, T), with zeros at both ends, by weights (C', C / groups, kernel) to (1, C', 1, T')."""
    outputs, inputs, kernel = weight.shape
    begin, end = margins
    if inputs < 32 and kernel >= 8 and kernel % 2 == 0:
        # in bfloat16 with AMX, oneDNN 3 computes nonsense from so few channels and an even kernel: make it odd
        weight, end = np.pad(weight, ((0, 0), (0, 0), (0, 1))), end + 1
    sizes = ([1, stride], [0, begin], [0, end], [1, 1])
    if groups == 1:
        return ops.convolution(x, constant(weight[:, :, None]), *sizes)
    return ops.group_convolution(x, constant(weight.reshape(groups, outputs // groups, inputs, 1, -1)), *sizes)


def normalized(x: Node, eps: float) -> Node:
    """Mean 0 and variance 1 over the last axis."""
    return ops.mvn(x, integers(-1), normalize_variance=True, eps=eps, eps_mode="inside_sqrt")


def activate(x: Node, name: str) -> Node:
    """An activation by the name that config.json has for it."""
    if name == "gelu":
        return ops.gelu(x, "erf")
    return ops.relu(x) if name == "relu" else ops.swish(x)


def centred(weight: FloatArray) -> FloatArray:
    """Weights whose outputs sum to 0 over the channels, the first axis."""
    return (weight - weight.mean(0, keepdims=True, dtype=np.float64)).astype(np.float32)


def channels(values: FloatArray) -> Node:
    """A constant (1, C, 1, 1) from (C,)."""
    return constant(values.reshape(1, -1, 1, 1))


def constant(values: FloatArray) -> Node:
    """A constant in the memory of its array, which it keeps alive."""
    return ops.constant(np.asarray(_Lent(np.ascontiguousarray(values))), shared_memory=True)


def integers(*values: int) -> Node:
    """A constant vector of integers."""
    return ops.constant(np.array(values, np.int64))


def number(value: float) -> Node:
    """A constant that broadcasts to anything."""
    return ops.constant(np.float32(value))


class _Lent:
    """An array as one that OpenVINO would be allowed to write, which it never does: it refuses to share others."""

    def __init__(self, array: FloatArray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}
