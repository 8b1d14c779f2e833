"""What is asked of ONNX's protobufs and changed in them: the nodes and constants of a graph.

A graph is an `onnx.GraphProto`, a node an `onnx.NodeProto`, a constant an `onnx.TensorProto`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def constants_of(graph: Any) -> dict[str, Any]:
    """The constants of a graph, by their names."""
    return {each.name: each for each in graph.initializer}


def attributes(node: Any) -> dict[str, Any]:
    """The values of a node's attributes, by their names."""
    import onnx

    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of a node's attribute, or the default where the node does not state it."""
    return attributes(node).get(name, default)


def set_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Have a graph consist of these nodes, in the order in which they run."""
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def drop_unused_constants(graph: Any) -> None:
    """Remove the constants that neither a node nor an output of the graph names."""
    needed = {each.name for each in graph.output} | {name for node in graph.node for name in node.input}
    constants = [each for each in graph.initializer if each.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
