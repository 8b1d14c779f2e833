"""Evens out the channels that products with weights read, before these are quantised.

All channels of an input share one scale in eight bits, so that a few channels of wide range leave the others
few steps. Each channel is divided by a factor, and the row of the weights that reads it is multiplied by
that: the product stays as it is, and each output channel of the weights has a scale of its own anyway. The
division is one more pass over the input, so only products gain it whose own error, measured on what they read
of calibration frames, falls to half or less.

Source: Xiao et al., "SmoothQuant" (ICML 2023, arXiv:2211.10438), whose factors these are; it folds them into
norms. Residual networks without norms, such as RepViT, need them as much and have nothing to fold them into.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.export.rewrite import drop_unused_constants
from vidseg.trackers.onnx.graphs import session_options

SHARES = (0.5, 0.75)
"""How much of the difference between an input's channels goes over to the weights."""
GAIN = 0.5
"""A product is evened out if its squared error falls to this share or less."""
EVERY = 16
"""One row in so many of what a product reads is looked at."""
MOST_ROWS = 2048
LEAST = 1 / 256
"""Channels and rows of weights count as if they reached this share of the widest, so that none blows up."""

Feeds = Mapping[str, Any]
Values = Any
"""A NumPy array of floats."""


def even_out(path: Path, feeds: Sequence[Feeds], exact: Collection[str]) -> list[str]:
    """Even out products (MatMul) with weights in a file of ONNX.

    Args:
        feeds: inputs of the graph from calibration frames.
        exact: names of nodes that are not quantised.

    Returns:
        The names of products that were changed.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    products = [
        node
        for node in graph.node
        if node.op_type == "MatMul" and node.name not in exact and len(_shape(weights, node.input[1])) == 2
    ]
    if not products:
        return []
    read = _read_by(model, products, feeds)
    changed: dict[str, Any] = {}
    for node in products:
        weight = numpy_helper.to_array(weights[node.input[1]])
        factors = _factors(read[node.input[0]], weight)
        if factors is None:
            continue
        even = f"{node.name}_even"
        for name, values in ((f"{even}_by", 1 / factors), (f"{even}_weight", weight * factors[:, None])):
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        changed[node.name] = helper.make_node("Mul", [node.input[0], f"{even}_by"], [even], f"{even}_mul")
        node.input[:] = [even, f"{even}_weight"]
    nodes = [each for node in graph.node for each in (changed.get(node.name), node) if each is not None]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_constants(graph)
    onnx.save(model, path)
    return list(changed)


def _shape(weights: Mapping[str, Any], name: str) -> list[int]:
    return list(weights[name].dims) if name in weights else []


def _read_by(model: Any, products: Sequence[Any], feeds: Sequence[Feeds]) -> dict[str, Values]:
    """Some of the rows that products read: input -> rows x channels."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    weights = {each.name: each for each in graph.initializer}
    channels = {node.input[0]: weights[node.input[1]].dims[0] for node in products}
    names = list(channels)
    ends = {"watched_first": [0], "watched_last": [1 << 62], "watched_axis": [0], "watched_step": [EVERY]}
    for name, values in ends.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    del graph.output[:]
    for index, name in enumerate(names):
        shape = numpy_helper.from_array(np.array([-1, channels[name]]), f"watched_shape_{index}")
        graph.initializer.append(shape)
        rows, some = f"watched_rows_{index}", f"watched_{index}"
        graph.node.append(helper.make_node("Reshape", [name, shape.name], [rows]))
        graph.node.append(helper.make_node("Slice", [rows, *ends], [some]))
        graph.output.append(helper.make_tensor_value_info(some, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    found = [session.run(None, feed) for feed in feeds]
    rows_of = {name: np.concatenate(rows) for name, rows in zip(names, zip(*found, strict=True), strict=True)}
    return {name: rows[:: 1 + len(rows) // MOST_ROWS] for name, rows in rows_of.items()}


def _factors(rows: Values, weight: Values) -> Values | None:
    """The factors by which channels are divided, or None if that does not pay.

    Args:
        rows: R x C.
        weight: C x outputs.
    """
    exact = rows @ weight
    widest, heaviest = (_reach(np.abs(x).max(axis=axis)) for x, axis in ((rows, 0), (weight, 1)))

    def error(factors: Values) -> float:
        product = _in_eight_bits(rows / factors) @ _weights_in_eight_bits(weight * factors[:, None])
        return float(np.square(product - exact).sum())

    tried = [widest**share / heaviest ** (1 - share) for share in SHARES]
    errors = [error(factors) for factors in tried]
    best = int(np.argmin(errors))
    return tried[best] if errors[best] <= GAIN * error(np.ones_like(widest)) else None


def _reach(most: Values) -> Values:
    return np.maximum(most, LEAST * most.max() + 1e-9)


def _in_eight_bits(x: Values) -> Values:
    """Activations: one scale, from the lowest to the highest value."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    step = (high - low) / 255 or 1.0
    zero = round(-low / step)
    return (np.clip(np.round(x / step) + zero, 0, 255) - zero) * step


def _weights_in_eight_bits(weight: Values) -> Values:
    """Weights: a scale for each output channel, the same to both sides."""
    step = np.maximum(np.abs(weight).max(axis=0, keepdims=True) / 127, 1e-12)
    return np.round(weight / step) * step
