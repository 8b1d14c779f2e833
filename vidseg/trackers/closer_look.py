"""A closer look at what a prompt asks for: the part of the picture around it fills the model's whole input.

Layouts: B objects · h w the low-res grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.contract import Prompt
from vidseg.trackers.view import View

AROUND = 0.25
"""How far the look reaches beyond each side of the object, as a share of its width or height."""
LARGEST = 0.6
"""A look at more than this share of the picture would show little more than the picture does."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture, in cells of the low-res grid; right and bottom edges are exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    side: int
    """Cells along the side of the grid."""

    @property
    def cells(self) -> tuple[slice, slice]:
        """Rows and columns of the grid."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def view(self, size_hw: tuple[int, int]) -> View:
        """This part in pixels of a picture."""
        height, width = size_hw
        x0, x1 = (round(x * width / self.side) for x in (self.left, self.right))
        y0, y1 = (round(y * height / self.side) for y in (self.top, self.bottom))
        return View(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1), size_hw)


def window_around(prompt: Prompt, logits_hw: Tensor, size_hw: tuple[int, int]) -> Window | None:
    """Where to look: around the box of the prompt, or else around the answer so far and the clicks.

    Returns:
        None if there is nothing to look at, or so much that a closer look would be none.
    """
    side = logits_hw.shape[-1]
    scale = side / np.array(size_hw[::-1], np.float64)
    if prompt.box is not None:
        corners = prompt.box.reshape(2, 2) * scale
    else:
        rows, columns = (logits_hw > 0).nonzero().unbind(1)
        spots = prompt.points_xy * scale
        cells = torch.stack((columns, rows), dim=1).cpu().numpy()
        corners = np.concatenate((spots, cells, cells + 1)) if len(cells) else spots[:0]
    if not len(corners):
        return None
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = AROUND * np.maximum(high - low, 1)
    (left, top), (right, bottom) = np.floor(low - margin).clip(0), np.ceil(high + margin).clip(max=side)
    window = Window(int(left), int(top), int(right), int(bottom), side)
    share = (right - left) * (bottom - top) / side**2
    return window if 0 < share <= LARGEST else None


def mirrored(points_bp2: Tensor, labels_bp: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Points where they are in the mirrored picture, and their labels.

    Args:
        points_bp2: in pixels of the model's input.
        labels_bp: of the points; 2 and 3 are the top left and bottom right corners of a box, and come first.
        side: of the model's input.
    """
    x, y = (side - points_bp2[..., :1]), points_bp2[..., 1:]
    if bool((labels_bp == 2).any()):
        x = torch.cat((x[:, :2].flip(1), x[:, 2:]), dim=1)
    return torch.cat((x, y), dim=-1), labels_bp


def cut(logits_bhw: Tensor, window: Window) -> Tensor:
    """Mask logits of the whole picture on the grid of the window: B x h x w."""
    rows, columns = window.cells
    part = logits_bhw[:, None, rows, columns]
    return F.interpolate(part, size=logits_bhw.shape[-2:], mode="bilinear")[:, 0]


def pasted(whole_bhw: Tensor, near_bhw: Tensor, window: Window) -> Tensor:
    """Mask logits of the whole picture, with those of a closer look in their place."""
    rows, columns = window.cells
    size = (rows.stop - rows.start, columns.stop - columns.start)
    part = F.interpolate(near_bhw[:, None], size=size, mode="bilinear", antialias=True)[:, 0]
    whole = whole_bhw.clone()
    whole[:, rows, columns] = part
    return whole
