"""Makes the objects of scenes: cut out of stills or made up, with random changes of form and light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.training.data import draws
from vidseg.training.data.cutouts import cut_out, made_cut_out
from vidseg.training.data.layer import Layer, hinge_bends, random_bends
from vidseg.training.data.motion import Pose, log_uniform, smooth_walk
from vidseg.training.data.settings import ClipSettings
from vidseg.training.data.sources import Still, StillSource, VideoSource
from vidseg.training.data.textures import made_texture

Image = NDArray[np.uint8]
Rng = np.random.Generator
Matrix = NDArray[np.float64]


class ObjectMaker:
    """Draws random objects and textures from sources."""

    def __init__(self, settings: ClipSettings, stills: StillSource, videos: VideoSource) -> None:
        self._settings = settings
        self._stills, self._videos = stills, videos

    def layer(self, rng: Rng, pictures: list[Image], aspect: float, fill: float, pose: Pose) -> Layer:
        """A layer whose cut-out fills `fill` of the frame on frame 0, with random changes of form."""
        s = self._settings
        height, width = pictures[0].shape[:2]
        size = draws.extent(pictures[0], fill, aspect)
        return Layer(
            pictures,
            pose.matrices(size, (height, width)),
            bends=self.bends(rng, (height, width)),
            slides=self.slides(rng) if rng.random() < s.turn else None,
            light=self.light(rng),
        )

    def slides(self, rng: Rng) -> NDArray[np.float32]:
        walk = smooth_walk(rng, self._settings.num_frames, rng.uniform(0.05, 0.35))
        return np.clip(walk, -1.8, 1.8).astype(np.float32)

    def light(self, rng: Rng) -> Matrix | None:
        """Colour factors for one object, T x 3, as if it left the shade or a lamp fell on it; or None."""
        if rng.random() > 0.5 * self._settings.light:
            return None
        num_frames = self._settings.num_frames
        brightness = smooth_walk(rng, num_frames, 0.08, (1,))
        return np.exp(np.clip(brightness + smooth_walk(rng, num_frames, 0.02, (3,)), -0.9, 0.6))

    def bends(self, rng: Rng, px_hw: tuple[int, int]) -> NDArray[np.float32] | None:
        s = self._settings
        bends = None
        if rng.random() < s.bend:
            bends = random_bends(rng, s.num_frames, px_hw, log_uniform(rng, 0.004, 0.035))
        if rng.random() < s.hinge:
            swing = np.clip(smooth_walk(rng, s.num_frames, rng.uniform(0.05, 0.3)), -1.0, 1.0)
            swung = hinge_bends(rng, swing, px_hw)
            bends = swung if bends is None else bends + swung
        return bends

    def any_cut_out(self, rng: Rng) -> tuple[list[Image], list[list[Image]]]:
        """An object of a still or a made outline, as one picture or T, and the textures of a made one."""
        if len(self._stills) and rng.random() < 0.5:
            still, mask = self.instance(rng, min_area=700)
            if mask is not None:
                pictures = [cut_out(still.image, mask, draws.feather(rng))]
                return (pictures if rng.random() < 0.5 else draws.mirrored(pictures)), []
        textures = [self.texture(rng) for _ in range(int(rng.choice(3, p=(0.5, 0.35, 0.15))) + 1)]
        return made_cut_out(rng, textures, draws.feather(rng)), textures

    def texture(self, rng: Rng) -> list[Image]:
        """A texture: a piece of a real picture, of a running video (T pieces), or a made one."""
        kind = rng.random()
        if kind < 0.45 and len(self._stills):
            pictures = [self._stills.get(int(rng.integers(len(self._stills)))).image]
        elif kind < 0.55 and len(self._videos):
            pictures = self.video_run(rng)
        elif kind < 0.8 and len(self._videos):
            video = int(rng.integers(len(self._videos)))
            pictures = [self._videos.get(video, int(rng.integers(self._videos.frames_of(video))))]
        else:
            return [made_texture(rng, 200, 200)]
        height, width = pictures[0].shape[:2]
        side = min(int(log_uniform(rng, 50, 300)), height, width)
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        return [p[y : y + side, x : x + side] for p in pictures]

    def video_run(self, rng: Rng) -> list[Image]:
        num_frames = self._settings.num_frames
        video = int(rng.integers(len(self._videos)))
        frames = draws.run(rng, self._videos.frames_of(video), num_frames)
        return [self._videos.get(video, t) for t in frames]

    def instance(self, rng: Rng, min_area: int) -> tuple[Still, NDArray[np.bool_] | None]:
        """A still and one of its objects, at times with those that touch it; None if all are too small."""
        still = self._stills.get(int(rng.integers(len(self._stills))))
        areas = np.array(still.areas)
        large = np.flatnonzero((areas >= min_area) & (areas < 0.7 * still.labels.size)) + 1
        if not len(large):
            return still, None
        # Larger objects are drawn a little more often: small ones are many and look alike.
        odds = areas[large - 1] ** 0.3
        obj = int(rng.choice(large, p=odds / odds.sum()))
        mask = still.labels == obj
        if rng.random() < 0.15:  # people often follow a rider and her bike as one object
            near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            touching = np.unique(still.labels[near])
            mask = np.isin(still.labels, touching[touching > 0])
        return still, mask
