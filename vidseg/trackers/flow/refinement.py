"""Makes a clean mask of evidence: along edges of the picture, connected, with a bounded area."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]


def guided_filter(guide: FloatMap, source: FloatMap, radius: int, eps: float) -> FloatMap:
    """Smooth `source` along the colour edges of `guide` (He et al., TPAMI 2013; fast form: arXiv:1505.00996).

    Args:
        guide: H x W x 3, 0 to 1.
        source: h x w, at a lower resolution.
        radius: half side of the window, in pixels of `source`.
        eps: variance of colour that counts as an edge.

    Returns:
        float32 H x W, at the guide's resolution.
    """
    height, width = source.shape
    side = (2 * radius + 1, 2 * radius + 1)
    small = cv2.resize(guide, (width, height), interpolation=cv2.INTER_AREA)
    mean_guide, mean_source = cv2.blur(small, side), cv2.blur(source, side)
    covariance = cv2.blur(small * source[..., None], side) - mean_guide * mean_source[..., None]
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = np.stack([small[..., i] * small[..., j] for i, j in pairs], -1)
    means = np.stack([mean_guide[..., i] * mean_guide[..., j] for i, j in pairs], -1)
    xx, xy, xz, yy, yz, zz = np.moveaxis(cv2.blur(products, side) - means, -1, 0)
    xx, yy, zz = xx + eps, yy + eps, zz + eps
    # Invert the symmetric 3 x 3 covariance of the guide by cofactors.
    c_xx, c_xy, c_xz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    c_yy, c_yz, c_zz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    determinant = xx * c_xx + xy * c_xy + xz * c_xz
    x, y, z = np.moveaxis(covariance, -1, 0)
    slope = np.stack(
        [x * c_xx + y * c_xy + z * c_xz, x * c_xy + y * c_yy + z * c_yz, x * c_xz + y * c_yz + z * c_zz], -1
    )
    slope /= determinant[..., None]
    offset = mean_source - np.einsum("hwc,hwc->hw", slope, mean_guide)
    planes = cv2.blur(np.dstack([slope, offset]), side)
    planes = cv2.resize(planes, guide.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.einsum("hwc,hwc->hw", planes[..., :3], guide) + planes[..., 3]


def keep_pieces(mask: npt.NDArray[np.bool_], prior: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The connected pieces of a mask that are not tiny and that grew from the carried mask (`prior`)."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 1:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    overlap = np.bincount(labels[prior], minlength=count)[1:]
    kept = (areas >= 0.1 * areas.max()) & (overlap >= 0.1 * areas)
    return np.concatenate([[False], kept])[labels]


def limit_area(prob: FloatMap, limit: float) -> npt.NDArray[np.bool_]:
    """The mask of pixels that are likelier than not; if its area exceeds `limit`, only its likeliest part.

    Objects grow little from one frame to the next; a mask that leaks onto a similar surface grows much.
    """
    mask = prob > 0.5
    surplus = np.count_nonzero(mask) - int(limit)
    if surplus <= 0:
        return mask
    inside = prob[mask]
    return prob > np.partition(inside, surplus)[surplus]


def signed_distance(mask: npt.NDArray[np.bool_]) -> FloatMap:
    """Distance to the mask's contour in pixels, positive inside; 1e6 where there is no contour."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    distance: FloatMap = inside - outside
    return np.clip(distance, -1e6, 1e6)  # without a contour OpenCV gives 1e38, which would overflow
