"""Made surfaces and outlines; no picture is needed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rng = np.random.Generator


def made_texture(rng: Rng, height: int, width: int) -> Image:
    """A random texture: noise, stripes, checks or blotches in a few colours, shaded; H x W x 3."""
    first, second = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:  # half of them have one hue, as most real surfaces do
        second = np.clip(first * rng.uniform(0.4, 1.6) + rng.normal(0, 20, 3), 0, 255)
    pattern = _pattern(rng, height, width)
    shade = noise_map(rng, height, width, cells=2) * rng.uniform(0, 90)
    grain = noise_map(rng, height, width, cells=int(rng.integers(16, 64))) * rng.uniform(0, 35)
    texture = first + (second - first) * pattern[..., None] + (shade + grain)[..., None]
    return np.clip(texture, 0, 255).astype(np.uint8)


def _pattern(rng: Rng, height: int, width: int) -> NDArray[np.float32]:
    """A random pattern: H x W from 0 to 1."""
    kind = rng.integers(4)
    if kind == 0:
        octaves = sum(noise_map(rng, height, width, cells=2 << k) / (1 + k) for k in range(1, 5))
        return np.clip(np.asarray(octaves, np.float32) * 0.5 + 0.5, 0, 1)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    period = max(height, width) / rng.uniform(2, 16)
    warp = noise_map(rng, height, width, cells=4) * rng.uniform(0, 3)
    along = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + warp)
    if kind == 1:
        return np.clip(along * rng.uniform(0.6, 5) + 0.5, 0, 1)
    across = np.sin((y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / period) + warp)
    if kind == 2:
        return np.clip(along * across * 5 + 0.5, 0, 1)
    spots = noise_map(rng, height, width, cells=int(rng.integers(5, 20)))
    return np.clip((spots - rng.uniform(-0.3, 0.6)) * 8, 0, 1)


def noise_map(rng: Rng, height: int, width: int, cells: int) -> NDArray[np.float32]:
    """Smooth noise with about `cells` lumps on a side: H x W, about -1 to 1."""
    lumps = rng.normal(0, 0.5, (cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(cv2.resize(lumps, (width, height), interpolation=cv2.INTER_CUBIC))


def made_outline(rng: Rng, size: int) -> NDArray[np.uint8]:
    """A random silhouette that touches no border: `size` x `size`, 0 or 255."""
    kind = rng.choice(5, p=(0.25, 0.15, 0.2, 0.3, 0.1))
    canvas = np.zeros((size, size), np.uint8)
    half = size / 2
    if kind == 0:
        _fill(canvas, _blob(rng, (half, half), 0.42 * size))
    elif kind == 1:
        corners = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) + rng.uniform(0, 2 * np.pi)
        radii = rng.uniform(0.2, 0.45, corners) * size
        _fill(canvas, half + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None])
    elif kind == 2:
        for _ in range(int(rng.integers(2, 5))):
            center = rng.uniform(0.35, 0.65, 2) * size
            _fill(canvas, _blob(rng, tuple(center), rng.uniform(0.12, 0.28) * size))
    elif kind == 3:
        _creature(rng, canvas)
    else:
        _fill(canvas, _blob(rng, (half, half), 0.42 * size))
        cv2.circle(canvas, _px(rng.uniform(0.4, 0.6, 2) * size), int(rng.uniform(0.08, 0.2) * size), 0, -1)
    squeeze = np.exp(rng.normal(0, 0.35))
    matrix = cv2.getRotationMatrix2D((half, half), rng.uniform(0, 360), 1.0)
    scale = np.diag([min(1, squeeze), min(1, 1 / squeeze)])
    matrix[:, 2] = half + scale @ (matrix[:, 2] - half)
    matrix[:, :2] = scale @ matrix[:, :2]
    return np.asarray(cv2.warpAffine(canvas, matrix, (size, size)))


def _blob(rng: Rng, center: tuple[float, float], radius: float) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    waves = np.arange(1, 7)
    strength = rng.normal(0, 0.35, (2, 6)) / waves**1.1
    radii = 1 + strength[0] @ np.cos(waves[:, None] * angles) + strength[1] @ np.sin(waves[:, None] * angles)
    radii = np.clip(radii, 0.25, None)
    radii *= radius / radii.max()
    return np.stack([center[0] + radii * np.cos(angles), center[1] + radii * np.sin(angles)], 1)


def _creature(rng: Rng, canvas: NDArray[np.uint8]) -> None:
    """Draw a body with a head and limbs, some of them thin."""
    size = canvas.shape[0]
    center = rng.uniform(0.42, 0.58, 2) * size
    axes = rng.uniform(0.08, 0.22, 2) * size
    cv2.ellipse(canvas, _px(center), _px(axes), rng.uniform(0, 180), 0, 360, 255, -1)
    for limb in range(int(rng.integers(1, 6))):
        angle = rng.uniform(0, 2 * np.pi)
        points = [center]
        for _ in range(2):
            angle += rng.normal(0, 0.5)
            step = rng.uniform(0.08, 0.2) * size * np.array([np.cos(angle), np.sin(angle)])
            points.append(np.clip(points[-1] + step, 0.06 * size, 0.94 * size))
        thickness = max(2, int(rng.uniform(0.015, 0.1) * size))
        cv2.polylines(canvas, [np.array(points).astype(np.int32)], False, 255, thickness)
        if limb == 0:
            cv2.circle(canvas, _px(points[1]), int(rng.uniform(0.05, 0.12) * size), 255, -1)


def _fill(canvas: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 255)


def _px(point: NDArray[np.float64]) -> tuple[int, int]:
    return int(point[0]), int(point[1])
