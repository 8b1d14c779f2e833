"""Makes a graph of ONNX one of eight bits, with the ranges that calibration frames show.

Weights get a scale for each output channel, activations one for each tensor (static; "QDQ": each quantised
product stands between conversions, which runtimes fuse). Products of two activations and narrow convolutions
stay float32: most of the loss would be theirs, and for narrow ones conversions cost more than they spare. So
do convolutions of means over a whole picture, which take no time, and whose errors are everywhere.

What follows a convolution in eight bits and keeps to its range (ReLU, ReLU6, nearest neighbours) takes
eight bits, too, and so do depthwise convolutions after it: conversions there would cost what products spare.
Products of matrices leave float32, which saves conversions before what follows in float32 anyway. Sums are of
float32, so that what a network adds up block after block is rounded where products read it, not in each sum.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.export.int8.equalisation import equalise
from vidseg.export.int8.rounding import round_weights
from vidseg.export.int8.watch import Feeds
from vidseg.export.protos import attribute, constants_of, drop_unused_constants, set_nodes

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Operators that are quantised."""
FLOAT_RESULTS = ("Gemm", "MatMul")
"""Those of them that leave float32."""
FOLLOWING = ("Clip", "Relu", "Resize")
"""Operators that are quantised where they follow a convolution in eight bits."""
NARROW = 16
"""Convolutions from or to fewer channels stay float32; from or to so many those do that see more than single
pixels, or whose result something else than convolutions reads."""
COPY = "_for_products"
"""How names of copies for products end."""
LARGE = 1 << 11
"""Constants of more elements than this that stay in float32, such as biases of attention, are stored as
float16."""


