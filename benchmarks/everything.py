"""What does it cost to find everything in a picture, and what is found? Side by side for each sampler.

    python benchmarks/everything.py --root FOLDER [--prefix coco_] [--take-every 10] [--tracker NAME]
                                    [--weights FILE] [--sampler SPEC ...] [--set points_per_side=16]

FOLDER holds images/<name>.jpg and masks/<name>.png (indexed: 0 is background, each other value an object).
SPEC is a sampler with settings of its own: `grid`, `peaks:weights=head.safetensors,max_prompts=32`; default:
grid and two-round. The sampler `boxes` gets the boxes of the masks, as if a detector knew them. Each sampler
runs on every picture, in turns, after one run that does not count. Times are CPU time on one thread, and the
encoder's is told apart. Figures are means over pictures; 'found' is the mean, over objects that fill half a
percent of their picture or more, of the best IoU that any of the masks has with the object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.masks import tight_box
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.read.images import read_image
from vidseg.samplers import Found, PromptedPicture, everything
from vidseg.trackers.choices import DEFAULT_TRACKER

SAMPLERS = ("grid", "two-round")
MIN_SHARE = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder of images/ and masks/")
    parser.add_argument("--prefix", default="", help="of the names that are taken")
    parser.add_argument("--take-every", type=int, default=1, metavar="N", help="take every N-th picture")
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--weights", type=Path, help="a file; without it, the model's own")
    parser.add_argument("--sampler", action="append", metavar="SPEC", help="NAME or NAME:SETTING=VALUE,...")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of all samplers")
    args = parser.parse_args()

    shared = settings_in(args.set)
    samplers = {spec: parts_of(spec) for spec in args.sampler or SAMPLERS}
    segmenter = vidseg.load_image(args.tracker, weights=args.weights)
    files = sorted((args.root / "images").glob(f"{args.prefix}*.jpg"))[:: args.take_every]
    segmenter.embed(read_image(files[0])).everything(points_per_side=4)
    figures: dict[str, dict[str, list[float]]] = {spec: defaultdict(list) for spec in samplers}
    encoder_ms = []
    for file in files:
        image = read_image(file)
        labels = np.asarray(read_label_png(args.root / "masks" / f"{file.stem}.png"))
        began = time.process_time()
        embedding = segmenter.embed(image)
        encoder_ms.append(1000 * (time.process_time() - began))
        for spec, (name, own) in samplers.items():
            settings = shared | own
            if name == "boxes":
                settings["boxes"] = [tight_box(mask) for mask in objects_in(labels, 0.0)]
            picture = Counted(embedding.prompted())
            began = time.process_time()
            found, asked = everything(picture, name, settings, defaults=segmenter.sampling)
            of = figures[spec]
            of["ms"].append(1000 * (time.process_time() - began))
            of["prompts"].append(asked)
            of["calls"].append(picture.calls)
            of["masks"].append(len(found))
            of["found"] += [best_iou(found, mask) for mask in objects_in(labels, MIN_SHARE)]
    print(f"{segmenter.name}, {len(files)} pictures, {segmenter.device}")
    print(f"encoder {np.mean(encoder_ms):.0f} ms")
    most = max(np.sum(of["prompts"]) for of in figures.values())
    for spec, of in figures.items():
        mean = {name: np.mean(values) for name, values in of.items()}
        print(
            f"{label_of(spec):<30} {mean['ms']:8.0f} ms {mean['prompts']:7.1f} prompts "
            f"({np.sum(of['prompts']) / most:.0%}) in {mean['calls']:5.1f} calls {mean['masks']:6.1f} masks, "
            f"found {mean['found']:.3f}"
        )


class Counted:
    """A picture that counts how often the decoder runs."""

    def __init__(self, picture: PromptedPicture) -> None:
        self._picture = picture
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._picture, name)

    def at_points(self, points_xy: npt.NDArray[Any], least_first_iou: float = 0.0) -> Any:
        self.calls += 1
        return self._picture.at_points(points_xy, least_first_iou)

    def in_boxes(self, boxes_xyxy: npt.NDArray[Any]) -> Any:
        self.calls += 1
        return self._picture.in_boxes(boxes_xyxy)


def parts_of(spec: str) -> tuple[str, dict[str, Any]]:
    name, _, settings = spec.partition(":")
    return name, settings_in(settings.split(",") if settings else [])


def label_of(spec: str) -> str:
    """The sampler and its settings, without the path of its weights."""
    name, settings = parts_of(spec)
    settings.pop("weights", None)
    return " ".join([name, *(f"{key}={value}" for key, value in settings.items())])


def settings_in(items: list[str]) -> dict[str, Any]:
    pairs = (item.split("=", 1) for item in items)
    return {name: value_of(value) for name, value in pairs}


def value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def objects_in(labels: npt.NDArray[np.uint8], least_share: float) -> list[npt.NDArray[np.bool_]]:
    masks = [labels == label for label in np.unique(labels) if 0 < label < 255]
    return [mask for mask in masks if mask.mean() >= least_share]


def best_iou(found: list[Found], truth: npt.NDArray[np.bool_]) -> float:
    return max((region_j(one.mask, truth) for one in found), default=0.0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
