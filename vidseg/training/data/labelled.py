"""Stills with all their objects, cut and coloured anew each time, for training a prompt head."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.errors import ConfigError
from vidseg.training.data.settings import ClipSettings
from vidseg.training.data.sources import StillSource

CUT_SHARE, LEAST_SIDE = 0.7, 0.5
"""This share of pictures is a part of a still, of which no side is shorter than half of the still's."""
LIGHT, TINT = 0.25, 0.1
"""How far brightness and single channels are changed, at most, as shares of their values."""


@dataclass(frozen=True, slots=True)
class LabelledStill:
    """One picture and its objects, in the shapes of a clip of one frame."""

    images: NDArray[np.uint8]
    """1 x S x S x 3, RGB."""
    masks: NDArray[np.uint8]
    """1 x S x S: 0 is background, each other value an object."""


class StillMaker:
    """Makes pictures from the stills of `settings`: the same seed makes the same picture.

    Raises:
        ConfigError: there are no stills.
    """

    def __init__(self, settings: ClipSettings) -> None:
        if not settings.stills:
            raise ConfigError(
                "a prompt head learns from pictures with masks, and there are none",
                where="field 'data.stills'",
                hint="give folders with images/<name>.jpg and masks/<name>.png",
            )
        self.settings = settings
        self._stills = StillSource(settings.stills, settings.still_cache_mb)

    @property
    def said(self) -> list[str]:
        """What of each folder is used, in lines for people."""
        return self._stills.said

    def preload(self) -> None:
        """Read stills now, so that worker processes that are forked later share them."""
        self._stills.preload()

    def make(self, seed: int) -> LabelledStill:
        """The picture of a seed (0 or more)."""
        rng = np.random.default_rng(seed)
        still = self._stills.get(int(rng.integers(len(self._stills))))
        image, labels = still.image, still.labels
        if rng.random() < CUT_SHARE:
            height, width = labels.shape
            tall, wide = (max(1, round(side * rng.uniform(LEAST_SIDE, 1))) for side in (height, width))
            y, x = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
            image, labels = image[y : y + tall, x : x + wide], labels[y : y + tall, x : x + wide]
        if rng.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        size = (self.settings.size, self.settings.size)
        image = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(np.ascontiguousarray(labels), size, interpolation=cv2.INTER_NEAREST)
        gain = (1 + rng.uniform(-LIGHT, LIGHT)) * (1 + rng.uniform(-TINT, TINT, 3))
        image = np.clip(image * gain, 0, 255).astype(np.uint8)
        return LabelledStill(image[None], labels[None])
