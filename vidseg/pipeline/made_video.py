"""A short video made from numbers alone, whose ground truth is known to the pixel.

A camera drifts and turns slowly over a textured ground. On it a ball rolls behind a star, the star turns and
grows, and a fish leaves the picture and comes back. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]
    Shares = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]
    Affine = npt.NDArray[np.float64]

FRAME_RATE = 24
SPRITE_PX = 256
"""Side of an object's texture, in which its shape is drawn."""


@dataclass(frozen=True, kw_only=True)
class _Pose:
    """Place of an object in the world; see `MadeVideo._camera`."""

    x: float
    y: float
    size: float
    turn_deg: float
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class _Thing:
    label: str
    texture: Picture
    """uint8 (S, S, 3), RGB."""
    opacity: npt.NDArray[np.float32]
    """float32 (S, S), from 0 to 1."""

    def pose(self, t: float) -> _Pose:
        """The pose at a time from 0 to 1."""
        if self.label == "ball":
            x = -0.62 + 1.3 * t
            return _Pose(x=x, y=0.18 - 0.06 * np.sin(3 * np.pi * t), size=0.36, turn_deg=x * 180)
        if self.label == "star":
            return _Pose(x=0.05 + 0.08 * np.sin(2 * np.pi * t), y=0.1, size=0.4 + 0.12 * t, turn_deg=-70 * t)
        # The fish swims out of the picture on the right, turns and comes back.
        x = 0.3 + 1.0 * np.sin(np.pi * t)
        return _Pose(
            x=x, y=-0.27 + 0.04 * np.sin(6 * np.pi * t), size=0.42, turn_deg=8 * np.cos(9 * t), flip=t > 0.5
        )


