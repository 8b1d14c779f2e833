"""A recorder for the CPU: a replay calls the function again on the inputs' own memory, as a graph would."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vidseg.trackers.graphs.recorder import Recording


class FakeRecorder:
    """Keeps inputs and outputs where they are, as a CUDA graph does; outputs are poisoned until a replay."""

    def __init__(self) -> None:
        self.num_recorded = 0
        self.num_replayed = 0

    def serves(self, tensors: Sequence[Tensor]) -> bool:
        return torch.is_inference_mode_enabled()

    def record(
        self, function: Callable[[Sequence[Tensor]], Sequence[Tensor]], inputs: Sequence[Tensor]
    ) -> Recording:
        own = [tensor.clone() for tensor in inputs]
        outputs = [output.clone() for output in function(own)]
        self.num_recorded += 1

        def replay() -> None:
            self.num_replayed += 1
            for output, value in zip(outputs, function(own), strict=True):
                output.copy_(value)

        for output in outputs:
            output.fill_(0 if not output.is_floating_point() else torch.nan)
        return Recording(own, outputs, replay)
