"""Notices scene cuts by the colours of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

CUT_DISTANCE = 0.5
"""A scene is cut if at least this share of the colour histogram has moved, 0 to 1."""

_SAMPLES = 64
_COLOURS = 4


def colour_shares(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The shares of 64 colours in a sample of the pixels of a picture (uint8 H x W x 3)."""
    rows = np.linspace(0, image.shape[0] - 1, _SAMPLES).astype(int)
    columns = np.linspace(0, image.shape[1] - 1, _SAMPLES).astype(int)
    levels = image[rows[:, None], columns].astype(np.int64) * _COLOURS // 256
    bins = (levels[..., 0] * _COLOURS + levels[..., 1]) * _COLOURS + levels[..., 2]
    return np.bincount(bins.ravel(), minlength=_COLOURS**3) / bins.size


def is_cut(colours: npt.NDArray[np.float64], earlier: npt.NDArray[np.float64]) -> bool:
    """Whether two frames are of different scenes, by their `colour_shares`."""
    return bool(np.abs(colours - earlier).sum() / 2 >= CUT_DISTANCE)
