"""A scene of layers behind one another, and the clip that a camera takes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.masks import tight_box
from vidseg.training.data.clip import Clip
from vidseg.training.data.layer import Layer
from vidseg.training.data.look import Look
from vidseg.training.data.settings import ClipSettings

Rng = np.random.Generator

MIN_PIXELS = 60
# Least shares of the object that must be visible on the first frame: of its whole, and of the picture.
_MIN_VISIBLE = 0.4
_MAX_FILL = 0.6
_MAX_BLUR_PX = 17
# How far a closer look reaches beyond each side of the object, in its widths or heights.
_AROUND = 0.1, 0.45


@dataclass(frozen=True, slots=True)
class Scene:
    """The layers of a scene and the view that a clip shows of it."""

    layers: list[Layer]
    """The layers from back to front; the first covers the view."""
    target: int
    """Number of the layer that is the object to follow, or, if the layer covers the view, holds it."""
    view: NDArray[np.float64]
    """Map from the scene (in frame heights) to pixels of the clip: 3 x 3."""


def render(rng: Rng, scene: Scene, settings: ClipSettings, left_out: int = 0) -> Clip | None:
    """The clip of a scene, played forwards or backwards; None if its first frame shows too little of the
    object.

    Args:
        left_out: how many of the scene's frames after the first are not shown.
    """
    size = settings.size
    look = Look(rng, settings)
    shutter = rng.uniform(0.25, 0.8) if rng.random() < settings.motion_blur else 0.0
    times = list(range(settings.num_frames))
    if rng.random() < 0.4:
        times.reverse()
    del times[1 : 1 + left_out]
    if settings.closer_look and rng.random() < settings.closer_look:
        scene = replace(scene, view=_closer(rng, scene, times[0], size) @ scene.view)
    for layer in scene.layers:
        layer.shrink(scene.view)
    images = np.empty((len(times), size, size, 3), np.uint8)
    masks = np.empty((len(times), size, size), np.bool_)
    for k, t in enumerate(times):
        image, visible, whole = _compose(scene, t, size, shutter)
        masks[k] = visible > 127
        if k == 0:
            seen = np.count_nonzero(masks[0])
            if seen < MIN_PIXELS or seen < _MIN_VISIBLE * whole or seen > _MAX_FILL * size * size:
                return None
        images[k] = look.apply(image, t)
    return Clip(images, masks)


def _closer(rng: Rng, scene: Scene, t: int, size: int) -> NDArray[np.float64]:
    """The map from pixels of the clip to those of a window around the object on frame t, stretched to a
    square: 3 x 3."""
    _, visible, _ = _compose(scene, t, size, 0.0)
    mask = visible > 127
    if not mask.any():
        return np.eye(3)
    low, high = np.array(tight_box(mask)).reshape(2, 2)
    margins = (high - low) * rng.uniform(*_AROUND, (2, 2))
    low, high = np.clip(low - margins[0], 0, size), np.clip(high + margins[1], 0, size)
    x, y = size / (high - low)
    return np.array([[x, 0, -low[0] * x], [0, y, -low[1] * y], [0, 0, 1.0]])


def _compose(
    scene: Scene, t: int, size: int, shutter: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """The image of frame t, the target's visibility (0 to 255), and how many pixels it has if uncovered."""
    image = np.empty((size, size, 3), np.uint8)
    visible = np.zeros((size, size), np.uint8)
    whole = 0
    for index, layer in enumerate(scene.layers):
        drawn = layer.draw(scene.view, t, size)
        if drawn is None:
            continue
        where, rgba = drawn
        if shutter:
            rgba = _blurred(rgba, layer, scene.view, t, shutter)
        alpha = rgba[..., 3]
        if layer.covers:
            image[where] = rgba[..., :3]
            if index == scene.target:
                visible[where] = alpha
        else:
            a = alpha[..., None].astype(np.uint16)
            under = image[where].astype(np.uint16)
            image[where] = (under * (255 - a) + rgba[..., :3] * a + 127) // 255
            if index == scene.target:
                visible[where] = alpha
            else:
                left = visible[where].astype(np.uint16) * (255 - a[..., 0]) // 255
                visible[where] = left.astype(np.uint8)
        if index == scene.target:
            whole = int(np.count_nonzero(alpha > 127))
    return image, visible, whole


def _blurred(
    rgba: NDArray[np.uint8], layer: Layer, view: NDArray[np.float64], t: int, shutter: float
) -> NDArray[np.uint8]:
    """The drawn layer smeared along the way that its centre moves while the shutter is open."""
    last = len(layer.placements) - 1
    if last == 0:
        return rgba
    center = np.array([layer.pictures[0].shape[1] / 2, layer.pictures[0].shape[0] / 2, 1.0])
    ends = [view @ layer.placements[i] @ center for i in (max(0, t - 1), min(last, t + 1))]
    step = (ends[1][:2] / ends[1][2] - ends[0][:2] / ends[0][2]) / (min(last, t + 1) - max(0, t - 1))
    reach = step * shutter
    length = float(np.hypot(*reach))
    limit = min(_MAX_BLUR_PX, 0.25 * min(rgba.shape[:2]))
    if length < 1.5 or limit < 2:
        return rgba
    reach *= min(1.0, limit / length)
    radius = int(np.ceil(np.abs(reach).max() / 2))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    middle = np.array([radius, radius])
    for s in np.linspace(-0.5, 0.5, 4 * radius + 1):
        x, y = np.round(middle + s * reach).astype(int)
        kernel[y, x] += 1
    return np.asarray(cv2.filter2D(rgba, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT))
