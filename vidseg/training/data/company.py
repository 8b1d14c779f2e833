"""Makes what goes about an object: distractors, its twins, what covers it, and what carries it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.training.data import draws
from vidseg.training.data.cutouts import made_cut_out
from vidseg.training.data.layer import Layer
from vidseg.training.data.motion import Pose, log_uniform, random_pose, smooth_walk
from vidseg.training.data.objects import ObjectMaker
from vidseg.training.data.settings import ClipSettings

Image = NDArray[np.uint8]
Rng = np.random.Generator
Matrix = NDArray[np.float64]


class Company:
    """Draws random layers that go with the object of a scene."""

    def __init__(self, settings: ClipSettings, objects: ObjectMaker) -> None:
        self._settings = settings
        self._objects = objects

    def join(
        self, rng: Rng, layers: list[Layer], aspect: float, fill: float, picture: Image, pose: Pose
    ) -> None:
        """Add, at times, layers that go with the object, cover it, pass in front of it or stand about."""
        s = self._settings
        if s.carried and rng.random() < s.carried:
            layers.append(self.carrier(rng, aspect, fill, pose, draws.apart(rng, s.num_frames)))
        if rng.random() < s.vanish and s.num_frames > 2:
            extent, away = draws.extent(picture, fill, aspect), draws.away(rng, s.num_frames)
            layers.append(self.cover(rng, extent, pose, draws.heading(rng), away))
        if rng.random() < s.occluder:
            layers.append(self.passer(rng, aspect, fill, pose))
        if s.crossing and rng.random() < s.crossing:
            layers.append(self.twin(rng, [picture], aspect, fill, pose))
        for _ in range(int(rng.integers(0, s.max_distractors // 2 + 1))):
            layers.append(self.distractor(rng, aspect, fill, [picture], [], pose.xy[0]))

    def distractor(
        self,
        rng: Rng,
        aspect: float,
        fill: float,
        pictures: list[Image],
        textures: list[list[Image]],
        near: Matrix,
    ) -> Layer:
        """Another object near the followed one; at times its twin, or of the same texture."""
        s = self._settings
        if rng.random() < s.look_alike:
            if textures and rng.random() < 0.5:
                others = made_cut_out(rng, textures, draws.feather(rng))
            else:
                others = pictures if rng.random() < 0.5 else draws.mirrored(pictures)
            size = fill * np.exp(rng.normal(0, 0.25))
        else:
            others, _ = self._objects.any_cut_out(rng)
            size = draws.fill(rng)
        start = near + draws.heading(rng) * rng.uniform(0.15, 0.8)
        pose = random_pose(rng, s.num_frames, draws.speed(rng), start)
        return self._objects.layer(rng, others, aspect, min(size, 0.2), pose)

    def passer(self, rng: Rng, aspect: float, fill: float, pose: Pose) -> Layer:
        """Something that crosses the object's way in front of it about the middle of the clip."""
        pictures, _ = self._objects.any_cut_out(rng)
        return self._crosser(rng, pictures, aspect, fill, (0.3, 1.5), pose)

    def twin(self, rng: Rng, pictures: list[Image], aspect: float, fill: float, pose: Pose) -> Layer:
        """One that looks like the object and crosses its way about the middle of the clip."""
        pictures = pictures if rng.random() < 0.5 else draws.mirrored(pictures)
        return self._crosser(rng, pictures, aspect, fill, (0.7, 1.4), pose)

    def _crosser(
        self,
        rng: Rng,
        pictures: list[Image],
        aspect: float,
        fill: float,
        sizes: tuple[float, float],
        pose: Pose,
    ) -> Layer:
        """Something that crosses an object's way; `sizes` are its least and greatest area against it."""
        s = self._settings
        moment = rng.uniform(0.2, 1.1) * s.num_frames
        meet = pose.xy[min(s.num_frames - 1, int(moment))] + rng.normal(0, 0.25, 2) * np.sqrt(fill)
        away = (np.arange(s.num_frames) - moment)[:, None]
        speed = log_uniform(rng, 0.3, 1.0) * np.sqrt(fill * aspect)
        size = min(0.35, fill * log_uniform(rng, *sizes))
        own = random_pose(rng, s.num_frames, 0.005, meet)
        path = Pose(own.xy + away * draws.heading(rng) * speed, own.scale, own.angle, own.tilt)
        return self._objects.layer(rng, pictures, aspect, size, path)

    def cover(self, rng: Rng, extent: Matrix, pose: Pose, heading: Matrix, away: Matrix) -> Layer:
        """Something that stands in front of the whole object while it is `away`, and beside it on other
        frames.

        Args:
            extent: width and height of the object with its margin, in the scene.
        """
        picture, power = self._rounded_texture(rng)
        # It is always around the object's rectangle.
        size = extent * pose.scale.max() * 2 ** (1 / power) * rng.uniform(0.9, 1.3, 2)
        gap = 0.55 * float(np.hypot(*size) + np.hypot(*extent))
        still = np.zeros(len(away))
        tilt = np.zeros((len(away), 2))
        path = Pose(pose.xy + heading * ((1 - away) * gap)[:, None], still + 1, pose.angle, tilt)
        return Layer([picture], path.matrices(size, picture.shape[:2]))

    def carrier(self, rng: Rng, aspect: float, fill: float, pose: Pose, apart: Matrix) -> Layer:
        """What goes along with the object, as a hand does that moves it: an arm that reaches in from afar, or
        another object.

        Args:
            apart: T, for how many frames it is not with the object yet, or no longer.
        """
        num_frames = self._settings.num_frames
        side, width = draws.heading(rng), np.sqrt(fill * aspect)
        path = pose.xy + side * (apart * width * log_uniform(rng, 0.3, 1.0))[:, None]
        path += smooth_walk(rng, num_frames, 0.05 * width, (2,))
        angle, tilt = smooth_walk(rng, num_frames, 0.03), np.zeros((num_frames, 2))
        if rng.random() < 0.5:
            size = np.array([rng.uniform(0.8, 1.6), width * log_uniform(rng, 0.25, 0.8)])
            path += side * (width * rng.uniform(0.1, 0.45) + size[0] / 2)
            picture, _ = self._rounded_texture(rng)
            arm = Pose(path, np.ones(num_frames), angle + np.arctan2(side[1], side[0]), tilt)
            return Layer([picture], arm.matrices(size, picture.shape[:2]))
        pictures, _ = self._objects.any_cut_out(rng)
        share = min(0.35, fill * log_uniform(rng, 0.4, 2.0))
        path += side * (width + np.sqrt(share * aspect)) / 2 * rng.uniform(0.5, 0.95)
        return self._objects.layer(rng, pictures, aspect, share, Pose(path, pose.scale, angle, tilt))

    def _rounded_texture(self, rng: Rng) -> tuple[Image, float]:
        """A texture within a superellipse between an ellipse and nearly a rectangle, and its power."""
        texture = self._objects.texture(rng)[0]
        height, width = texture.shape[:2]
        power = log_uniform(rng, 2.5, 12)
        y = np.abs(np.linspace(-1.05, 1.05, height))[:, None] ** power
        x = np.abs(np.linspace(-1.05, 1.05, width)) ** power
        alpha = cv2.GaussianBlur(((x + y) < 1).astype(np.uint8) * 255, (0, 0), draws.feather(rng))
        return np.dstack([texture, alpha]), power
