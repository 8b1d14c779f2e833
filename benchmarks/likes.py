"""Does a tracker keep objects apart that look alike, in one picture?

    python benchmarks/likes.py --root OUT/davis_train [--tracker NAME ...] [--weights FILE] [--alone]

Twelve scenes of 20 frames are made of training sequences of DAVIS 2016, as `recipes/nano_data.py` writes
them. Each has three objects, which are followed from the first frame's masks:
- likes: a sequence, with two copies of its object, smaller and some frames later, that move across it;
- apart: four sequences at half their size, side by side, most of them with likes among them.
The mean J is printed, over objects and then scenes, without the first frame and the last.

With `--alone` each object is followed in a session of its own.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from davis import frames_of, truths_of

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.masks import tight_box
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker

NUM_FRAMES = 20
SEED = 100
LIKES = {
    "bear": 14,
    "dance-jump": 12,
    "hike": 16,
    "lucia": 14,
    "rhino": 18,
    "mallard-water": 12,
    "rollerblade": 10,
    "horsejump-low": 10,
}
"""Sequence -> by how many frames one of its copies is later; the other one is by half of it."""
APART = (
    (("mallard-water", 0, True), ("mallard-water", 25, True), ("surf", 0, False), ("mallard-fly", 0, True)),
    (
        ("horsejump-low", 0, True),
        ("bus", 0, False),
        ("horsejump-low", 20, True),
        ("horsejump-low", 35, True),
    ),
    (("lucia", 0, True), ("hike", 0, True), ("boat", 0, False), ("stroller", 0, True)),
    (("drift-turn", 0, True), ("scooter-gray", 0, False), ("motorbike", 0, True), ("drift-turn", 30, True)),
)
"""Sequences, their first frames, and whether their objects are followed."""
QUARTER_WH = (224, 126)

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass
class Scene:
    images: list[Image]
    ids: list[Image]
    """The object of each pixel, from 1; 0 for none."""


@dataclass(frozen=True)
class Copy:
    """A copy of a sequence's object, as it moves."""

    scale: float
    first_x: float
    last_x: float
    """Its middle, in pixels."""
    y: float
    is_flipped: bool
    is_behind: bool
    """Whether it passes behind the object itself."""
    later: int
    """By so many frames."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--tracker", nargs="+", default=[DEFAULT_TRACKER], help="names or YAMLs")
    parser.add_argument("--weights", type=Path, help="a file; without it, the tracker's own")
    parser.add_argument("--alone", action="store_true")
    args = parser.parse_args()

    likes = [partial(likes_of, args.root, name, number) for number, name in enumerate(LIKES)]
    apart = [partial(apart_of, args.root, parts) for parts in APART]
    for name in args.tracker:
        tracker = vidseg.load(name, weights=args.weights)
        js = [[mean_j(tracker, make(), alone=args.alone) for make in kind] for kind in (likes, apart)]
        every, *kinds = (float(np.mean(each)) for each in ([*js[0], *js[1]], *js))
        print(f"{name}: J {every:.3f}, likes {kinds[0]:.3f}, apart {kinds[1]:.3f}", flush=True)


def likes_of(root: Path, name: str, number: int) -> Scene:
    """A sequence with copies of its object."""
    rng = np.random.default_rng(SEED + number)
    most = LIKES[name]
    images, masks = shown(root, name, 0, NUM_FRAMES + most)
    height, width = masks[0].shape
    copies = []
    for side, later in ((-1, most // 2), (1, most)):
        scale = rng.uniform(0.55, 0.8)
        first_x = width * (0.5 + side * rng.uniform(0.28, 0.38))
        last_x = first_x - side * width * rng.uniform(0.15, 0.5)
        y = height * rng.uniform(0.35, 0.7)
        copies.append(Copy(scale, first_x, last_x, y, bool(rng.integers(2)), bool(rng.integers(2)), later))
    count = min(NUM_FRAMES, len(images) - most)
    scene = Scene([image.copy() for image in images[:count]], [m.astype(np.uint8) for m in masks[:count]])
    for obj_id, copy in enumerate(copies, start=2):
        for t in range(count):
            x = copy.first_x + (copy.last_x - copy.first_x) * t / (count - 1)
            paste(scene, t, obj_id, copy, x, images[t + copy.later], masks[t + copy.later])
    return scene


def paste(scene: Scene, t: int, obj_id: int, copy: Copy, x: float, image: Image, mask: Mask) -> None:
    """Put a copy of an object into a frame of a scene."""
    left, top, right, bottom = tight_box(mask)
    box = slice(top, bottom), slice(left, right)
    pixels, cover = image[box], mask[box].astype(np.float32)
    if copy.is_flipped:
        pixels, cover = pixels[:, ::-1], cover[:, ::-1]
    height, width = (max(4, int(side * copy.scale)) for side in cover.shape)
    resized = partial(cv2.resize, dsize=(width, height), interpolation=cv2.INTER_AREA)
    pixels, cover = resized(np.ascontiguousarray(pixels)), resized(np.ascontiguousarray(cover))
    left, top = int(x - width / 2), int(copy.y - height / 2)
    full_h, full_w = scene.ids[t].shape
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, full_w), min(top + height, full_h)
    if x0 >= x1 or y0 >= y1:
        return
    there, own = (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    share = cover[own][..., None]
    if copy.is_behind:
        share = share * (scene.ids[t][there] != 1)[..., None]
    scene.images[t][there] = scene.images[t][there] * (1 - share) + pixels[own] * share
    scene.ids[t][there][share[..., 0] >= 0.5] = obj_id


def apart_of(root: Path, parts: tuple[tuple[str, int, bool], ...]) -> Scene:
    """Four sequences in one picture."""
    resized = partial(cv2.resize, dsize=QUARTER_WH, interpolation=cv2.INTER_AREA)
    images, ids, obj_id = [], [], 0
    for name, first, is_followed in parts:
        obj_id += is_followed
        own, masks = shown(root, name, first, NUM_FRAMES)
        images.append([resized(image) for image in own])
        seen = [resized(mask.astype(np.float32)) >= 0.5 for mask in masks]
        ids.append([(mask * (obj_id if is_followed else 0)).astype(np.uint8) for mask in seen])

    def joined(quarters: list[list[Image]]) -> list[Image]:
        return [
            np.vstack([np.hstack(four[:2]), np.hstack(four[2:])]) for four in zip(*quarters, strict=False)
        ]

    return Scene(joined(images), joined(ids))


def shown(root: Path, name: str, first: int, count: int) -> tuple[list[Image], list[Mask]]:
    """Frames of a sequence, and the masks of its object."""
    images = [np.asarray(frame.image) for frame in frames_of(root / "JPEGImages/480p" / name)]
    masks = truths_of(root / "Annotations/480p" / name)
    return images[first : first + count], list(masks[first : first + count])


def mean_j(tracker: Tracker, scene: Scene, *, alone: bool) -> float:
    obj_ids = [int(obj_id) for obj_id in np.unique(scene.ids[0]) if obj_id]
    js = []
    for together in [[obj_id] for obj_id in obj_ids] if alone else [obj_ids]:
        session = tracker.start()
        for obj_id in together:
            session.prompt(obj_id, mask=scene.ids[0] == obj_id)
        for t, (image, ids) in enumerate(zip(scene.images, scene.ids, strict=True)):
            result = session.step(vidseg.Frame(t, t / 24, image))
            if 0 < t < len(scene.ids) - 1:
                js += [region_j(m, ids == i) for i, m in zip(result.obj_ids, result.masks, strict=True)]
    return float(np.mean(js))


if __name__ == "__main__":
    main()
