"""Rewrites exported graphs to operators that take onnxruntime less time on a CPU; results are the same.

What is rewritten, and why it is slow there (found by its profiler):

- Means over windows of few channels: such pooling visits each window by itself. A convolution does not.
- Pixels moved to channels (`pixel_unshuffle`): a transposition of six axes copies number by number.
- Convolutions to one channel: onnxruntime computes 16 where one is wanted. So 4 x 4 pixels become the 16
  channels of a convolution with stride 4, whose kernel is as much larger.
- Lengths of vectors over channels (`ReduceL2`): a convolution by ones sums squares in a fraction of the time.
- The factors and offsets that follow a group norm: two passes over the map, where one does.
- Sums of a map from outside and of two that are in the layout of convolutions: these are added first, as
  that costs nothing within a convolution, and spares a change of layout.

Graphs are of float32. A rule looks at a node and returns what takes its place, or None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.export.protos import attributes, constants_of, drop_unused_constants, set_nodes

FEW = 16
"""Up to so many channels a convolution takes less time than pooling or a transposition."""
BLOCK = 4
"""Side of the blocks of pixels that a convolution to one channel computes as channels."""

Nodes = list[Any]


class Graph:
    """A graph of ONNX, with what rules ask of it.

    Args:
        graph: an `onnx.GraphProto`, which is changed in place.
        folder: where the files of large constants are, if they are kept apart.
    """

    def __init__(self, graph: Any, folder: Path) -> None:
        self.proto = graph
        self._folder = folder
        self._constants = constants_of(graph)
        self.makers = {name: node for node in graph.node for name in node.output}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.shapes = {
            each.name: [axis.dim_value for axis in each.type.tensor_type.shape.dim]
            for each in (*graph.input, *graph.value_info, *graph.output)
        }
        """Sizes of what is not constant; free ones are 0."""

    def constant(self, name: str) -> Any | None:
        """The values of a constant, or None if it is none."""
        from onnx import numpy_helper

        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor, base_dir=str(self._folder))

    def maker(self, name: str, kind: str) -> Any | None:
        """The node of this kind that makes a value."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == kind else None

    def add_constant(self, name: str, values: Any) -> str:
        """Add a constant under a name of its own, and return that."""
        from onnx import numpy_helper

        name = f"{name}_rewritten"
        self.proto.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def rewrite_file(path: Path) -> None:
    """Rewrite a file of ONNX in place."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    rewrite(model, path.parent)
    onnx.save(model, path)


def rewrite(model: Any, folder: Path) -> None:
    """Rewrite an `onnx.ModelProto` in place.

    Args:
        folder: where the files of large constants are, if they are kept apart.
    """
    graph = Graph(model.graph, folder)
    nodes: Nodes = []
    for node in model.graph.node:
        changed = next((made for rule in RULES if (made := rule(graph, node)) is not None), [node])
        nodes.extend(changed)
    needed = {each.name for each in model.graph.output}
    kept: Nodes = []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    set_nodes(model.graph, reversed(kept))
    drop_unused_constants(model.graph)


def _pooled(graph: Graph, node: Any) -> Nodes | None:
    if node.op_type != "AveragePool" or not _is_few(graph, node.input[0]):
        return None
    about = attributes(node)
    if about["strides"] != about["kernel_shape"] or any(about["pads"]) or about.get("ceil_mode"):
        return None
    size = about["kernel_shape"]
    channels = graph.shapes[node.input[0]][1]
    each = np.eye(channels, dtype=np.float32)[:, :, None, None] / np.prod(size)
    kernel = np.broadcast_to(each, (channels, channels, *size))
    return [_convolution(graph, node.input[0], kernel.astype(np.float32), node.output[0], strides=size)]


def _unshuffled(graph: Graph, node: Any) -> Nodes | None:
    turned = graph.maker(node.input[0], "Transpose") if node.op_type == "Reshape" else None
    split = graph.maker(turned.input[0], "Reshape") if turned is not None else None
    if turned is None or split is None or attributes(turned)["perm"] != [0, 1, 3, 5, 2, 4]:
        return None
    given, blocks, out = (
        graph.shapes.get(name, []) for name in (split.input[0], *split.output, *node.output)
    )
    if len(given) != 4 or len(blocks) != 6 or not _is_few(graph, split.input[0]):
        return None
    channels, side = given[1], blocks[3]
    if blocks[5] != side or out[1:] != [channels * side**2, blocks[2], blocks[4]]:
        return None
    kernel = np.eye(channels * side**2, dtype=np.float32).reshape(-1, channels, side, side)
    return [_convolution(graph, split.input[0], kernel, node.output[0], strides=[side, side])]


def _to_one_channel(graph: Graph, node: Any) -> Nodes | None:
    from onnx import helper

    if node.op_type != "Conv":
        return None
    about, shape = attributes(node), graph.shapes.get(node.input[0], [])
    if node.output[0] not in graph.shapes or graph.shapes[node.output[0]][1:2] != [1] or len(shape) != 4:
        return None
    weight = graph.constant(node.input[1])
    if weight is None or about.get("group", 1) != 1:
        return None
    side = weight.shape[2]
    is_plain = weight.shape[3] == side and side % 2 and about["pads"] == [side // 2] * 4
    steps = {*about.get("strides", [1]), *about.get("dilations", [1])}
    if not is_plain or steps != {1} or not all(size and size % BLOCK == 0 for size in shape[2:]):
        return None
    kernel = np.zeros((BLOCK**2, weight.shape[1], side + BLOCK - 1, side + BLOCK - 1), weight.dtype)
    for place in range(BLOCK**2):
        row, column = divmod(place, BLOCK)
        kernel[place, :, row : row + side, column : column + side] = weight[0]
    bias = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, weight.dtype)
    if bias is None:
        return None
    blocks = f"{node.output[0]}_blocks"
    return [
        _convolution(
            graph,
            node.input[0],
            kernel,
            blocks,
            strides=[BLOCK, BLOCK],
            pads=about["pads"],
            bias=bias.repeat(BLOCK**2),
        ),
        helper.make_node("DepthToSpace", [blocks], node.output, blocksize=BLOCK, mode="CRD"),
    ]


def _length(graph: Graph, node: Any) -> Nodes | None:
    from onnx import helper

    shape = graph.shapes.get(node.input[0], []) if node.op_type == "ReduceL2" else []
    axes = graph.constant(node.input[1]) if len(shape) == 4 else None
    if axes is None or axes.tolist() != [1] or not attributes(node).get("keepdims", 1):
        return None
    squares, total = (f"{node.output[0]}_{what}" for what in ("squares", "total"))
    return [
        helper.make_node("Mul", [node.input[0], node.input[0]], [squares]),
        _convolution(graph, squares, np.ones((1, shape[1], 1, 1), np.float32), total, strides=[1, 1]),
        helper.make_node("Sqrt", [total], node.output),
    ]


def _scaled(graph: Graph, node: Any) -> Nodes | None:
    """Factors and offsets of a group norm's channels, as a batch norm of mean 0 and variance 1."""
    from onnx import helper

    factored = graph.maker(node.input[0], "Mul") if node.op_type == "Add" else None
    restored = graph.maker(factored.input[0], "Reshape") if factored is not None else None
    if factored is None or restored is None or not graph.maker(restored.input[0], "InstanceNormalization"):
        return None
    factors, offsets = (graph.constant(each.input[1]) for each in (factored, node))
    if factors is None or offsets is None or factors.shape[1:] != (1, 1) or factors.shape != offsets.shape:
        return None
    factors, offsets = factors.ravel(), offsets.ravel()
    values = {"scale": factors, "bias": offsets, "mean": 0 * factors, "variance": np.ones_like(factors)}
    names = [graph.add_constant(f"{node.output[0]}_{name}", each) for name, each in values.items()]
    return [helper.make_node("BatchNormalization", [factored.input[0], *names], node.output, epsilon=0.0)]


