"""Colour counts of an object and of its surroundings."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.trackers.flow.window import CELL, HALF

FloatMap = npt.NDArray[np.float32]
IntMap = npt.NDArray[np.int32]
BoolMap = npt.NDArray[np.bool_]

_BITS = 5
_LEVELS = 1 << _BITS
_FLOOR = 1e-5
"""Share that a colour never seen is taken to have: if neither side has shown it, neither is likelier."""
_SAMPLE = 2000
"""Pixels of each side that colours are clustered on, at most."""


def to_half(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture at half resolution."""
    height, width = max(1, picture.shape[0] // HALF), max(1, picture.shape[1] // HALF)
    half: npt.NDArray[np.uint8] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return half


def colour_bins(half_picture: npt.NDArray[np.uint8]) -> IntMap:
    """Each pixel's bin of Lab, 32 levels a channel; chroma is stretched, as few colours are saturated."""
    lab = cv2.cvtColor(half_picture, cv2.COLOR_RGB2LAB).astype(np.int32)
    chroma = np.clip((lab[..., 1:] - 128) * 2 + 128, 0, 255) >> (8 - _BITS)
    bins: IntMap = ((lab[..., 0] >> (8 - _BITS)) << (2 * _BITS)) | (chroma[..., 0] << _BITS) | chroma[..., 1]
    return bins


def count_colours(bins: IntMap, weight: npt.NDArray[np.floating]) -> FloatMap:
    """Share of the weight in each bin, smoothed over neighbouring colours: float32 32768."""
    counts = np.bincount(bins.ravel(), weight.ravel(), _LEVELS**3).astype(np.float64)
    smooth = blur(counts.reshape((_LEVELS,) * 3), sigma=1.5, radius=3).ravel()
    return (smooth / max(smooth.sum(), 1e-9)).astype(np.float32)


def blur(values: npt.NDArray[np.float64], *, sigma: float, radius: int) -> npt.NDArray[np.float64]:
    """Smooth along every axis with a Gaussian, cut off at `radius`; edge values are repeated
    beyond the edges.

    The terms are added in the order of SciPy's `gaussian_filter`, so that both give the same bits.
    """
    weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    weights /= weights.sum()
    for axis, length in enumerate(values.shape):
        lines = np.moveaxis(values, axis, 0)
        padded = np.concatenate([lines[:1]] * radius + [lines] + [lines[-1:]] * radius)
        blurred = lines * weights[radius]
        for step in range(radius, 0, -1):
            before, after = (padded[at : at + length] for at in (radius - step, radius + step))
            blurred += (before + after) * weights[radius - step]
        values = np.moveaxis(blurred, 0, axis)
    return values


def log_ratio(
    of_object: FloatMap, of_surroundings: FloatMap, limit: float, floor: float = _FLOOR
) -> FloatMap:
    """Log-likelihood ratio of shares, object against surroundings, limited to ±`limit`."""
    ratio: FloatMap = np.log((of_object + np.float32(floor)) / (of_surroundings + np.float32(floor)))
    return np.clip(ratio, -limit, limit)


def surroundings_weight(mask: BoolMap, reach: float) -> FloatMap:
    """Weight of each pixel as surroundings: highest next to the object, and a little everywhere."""
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    weight: FloatMap = np.where(mask, np.float32(0), np.exp(-distance / np.float32(reach)) + np.float32(0.05))
    return weight


def cluster_colours(bins: IntMap, mask: BoolMap, near: BoolMap, count: int) -> npt.NDArray[np.uint8]:
    """A table from bins to clusters of the colours of the object and of what is near it: uint8 32768."""
    levels = np.arange(_LEVELS, dtype=np.float32) * (256 // _LEVELS)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    sides = [bins[side] for side in (mask, near)]
    points = colours[np.concatenate([side[:: max(1, len(side) // _SAMPLE)] for side in sides])]
    centres = points
    if len(points) > count:
        cv2.setRNGSeed(0)  # k-means starts at random; fix the seed
        until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 20, 0.5)
        _, _, centres = cv2.kmeans(points, count, None, until, 1, cv2.KMEANS_PP_CENTERS)
    # Bins are a grid, so squared distances to a centre add up channel by channel.
    apart = (levels[None, :, None] - centres[:, None, :]) ** 2
    distances = (
        apart[:, :, None, None, 0] + apart[:, None, :, None, 1] + apart[:, None, None, :, 2]
    ).reshape(len(centres), -1)
    nearest: npt.NDArray[np.uint8] = distances.argmin(0).astype(np.uint8)
    return nearest


def count_locally(clusters: npt.NDArray[np.uint8], weight: FloatMap, count: int, radius: int) -> FloatMap:
    """The weight of each cluster in the window of cells around each cell: float32 rows x columns x count.

    Args:
        clusters: h x w, at half resolution.
        weight: h x w.
        radius: half side of the window, in cells.
    """
    height, width = clusters.shape
    each = CELL // HALF
    rows, columns = -(-height // each), -(-width // each)
    cell = (np.arange(height) // each)[:, None] * columns + np.arange(width) // each
    counts = np.bincount((cell * count + clusters).ravel(), weight.ravel(), rows * columns * count)
    shares = (counts / each**2).astype(np.float32).reshape(rows, columns, count)
    side = (2 * radius + 1, 2 * radius + 1)
    local: FloatMap = cv2.blur(shares, side, borderType=cv2.BORDER_REPLICATE)
    return local.reshape(rows, columns, count)
