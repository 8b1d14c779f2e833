"""What passes through a graph of ONNX while it works on calibration frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.export.protos import attribute, constants_of
from vidseg.trackers.onnx.graphs import session_options

Feeds = Mapping[str, Any]
"""Inputs of a graph, by their names."""
Values = npt.NDArray[Any]
"""Numbers of a tensor."""

MOST_ROWS = 1 << 14
"""About so many patches of what a product reads are looked at, spread over all frames."""
TOGETHER = 12
"""Inputs of so many products are held at once."""


@dataclass(frozen=True)
class Channels:
    """Which axis of a tensor is that of its channels, of how many axes."""

    axis: int
    rank: int


@dataclass
class Moments:
    """What a product with weights reads, patch by patch: G groups of channels, of I numbers each."""

    sum_gi: Values
    squares_gii: Values
    """The sum of each patch's outer product with itself."""
    patches: int


def channel_maxima(model: Any, tensors: Mapping[str, Channels], feeds: Sequence[Feeds]) -> dict[str, Values]:
    """The largest absolute value in each channel of these tensors of a graph."""
    from onnx import helper, numpy_helper

    nodes, constants, names = [], [], []
    for index, (name, channels) in enumerate(tensors.items()):
        absolute, axes, most = (f"watched_{index}_{step}" for step in ("absolute", "axes", "most"))
        others = [axis for axis in range(channels.rank) if axis != channels.axis]
        constants.append(numpy_helper.from_array(np.array(others), axes))
        nodes.append(helper.make_node("Abs", [name], [absolute]))
        nodes.append(helper.make_node("ReduceMax", [absolute, axes], [most], keepdims=0))
        names.append(most)
    most_of: dict[str, Values] = {}
    for found in _values_of(model, names, feeds, nodes, constants):
        for name, values in zip(tensors, found, strict=True):
            most_of[name] = np.maximum(most_of.get(name, 0), values)
    return most_of


def moments(model: Any, products: Sequence[Any], feeds: Sequence[Feeds]) -> Iterator[tuple[Any, Moments]]:
    """What each of these nodes (Conv, Gemm or MatMul with constant weights) reads of the feeds.

    Args:
        products: they must not be changed before they are told of.
    """
    weights = constants_of(model.graph)
    for start in range(0, len(products), TOGETHER):
        some = products[start : start + TOGETHER]
        names = list(dict.fromkeys(node.input[0] for node in some))
        so_far: dict[str, Moments] = {}
        for found in _values_of(model, names, feeds):
            given = dict(zip(names, found, strict=True))
            for node in some:
                shape = list(weights[node.input[1]].dims)
                patches = _patches(node, given[node.input[0]], shape, MOST_ROWS // len(feeds))
                new = Moments(patches.sum(axis=1), patches.transpose(0, 2, 1) @ patches, patches.shape[1])
                if node.name in so_far:
                    before = so_far[node.name]
                    new.sum_gi += before.sum_gi
                    new.squares_gii += before.squares_gii
                    new.patches += before.patches
                so_far[node.name] = new
        for node in some:
            yield node, so_far[node.name]


def _patches(node: Any, x: Values, shape: Sequence[int], count: int) -> Values:
    """About `count` of the patches that a product multiplies by its weights: G x patches x I, in float64."""
    if node.op_type != "Conv":
        rows = x.reshape(-1, x.shape[-1])
        return rows[None, :: 1 + len(rows) // count].astype(np.float64)
    groups, sides = attribute(node, "group", 1), shape[2:]
    steps, spread = attribute(node, "strides", [1, 1]), attribute(node, "dilations", [1, 1])
    top, left, bottom, right = attribute(node, "pads", [0] * 4)
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = tuple(1 + gap * (side - 1) for gap, side in zip(spread, sides, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    windows = windows[:, :, :: steps[0], :: steps[1], :: spread[0], :: spread[1]]
    height, width = windows.shape[2:4]
    places = np.arange(0, height * width, 1 + len(x) * height * width // count)
    some = windows[:, :, places // width, places % width]  # pictures x channels x places x sides
    some = some.reshape(len(x), groups, -1, *some.shape[2:]).transpose(1, 0, 3, 2, 4, 5)
    return some.reshape(groups, len(x) * len(places), -1).astype(np.float64)


def _values_of(
    model: Any,
    names: Sequence[str],
    feeds: Sequence[Feeds],
    nodes: Sequence[Any] = (),
    constants: Sequence[Any] = (),
) -> Iterator[list[Values]]:
    """The values of tensors for each of the feeds, with some nodes added to the graph."""
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.node.extend(nodes)
    watched.graph.initializer.extend(constants)
    given = {each.name for each in watched.graph.input}
    del watched.graph.output[:]
    for name in names:
        if name not in given:
            watched.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    for feed in feeds:
        found = dict(zip((each.name for each in session.get_outputs()), session.run(None, feed), strict=True))
        yield [found[name] if name in found else feed[name] for name in names]
