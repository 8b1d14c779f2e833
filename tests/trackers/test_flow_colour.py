"""The smoothing of colour counts is SciPy's Gaussian filter, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vidseg.trackers.flow.colour import blur


@pytest.mark.parametrize("shape", [(32, 32, 32), (4, 9), (2, 3, 5)], ids=str)
def test_blur_against_scipy(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape) ** 4
    expected = gaussian_filter(values, 1.5, mode="nearest", truncate=2.0)
    assert np.array_equal(blur(values, sigma=1.5, radius=3), expected)
