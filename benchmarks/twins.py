"""Does a tracker keep to an object whose twin crosses its way?

    python benchmarks/twins.py [--clips 40] [--tracker NAME ...] [--weights FILE] [--prompt mask|box|click]

On made clips of 24 frames two things of one shape and texture move over a background; they meet about the
middle of the clip, one in front of the other, and part again. Each of them is followed, alone, from the first
frame. Its identity is kept if the mean IoU with the truth on the last three frames is 0.5 or more; it is
taken for its twin if that of the mask with the twin is.

Shapes and textures are made from numbers alone, from seeds that training does not use.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.training.data import Clip, ClipSettings, draws
from vidseg.training.data.cutouts import made_cut_out
from vidseg.training.data.dataset import clip_seed
from vidseg.training.data.layer import Layer
from vidseg.training.data.motion import Pose, smooth_walk
from vidseg.training.data.scene import Scene, render
from vidseg.training.data.textures import made_texture
from vidseg.training.prompts import prompt_of

BASE_SEED = 3 * 10**9
NUM_FRAMES = 24
SIZE = 384
FILL = 0.02, 0.06
"""Least and greatest share of the picture that each of the two fills."""
REACH = 0.4
"""How far from the middle they begin and end, as a share of the picture's side."""
FOUND_IOU = 0.5
LAST_FRAMES = 3

Rng = np.random.Generator
SETTINGS = ClipSettings(size=SIZE, num_frames=NUM_FRAMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--tracker", nargs="+", default=[DEFAULT_TRACKER], help="names or YAMLs")
    parser.add_argument("--weights", help="a file; without it, the tracker's own")
    parser.add_argument("--prompt", choices=("mask", "box", "click"), default="mask")
    args = parser.parse_args()

    for name in args.tracker:
        tracker = vidseg.load(name, weights=args.weights)
        kept, swapped = [], []
        for clip, twin in pairs(args.clips):
            own, others = ious_at_the_end(tracker, clip, twin, args.prompt)
            kept.append(own >= FOUND_IOU)
            swapped.append(others >= FOUND_IOU)
        print(
            f"{name}, {args.prompt}: kept to {np.mean(kept):.1%} of {len(kept)} objects, took "
            f"{np.mean(swapped):.1%} for their twins",
            flush=True,
        )


def pairs(count: int) -> Iterator[tuple[Clip, Clip]]:
    """Clips of an object and the same pictures with the masks of its twin; each scene gives two of them."""
    made = index = 0
    while made < count:
        seed = clip_seed(BASE_SEED, index)
        index += 1
        left, right = (render(np.random.default_rng(seed), scene_of(seed, k), SETTINGS) for k in (1, 2))
        if left is None or right is None:
            continue  # one of them is too small, or hidden on the first frame
        yield left, right
        if (made := made + 2) <= count:
            yield right, left


def scene_of(seed: int, target: int) -> Scene:
    """The scene of a seed, with one of the two (layer 1 or 2) as the object."""
    rng = np.random.default_rng((seed, 1))
    ground = np.array([[1 / 400, 0, 0], [0, 1 / 400, 0], [0, 0, 1.0]])
    placements = np.broadcast_to(ground, (NUM_FRAMES, 3, 3)).copy()
    background = Layer([draws.opaque(made_texture(rng, 400, 400))], placements, covers=True)
    (picture,) = made_cut_out(rng, [[made_texture(rng, 200, 200)]], draws.feather(rng))
    size = draws.extent(picture, rng.uniform(*FILL), 1.0)
    first = rng.uniform(0, 2 * np.pi)
    apart = rng.uniform(0.25, 1.0) * np.pi * rng.choice([-1, 1])
    layers = [background]
    for angle in (first, first + apart):
        pose = path_through_the_middle(rng, angle)
        layers.append(Layer([picture], pose.matrices(size, picture.shape[:2])))
    return Scene(layers, target, np.diag([SIZE, SIZE, 1.0]))


def path_through_the_middle(rng: Rng, angle: float) -> Pose:
    heading = np.array([np.cos(angle), np.sin(angle)])
    along = np.linspace(-REACH, REACH, NUM_FRAMES)[:, None]
    still = np.zeros(NUM_FRAMES)
    xy = 0.5 + rng.normal(0, 0.02, 2) + along * heading
    turns = smooth_walk(rng, NUM_FRAMES, 0.03)
    return Pose(xy, still + 1, turns, np.zeros((NUM_FRAMES, 2)))


def ious_at_the_end(tracker: Tracker, clip: Clip, twin: Clip, prompt: str) -> tuple[float, float]:
    """Mean IoU of the masks with the object and with its twin, over the last frames."""
    session = tracker.start(num_frames=NUM_FRAMES)
    session.prompt(1, **prompt_of(prompt, clip.masks[0]))
    masks = [session.step(vidseg.Frame(t, t / 24, image)).masks[0] for t, image in enumerate(clip.images)]
    own, others = (
        float(np.mean([region_j(masks[t], truth.masks[t]) for t in range(-LAST_FRAMES, 0)]))
        for truth in (clip, twin)
    )
    return own, others


if __name__ == "__main__":
    main()
