"""Tensors that depend on weights and grid alone, computed once while tracking."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidseg.memory.cached import note_use


class KeptPositions:
    """Position embeddings resized to a grid.

    They are made anew when the grid or the weights change, and whenever gradients are wanted.
    """

    def __init__(self) -> None:
        self._key: tuple[int, ...] = ()
        self._kept = torch.empty(0)

    def get(self, grid_hw: tuple[int, int], make: Callable[[int, int], Tensor], *weights: Tensor) -> Tensor:
        """The embedding for a grid.

        Args:
            make: makes it from height and width.
            weights: the weights that `make` uses.
        """
        if torch.compiler.is_compiling():
            return make(*grid_hw)
        key = (*grid_hw, *(w._version for w in weights), *(w.data_ptr() for w in weights))
        if torch.is_grad_enabled() or key != self._key:
            self._key, self._kept = key, make(*grid_hw)
        note_use(self._kept)
        return self._kept
