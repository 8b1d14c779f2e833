"""Where a picture lies on the low-res grid, on which masks are kept: all over it, or in its corner.

Layouts: N objects · K candidates · h w the low-res grid · G the grid on which pictures are compared · H W the
video.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.image.answer import Answer
from vidseg.trackers.image.framing import Framing, PartialFraming

Maps = npt.NDArray[np.float32]


class Placement(Protocol):
    """Moves maps between the low-res grid, the grid on which pictures are compared, and the video."""

    low_hw: tuple[int, int]
    """h and w."""
    inside_hw: npt.NDArray[np.bool_]
    """bool h x w: the low-res cells that show the picture."""

    def answered(self, answer: Answer) -> Maps:
        """The candidates of an answer on the low-res grid: K x h x w."""
        ...

    def to_grid(self, low_res_nhw: Maps) -> Maps:
        """Low-res maps on the grid of pictures: N x G."""
        ...

    def from_grid(self, maps_ngg: Maps, outside: float) -> Maps:
        """Maps on the grid of pictures, on the low-res grid: N x h x w.

        Args:
            outside: the value of low-res cells that show no picture.
        """
        ...

    def to_video(self, low_res_nhw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Low-res logits at the video's size: N x H x W."""
        ...


def placement_of(framing: Framing, low_res_size: int, grid_hw: tuple[int, int]) -> Placement:
    """The placement for a model's framing.

    Args:
        low_res_size: side of the decoder's grid.
        grid_hw: height and width of the grid on which pictures are compared.
    """
    if isinstance(framing, PartialFraming):
        return OnPicture(grid_hw)
    return OnDecoder(framing, low_res_size, grid_hw)


class OnDecoder:
    """Masks are kept on the decoder's own grid; fulfils `Placement`.

    The framing says how logits become a picture. It must move and scale each axis, and do nothing else.
    """

    def __init__(self, framing: Framing, side: int, grid_hw: tuple[int, int]) -> None:
        self.low_hw = side, side
        self._framing = framing
        self._grid_hw = grid_hw
        along = torch.arange(side, dtype=torch.float32)
        ramps = torch.stack((along.expand(side, -1), along[:, None].expand(-1, side)))
        x, y = framing.to_picture(ramps, grid_hw).numpy()
        self._x, self._y = _line(x[0]), _line(y[:, 0])
        columns = _between(side, self._x, grid_hw[1])
        self.inside_hw = _between(side, self._y, grid_hw[0])[:, None] & columns

    def answered(self, answer: Answer) -> Maps:
        return answer.low_res_logits

    def to_grid(self, low_res_nhw: Maps) -> Maps:
        return self._framing.to_picture(torch.from_numpy(low_res_nhw), self._grid_hw).numpy()

    def from_grid(self, maps_ngg: Maps, outside: float) -> Maps:
        (x, dx), (y, dy) = self._x, self._y
        place = np.array([[1 / dx, 0, -x / dx], [0, 1 / dy, -y / dy]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = np.empty((len(maps_ngg), *self.low_hw), np.float32)
        for row, each in enumerate(maps_ngg):
            moved[row] = cv2.warpAffine(
                each, place, self.low_hw[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE
            )
        moved[:, ~self.inside_hw] = outside
        return moved

    def to_video(self, low_res_nhw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return self._framing.to_picture(low_res_nhw, size_hw)


class OnPicture:
    """Masks are kept on the grid of pictures, for models whose answers lie in parts of the picture; fulfils
    `Placement`."""

    def __init__(self, grid_hw: tuple[int, int]) -> None:
        self.low_hw = grid_hw
        self.inside_hw = np.ones(grid_hw, bool)

    def answered(self, answer: Answer) -> Maps:
        whole = answer.logits()
        return np.stack([cv2.resize(each, self.low_hw[::-1], interpolation=cv2.INTER_AREA) for each in whole])

    def to_grid(self, low_res_nhw: Maps) -> Maps:
        return low_res_nhw

    def from_grid(self, maps_ngg: Maps, outside: float) -> Maps:
        return maps_ngg

    def to_video(self, low_res_nhw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return F.interpolate(low_res_nhw[None], size_hw, mode="bilinear", align_corners=False)[0]


def _between(side: int, line: tuple[float, float], count: int) -> npt.NDArray[np.bool_]:
    """The low-res cells along an axis whose centres lie in a picture of `count` pixels."""
    start, step = line
    along = np.arange(side)
    return (along >= start - 0.5 * step) & (along <= start + (count - 0.5) * step)


def _line(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Start and step of a ramp whose ends are cut off, as resizing cuts them."""
    count = len(values)
    first, last = count // 4, count - 1 - count // 4
    if values[first] == values[last]:  # one row or column of the grid shows all of the picture
        return float(values[first]) - 0.5 + 0.5 / count, 1 / count
    step = float(values[last] - values[first]) / (last - first)
    return float(values[first]) - first * step, step
