"""Which tensors of a graph have channels that can be scaled together, and whose weights take the scale over.

Each channel may be divided by a factor where it is made, and multiplied by it where it is read. Both are a
change of weights: what lies between, such as sums, ReLU or means over pixels, treats each channel by itself
and lets a factor pass. Tensors that are added up have their factors in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from vidseg.export.int8.watch import Channels
from vidseg.export.protos import attribute, constants_of

PASSING = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity")
"""Operators that treat each channel by itself, and give twice as much for twice as much."""
WEIGHT_AXES = {"Conv": 4, "Gemm": 2, "MatMul": 2, "LayerNormalization": 1}
"""Operators with weights, and how many axes these have."""


def output_axis(node: Any) -> int:
    """Which axis of a node's weights is that of its output channels."""
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type == "MatMul" else 0


@dataclass
class Group:
    """Tensors whose channels are scaled alike, and who deals with them."""

    size: int
    tensors: list[str] = field(default_factory=list)
    makers: list[Any] = field(default_factory=list)
    """Nodes whose weights make the channels."""
    readers: list[Any] = field(default_factory=list)
    """Nodes whose weights read them."""
    added: list[tuple[Any, int]] = field(default_factory=list)
    """Constants that are added to them: a node, and the place of the constant among its inputs."""
    leaving: list[tuple[Any, str]] = field(default_factory=list)
    """Other nodes that read a tensor, and that tensor; None for the graph, of which it is an output."""

    def take_in(self, other: Group) -> None:
        """Have all that another group has, too."""
        for each in fields(self):
            if each.name != "size":
                getattr(self, each.name).extend(getattr(other, each.name))


class ChannelGroups:
    """The groups of a graph whose shapes are inferred (an `onnx.GraphProto`), found in one walk through it.

    Attributes:
        channels: where the channels of each tensor of a group are.
    """

    def __init__(self, graph: Any) -> None:
        self._constants = constants_of(graph)
        self._ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in graph.value_info}
        self.channels: dict[str, Channels] = {}
        self._of: dict[str, Group] = {}
        for node in graph.node:
            self._visit(node)
        for each in graph.output:
            self._leave(None, [each.name])

    def all(self) -> list[Group]:
        return list({id(group): group for group in self._of.values()}.values())

    def _visit(self, node: Any) -> None:
        given = [name for name in node.input if name in self._of]
        if node.op_type in WEIGHT_AXES:
            self._visit_weights(node, given)
        elif given and node.op_type != "Shape":
            channels = self._channels_after(node, given)
            if channels is None:
                self._leave(node, given)
            else:
                self._put(node.output[0], self._of[given[0]], channels)

    def _visit_weights(self, node: Any, given: Sequence[str]) -> None:
        """A node with weights makes channels anew; its weights may take over the factors of what it reads."""
        weight = self._constants.get(node.input[1])
        shape = list(weight.dims) if weight is not None else []
        name = node.input[0]
        before = self.channels.get(name, Channels(0, self._ranks.get(name, 0)))
        rank = {"Conv": 4, "Gemm": 2}.get(node.op_type, before.rank)
        after = Channels(1 if node.op_type == "Conv" else rank - 1, rank)
        has_weights = rank > 0 and len(shape) == WEIGHT_AXES[node.op_type]
        may_read = has_weights and node.op_type != "LayerNormalization" and given == [name]
        if node.op_type == "Conv":
            groups = attribute(node, "group", 1)
            may_read &= groups == 1 or (has_weights and groups == shape[0] and shape[1] == 1)
        if may_read and before == after:
            self._of[name].readers.append(node)
        else:
            self._leave(node, given)
        if has_weights:
            self._put(node.output[0], Group(shape[output_axis(node)], makers=[node]), after)

    def _channels_after(self, node: Any, given: Sequence[str]) -> Channels | None:
        """Where the output has the channels that the inputs have; None: factors do not pass this node."""
        channels = self.channels[given[0]]
        axis, rank = channels.axis, channels.rank
        if node.op_type in PASSING:
            return channels
        if node.op_type == "Resize":
            return channels if attribute(node, "mode", b"nearest") in (b"nearest", b"linear") else None
        if node.op_type == "Transpose":
            return Channels(list(attribute(node, "perm", [])).index(axis), rank)
        if node.op_type == "ReduceMean":
            axes = self._numbers(node.input[1]) if len(node.input) > 1 else []
            is_kept = bool(axes) and axis not in [each % rank for each in axes]
            return channels if is_kept and attribute(node, "keepdims", 1) else None
        if node.op_type == "Mul":
            return channels if len(given) == 1 else None
        if node.op_type == "Add" and len(given) == 1:
            return channels if self._add_constant(node, given[0]) else None
        if node.op_type == "Add":
            return channels if self._add(*given) else None
        return None

    def _add(self, one: str, other: str) -> bool:
        """Whether two tensors can be added up with their factors in common, as they are from now on."""
        group, joined = self._of[one], self._of[other]
        if self.channels[one] != self.channels[other] or group.size != joined.size:
            return False
        if group is not joined:
            for name in joined.tensors:
                self._of[name] = group
            group.take_in(joined)
        return True

    def _add_constant(self, node: Any, name: str) -> bool:
        """Whether what is added to a tensor is a constant with a number for each channel."""
        group, channels = self._of[name], self.channels[name]
        slot = 1 if node.input[0] == name else 0
        constant = self._constants.get(node.input[slot])
        if constant is None:
            return False
        shape = [1] * (channels.rank - len(constant.dims)) + list(constant.dims)
        if shape != [group.size if axis == channels.axis else 1 for axis in range(channels.rank)]:
            return False
        group.added.append((node, slot))
        return True

    def _put(self, name: str, group: Group, channels: Channels) -> None:
        self._of[name], self.channels[name] = group, channels
        group.tensors.append(name)

    def _leave(self, node: Any, names: Sequence[str]) -> None:
        for name in names:
            if name in self._of:
                self._of[name].leaving.append((node, name))

    def _numbers(self, name: str) -> list[int]:
        from onnx import numpy_helper

        if name not in self._constants:
            return []
        return [int(each) for each in numpy_helper.to_array(self._constants[name]).ravel()]
