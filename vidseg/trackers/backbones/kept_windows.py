"""Windows of a video's picture that stay as they are keep what they were encoded to.

Blocks that attend within windows treat each window by itself, so a window that did not change need not be
computed again. Each window is compared with the picture that it was computed from, and not with the last one:
slow changes add up, and then it is computed anew.

Efficient-SAM2 (arXiv:2602.08224) sends windows without an object through a learned shortcut in place of the
blocks. This takes its idea, that background stays background, without training: what counts is whether a
window changed, whatever it shows. So several objects, late prompts, and objects that come back need no care.

Layouts in names: W windows · Y X cells of 4 x 4 pixels · y x cells of a window · C channels · S the side of
the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 4
"""Side in pixels of the squares that are averaged before pictures are compared, as cameras are noisy."""


PREFIX = "windows."
CELLS = PREFIX + "cells"


@dataclass
class KeptWindows:
    """What the windows of one video were last encoded to. It is empty before the first frame."""

    cells_3yx: Tensor | None = None
    """Averages of CELL x CELL pixels (0 to 255), float32, of each window when it was last encoded."""
    outputs: dict[int, Tensor] = field(default_factory=dict)
    """Number of a block -> what it made of the windows, W x y x x x C."""

    def outdated(self, cells_3yx: Tensor, window_cells: int, limit: float) -> Tensor:
        """Which windows of a picture must be encoded: bool, rows of windows x columns of windows.

        Args:
            cells_3yx: averages of the picture's pixels.
            window_cells: side of a window in cells.
            limit: a window in and around which no average has changed by as much is kept.
        """
        shape = [side // window_cells for side in cells_3yx.shape[1:]]
        if self.cells_3yx is None or self.cells_3yx.shape != cells_3yx.shape:
            return torch.ones(shape, dtype=torch.bool, device=cells_3yx.device)
        change_11yx = (cells_3yx - self.cells_3yx).abs().amax(dim=0)[None, None]
        # A window's first layer sees a few pixels of its neighbours.
        change_11yx = F.max_pool2d(change_11yx, 3, stride=1, padding=1)
        return F.max_pool2d(change_11yx, window_cells)[0, 0] >= limit

    def take(self, cells_3yx: Tensor, outdated: Tensor, outputs: Mapping[int, Tensor]) -> None:
        """Put what the outdated windows were encoded to in place of what was kept of them.

        Args:
            outputs: as the field `outputs`, of the outdated windows alone.
        """
        if self.cells_3yx is None or outdated.all():
            self.cells_3yx, self.outputs = cells_3yx, dict(outputs)
            return
        rows = outdated.flatten()
        for index, output in outputs.items():
            self.outputs[index][rows] = output
        window_cells = cells_3yx.shape[1] // outdated.shape[0]
        is_new_yx = outdated.repeat_interleave(window_cells, 0).repeat_interleave(window_cells, 1)
        self.cells_3yx = torch.where(is_new_yx, cells_3yx, self.cells_3yx)

    def save(self) -> dict[str, Tensor]:
        """Tensors for a session's file, whose names begin with 'windows.'."""
        if self.cells_3yx is None:
            return {}
        return {CELLS: self.cells_3yx, **{f"{PREFIX}{index}": x for index, x in self.outputs.items()}}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> KeptWindows:
        """What `save` gave; empty if there is nothing of it among the tensors."""
        outputs = {name: x for name, x in tensors.items() if name.startswith(PREFIX) and name != CELLS}
        return cls(tensors.get(CELLS), {int(name.removeprefix(PREFIX)): x for name, x in outputs.items()})


def average_cells(pixels_13ss: Tensor) -> Tensor:
    """A picture's averages over squares of CELL x CELL pixels: 3 x S/4 x S/4."""
    return F.avg_pool2d(pixels_13ss, CELL)[0]
