"""A computation that is recorded once as a CUDA graph and replayed.

Its thousands of small kernels are started at once: Python needs longer to start them than they take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UPS = 3
"""Runs before the recording: libraries choose their kernels and take their memory in them."""


class Recorded:
    """A function of tensors; elsewhere than on CUDA it is simply called.

    Args:
        compute: its inputs are dictionaries of tensors; it is recorded anew when their shapes change. It
            must look at no value, and leave gradients in `parameters`.
        parameters: what gets gradients; each run replaces those of the one before.
    """

    def __init__(
        self, compute: Callable[..., Any], parameters: list[torch.nn.Parameter], device: torch.device
    ) -> None:
        self._compute = compute
        self._parameters = parameters
        self._records = device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[dict[str, Tensor]] = []
        self._gradients: list[Tensor | None] = []
        self._result: Any = None

    def __call__(self, *inputs: Mapping[str, Tensor]) -> Any:
        """The result; its tensors hold until the next call."""
        if not self._records:
            self._forget_gradients()
            return self._compute(*inputs)
        if self._graph is None or _shapes(inputs) != _shapes(self._inputs):
            self._record(inputs)
        for kept, given in zip(self._inputs, inputs, strict=True):
            for name, value in given.items():
                kept[name].copy_(value)
        assert self._graph is not None
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._result

    def _record(self, inputs: tuple[Mapping[str, Tensor], ...]) -> None:
        self._inputs = [{name: value.clone() for name, value in given.items()} for given in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._forget_gradients()
                self._compute(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        # Gradients that are not there yet are made in the graph's own memory; each replay writes them anew.
        self._forget_gradients()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self._compute(*self._inputs)
        self._gradients = [parameter.grad for parameter in self._parameters]
        self._graph = graph

    def _forget_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def _shapes(inputs: Sequence[Mapping[str, Tensor]]) -> list[dict[str, torch.Size]]:
    return [{name: value.shape for name, value in given.items()} for given in inputs]
