"""Objects cut out of stills, made outlines filled with textures, and pictures with closed holes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.masks import tight_box
from vidseg.training.data.textures import made_outline

Image = NDArray[np.uint8]
Rng = np.random.Generator

_PAD = 0.14
_OUTLINE_PX = 224


def cut_out(image: Image, mask: NDArray[np.bool_], feather_px: float, *, extend: bool = True) -> Image:
    """The object of a still with soft edges and a margin around it: h x w x 4 (RGB, alpha).

    Args:
        mask: H x W, the object.
        feather_px: width of the soft edge.
        extend: whether to paint the object's colours beyond its outline, so that its old surroundings do not
            show through the soft edge.
    """
    y0, y1, x0, x1 = padded_box(mask)
    image, mask = image[y0:y1, x0:x1], mask[y0:y1, x0:x1]
    alpha = mask.astype(np.uint8) * 255
    if extend:
        inner = cv2.erode(alpha, np.ones((3, 3), np.uint8))
        if np.count_nonzero(inner) > 0.5 * np.count_nonzero(alpha):
            alpha = inner
        image = fill_holes(image, alpha > 0)
    return np.dstack([image, cv2.GaussianBlur(alpha, (0, 0), feather_px)])


def padded_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The mask's rows and columns (y0, y1, x0, x1) with a margin for bends and blur, inside the picture."""
    x0, y0, x1, y1 = tight_box(mask)
    pad_y, pad_x = int((y1 - y0) * _PAD) + 4, int((x1 - x0) * _PAD) + 4
    height, width = mask.shape
    return max(0, y0 - pad_y), min(height, y1 + pad_y), max(0, x0 - pad_x), min(width, x1 + pad_x)


def made_cut_out(rng: Rng, textures: list[list[Image]], feather_px: float) -> list[Image]:
    """A made outline filled with one texture, or with one in each of its parts: h x w x 4, one or T pictures.

    Args:
        textures: each is one picture for all frames, or one for each of T frames.
    """
    outline = made_outline(rng, _OUTLINE_PX)
    y0, y1, x0, x1 = padded_box(outline > 127)
    alpha = outline[y0:y1, x0:x1]
    height, width = alpha.shape
    soft = cv2.GaussianBlur(alpha, (0, 0), feather_px)
    parts: list[NDArray[np.float32]] = []
    for _ in textures[1:]:
        part = _side_of_line(rng, height, width)
        if rng.random() < 0.4:
            part = part * _side_of_line(rng, height, width)
        parts.append(part[..., None])
    made = []
    for t in range(max(len(texture) for texture in textures)):
        now = [texture[t % len(texture)] for texture in textures]
        pieces = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in now]
        surface = pieces[0]
        for piece, part in zip(pieces[1:], parts, strict=True):
            surface = (surface * (1 - part) + piece * part).astype(np.uint8)
        made.append(np.dstack([surface, soft]))
    return made


def _side_of_line(rng: Rng, height: int, width: int) -> NDArray[np.float32]:
    """H x W values that go from 0 on one side of a random line to 1 on the other."""
    angle = rng.uniform(0, 2 * np.pi)
    x0, y0 = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height
    y, x = np.ogrid[0:height, 0:width]
    distance = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    return np.clip(distance + 0.5, 0, 1).astype(np.float32)


def fill_holes(image: Image, known: NDArray[np.bool_]) -> Image:
    """The picture with pixels that are not `known` filled smoothly from around (push-pull on a pyramid)."""
    weight = known.astype(np.float32)
    colour = image.astype(np.float32) * weight[..., None]
    levels = []
    while min(weight.shape) > 2:
        levels.append((colour, weight))
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        colour = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    filled = colour / np.maximum(weight, 1e-4)[..., None]
    for colour, weight in reversed(levels):
        wide = cv2.resize(filled, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_LINEAR)
        filled = colour + wide * (1 - weight)[..., None]
    return np.clip(filled, 0, 255).astype(np.uint8)


def close_hole(rng: Rng, image: Image, hole: NDArray[np.bool_]) -> Image:
    """The picture without what was in `hole`: smooth colours from around, grain from other places."""
    filled = fill_holes(image, ~hole)
    y0, y1, x0, x1 = padded_box(hole)
    shift = (y1 - y0, 0) if rng.random() < 0.3 else (0, (x1 - x0) * int(rng.choice([-1, 1])))
    elsewhere = np.roll(filled, shift, axis=(0, 1))[y0:y1, x0:x1]
    grain = elsewhere.astype(np.int16) - cv2.blur(elsewhere, (9, 9))
    inside = cv2.GaussianBlur(hole[y0:y1, x0:x1].astype(np.float32), (0, 0), 3)
    patch = filled[y0:y1, x0:x1]
    patch[:] = np.clip(patch + grain * inside[..., None], 0, 255)
    return filled


def shadow_of(picture: Image, darkness: float) -> Image:
    """A soft dark shape with the outline of a picture."""
    alpha = cv2.GaussianBlur(picture[..., 3], (0, 0), 0.03 * max(picture.shape[:2]))
    return np.dstack([np.zeros_like(picture[..., :3]), (alpha * darkness).astype(np.uint8)])