class MadeVideo:
    """Frames and their true masks.

    Args:
        num_frames: at least 2.
        size_hw: height and width in pixels.
        seed: decides textures and the noise of the sensor.
    """

    def __init__(self, *, num_frames: int = 90, size_hw: tuple[int, int] = (360, 640), seed: int = 1) -> None:
        self.num_frames = num_frames
        self.size_hw = size_hw
        self._seed = seed
        random = np.random.default_rng(seed)
        self._ground = _ground(random)
        # From front to back: earlier objects cover later ones.
        self._things = [
            _Thing(label="star", texture=_tiles(random), opacity=_star()),
            _Thing(label="ball", texture=_stripes(random), opacity=_disk()),
            _Thing(label="fish", texture=_scales(random), opacity=_fish()),
        ]

    @property
    def labels(self) -> dict[int, str]:
        """Object id -> label."""
        return {obj_id: thing.label for obj_id, thing in enumerate(self._things, start=1)}

    def __iter__(self) -> Iterator[tuple[Frame, npt.NDArray[np.uint8]]]:
        """Each frame with its label map, uint8 (H, W): the object id seen at each pixel, 0 for the ground."""
        for index in range(self.num_frames):
            image, label_map = self._render(index)
            yield Frame(index, index / FRAME_RATE, image), label_map

    def prompts(self) -> dict[str, Any]:
        """The content of a prompt file: the box of each object on the first frame."""
        import cv2

        _, label_map = self._render(0)
        objects = []
        for obj_id, label in self.labels.items():
            x, y, w, h = cv2.boundingRect((label_map == obj_id).astype(np.uint8))
            prompt = {"frame": 0, "box": [float(x), float(y), float(x + w), float(y + h)]}
            objects.append({"id": obj_id, "label": label, "prompts": [prompt]})
        return {"objects": objects}

    def _render(self, index: int) -> tuple[Picture, Picture]:
        import cv2

        height, width = self.size_hw
        t = index / (self.num_frames - 1)
        camera = self._camera(t)
        image = cv2.warpAffine(
            self._ground,
            (camera @ _scaled(1 / 512, self._ground.shape[0] / 2))[:2],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        ).astype(np.float32)
        label_map = np.zeros(self.size_hw, np.uint8)
        for obj_id, thing in reversed(list(enumerate(self._things, start=1))):
            place = (camera @ _place(thing.pose(t)))[:2]
            opacity = cv2.warpAffine(thing.opacity, place, (width, height), flags=cv2.INTER_LINEAR)
            texture = cv2.warpAffine(
                thing.texture, place, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
            x, y, w, h = cv2.boundingRect((opacity > 0).astype(np.uint8))
            box = np.s_[y : y + h, x : x + w]
            image[box] += (texture[box] - image[box]) * opacity[box][..., None]
            label_map[opacity > 0.5] = obj_id
        noise = np.random.default_rng([self._seed, index]).normal(0, 3, (height, width))
        image += noise[..., None].astype(np.float32)
        return np.clip(image, 0, 255).astype(np.uint8), label_map

    def _camera(self, t: float) -> Affine:
        """The map from the world to pixels.

        The unit of the world is the height of a 16:9 picture, its origin the picture's centre.
        """
        height, width = self.size_hw
        angle = np.deg2rad(4 * np.sin(2 * np.pi * t))
        zoom = min(height, width * 9 / 16) * (1 + 0.08 * np.sin(np.pi * t))
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        drift_x, drift_y = 0.16 * t - 0.08, 0.05 * np.sin(2 * np.pi * t)
        return np.array(
            [
                [cos, -sin, width / 2 - 0.5 - zoom * drift_x],
                [sin, cos, height / 2 - 0.5 - zoom * drift_y],
                [0, 0, 1],
            ]
        )


def _scaled(scale: float, centre_px: float) -> Affine:
    """The map from texture pixels to the world, with the centre of the texture at the origin."""
    return np.array([[scale, 0, -scale * centre_px], [0, scale, -scale * centre_px], [0, 0, 1]])


def _place(pose: _Pose) -> Affine:
    """The map from sprite pixels to the world."""
    angle = np.deg2rad(pose.turn_deg)
    flip = -1 if pose.flip else 1
    turn = np.array(
        [
            [flip * np.cos(angle), -np.sin(angle), pose.x],
            [flip * np.sin(angle), np.cos(angle), pose.y],
            [0, 0, 1],
        ]
    )
    return turn @ _scaled(pose.size / SPRITE_PX, SPRITE_PX / 2)


def _noise(random: np.random.Generator, side_px: int, cells: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Grids of random values, coarse to fine, each half as strong as the last: float32 (S, S), 0 to 1."""
    import cv2

    total = np.zeros((side_px, side_px), np.float32)
    for octave, cell in enumerate(cells):
        grid = random.random((cell, cell), np.float32)
        total += cv2.resize(grid, (side_px, side_px), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = np.quantile(total, (0.01, 0.99))
    return np.clip((total - low) / (high - low), 0, 1)


def _mix(share: Shares, low: tuple[int, ...], high: tuple[int, ...]) -> Shares:
    """The share of one colour over another: (S, S, 3), made channel by channel as NumPy is then faster."""
    return np.stack([_blend(share, *ends) for ends in zip(low, high, strict=True)], axis=-1)


def _blend(share: Shares, low: float, high: float) -> Shares:
    blend: Shares = np.float32(low) * (1 - share) + np.float32(high) * share
    return blend


GRASS = (38, 66, 34), (122, 142, 74)
SAND = (140, 118, 84), (206, 188, 148)
"""Dark and light, red, green and blue."""


def _ground(random: np.random.Generator) -> Picture:
    """A ground of grass and sand, 1536 x 1536: three picture heights, more than the camera sees."""
    grass = _noise(random, 1536, (48, 192, 768))
    sand = _noise(random, 1536, (96, 384, 768))
    where = np.clip((_noise(random, 1536, (8, 24, 96)) - 0.5) * 6, 0, 1)
    channels = []
    for *grass_ends, sand_low, sand_high in zip(*GRASS, *SAND, strict=True):
        below = _blend(grass, *grass_ends)
        above = _blend(sand, sand_low, sand_high)
        channels.append((below + (above - below) * where).astype(np.uint8))
    return np.stack(channels, axis=-1)


def _tiles(random: np.random.Generator) -> Picture:
    """A texture of blue and white patches."""
    cells = np.kron(random.random((8, 8)) > 0.5, np.ones((SPRITE_PX // 8, SPRITE_PX // 8)))
    shade = 0.7 + 0.3 * _noise(random, SPRITE_PX, (6, 30))
    return (_mix(cells.astype(np.float32), (34, 74, 168), (226, 232, 240)) * shade[..., None]).astype(
        np.uint8
    )


def _stripes(random: np.random.Generator) -> Picture:
    """A texture of wavy red and yellow stripes, lit from above."""
    y, x = np.mgrid[:SPRITE_PX, :SPRITE_PX].astype(np.float32)
    wave = np.sin((x + 24 * _noise(random, SPRITE_PX, (5, 11))) / 14) > 0
    light = 1.1 - 0.55 * y / SPRITE_PX
    return np.clip(
        _mix(wave.astype(np.float32), (196, 40, 34), (240, 196, 60)) * light[..., None], 0, 255
    ).astype(np.uint8)


def _scales(random: np.random.Generator) -> Picture:
    """A texture of violet and orange scales, darker towards the back."""
    y, x = np.mgrid[:SPRITE_PX, :SPRITE_PX].astype(np.float32)
    rows = np.floor(y / 12)
    scale = np.hypot((x + 9 * (rows % 2)) % 18 - 9, y % 12 - 12) / 15
    body = _mix(
        np.clip(scale + 0.25 * _noise(random, SPRITE_PX, (9, 40)), 0, 1), (236, 130, 40), (112, 44, 132)
    )
    return (body * (0.75 + 0.25 * y / SPRITE_PX)[..., None]).astype(np.uint8)


def _disk() -> npt.NDArray[np.float32]:
    y, x = np.mgrid[:SPRITE_PX, :SPRITE_PX]
    return _soft(np.hypot(x - 127.5, y - 127.5) < 110)


def _star() -> npt.NDArray[np.float32]:
    """The opacity of a star with five soft points."""
    y, x = np.mgrid[:SPRITE_PX, :SPRITE_PX]
    angle = np.arctan2(y - 127.5, x - 127.5)
    return _soft(np.hypot(x - 127.5, y - 127.5) < 84 + 34 * np.cos(5 * angle))


def _fish() -> npt.NDArray[np.float32]:
    """The opacity of a fish, an ellipse and a tail, that looks to the right."""
    y, x = np.mgrid[:SPRITE_PX, :SPRITE_PX]
    body = np.hypot((x - 150) / 92, (y - 127.5) / 52) < 1
    tail = (x > 14) & (x < 80) & (np.abs(y - 127.5) < 14 + (80 - x) * 0.62)
    return _soft(body | tail)


def _soft(shape: Mask) -> npt.NDArray[np.float32]:
    """The opacity of a shape, which falls off across the edge so that edges are not jagged."""
    import cv2

    return cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.5)
