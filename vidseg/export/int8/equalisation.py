"""Equalises channels that eight bits would round together, without a pass more.

All channels of a tensor share one scale in eight bits, so that a few channels of wide range leave the others
few steps. Each is divided by a factor, which the weights that make and read it take over (`channel_groups`);
where something else reads it, as an output of the graph does, it is multiplied back.

Sources: Xiao et al., "SmoothQuant" (ICML 2023, arXiv:2211.10438), which equalises what norms give; Nagel et
al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019, arXiv:1906.04721),
which does so between two convolutions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from vidseg.export.int8.channel_groups import ChannelGroups, Group, output_axis
from vidseg.export.int8.watch import Feeds, Values, channel_maxima
from vidseg.export.protos import attribute, constants_of, drop_unused_constants, set_nodes

SHARE = 0.75
"""How much of the difference between the maxima of channels is equalised. The rest leaves room for what
calibration frames did not show."""
GAIN, GAIN_AFTER_NORMS = 3 / 4, 1 / 3
"""Channels are equalised where the error of what is rounded falls to this share or less, in the products
that read it. After norms videos other than the calibration's lost more by it."""
LEAST = 1 / 256
"""Channels count as if they reached this share of the widest, so that none blows up."""


def equalise(model: Any, feeds: Sequence[Feeds], in_eight_bits: Collection[str]) -> list[str]:
    """Equalise the channels of tensors that are rounded to eight bits, in an `onnx.ModelProto`.

    Args:
        feeds: inputs of the graph from calibration frames.
        in_eight_bits: names of the tensors that are rounded.

    Returns:
        The names of the nodes that read channels which were equalised.
    """
    found = ChannelGroups(model.graph)
    rounded = set(in_eight_bits)
    groups = [group for group in found.all() if group.readers and rounded & set(group.tensors)]
    watched = {name: found.channels[name] for group in groups for name in group.tensors if name in rounded}
    if not watched:
        return []
    reach = channel_maxima(model, watched, feeds)
    constants = constants_of(model.graph)
    change = _Change(model.graph, found)
    equalised = []
    for group in groups:
        shares = [reach[name] / max(reach[name].max(), 1e-12) for name in group.tensors if name in rounded]
        factors = np.maximum(np.max(shares, axis=0), LEAST) ** SHARE
        power = np.sum([_power(node, constants) for node in group.readers], axis=0)
        is_of_norm = any(node.op_type == "LayerNormalization" for node in group.makers)
        left = np.average(factors**2, weights=power if power.any() else None)
        if left <= (GAIN_AFTER_NORMS if is_of_norm else GAIN):
            change.divide(group, factors)
            equalised += [node.name for node in group.readers]
    change.write()
    return equalised


def _power(node: Any, constants: Mapping[str, Any]) -> Values:
    """The sum of squares of the weights that read each channel."""
    from onnx import numpy_helper

    weight = np.moveaxis(numpy_helper.to_array(constants[node.input[1]]), _input_axis(node), 0)
    return np.square(weight).reshape(len(weight), -1).sum(axis=1)


def _input_axis(node: Any) -> int:
    """Which axis of a node's weights is that of the channels that it reads."""
    if node.op_type == "Conv":
        return 1 if attribute(node, "group", 1) == 1 else 0
    return 1 - output_axis(node)


class _Change:
    """Factors that are moved into the weights of a graph."""

    def __init__(self, graph: Any, found: ChannelGroups) -> None:
        self._graph, self._channels = graph, found.channels
        self._constants = constants_of(graph)
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._restored: dict[str, Values] = {}
        """Tensors that are multiplied back, and by what."""
        self._outputs: set[str] = set()
        """Those of them that are outputs of the graph."""

    def divide(self, group: Group, factors: Values) -> None:
        """Divide the channels of a group by factors."""
        for node in group.makers:
            self._multiply(node, 1, 1 / factors, output_axis(node))
            if len(node.input) > 2 and node.input[2]:
                self._multiply(node, 2, 1 / factors, -1)
        for node in group.readers:
            self._multiply(node, 1, factors, _input_axis(node))
        for node, slot in group.added:
            name = node.input[1 - slot]
            behind = self._channels[name].rank - 1 - self._channels[name].axis
            self._multiply(node, slot, 1 / factors, len(self._constants[node.input[slot]].dims) - 1 - behind)
        for node, name in group.leaving:
            self._restored[name] = factors
            if node is None:
                self._outputs.add(name)
                continue
            for slot, given in enumerate(node.input):
                if given == name:
                    node.input[slot] = _back(name)

    def _multiply(self, node: Any, slot: int, factors: Values, axis: int) -> None:
        """Multiply one of a node's constants; it gets one of its own if others use it, too."""
        from onnx import numpy_helper

        name = node.input[slot]
        values = numpy_helper.to_array(self._constants[name])
        shape = [-1 if each == axis % values.ndim else 1 for each in range(values.ndim)]
        values = (values * factors.reshape(shape)).astype(np.float32)
        if self._uses[name] == 1:
            self._constants[name].CopyFrom(numpy_helper.from_array(values, name))
            return
        self._uses[name] -= 1
        node.input[slot] = own = f"{name}_of_{node.output[0]}"
        self._uses[own] = 1
        self._graph.initializer.append(numpy_helper.from_array(values, own))
        self._constants[own] = self._graph.initializer[-1]

    def write(self) -> None:
        """Put the products that multiply back into the graph."""
        from onnx import helper, numpy_helper

        for node in self._graph.node:
            for names in (node.input, node.output):
                for slot, name in enumerate(names):
                    if name in self._outputs:
                        names[slot] = f"{name}_equalised"
                    elif name.removesuffix(BACK) in self._outputs:
                        names[slot] = name.removesuffix(BACK)
        behind: dict[str, Any] = {}
        for name, factors in self._restored.items():
            channels = self._channels[name]
            shape = [-1 if axis == channels.axis else 1 for axis in range(channels.rank)]
            by = numpy_helper.from_array(factors.reshape(shape).astype(np.float32), f"{name}_factors")
            self._graph.initializer.append(by)
            is_output = name in self._outputs
            given, result = (f"{name}_equalised", name) if is_output else (name, _back(name))
            behind[given] = helper.make_node("Mul", [given, by.name], [result], f"{name}_restore")
        nodes = [
            each
            for node in self._graph.node
            for each in (node, *(behind[name] for name in node.output if name in behind))
        ]
        set_nodes(self._graph, nodes)
        drop_unused_constants(self._graph)


BACK = "_restored"


def _back(name: str) -> str:
    return name + BACK
