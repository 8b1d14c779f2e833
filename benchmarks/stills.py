"""How good is a tracker's first answer? IoU on still pictures, from each object's box and from a click.

    python benchmarks/stills.py --root FOLDER [--prefix people_] [--per-picture 3] [--tracker NAME]
                                [--weights FILE] [--prompts box,box by hand,click]

FOLDER holds images/<name>.jpg and masks/<name>.png (indexed: 0 is background, each other value an object).
The box is the tight one, and one off by up to a tenth of its sides, as a hand draws it; the click is the
point of the object that is furthest from its contour. Objects under half a percent of the picture are left
out, and of each picture the largest are taken. A figure is the mean over objects.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.masks import tight_box
from vidseg.pipeline.label_png import read_label_png
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.training.prompts import prompt_of

MIN_SHARE = 0.005
BOX_JITTER = 0.1
FOUND_IOU = 0.5
KINDS = "box", "box by hand", "click"

Mask = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder of images/ and masks/")
    parser.add_argument("--prefix", default="", help="of the names that are taken")
    parser.add_argument("--per-picture", type=int, default=3, help="objects, the largest")
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--weights", type=Path, help="a file; without it, the tracker's own")
    parser.add_argument("--prompts", default=",".join(KINDS), help="those to be answered")
    args = parser.parse_args()

    tracker = vidseg.load(args.tracker, weights=args.weights)
    ious: dict[str, list[float]] = {kind: [] for kind in args.prompts.split(",")}
    rng = np.random.default_rng(0)
    for image, truth in objects_in(args.root, args.prefix, args.per_picture):
        prompts = {
            "box": prompt_of("box", truth),
            "box by hand": drawn_box(truth, rng),
            "click": prompt_of("click", truth),
        }
        for kind, values in ious.items():
            values.append(region_j(answer(tracker, image, prompts[kind]), truth))
    for kind, values in ious.items():
        found = np.mean(np.array(values) >= FOUND_IOU)
        print(
            f"{kind:<12} mean IoU {np.mean(values):.3f}, {found:.0%} at {FOUND_IOU} or more, "
            f"{len(values)} objects"
        )


def objects_in(root: Path, prefix: str, per_picture: int) -> Iterator[tuple[Image, Mask]]:
    for path in sorted((root / "masks").glob(f"{prefix}*.png")):
        labels = np.asarray(read_label_png(path))
        bgr = cv2.imread(str(root / "images" / f"{path.stem}.jpg"))
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        for label in np.argsort(-areas, kind="stable")[:per_picture]:
            if areas[label] >= MIN_SHARE * labels.size:
                yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), labels == label


def drawn_box(truth: Mask, rng: np.random.Generator) -> dict[str, Any]:
    x0, y0, x1, y1 = tight_box(truth)
    width, height = x1 - x0, y1 - y0
    off = rng.uniform(-BOX_JITTER, BOX_JITTER, 4) * (width, height, width, height)
    box = np.clip(np.array([x0, y0, x1, y1]) + off, 0, np.tile(truth.shape[::-1], 2))
    return {"box": box.tolist()}


def answer(tracker: Tracker, image: Image, prompt: dict[str, Any]) -> Mask:
    session = tracker.start(num_frames=1)
    session.prompt(1, **prompt)
    return session.step(vidseg.Frame(0, 0.0, image)).masks[0]


if __name__ == "__main__":
    main()
