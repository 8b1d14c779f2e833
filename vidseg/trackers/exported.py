"""What records of runs and saved sessions say of exported models, so that other graphs are told apart."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HasGraphs(Protocol):
    """A model that computes in graphs, which were exported from another one."""

    @property
    def graphs_sha256(self) -> dict[str, str]:
        """Part -> SHA-256 of its graph. Graphs of one model may be of several types, or of eight bits."""


def export_in_config(model: object) -> dict[str, Any]:
    """What the configuration of an exported model says besides its settings; nothing of other models."""
    if not isinstance(model, HasGraphs):
        return {}
    return {"kind": "onnx", "graphs_sha256": model.graphs_sha256}
