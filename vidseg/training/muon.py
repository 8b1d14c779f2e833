"""Muon: steps along orthogonal matrices.

Sources: Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024
(https://kellerjordan.github.io/posts/muon/); the size of a step: Liu et al., Muon is Scalable for LLM
Training, arXiv:2502.16982, section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

QUINTIC = 3.4445, -4.7750, 2.0315
"""Coefficients of Jordan's iteration: a singular value s becomes a s + b s^3 + c s^5. Repeated, it takes
all that are not tiny to between 0.7 and 1.2."""
ITERATIONS = 5
MOMENTUM = 0.95
MOMENT = "momentum"
"""What Muon keeps of each parameter, the only thing."""
STEP_RMS = 0.4
"""Root mean square of what one step changes, as a share of the learning rate: twice that of AdamW, at whose
rate it is used."""
LEAST_SIDE = 8
"""Matrices with fewer rows or columns are left to AdamW: there is little to make orthogonal in them."""


def takes(parameter: Tensor) -> bool:
    """Whether Muon is meant for a parameter: matrices, and kernels of convolutions that mix channels.

    A kernel, out x in x height x width, counts as a matrix of `out` rows; one of a depthwise convolution
    mixes nothing.
    """
    if parameter.dim() < 2 or (parameter.dim() > 2 and parameter.shape[1] == 1):
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= LEAST_SIDE


class Muon(torch.optim.Optimizer):
    """Changes each matrix by the orthogonal matrix that is closest to its averaged gradient, so that no
    direction of it is learned faster than another one.

    Args:
        parameters: see `takes`.
        weight_decay: as of AdamW, it is multiplied by the learning rate.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step by the gradients at hand; parameters without one stay as they are."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if MOMENT not in state:
                    state[MOMENT] = torch.zeros_like(parameter)
                state[MOMENT].lerp_(parameter.grad, 1 - MOMENTUM)
                ahead = parameter.grad.lerp(state[MOMENT], MOMENTUM)  # Nesterov's form
                change = orthogonal(ahead.flatten(1))
                # The root mean square of an orthogonal matrix is one over the root of its longer side.
                scale = STEP_RMS * max(change.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(change.view_as(parameter), alpha=group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the orthogonal matrix (U V^T of its singular value decomposition) that is closest to a matrix."""
    a, b, c = QUINTIC
    found = matrix / (matrix.norm() + 1e-7)
    is_tall = found.shape[0] > found.shape[1]
    if is_tall:
        found = found.T
    for _ in range(ITERATIONS):
        squared = found @ found.T
        found = a * found + (b * squared + c * squared @ squared) @ found
    return found.T if is_tall else found
