"""What follows from weights and the grid alone: made once while tracking."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class KeptPositions:
    """Position embeddings resized to a grid; made anew when the grid or the weights change, or gradients are
    wanted."""

    def __init__(self) -> None:
        self._key: tuple[int, ...] = ()
        self._kept = torch.empty(0)

    def get(self, grid_hw: tuple[int, int], make: Callable[[int, int], Tensor], *weights: Tensor) -> Tensor:
        """
        Args:
            make: from height and width.
            weights: what `make` makes it of.
        """
        if torch.compiler.is_compiling():
            return make(*grid_hw)
        key = (*grid_hw, *(w._version for w in weights), *(w.data_ptr() for w in weights))
        if torch.is_grad_enabled() or key != self._key:
            self._key, self._kept = key, make(*grid_hw)
        return self._kept
