"""Makes scenes: composed of cut-outs, stills that come to life, and real sequences."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.training.data import draws
from vidseg.training.data.company import Company
from vidseg.training.data.cutouts import close_hole, cut_out, padded_box
from vidseg.training.data.layer import Layer, random_bends
from vidseg.training.data.motion import Pose, camera_path, log_uniform, path_of_boxes, random_pose
from vidseg.training.data.objects import ObjectMaker
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
        self._objects = ObjectMaker(settings, stills, videos)
        self._company = Company(settings, self._objects)
        mix = settings.mix
        kinds = [(self._composed, mix.composed)]
        if len(stills):
            kinds += [(self._in_place, mix.in_place), (self._whole, mix.whole)]
        if len(vos):
            kinds.append((self._sequence, mix.vos))
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
        pictures, textures = self._objects.any_cut_out(rng)
        fill = draws.fill(rng)
        pose = random_pose(rng, s.num_frames, draws.speed(rng), start)
        behind: list[Layer] = []
        front: list[Layer] = []
        if s.carried and rng.random() < s.carried:
            apart = draws.apart(rng, s.num_frames)
            if rng.random() < 0.6:
                pose.rest(apart > 0)
            carrier = self._company.carrier(rng, aspect, fill, pose, apart)
            (front if rng.random() < 0.6 else behind).append(carrier)
        vanishes = rng.random() < s.vanish and s.num_frames > 2
        away = draws.away(rng, s.num_frames) if vanishes else np.zeros(s.num_frames)
        heading = draws.heading(rng)
        leaves = vanishes and rng.random() < 0.5
        if leaves:
            pose.xy[:] += away[:, None] * heading * draws.beyond(view, s.size)
        elif vanishes:
            front.append(
                self._company.cover(rng, draws.extent(pictures[0], fill, aspect), pose, heading, away)
            )
        for _ in range(int(rng.integers(0, s.max_distractors + 1))):
            other = self._company.distractor(rng, aspect, fill, pictures, textures, start)
            (front if rng.random() < 0.35 else behind).append(other)
        if rng.random() < s.occluder:
            front.append(self._company.passer(rng, aspect, fill, pose))
        if s.crossing and rng.random() < s.crossing:
            (front if rng.random() < 0.5 else behind).append(
                self._company.twin(rng, pictures, aspect, fill, pose)
            )
        target = self._objects.layer(rng, draws.harmonised(rng, pictures, background), aspect, fill, pose)
        if rng.random() < 0.15:
            behind.append(draws.shadow(rng, target, fill))
        if rng.random() < 0.6:  # the object stays in its place in the world when the camera moves
            for layer in (*behind, target, *front):
                layer.placements = camera @ layer.placements
        layers = [background, *behind, target, *front]
        if not leaves:
            draws.follow(rng, layers, pose)
        return Scene(layers, 1 + len(behind), view)

    def _background(self, rng: Rng, aspect: float) -> tuple[Layer, Matrix]:
        """A layer that covers the frame, and the camera's path over it."""
        s = self._settings
        kind = rng.random()
        middle = np.array([aspect / 2, 0.5])
        if kind < 0.6 and len(self._videos):
            pictures = self._objects.video_run(rng)
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

    # --- a still comes to life

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
        still, mask = self._objects.instance(rng, min_area=500)
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
        self._company.join(rng, layers, aspect, draws.fill_of(mask, to_scene, aspect), picture, still_pose)
        return Scene(layers, 0, view)

    def _in_place(self, rng: Rng) -> Scene | None:
        s = self._settings
        still, mask = self._objects.instance(rng, min_area=700)
        if mask is None:
            return None
        aspect, to_scene, view, focus = self._framed(rng, still, mask)
        camera = camera_path(rng, s.num_frames, focus, rng.choice([0.3, 1.0, 2.0]))
        hole = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        background = Layer([draws.opaque(close_hole(rng, still.image, hole))], camera @ to_scene, covers=True)
        slides = self._objects.slides(rng) if rng.random() < s.turn else None
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
            bends=self._objects.bends(rng, picture.shape[:2]),
            slides=slides,
            light=self._objects.light(rng),
        )
        layers = [background, target]
        self._company.join(rng, layers, aspect, draws.fill_of(mask, to_scene, aspect), picture, pose)
        draws.follow(rng, layers, pose)
        return Scene(layers, 1, view)

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
            self._company.join(rng, layers, aspect, float(shown.mean()), picture, path)
        return Scene(layers, 0, view)
