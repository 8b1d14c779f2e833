"""J and F by their definitions, slow and plain: they share no code with what they are compared with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def plain_j(prediction: Mask, truth: Mask) -> float:
    union = int((prediction | truth).sum())
    return int((prediction & truth).sum()) / union if union else 1.0


def plain_boundary(mask: Mask) -> list[tuple[int, int]]:
    """The definition, pixel by pixel."""
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            right = x + 1 < width and mask[y, x] != mask[y, x + 1]
            below = y + 1 < height and mask[y, x] != mask[y + 1, x]
            across = y + 1 < height and x + 1 < width and mask[y, x] != mask[y + 1, x + 1]
            if right or below or across:
                found.append((y, x))
    return found


def plain_f(prediction: Mask, truth: Mask, radius: int) -> float:
    mine, theirs = plain_boundary(prediction), plain_boundary(truth)
    if not mine or not theirs:
        return float(len(mine) == len(theirs))

    def share_met(of: list[tuple[int, int]], by: list[tuple[int, int]]) -> float:
        near = [any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in by) for y, x in of]
        return sum(near) / len(of)

    precision, recalled = share_met(mine, theirs), share_met(theirs, mine)
    return 2 * precision * recalled / (precision + recalled) if precision + recalled else 0.0


def dilated_f(prediction: Mask, truth: Mask, kernel: npt.NDArray[np.uint8]) -> float:
    """F by dilating pictures of the outlines, as the official programs do it."""
    maps = []
    for mask in (prediction, truth):
        picture = np.zeros(mask.shape, np.uint8)
        for y, x in plain_boundary(mask):
            picture[y, x] = 1
        maps.append(picture)
    counts = [int(picture.sum()) for picture in maps]
    if not all(counts):
        return float(counts[0] == counts[1])
    met = [int((maps[i] & cv2.dilate(maps[1 - i], kernel)).sum()) for i in (0, 1)]
    precision, recalled = met[0] / counts[0], met[1] / counts[1]
    return 2 * precision * recalled / (precision + recalled) if precision + recalled else 0.0
