"""The average of a model's weights over the steps of a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ema:
    """Moving averages of parameters and of floating-point buffers (BatchNorm's statistics); counters are
    copied.

    The average is short at first, so that the random start does not stay in it for long: at the n-th update
    decay = min(`decay`, (1 + n) / (10 + n)).

    Args:
        mean_from: from this step (0-based) on the average is the plain mean of the weights after each step
            since then (Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization,
            UAI 2018); None: it moves to the end.
    """

    def __init__(self, model: nn.Module, decay: float, mean_from: int | None = None) -> None:
        self.decay = decay
        self.mean_from = mean_from
        self.state: dict[str, Tensor] = {key: value.clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after a step (0-based)."""
        if self.mean_from is not None and step >= self.mean_from:
            weight = 1 / (step - self.mean_from + 1)
        else:
            weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averaged, new = [], []
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.state[key])
                new.append(value)
            else:
                self.state[key].copy_(value)
        torch._foreach_lerp_(averaged, new, weight)
