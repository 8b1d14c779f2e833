"""Records what a function launches on a GPU, to launch it again all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from vidseg.memory.cached import kept_alive


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded call: `replay` computes the outputs from what was written to the inputs."""

    inputs: Sequence[Tensor]
    """Tensors that are written to before each replay."""
    outputs: Sequence[Tensor]
    """Tensors that each replay overwrites."""
    replay: Callable[[], None]
    kept: Sequence[Tensor] = ()
    """Tensors that the recording reads besides; they must not be freed before it."""

    @property
    def num_bytes(self) -> int:
        """Bytes of inputs and outputs."""
        return sum(t.numel() * t.element_size() for t in (*self.inputs, *self.outputs))


class Recorder(Protocol):
    """Makes recordings; `CudaRecorder` on a GPU, and a stand-in in tests."""

    def serves(self, tensors: Sequence[Tensor]) -> bool:
        """Whether calls with these tensors can be recorded and replayed now."""
        ...

    def record(
        self, function: Callable[[Sequence[Tensor]], Sequence[Tensor]], inputs: Sequence[Tensor]
    ) -> Recording:
        """Record a call. The function must have run before, so that nothing is set up while it is recorded.

        Raises:
            RuntimeError: it does something that cannot be recorded, such as waiting for the device.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs. All of them share one pool of memory for what they compute in between."""

    def __init__(self) -> None:
        self._pool: Any = None

    def serves(self, tensors: Sequence[Tensor]) -> bool:
        return (
            torch.is_inference_mode_enabled()
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled("cuda")
            and all(tensor.is_cuda for tensor in tensors)
            and not torch.cuda.is_current_stream_capturing()
        )

    def record(
        self, function: Callable[[Sequence[Tensor]], Sequence[Tensor]], inputs: Sequence[Tensor]
    ) -> Recording:
        device = inputs[0].device
        own = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        # Only this thread's calls are watched: others may copy and allocate meanwhile.
        with (
            torch.cuda.device(device),
            kept_alive() as kept,
            torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
        ):
            outputs = list(function(own))
        return Recording(own, outputs, graph.replay, kept)
