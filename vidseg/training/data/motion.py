"""Smooth change over the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Array = NDArray[np.float64]


def smooth_walk(rng: Rng, num_frames: int, step: float, dims: tuple[int, ...] = ()) -> Array:
    """A walk that starts at 0 and moves about `step` a frame, its velocity changing slowly: T x dims."""
    velocity = rng.normal(0, step, dims)
    walk = np.zeros((num_frames, *dims))
    for t in range(1, num_frames):
        velocity = 0.85 * velocity + 0.5 * rng.normal(0, step, dims)
        walk[t] = walk[t - 1] + velocity
    return walk


def bounded(walk: Array, limit: float) -> Array:
    """The same walk where it is near 0, bent so that it never gets further away than `limit`."""
    return limit * np.tanh(walk / limit)


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A random number between two positive ones, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass(frozen=True, slots=True)
class Pose:
    """How something lies in the scene on each frame. The unit of the scene is the height of a frame."""

    xy: Array
    """Centre: T x 2."""
    scale: Array
    """Size relative to that on the first frame: T."""
    angle: Array
    """Rotation in radians: T."""
    tilt: Array
    """Radians that it is turned away from the viewer about its vertical and horizontal axis: T x 2."""

    def rest(self, rests: NDArray[np.bool_]) -> None:
        """Let it stay where it is on some of the T frames; what follows moves on from there."""
        steps = np.diff(self.xy, axis=0) * ~rests[1:, None]
        self.xy[1:] = self.xy[0] + np.cumsum(steps, axis=0)

    def matrices(self, size: Array | tuple[float, float], px_hw: tuple[int, int]) -> Array:
        """Maps from the pixels of a picture to the scene: T x 3 x 3.

        Args:
            size: width and height in the scene at scale 1.
            px_hw: height and width of the picture, in pixels.
        """
        height, width = px_hw
        out = np.empty((len(self.scale), 3, 3))
        to_unit = np.array([[1 / width, 0, -0.5], [0, 1 / height, -0.5], [0, 0, 1]])
        for t, (xy, scale, angle, tilt) in enumerate(
            zip(self.xy, self.scale, self.angle, self.tilt, strict=True)
        ):
            c, s = np.cos(angle), np.sin(angle)
            squeeze = np.diag([size[0] * np.cos(tilt[0]), size[1] * np.cos(tilt[1]), 1.0])
            depth = np.eye(3)  # perspective of a viewer about 2.5 widths away
            depth[2, :2] = 0.4 * np.sin(tilt)
            place = np.array([[c * scale, -s * scale, xy[0]], [s * scale, c * scale, xy[1]], [0, 0, 1]])
            out[t] = place @ squeeze @ depth @ to_unit
        return out


def random_pose(rng: Rng, num_frames: int, speed: float, start: Array) -> Pose:
    """A random pose from `start` on at about `speed` frame heights a frame, turning a little or a lot."""
    lively = rng.choice([0.2, 1.0, 2.2, 4.0], p=(0.45, 0.38, 0.12, 0.05))
    return Pose(
        xy=start + smooth_walk(rng, num_frames, speed, (2,)),
        scale=np.exp(np.clip(smooth_walk(rng, num_frames, 0.03 * lively), -0.9, 0.9)),
        angle=smooth_walk(rng, num_frames, 0.05 * lively),
        tilt=np.clip(smooth_walk(rng, num_frames, 0.09 * lively, (2,)), -1.0, 1.0),
    )


def camera_path(rng: Rng, num_frames: int, center: Array, strength: float) -> Array:
    """Maps from scene to scene of a moving camera about `center`: T x 3 x 3; the identity on frame 0."""
    shift = smooth_walk(rng, num_frames, 0.012 * strength, (2,))
    scale = np.exp(smooth_walk(rng, num_frames, 0.01 * strength))
    angle = smooth_walk(rng, num_frames, 0.008 * strength)
    keystone = smooth_walk(rng, num_frames, 0.006 * strength, (2,))
    out = np.empty((num_frames, 3, 3))
    to, back = np.eye(3), np.eye(3)
    to[:2, 2], back[:2, 2] = -center, center
    for t in range(num_frames):
        c, s = np.cos(angle[t]) * scale[t], np.sin(angle[t]) * scale[t]
        out[t] = back @ np.array([[c, -s, shift[t, 0]], [s, c, shift[t, 1]], [*keystone[t], 1]]) @ to
    return out


def path_of_boxes(boxes: Sequence[tuple[int, int, int, int] | None], placements: Array) -> Pose:
    """Where an object of a picture that moves is in the scene, and how large against frame 0.

    Args:
        boxes: T, its rows and columns (y0, y1, x0, x1); None where it is not seen, which leaves it where it
            was. On frame 0 it is seen.
        placements: T x 3 x 3, from the picture's pixels to the scene.
    """
    centers, scales = np.zeros((len(boxes), 2)), np.ones(len(boxes))
    assert boxes[0] is not None
    y0, y1, x0, x1 = boxes[0]
    height, width = y1 - y0, x1 - x0
    for t, box in enumerate(boxes):
        y0, y1, x0, x1 = box or (y0, y1, x0, x1)
        x, y, w = placements[t] @ np.array([(x0 + x1) / 2, (y0 + y1) / 2, 1.0])
        centers[t] = x / w, y / w
        scales[t] = max((y1 - y0) / height, (x1 - x0) / width)
    return Pose(centers, scales, np.zeros(len(boxes)), np.zeros((len(boxes), 2)))