def _added_first(graph: Graph, node: Any) -> Nodes | None:
    from onnx import helper

    first = graph.maker(node.input[0], "Add") if node.op_type == "Add" else None
    if first is None or not graph.maker(first.input[0], "Conv") or first.input[1] in graph.makers:
        return None
    enlarged = graph.maker(node.input[1], "Resize")
    is_of_maps = enlarged is not None and graph.maker(enlarged.input[0], "Conv") is not None
    if not is_of_maps or graph.uses[first.output[0]] > 1:
        return None
    both = f"{node.output[0]}_both"
    return [
        helper.make_node("Add", [first.input[0], node.input[1]], [both]),
        helper.make_node("Add", [both, first.input[1]], node.output),
    ]


RULES: tuple[Callable[[Graph, Any], Nodes | None], ...] = (
    _pooled,
    _unshuffled,
    _to_one_channel,
    _length,
    _scaled,
    _added_first,
)


def _is_few(graph: Graph, name: str) -> bool:
    shape = graph.shapes.get(name, [])
    return len(shape) == 4 and 0 < shape[1] <= FEW


def _convolution(
    graph: Graph,
    given: str,
    kernel: Any,
    out: str,
    *,
    strides: list[int],
    pads: list[int] | None = None,
    bias: Any = None,
) -> Any:
    from onnx import helper

    constants = [graph.add_constant(f"{out}_kernel", kernel)]
    if bias is not None:
        constants.append(graph.add_constant(f"{out}_bias", bias))
    return helper.make_node(
        "Conv", [given, *constants], [out], f"{out}_conv", strides=strides, pads=pads or [0] * 4
    )
