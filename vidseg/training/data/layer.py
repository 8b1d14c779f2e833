"""One picture laid into the scene: where it lies and how it bends; drawn into a view of S x S pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.training.data.motion import smooth_walk

Rng = np.random.Generator
FloatArray = NDArray[np.float32]

# Coordinates are computed on every _CELL-th pixel and interpolated, as bends are smooth.
_CELL = 4


@dataclass(slots=True)
class Layer:
    """A picture with an alpha channel, and how it moves over the frames."""

    pictures: list[NDArray[np.uint8]]
    """One picture for all frames, or one for each frame: H x W x 4 (RGB, alpha)."""
    placements: NDArray[np.float64]
    """Maps from picture pixels to the scene: T x 3 x 3."""
    bends: FloatArray | None = None
    """What is added to picture coordinates, in pixels (x, y), on a grid over the picture: T x G x G x 2."""
    slides: FloatArray | None = None
    """Angle by which the surface has turned inside its outline, as a drum turns: T, radians. None: never."""
    light: NDArray[np.float64] | None = None
    """Factors on the colours (R, G, B): T x 3."""
    covers: bool = False
    """Whether the layer is a background: it fills the view, mirrored beyond its borders, and its alpha marks
    the object instead of opacity."""

    def shrink(self, view: NDArray[np.float64]) -> None:
        """Average the picture down to about the view's resolution, so that it is drawn without aliasing."""
        height, width = self.pictures[0].shape[:2]
        center = np.array([width / 2, height / 2])
        scales = []
        for placement in self.placements:
            jacobian = _jacobian(view @ placement, center)
            scales.append(np.linalg.norm(jacobian, axis=0))
        scale_x, scale_y = np.clip(np.max(scales, axis=0) * 1.1, 1e-3, 1)
        new_w, new_h = max(4, round(width * scale_x)), max(4, round(height * scale_y))
        if new_w > 0.9 * width and new_h > 0.9 * height:
            return
        self.pictures = [cv2.resize(p, (new_w, new_h), interpolation=cv2.INTER_AREA) for p in self.pictures]
        ratio = np.array([width / new_w, height / new_h])
        self.placements = self.placements @ np.diag([*ratio, 1.0])
        if self.bends is not None:
            self.bends = (self.bends / ratio).astype(np.float32)

    def draw(
        self, view: NDArray[np.float64], t: int, size: int
    ) -> tuple[tuple[slice, slice], NDArray[np.uint8]] | None:
        """The part of the S x S view that the layer touches on frame t, as (rows, columns) and its RGBA.

        Args:
            view: map from the scene to pixels of the view, 3 x 3.

        Returns:
            None if the layer lies outside the view.
        """
        picture = self.pictures[t if len(self.pictures) > 1 else 0]
        height, width = picture.shape[:2]
        to_view = view @ self.placements[t]
        box = (0, 0, size, size) if self.covers else _box(to_view, height, width, size)
        if box is None:
            return None
        x0, y0, x1, y1 = box
        map_x, map_y = self._source_grid(np.linalg.inv(to_view), t, box, height, width)
        border = cv2.BORDER_REFLECT_101 if self.covers else cv2.BORDER_CONSTANT
        drawn = cv2.remap(picture, *_full(map_x, map_y, box), cv2.INTER_LINEAR, borderMode=border)
        if self.slides is not None and self.slides[t] != 0:
            turned = _slide(map_x, float(self.slides[t]), width)
            surface = cv2.remap(
                picture, *_full(turned, map_y, box), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            drawn[..., :3] = surface[..., :3]
        if self.light is not None:
            drawn = cv2.multiply(drawn, np.array([*self.light[t], 1.0]))
        return (slice(y0, y1), slice(x0, x1)), drawn

    def _source_grid(
        self, to_picture: NDArray[np.float64], t: int, box: tuple[int, int, int, int], height: int, width: int
    ) -> tuple[FloatArray, FloatArray]:
        """Picture coordinates of every _CELL-th view pixel, from one cell before the box to one beyond it."""
        x0, y0, x1, y1 = box
        offset = (_CELL - 1) / 2
        xs = np.arange(-1, -(-(x1 - x0) // _CELL) + 1) * _CELL + x0 + offset
        ys = np.arange(-1, -(-(y1 - y0) // _CELL) + 1) * _CELL + y0 + offset
        m = to_picture
        w = m[2, 0] * xs + m[2, 1] * ys[:, None] + m[2, 2]
        w = np.where(np.abs(w) < 1e-6, 1e-6, w)
        map_x = ((m[0, 0] * xs + m[0, 1] * ys[:, None] + m[0, 2]) / w).astype(np.float32)
        map_y = ((m[1, 0] * xs + m[1, 1] * ys[:, None] + m[1, 2]) / w).astype(np.float32)
        if self.bends is not None:
            cells = self.bends.shape[1] - 1
            field = cv2.remap(
                self.bends[t],
                map_x * (cells / width),
                map_y * (cells / height),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            map_x, map_y = map_x + field[..., 0], map_y + field[..., 1]
        return map_x, map_y


def _full(
    map_x: FloatArray, map_y: FloatArray, box: tuple[int, int, int, int]
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    x0, y0, x1, y1 = box
    size = (map_x.shape[1] * _CELL, map_x.shape[0] * _CELL)
    maps = [
        cv2.resize(m, size, interpolation=cv2.INTER_LINEAR)[_CELL : _CELL + y1 - y0, _CELL : _CELL + x1 - x0]
        for m in (map_x, map_y)
    ]
    return cv2.convertMaps(maps[0], maps[1], cv2.CV_16SC2)


def _slide(map_x: FloatArray, angle: float, width: int) -> FloatArray:
    """Where on the picture each point of a drum as wide as it lies, once the drum has turned by `angle`.

    The back of the drum shows the front mirrored, so that the surface has no seam.
    """
    across = np.arcsin(np.clip(map_x * (2 / width) - 1, -1, 1))
    return ((np.sin(across + angle) + 1) * (width / 2)).astype(np.float32)


def _box(
    to_view: NDArray[np.float64], height: int, width: int, size: int
) -> tuple[int, int, int, int] | None:
    corners = np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    x, y, w = to_view @ corners
    if (w < 0.05).any():  # partly behind the viewer
        return None
    x0, y0 = max(0, int((x / w).min())), max(0, int((y / w).min()))
    x1, y1 = min(size, int((x / w).max()) + 2), min(size, int((y / w).max()) + 2)
    return (x0, y0, x1, y1) if x1 - x0 > 1 and y1 - y0 > 1 else None


def _jacobian(matrix: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, w = matrix @ np.array([*point, 1.0])
    return np.asarray((matrix[:2, :2] - np.outer([x / w, y / w], matrix[2, :2])) / w)


def random_bends(
    rng: Rng, num_frames: int, px_hw: tuple[int, int], strength: float, cells: int = 4
) -> FloatArray:
    """Smooth displacements of about `strength` times the picture's size: T x G x G x 2; none on frame 0."""
    walk = smooth_walk(rng, num_frames, strength, (cells, cells, 2)) * [px_hw[1], px_hw[0]]
    fine = [cv2.resize(w.astype(np.float32), (17, 17), interpolation=cv2.INTER_CUBIC) for w in walk]
    return np.stack(fine)


def hinge_bends(rng: Rng, angles: NDArray[np.float64], px_hw: tuple[int, int]) -> FloatArray:
    """Displacements T x G x G x 2: all beyond a line through the picture swings by `angles` (T)."""
    size = np.array([px_hw[1], px_hw[0]], np.float64)
    joint = rng.uniform(0.35, 0.65, 2) * size
    direction = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(direction), np.sin(direction)])
    unit = np.linspace(0, 1, 17)
    points = np.stack(np.meshgrid(unit * size[0], unit * size[1]), -1) - joint
    beyond = np.clip(points @ normal / (0.12 * size.mean()) + 0.5, 0, 1)
    out = []
    for angle in angles:
        a = angle * beyond
        c, s = np.cos(a), np.sin(a)
        moved_x = c * points[..., 0] - s * points[..., 1]
        moved_y = s * points[..., 0] + c * points[..., 1]
        out.append(np.stack([moved_x - points[..., 0], moved_y - points[..., 1]], -1))
    return np.stack(out).astype(np.float32)
