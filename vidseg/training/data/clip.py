"""What training learns from: a few frames and one object's masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Clip:
    """A short video and the masklet of the one object to follow."""

    images: NDArray[np.uint8]
    """T x S x S x 3, RGB."""

    masks: NDArray[np.bool_]
    """T x S x S, the object's visible pixels: never empty on frame 0, maybe empty later."""
