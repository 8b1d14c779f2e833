"""Statistics that DAVIS makes of the values of an object's frames: mean, recall and decay.

They follow `db_statistics` of davis2017-evaluation (davis2017/utils.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.float64]

RECALL_ABOVE = 0.5


def mean(values: Values) -> float:
    """The mean; NaN if there are no values."""
    return float(np.mean(values)) if len(values) else math.nan


def recall(values: Values) -> float:
    """The share of frames whose value is above (not at) one half."""
    return mean([float(value > RECALL_ABOVE) for value in values])


def decay(values: Values, *, wrap: bool = True) -> float:
    """How much is lost over time: mean of the first quarter of the frames minus mean of the last.

    Neighbouring quarters share a frame.

    Args:
        wrap: keep the limits of the quarters in eight bits, as the official program does. Past 256 frames
            they wrap around; the figure then says nothing, and is NaN where a quarter comes out empty.
    """
    limits = [round(limit + 1e-10) - 1 for limit in np.linspace(1, len(values), 5).tolist()]
    if wrap:
        limits = [limit % 256 for limit in limits]
    ends = [limits[1] + 1, limits[4] + 1]
    if wrap:
        ends = [end % 256 for end in ends]
    return mean(values[limits[0] : ends[0]]) - mean(values[limits[3] : ends[1]])
