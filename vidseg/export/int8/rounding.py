"""Rounds weights to eight bits so that the products err least on calibration frames.

By themselves weights would be rounded to the nearest step. Here they are rounded one input after another, and
those to come make up for the error so far, as far as what they are multiplied by goes along with it. Runtimes
see no difference. What is left of the error's mean goes into the bias, where there is one.

Source: Frantar et al., "GPTQ" (ICLR 2023, arXiv:2210.17323), with the inputs of largest power first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from vidseg.export.int8.channel_groups import WEIGHT_AXES, output_axis
from vidseg.export.int8.watch import Feeds, Moments, Values, moments
from vidseg.export.protos import constants_of

DAMPING = 0.01
"""Share of the inputs' mean power that is added to each, as calibration frames know not all to come."""
BLOCK = 128
"""So many channels are rounded before the error goes over to the rest: the same result, in less time."""


def round_weights(model: Any, feeds: Sequence[Feeds], exact: Collection[str]) -> dict[str, list[Any]]:
    """Round the weights of products and convolutions in an `onnx.ModelProto`.

    Args:
        feeds: inputs of the graph from calibration frames.
        exact: names of nodes that are not quantised.

    Returns:
        The scales of the changed weights, one for each output channel, as `quantize_static` takes them
        (`TensorQuantOverrides`).
    """
    from onnx import numpy_helper

    constants = constants_of(model.graph)
    uses = Counter(name for node in model.graph.node for name in node.input)
    products = [
        node
        for node in model.graph.node
        if node.name not in exact and _has_weights_of_its_own(node, constants, uses)
    ]
    scales: dict[str, list[Any]] = {}
    changed: dict[str, Values] = {}
    for node, read in moments(model, products, feeds):
        name = node.input[1]
        weight = numpy_helper.to_array(constants[name]).astype(np.float64)
        axis = output_axis(node)
        by_output = weight.T if axis else weight
        rows = by_output.reshape(len(read.sum_gi), -1, read.sum_gi.shape[1])
        rounded, steps = gptq(rows, read)
        rounded_too = rounded.reshape(by_output.shape)
        changed[name] = rounded_too.T if axis else rounded_too
        bias = node.input[2] if len(node.input) > 2 else ""
        if uses[bias] == 1 and bias in constants:
            means = read.sum_gi / read.patches
            shift = np.einsum("goi,gi->go", rows - rounded, means).ravel()
            changed[bias] = numpy_helper.to_array(constants[bias]) + shift
        scales[name] = _as_overrides(steps.ravel(), axis)
    for name, values in changed.items():
        constants[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return scales


def _has_weights_of_its_own(node: Any, constants: Any, uses: Counter[str]) -> bool:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or uses[node.input[1]] > 1:
        return False
    weight = constants.get(node.input[1])
    return weight is not None and len(weight.dims) == WEIGHT_AXES[node.op_type]


def gptq(weight_goi: Values, read: Moments) -> tuple[Values, Values]:
    """The weights in eight bits whose products are nearest to the exact ones, and their steps.

    Args:
        weight_goi: float64, groups x outputs x inputs.
        read: what they are multiplied by.

    Returns:
        Rounded weights (groups x outputs x inputs), and steps (groups x outputs).
    """
    step_go = np.maximum(np.abs(weight_goi).max(axis=2) / 127, 1e-12)
    power_gi = np.diagonal(read.squares_gii, axis1=1, axis2=2)
    order_gi = np.argsort(-power_gi, axis=1)
    left = np.take_along_axis(weight_goi, order_gi[:, None], axis=2)
    codes = np.empty_like(left)
    factor = _inverse_factor(read.squares_gii, order_gi)
    count = left.shape[2]
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        errors = np.empty((*left.shape[:2], stop - start))
        for i in range(start, stop):
            codes[:, :, i] = np.clip(np.round(left[:, :, i] / step_go), -127, 127)
            error = (left[:, :, i] - codes[:, :, i] * step_go) / factor[:, i, i, None]
            left[:, :, i + 1 : stop] -= error[:, :, None] * factor[:, i, None, i + 1 : stop]
            errors[:, :, i - start] = error
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    rounded = np.empty_like(codes)
    np.put_along_axis(rounded, np.broadcast_to(order_gi[:, None], codes.shape), codes, axis=2)
    return rounded * step_go[:, :, None], step_go


def _inverse_factor(squares_gii: Values, order_gi: Values) -> Values:
    """How the error of one input goes over to those after it: the upper Cholesky factor of the inverse of
    the inputs' second moments, in the order in which they are rounded."""
    power = np.diagonal(squares_gii, axis1=1, axis2=2).mean(axis=1)
    damping = DAMPING * power + np.finfo(np.float64).tiny + (power == 0)
    ordered = np.take_along_axis(squares_gii, order_gi[:, :, None], axis=1)
    ordered = np.take_along_axis(ordered, order_gi[:, None], axis=2)
    inverse = np.linalg.inv(ordered + damping[:, None, None] * np.eye(ordered.shape[1]))
    return np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)


def _as_overrides(steps: Values, axis: int) -> list[Any]:
    overrides: list[Any] = [
        {"scale": np.array(step, np.float32), "zero_point": np.array(0, np.int8)} for step in steps
    ]
    overrides[0]["axis"] = axis
    return overrides
