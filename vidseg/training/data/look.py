"""Effects of camera and light on whole frames: exposure, colour, shadows, defocus, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.training.data.motion import bounded, smooth_walk
from vidseg.training.data.settings import ClipSettings
from vidseg.training.data.textures import noise_map

Image = NDArray[np.uint8]
Rng = np.random.Generator

_EXPOSURE, _TINT, _GAMMA = 0.4, 0.12, 0.2
"""How far brightness, tint and contrast of a clip may go either way, as natural logarithms. On eighteen real
clips the brightness of what is seen changed by at most 0.41 in 24 frames, and by at most 0.08 on all but one.
Without a bound, long clips turn black or white."""


class Look:
    """The look of one clip: drawn once, and applied to each of its frames."""

    def __init__(self, rng: Rng, settings: ClipSettings) -> None:
        num_frames, size = settings.num_frames, settings.size
        changes = rng.random() < settings.light
        drift = 0.06 if changes else 0.0
        gain = rng.normal(0, 0.12) + bounded(smooth_walk(rng, num_frames, drift), _EXPOSURE)
        tint = rng.normal(0, 0.05, 3) + bounded(smooth_walk(rng, num_frames, drift * 0.3, (3,)), _TINT)
        gamma = rng.normal(0, 0.15) + bounded(smooth_walk(rng, num_frames, drift * 0.5), _GAMMA)
        self._gain, self._tint, self._gamma = np.exp(gain), np.exp(tint), np.exp(gamma)
        self._saturation = float(np.clip(rng.normal(1, 0.2), 0, 1.6)) if rng.random() < 0.9 else 0.0
        self._shadow = noise_map(rng, size, size, 3) * 0.35 if changes and rng.random() < 0.35 else None
        self._shadow_path = smooth_walk(rng, num_frames, 8.0, (2,))
        self._defocus_px = np.zeros(num_frames)
        if rng.random() < settings.defocus:
            path = rng.uniform(0.3, 1.4) + smooth_walk(rng, num_frames, 0.25)
            self._defocus_px = np.clip(path, 0, 2.2)
        self._noise: NDArray[np.int16] | None = None
        if rng.random() < settings.noise:
            level = float(np.exp(rng.uniform(np.log(1.5), np.log(14))))
            grain = rng.standard_normal((size, size, 3), np.float32) * level
            self._noise = grain.astype(np.int16)
        self._noise_shifts = rng.integers(0, size, (num_frames, 2))
        self._quality = int(rng.integers(25, 92)) if rng.random() < settings.compression else None

    def apply(self, image: Image, t: int) -> Image:
        """Frame t of the clip with this look: H x W x 3, RGB."""
        if self._defocus_px[t] > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), float(self._defocus_px[t]))
        if self._saturation != 1:
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
            image = cv2.addWeighted(image, self._saturation, np.repeat(grey, 3, 2), 1 - self._saturation, 0)
        levels = np.linspace(0, 1, 256)[:, None] ** self._gamma[t] * (self._gain[t] * self._tint[t] * 255)
        image = cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)[None])
        if self._shadow is not None:
            matrix = np.array([[1, 0, self._shadow_path[t, 0]], [0, 1, self._shadow_path[t, 1]]], np.float32)
            size = (image.shape[1], image.shape[0])
            shade = cv2.warpAffine(self._shadow, matrix, size, borderMode=cv2.BORDER_REFLECT)
            shade = np.clip(1 + shade, 0.4, 1.4)
            image = np.clip(image * shade[..., None], 0, 255).astype(np.uint8)
        if self._noise is not None:
            noise = np.roll(self._noise, tuple(self._noise_shifts[t]), axis=(0, 1))
            image = cv2.add(image, noise, dtype=cv2.CV_8U)
        if self._quality is not None:
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._quality])[1]
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return np.asarray(image)
