"""What a scene is drawn by lot from: shapes of pictures, sizes, speeds, views, and what goes with an object.

A scene's plane is as high as 1, with y down; see `vidseg.training.data.scenes`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vidseg.training.data.cutouts import padded_box, shadow_of
from vidseg.training.data.layer import Layer
from vidseg.training.data.motion import (
    Pose,
    log_uniform,
)

Image = NDArray[np.uint8]
Rng = np.random.Generator
Matrix = NDArray[np.float64]

# Width to height of what users film, and how often it occurs.
_ASPECTS = ((16 / 9, 0.66), (4 / 3, 0.12), (1.0, 0.06), (3 / 2, 0.06), (2.2, 0.04), (9 / 16, 0.06))
# Shares of a frame that objects fill, as in DAVIS: typically 7 %, from under 1 % to a half.
_TYPICAL_FILL, _FILL_SPREAD = 0.07, 1.0
# How large a close-up is, in sizes of what the object passes through, and as a share of the frame at least.
_AROUND, _LEAST_PART = (1.05, 2.0), 0.15


def aspect(rng: Rng) -> float:
    values, odds = zip(*_ASPECTS, strict=True)
    return float(rng.choice(values, p=odds) * np.exp(rng.normal(0, 0.03)))


def fill(rng: Rng) -> float:
    return float(np.clip(np.exp(rng.normal(np.log(_TYPICAL_FILL), _FILL_SPREAD)), 0.006, 0.4))


def speed(rng: Rng) -> float:
    """A random speed in frame heights a frame: mostly slow, at times fast."""
    return log_uniform(rng, 0.002, 0.05)


def feather(rng: Rng) -> float:
    return float(rng.uniform(0.6, 1.6))


def heading(rng: Rng) -> Matrix:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def view(rng: Rng, aspect: float, focus: Matrix, size: int) -> Matrix:
    """The map from scene to pixels: a window around `focus` of the frame (aspect x 1), squashed to S x S."""
    part = 1.0 if rng.random() < 0.25 else rng.uniform(0.5, 1.0)
    place = np.array([focus[0] / aspect, focus[1]])
    corner = np.clip(place - part * rng.uniform(0.25, 0.75, 2), 0, 1 - part)
    return _window(aspect, corner, part, size)


def close_up(rng: Rng, aspect: float, pictures: list[Image], size: int) -> Matrix:
    """The map from scene to pixels of a window of the frame's own shape around all places of an object, as
    trackers with `close_up` look at it.

    Args:
        pictures: T x H x W x 4, the object where it is on each frame.
    """
    height, width = pictures[0].shape[:2]
    boxes = np.array([padded_box(p[..., 3] > 127) for p in pictures if (p[..., 3] > 127).any()])
    y0, y1, x0, x1 = boxes.min(0)[0], boxes.max(0)[1], boxes.min(0)[2], boxes.max(0)[3]
    low, high = np.array([x0 / width, y0 / height]), np.array([x1 / width, y1 / height])
    part = float(np.clip((high - low).max() * log_uniform(rng, *_AROUND), _LEAST_PART, 1.0))
    corner = np.clip((low + high) / 2 - part * rng.uniform(0.4, 0.6, 2), 0, 1 - part)
    return _window(aspect, corner, part, size)


def _window(aspect: float, corner: Matrix, part: float, size: int) -> Matrix:
    """The map from scene to pixels of a part of the frame, squashed to S x S.

    Args:
        corner: its top left one, and `part` its width and height, as shares of the frame's.
    """
    zoom = size / part
    return np.array([[zoom / aspect, 0, -corner[0] * zoom], [0, zoom, -corner[1] * zoom], [0, 0, 1.0]])


def beyond(view: Matrix, size: int) -> float:
    """The greatest distance in the scene, at most, that takes something out of the view."""
    return float(1.2 * size / min(view[0, 0], view[1, 1]))


def away(rng: Rng, num_frames: int) -> Matrix:
    """T values from 0 (present) to 1 (away), with a ramp between them; 0 on frame 0."""
    start = rng.uniform(1, num_frames - 1)
    stay = rng.uniform(0.3, 0.7) * num_frames
    ramp = rng.uniform(0.5, 1.5)
    t = np.arange(num_frames)
    gone = np.clip((t - start) / ramp + 1, 0, 1) * np.clip((start + stay - t) / ramp + 1, 0, 1)
    gone[0] = 0
    return gone


def apart(rng: Rng, num_frames: int) -> Matrix:
    """T: for how many frames something is not with the object yet, or no longer; 0 while it is."""
    start = rng.uniform(-0.3, 0.6) * num_frames
    end = start + rng.uniform(0.4, 1.3) * num_frames
    t = np.arange(num_frames)
    return np.maximum(start - t, 0) + np.maximum(t - end, 0)


def run(rng: Rng, available: int, num_frames: int) -> list[int]:
    """Numbers of frames with a stride of 1 to 4, there and back again where the video is too short."""
    stride = int(rng.integers(1, 5))
    stride = max(1, min(stride, (available - 1) // max(1, num_frames - 1)))
    start = int(rng.integers(max(1, available - (num_frames - 1) * stride)))
    frames = start + stride * np.arange(num_frames)
    period = max(1, 2 * (available - 1))
    folded = frames % period
    return [int(f) for f in np.where(folded >= available, period - folded, folded)]


def opaque(image: Image) -> Image:
    return np.dstack([image, np.zeros(image.shape[:2], np.uint8)])


def extent(picture: Image, fill: float, aspect: float) -> Matrix:
    """Width and height, in the scene, of a cut-out whose object fills `fill` of the frame."""
    height, width = picture.shape[:2]
    density = max(0.02, float(np.count_nonzero(picture[..., 3] > 127)) / (height * width))
    scene_height = np.sqrt(fill * aspect / density * height / width)
    return np.array([scene_height * width / height, scene_height])


def mirrored(pictures: list[Image]) -> list[Image]:
    return [np.ascontiguousarray(p[:, ::-1]) for p in pictures]


def center_of(mask: NDArray[np.bool_], to_scene: Matrix) -> Matrix:
    """The middle, in the scene, of what `cut_out` cuts from a still."""
    y0, y1, x0, x1 = padded_box(mask)
    return np.array([x0 + x1, y0 + y1]) / 2 * to_scene[0, 0] + to_scene[:2, 2]


def fill_of(mask: NDArray[np.bool_], to_scene: Matrix, aspect: float) -> float:
    """The share of the frame that an object of a still fills."""
    return float(np.count_nonzero(mask) * to_scene[0, 0] ** 2 / aspect)


def follow(rng: Rng, layers: list[Layer], pose: Pose) -> None:
    """At times, let the camera follow the object: it stays about where it is, and the world runs past."""
    if rng.random() < 0.6:
        return
    back = np.tile(np.eye(3), (len(pose.scale), 1, 1))
    back[:, :2, 2] = -rng.uniform(0.4, 1.0) * (pose.xy - pose.xy[0])
    for layer in layers:
        layer.placements = back @ layer.placements


def shadow(rng: Rng, target: Layer, fill: float) -> Layer:
    """A layer with the shadow of the object on what is behind it."""
    offset = np.eye(3)
    offset[:2, 2] = heading(rng) * rng.uniform(0.1, 0.5) * np.sqrt(fill)
    picture = shadow_of(target.pictures[0], rng.uniform(0.2, 0.6))
    return Layer([picture], offset @ target.placements, bends=target.bends)


def harmonised(rng: Rng, pictures: list[Image], background: Layer) -> list[Image]:
    """The cut-out with its colours drawn more or less towards those of the background."""
    strength = rng.uniform(0, 0.5) if rng.random() < 0.6 else 0.0
    is_own = pictures[0][..., 3] > 127
    if not strength or not is_own.any():
        return pictures
    own = pictures[0][..., :3][is_own].mean(axis=0)
    aim = background.pictures[0][..., :3].reshape(-1, 3)[::37].mean(axis=0)
    shift = np.array([*(strength * (aim - own)), 0.0])
    return [np.clip(p + shift, 0, 255).astype(np.uint8) for p in pictures]
