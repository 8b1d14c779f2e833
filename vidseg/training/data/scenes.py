"""Makes scenes: composed of cut-outs, stills that come to life, and real sequences."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.training.data import draws
from vidseg.training.data.cutouts import close_hole, cut_out, made_cut_out, padded_box
from vidseg.training.data.layer import Layer, hinge_bends, random_bends
from vidseg.training.data.motion import (
    Pose,
    camera_path,
    log_uniform,
    path_of_boxes,
    random_pose,
    smooth_walk,
)
from vidseg.training.data.scene import Scene
from vidseg.training.data.settings import ClipSettings
from vidseg.training.data.sources import Still, StillSource, VideoSource, VosSource
from vidseg.training.data.textures import made_texture

Image = NDArray[np.uint8]
Rng = np.random.Generator
Matrix = NDArray[np.float64]

# How often something is laid over a real sequence: objects rarely leave in them, or meet their twins.
_SEQUENCE_COMPANY = 0.4


class SceneMaker:
    """Draws random scenes of all kinds that its sources allow."""

    def __init__(
        self, settings: ClipSettings, stills: StillSource, videos: VideoSource, vos: VosSource
    ) -> None:
        self._settings = settings
        self._stills, self._videos, self._vos = stills, videos, vos
        mix = settings.mix
        kinds = [(self._composed, mix.composed)]
        if len(stills):
            kinds += [(self._in_place, mix.in_place), (self._whole, mix.whole)]
        if len(vos):
            kinds.append((self._sequence, mix.vos))
        if not any(weight for _, weight in kinds):
            kinds = [(self._composed, 1.0)]
        self._kinds = [kind for kind, _ in kinds]
        weights = np.array([weight for _, weight in kinds])
        self._weights = weights / weights.sum()

    def make(self, rng: Rng) -> Scene | None:
        """A random scene; None if what was drawn cannot be used."""
        return self._kinds[rng.choice(len(self._kinds), p=self._weights)](rng)

    # --- composed: cut-outs over a background

    def _composed(self, rng: Rng) -> Scene | None:
        s = self._settings
        aspect = draws.aspect(rng)
        start = np.array([aspect, 1.0]) * rng.uniform(0.15, 0.85, 2)
        view = draws.view(rng, aspect, start, s.size)
        background, camera = self._background(rng, aspect)
        pictures, textures = self._any_cut_out(rng)
        fill = draws.fill(rng)
        pose = random_pose(rng, s.num_frames, draws.speed(rng), start)
        behind: list[Layer] = []
        front: list[Layer] = []
        vanishes = rng.random() < s.vanish and s.num_frames > 2
        away = draws.away(rng, s.num_frames) if vanishes else np.zeros(s.num_frames)
        heading = draws.heading(rng)
        leaves = vanishes and rng.random() < 0.5
        if leaves:
            pose.xy[:] += away[:, None] * heading * draws.beyond(view, s.size)
        elif vanishes:
            front.append(self._cover(rng, draws.extent(pictures[0], fill, aspect), pose, heading, away))
        for _ in range(int(rng.integers(0, s.max_distractors + 1))):
            other = self._distractor(rng, aspect, fill, pictures, textures, start)
            (front if rng.random() < 0.35 else behind).append(other)
        if rng.random() < s.occluder:
            front.append(self._passer(rng, aspect, fill, pose))
        if s.crossing and rng.random() < s.crossing:
            (front if rng.random() < 0.5 else behind).append(self._twin(rng, pictures, aspect, fill, pose))
        target = self._object_layer(rng, draws.harmonised(rng, pictures, background), aspect, fill, pose)
        if rng.random() < 0.15:
            behind.append(draws.shadow(rng, target, fill))
        if rng.random() < 0.6:  # the object stays in its place in the world when the camera moves
            for layer in (*behind, target, *front):
                layer.placements = camera @ layer.placements
        layers = [background, *behind, target, *front]
        if not leaves:
            draws.follow(rng, layers, pose)
        return Scene(layers, 1 + len(behind), view)

    def _object_layer(self, rng: Rng, pictures: list[Image], aspect: float, fill: float, pose: Pose) -> Layer:
        """A layer whose cut-out fills `fill` of the frame on frame 0, with random changes of form."""
        s = self._settings
        height, width = pictures[0].shape[:2]
        size = draws.extent(pictures[0], fill, aspect)
        return Layer(
            pictures,
            pose.matrices(size, (height, width)),
            bends=self._bends(rng, (height, width)),
            slides=self._slides(rng) if rng.random() < s.turn else None,
            light=self._light(rng),
        )

    def _slides(self, rng: Rng) -> NDArray[np.float32]:
        walk = smooth_walk(rng, self._settings.num_frames, rng.uniform(0.05, 0.35))
        return np.clip(walk, -1.8, 1.8).astype(np.float32)

    def _light(self, rng: Rng) -> Matrix | None:
        """Colour factors for one object, T x 3, as if it left the shade or a lamp fell on it; or None."""
        if rng.random() > 0.5 * self._settings.light:
            return None
        num_frames = self._settings.num_frames
        brightness = smooth_walk(rng, num_frames, 0.08, (1,))
        return np.exp(np.clip(brightness + smooth_walk(rng, num_frames, 0.02, (3,)), -0.9, 0.6))

    def _bends(self, rng: Rng, px_hw: tuple[int, int]) -> NDArray[np.float32] | None:
        s = self._settings
        bends = None
        if rng.random() < s.bend:
            bends = random_bends(rng, s.num_frames, px_hw, log_uniform(rng, 0.004, 0.035))
        if rng.random() < s.hinge:
            swing = np.clip(smooth_walk(rng, s.num_frames, rng.uniform(0.05, 0.3)), -1.0, 1.0)
            swung = hinge_bends(rng, swing, px_hw)
            bends = swung if bends is None else bends + swung
        return bends

    def _distractor(
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
            others, _ = self._any_cut_out(rng)
            size = draws.fill(rng)
        start = near + draws.heading(rng) * rng.uniform(0.15, 0.8)
        pose = random_pose(rng, s.num_frames, draws.speed(rng), start)
        return self._object_layer(rng, others, aspect, min(size, 0.2), pose)

    def _passer(self, rng: Rng, aspect: float, fill: float, pose: Pose) -> Layer:
        """Something that crosses the object's way in front of it about the middle of the clip."""
        pictures, _ = self._any_cut_out(rng)
        return self._crosser(rng, pictures, aspect, fill, (0.3, 1.5), pose)

    def _twin(self, rng: Rng, pictures: list[Image], aspect: float, fill: float, pose: Pose) -> Layer:
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
        return self._object_layer(rng, pictures, aspect, size, path)

    def _cover(self, rng: Rng, extent: Matrix, pose: Pose, heading: Matrix, away: Matrix) -> Layer:
        """Something that stands in front of the whole object while it is `away`, and beside it on other
        frames.

        Args:
            extent: width and height of the object with its margin, in the scene.
        """
        texture = self._texture(rng)[0]
        height, width = texture.shape[:2]
        # A superellipse between an ellipse and nearly a rectangle, always around the object's rectangle.
        power = log_uniform(rng, 2.5, 12)
        y = np.abs(np.linspace(-1.05, 1.05, height))[:, None] ** power
        x = np.abs(np.linspace(-1.05, 1.05, width)) ** power
        alpha = cv2.GaussianBlur(((x + y) < 1).astype(np.uint8) * 255, (0, 0), draws.feather(rng))
        size = extent * pose.scale.max() * 2 ** (1 / power) * rng.uniform(0.9, 1.3, 2)
        gap = 0.55 * float(np.hypot(*size) + np.hypot(*extent))
        still = np.zeros(len(away))
        tilt = np.zeros((len(away), 2))
        path = Pose(pose.xy + heading * ((1 - away) * gap)[:, None], still + 1, pose.angle, tilt)
        return Layer([np.dstack([texture, alpha])], path.matrices(size, (height, width)))

    def _any_cut_out(self, rng: Rng) -> tuple[list[Image], list[list[Image]]]:
        """An object of a still or a made outline, as one picture or T, and the textures of a made one."""
        if len(self._stills) and rng.random() < 0.5:
            still, mask = self._instance(rng, min_area=700)
            if mask is not None:
                pictures = [cut_out(still.image, mask, draws.feather(rng))]
                return (pictures if rng.random() < 0.5 else draws.mirrored(pictures)), []
        textures = [self._texture(rng) for _ in range(int(rng.choice(3, p=(0.5, 0.35, 0.15))) + 1)]
        return made_cut_out(rng, textures, draws.feather(rng)), textures

    def _texture(self, rng: Rng) -> list[Image]:
        """A texture: a piece of a real picture, of a running video (T pieces), or a made one."""
        kind = rng.random()
        if kind < 0.45 and len(self._stills):
            pictures = [self._stills.get(int(rng.integers(len(self._stills)))).image]
        elif kind < 0.55 and len(self._videos):
            pictures = self._video_run(rng)
        elif kind < 0.8 and len(self._videos):
            video = int(rng.integers(len(self._videos)))
            pictures = [self._videos.get(video, int(rng.integers(self._videos.frames_of(video))))]
        else:
            return [made_texture(rng, 200, 200)]
        height, width = pictures[0].shape[:2]
        side = min(int(log_uniform(rng, 50, 300)), height, width)
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        return [p[y : y + side, x : x + side] for p in pictures]

    def _background(self, rng: Rng, aspect: float) -> tuple[Layer, Matrix]:
        """A layer that covers the frame, and the camera's path over it."""
        s = self._settings
        kind = rng.random()
        middle = np.array([aspect / 2, 0.5])
        if kind < 0.6 and len(self._videos):
            pictures = self._video_run(rng)
            camera = camera_path(rng, s.num_frames, middle, rng.choice([0.0, 0.4, 1.0]))
        elif kind < 0.9 and len(self._stills):
            pictures = [self._stills.get(int(rng.integers(len(self._stills)))).image]
            camera = camera_path(rng, s.num_frames, middle, rng.choice([0.3, 1.0, 2.0]))
        else:
            pictures = [made_texture(rng, 270, 480)]
            camera = camera_path(rng, s.num_frames, middle, rng.choice([0.3, 1.0, 2.0]))
        if rng.random() < 0.5:
            pictures = draws.mirrored(pictures)
        height, width = pictures[0].shape[:2]
        cover = max(1 / height, aspect / width) * rng.uniform(1.0, 1.5)
        free = np.array([width * cover - aspect, height * cover - 1.0])
        corner = -free * rng.uniform(0, 1, 2)
        placement = np.array([[cover, 0, corner[0]], [0, cover, corner[1]], [0, 0, 1.0]])
        return Layer([draws.opaque(p) for p in pictures], camera @ placement, covers=True), camera

    def _video_run(self, rng: Rng) -> list[Image]:
        num_frames = self._settings.num_frames
        video = int(rng.integers(len(self._videos)))
        frames = draws.run(rng, self._videos.frames_of(video), num_frames)
        return [self._videos.get(video, t) for t in frames]

    # --- a still comes to life

    def _instance(self, rng: Rng, min_area: int) -> tuple[Still, NDArray[np.bool_] | None]:
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

    def _framed(
        self, rng: Rng, still: Still, mask: NDArray[np.bool_]
    ) -> tuple[float, Matrix, Matrix, Matrix]:
        """A frame around a still's object: aspect, still-to-scene map, view, the object's centre in the
        scene."""
        height, width = mask.shape
        aspect = draws.aspect(rng)
        largest = min(height, width / aspect)
        wanted = np.sqrt(np.count_nonzero(mask) / (draws.fill(rng) * aspect))
        lines = float(np.clip(wanted, 0.4 * largest, largest))
        y0, y1, x0, x1 = padded_box(mask)
        center = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        room = np.array([width - lines * aspect, height - lines])
        corner = np.clip(center - np.array([aspect, 1]) * lines * rng.uniform(0.25, 0.75, 2), 0, room)
        to_scene = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]], [0, 0, lines]]) / lines
        focus = (center - corner) / lines
        return aspect, to_scene, draws.view(rng, aspect, focus, self._settings.size), focus

    def _whole(self, rng: Rng) -> Scene | None:
        s = self._settings
        still, mask = self._instance(rng, min_area=500)
        if mask is None:
            return None
        aspect, to_scene, view, focus = self._framed(rng, still, mask)
        camera = camera_path(rng, s.num_frames, focus, rng.choice([0.5, 1.5, 3.0]))
        picture = np.dstack([still.image, mask.astype(np.uint8) * 255])
        bends = None
        if rng.random() < s.bend:
            bends = random_bends(
                rng, s.num_frames, mask.shape, log_uniform(rng, 0.002, 0.012), cells=int(rng.integers(4, 9))
            )
        background = Layer([picture], camera @ to_scene, bends=bends, covers=True)
        picture = cut_out(still.image, mask, draws.feather(rng))
        still_pose = Pose(
            draws.center_of(mask, to_scene) + np.zeros((s.num_frames, 2)),
            np.ones(s.num_frames),
            np.zeros(s.num_frames),
            np.zeros((s.num_frames, 2)),
        )
        layers = [background]
        self._add_company(rng, layers, aspect, draws.fill_of(mask, to_scene, aspect), picture, still_pose)
        return Scene(layers, 0, view)

    def _in_place(self, rng: Rng) -> Scene | None:
        s = self._settings
        still, mask = self._instance(rng, min_area=700)
        if mask is None:
            return None
        aspect, to_scene, view, focus = self._framed(rng, still, mask)
        camera = camera_path(rng, s.num_frames, focus, rng.choice([0.3, 1.0, 2.0]))
        hole = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        background = Layer([draws.opaque(close_hole(rng, still.image, hole))], camera @ to_scene, covers=True)
        slides = self._slides(rng) if rng.random() < s.turn else None
        # When an object turns, what lay beyond its rim comes into view: that must not be its old
        # surroundings.
        picture = cut_out(still.image, mask, draws.feather(rng), extend=slides is not None)
        y0, y1, x0, x1 = padded_box(mask)
        lines = 1 / to_scene[0, 0]
        pose = random_pose(rng, s.num_frames, draws.speed(rng), draws.center_of(mask, to_scene))
        size = ((x1 - x0) / lines, (y1 - y0) / lines)
        target = Layer(
            [picture],
            camera @ pose.matrices(size, picture.shape[:2]),
            bends=self._bends(rng, picture.shape[:2]),
            slides=slides,
            light=self._light(rng),
        )
        layers = [background, target]
        self._add_company(rng, layers, aspect, draws.fill_of(mask, to_scene, aspect), picture, pose)
        draws.follow(rng, layers, pose)
        return Scene(layers, 1, view)

    def _add_company(
        self, rng: Rng, layers: list[Layer], aspect: float, fill: float, picture: Image, pose: Pose
    ) -> None:
        """Add, at times, layers that cover the object, pass in front of it or stand about."""
        s = self._settings
        if rng.random() < s.vanish and s.num_frames > 2:
            extent, away = draws.extent(picture, fill, aspect), draws.away(rng, s.num_frames)
            layers.append(self._cover(rng, extent, pose, draws.heading(rng), away))
        if rng.random() < s.occluder:
            layers.append(self._passer(rng, aspect, fill, pose))
        if s.crossing and rng.random() < s.crossing:
            layers.append(self._twin(rng, [picture], aspect, fill, pose))
        for _ in range(int(rng.integers(0, s.max_distractors // 2 + 1))):
            layers.append(self._distractor(rng, aspect, fill, [picture], [], pose.xy[0]))

    # --- real sequences

    def _sequence(self, rng: Rng) -> Scene | None:
        s = self._settings
        sequence = int(rng.integers(len(self._vos)))
        frames = draws.run(rng, self._vos.frames_of(sequence), s.num_frames)
        run = [self._vos.get(sequence, t) for t in frames]
        objects = np.unique(run[0][1])
        objects = objects[objects > 0]
        if not len(objects):
            return None
        obj = int(rng.choice(objects))
        pictures = [np.dstack([image, (labels == obj).astype(np.uint8) * 255]) for image, labels in run]
        if rng.random() < 0.5:
            pictures = draws.mirrored(pictures)
        height, width = pictures[0].shape[:2]
        y0, y1, x0, x1 = padded_box(pictures[0][..., 3] > 0)
        aspect = width / height
        view = draws.view(rng, aspect, np.array([(x0 + x1) / 2, (y0 + y1) / 2]) / height, s.size)
        if s.close_up and rng.random() < s.close_up:
            view = draws.close_up(rng, aspect, pictures, s.size)
        to_scene = np.diag([1 / height, 1 / height, 1.0])
        camera = camera_path(rng, s.num_frames, np.array([aspect / 2, 0.5]), rng.choice([0.0, 0.3, 0.8]))
        placements = camera @ to_scene
        layers = [Layer(pictures, placements, covers=True)]
        if rng.random() < _SEQUENCE_COMPANY:
            shown = pictures[0][..., 3] > 127
            picture = cut_out(pictures[0][..., :3], shown, draws.feather(rng))
            boxes = [padded_box(p[..., 3] > 127) if p[..., 3].any() else None for p in pictures]
            path = path_of_boxes(boxes, placements)
            self._add_company(rng, layers, aspect, float(shown.mean()), picture, path)
        return Scene(layers, 0, view)