def quantise(exact: Path, path: Path, feeds: Sequence[Feeds]) -> list[str]:
    """Write a graph in eight bits.

    Args:
        exact: the graph in float32.
        feeds: its inputs from calibration frames.

    Returns:
        The names of the nodes that read channels which were equalised; see `equalisation`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Feeds | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / path.name
        quant_pre_process(exact, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        equalised = equalise(model, feeds, in_eight_bits(model.graph))
        stays_exact = exact_nodes(model.graph)
        _separate_products(model.graph, stays_exact)
        scales = round_weights(model, feeds, stays_exact)
        onnx.save(model, prepared)
        quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*PRODUCTS, *FOLLOWING],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=stays_exact,
            extra_options={
                "OpTypesToExcludeOutputQuantization": list(FLOAT_RESULTS),
                "TensorQuantOverrides": scales,
            },
        )
    _shrink(path)
    return equalised


def exact_nodes(graph: Any) -> list[str]:
    """Names of the nodes of quantised operators that stay float32 in a graph (an `onnx.GraphProto`)."""
    weights = {name: weight.dims for name, weight in constants_of(graph).items()}
    readers = _kinds_of_readers(graph)
    pooled = _pooled(graph, weights)
    exact: list[str] = []
    eight_bit: set[str] = set()
    """Outputs of convolutions in eight bits, and of what follows them."""
    for node in graph.node:  # in the order in which they run
        if node.op_type not in (*PRODUCTS, *FOLLOWING):
            continue
        follows = all(name in eight_bit for name in node.input if name and name not in weights)
        if node.op_type == "Conv":
            reads_eight_bits = attribute(node, "group", 1) > 1 and follows
            is_wide = attribute(node, "group", 1) == 1 and _is_wide(node, weights, readers)
            is_quantised = (reads_eight_bits or is_wide) and not pooled.issuperset(node.output)
        elif node.op_type in FOLLOWING:
            is_quantised = follows and attribute(node, "mode", b"nearest") == b"nearest"
        else:
            is_quantised = bool(weights.keys() & set(node.input))
        if not is_quantised:
            exact.append(node.name)
        elif node.op_type not in FLOAT_RESULTS:
            eight_bit |= set(node.output)
    return exact


def _is_wide(node: Any, weights: Mapping[str, Sequence[int]], readers: Mapping[str, set[str]]) -> bool:
    """Whether a convolution has enough channels for eight bits to pay; see `NARROW`."""
    *out_in, height, width = weights[node.input[1]]
    is_between = height == width == 1 and readers.get(node.output[0], {""}) <= {"Conv", "Clip", "Relu"}
    return min(out_in) > NARROW or (min(out_in) == NARROW and is_between)


def _pooled(graph: Any, weights: Mapping[str, Sequence[int]]) -> set[str]:
    """Means over whole pictures, and what is computed of them."""
    pooled: set[str] = set()
    for node in graph.node:
        given = [name for name in node.input if name and name not in weights]
        if _is_pooled(node, graph) or (given and pooled.issuperset(given)):
            pooled |= set(node.output)
    return pooled


def in_eight_bits(graph: Any) -> set[str]:
    """Names of the tensors that are rounded to eight bits in a graph; not of those that a ReLU follows."""
    exact = set(exact_nodes(graph))
    readers = _kinds_of_readers(graph)
    rounded: set[str] = set()
    for node in graph.node:
        if not _is_rounded(node, exact):
            continue
        if node.op_type in PRODUCTS:
            rounded.add(node.input[0])
        if node.op_type not in FLOAT_RESULTS and not readers.get(node.output[0], {""}) <= {"Clip", "Relu"}:
            rounded.add(node.output[0])
    return rounded


def _kinds_of_readers(graph: Any) -> dict[str, set[str]]:
    """The operators of the nodes that read a tensor."""
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    return readers


def _is_pooled(node: Any, graph: Any) -> bool:
    """Whether a node takes the mean over whole pictures."""
    from onnx import numpy_helper

    if node.op_type != "ReduceMean" or len(node.input) < 2:
        return node.op_type == "GlobalAveragePool"
    axes = constants_of(graph).get(node.input[1])
    return axes is not None and sorted(numpy_helper.to_array(axes).tolist()) in ([2, 3], [-2, -1])


def _separate_products(graph: Any, exact: Sequence[str]) -> None:
    """Have products in eight bits read copies of what others read in float32, and weights of their own.

    Quantisation puts conversions behind a tensor, so that all its readers would get the rounded values;
    `_shrink` drops these copies. Weights that products share are rounded for each; without VNNI onnxruntime
    refuses shared ones.
    """
    from onnx import helper

    rounded_here = {
        name
        for node in graph.node
        if _is_rounded(node, exact) and node.op_type not in FLOAT_RESULTS
        for name in node.output
    }
    read_exactly = {each.name for each in graph.output}
    for node in graph.node:
        if not _is_rounded(node, exact):
            read_exactly |= set(node.input)
    constants = constants_of(graph)
    uses = Counter(name for node in graph.node for name in node.input)
    behind: dict[str, Any] = {}
    for node in graph.node:
        weight = constants.get(node.input[1]) if node.op_type in PRODUCTS else None
        if weight is not None and _is_rounded(node, exact) and uses[weight.name] > 1:
            own = graph.initializer.add()
            own.CopyFrom(weight)
            own.name = node.input[1] = f"{weight.name}_of_{node.output[0]}"
        name = node.input[0]
        if _is_rounded(node, exact) and name in read_exactly and name not in rounded_here:
            node.input[0] = name + COPY
            behind[name] = helper.make_node("Identity", [name], [name + COPY], name + COPY)
    given = [each.name for each in graph.input if each.name in behind]
    nodes = [behind[name] for name in given]
    for node in graph.node:
        nodes += [node, *(behind[name] for name in node.output if name in behind)]
    set_nodes(graph, nodes)
    drop_unused_constants(graph)


def _is_rounded(node: Any, exact: Collection[str]) -> bool:
    return node.op_type in (*PRODUCTS, *FOLLOWING) and node.name not in exact


def _shrink(path: Path) -> None:
    """Make a file smaller: drop copies and the exporter's notes of where each node came from, and store large
    constants in half of the bytes."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        del node.metadata_props[:]
    _drop_copies(model.graph)
    _store_in_float16(model.graph)
    onnx.save(model, path)


def _drop_copies(graph: Any) -> None:
    """Have the readers of what `_separate_products` copied read the original; conversions lie between."""
    copies = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.output[0].endswith(COPY)
    }
    nodes = [node for node in graph.node if node.output[0] not in copies]
    for node in nodes:
        for slot, name in enumerate(node.input):
            node.input[slot] = copies.get(name, name)
    set_nodes(graph, nodes)


def _store_in_float16(graph: Any) -> None:
    """Store large constants of float32 as float16, which runtimes convert once, as they load the graph."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for constant in graph.initializer:
        if constant.data_type != TensorProto.FLOAT or np.prod(constant.dims) <= LARGE:
            continue
        values = numpy_helper.to_array(constant)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
        casts.append(helper.make_node("Cast", [constant.name], [name], to=TensorProto.FLOAT))
    set_nodes(graph, [*casts, *graph.node])
