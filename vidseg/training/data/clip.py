"""A training clip: a few frames and the masks of one object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Clip:
    """A short video and the masklet of the one object to follow."""

    images: NDArray[np.uint8]
    """Frames: T x S x S x 3, RGB."""

    masks: NDArray[np.bool_]
    """Visible pixels of the object: T x S x S; never empty on frame 0, maybe empty later."""
