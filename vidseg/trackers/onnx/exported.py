"""What models over exported graphs have in common: nothing is left to prepare, and nothing can be trained."""

from __future__ import annotations

from torch import Tensor

from vidseg.errors import ConfigError
from vidseg.trackers.graphs.replays import Replays
from vidseg.trackers.model import Decoded, Features
from vidseg.trackers.onnx.graphs import Graphs


class ExportedModel:
    """A model whose learned parts compute in onnxruntime."""

    _graphs: Graphs

    @property
    def graphs_sha256(self) -> dict[str, str]:
        """See `vidseg.trackers.exported.HasGraphs`."""
        return self._graphs.digests

    def fuse(self) -> None:
        """Graphs are exported in their fastest form."""

    def compile_parts(self) -> None:
        """onnxruntime has compiled its graphs already."""


class ExportedMemoryModel(ExportedModel):
    """A model with a memory whose learned parts compute in onnxruntime."""

    def record_parts(self, replays: Replays) -> None:
        """onnxruntime runs its graphs by itself."""

    def all_passes(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        *,
        previous_logits_bhw: Tensor | None = None,
    ) -> list[Decoded]:
        raise ConfigError("an exported model cannot be trained", hint="train the tracker that was exported")
