"""What does it cost to find everything in a picture? Milliseconds and prompts for each sampler.

    python benchmarks/everything.py --root FOLDER [--prefix coco_] [--take-every 10] [--tracker NAME]
                                    [--weights FILE] [--set points_per_side=16]

FOLDER holds pictures, *.jpg. Each sampler runs on every picture, in turns, after one run that does not count;
the encoder's time is told apart. A figure is the mean over pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import vidseg
from vidseg.pipeline.read.images import read_image
from vidseg.trackers.choices import DEFAULT_TRACKER

SAMPLERS = ("grid", "two-round")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder of pictures")
    parser.add_argument("--prefix", default="", help="of the names that are taken")
    parser.add_argument("--take-every", type=int, default=1, metavar="N", help="take every N-th picture")
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--weights", type=Path, help="a file; without it, the model's own")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the samplers")
    args = parser.parse_args()

    settings = {name: json.loads(value) for name, value in (item.split("=") for item in args.set)}
    segmenter = vidseg.load_image(args.tracker, weights=args.weights)
    files = sorted(args.root.glob(f"{args.prefix}*.jpg"))[:: args.take_every]
    segmenter.embed(read_image(files[0])).everything(points_per_side=4)
    seconds, prompts, masks = (defaultdict(list) for _ in range(3))
    for file in files:
        image = read_image(file)
        began = time.perf_counter()
        embedding = segmenter.embed(image)
        seconds["encoder"].append(time.perf_counter() - began)
        for sampler in SAMPLERS:
            began = time.perf_counter()
            found, asked = embedding.everything_asked(sampler, **settings)
            seconds[sampler].append(time.perf_counter() - began)
            prompts[sampler].append(asked)
            masks[sampler].append(len(found))
    print(f"{segmenter.name}, {len(files)} pictures, {segmenter.device}")
    print(f"{'encoder':<10} {1000 * np.mean(seconds['encoder']):8.0f} ms")
    for sampler in SAMPLERS:
        share = np.sum(prompts[sampler]) / np.sum(prompts["grid"])
        asked = f"{np.mean(prompts[sampler]):7.0f} prompts ({share:.0%} of the grid's)"
        time_ms = 1000 * np.mean(seconds[sampler])
        print(f"{sampler:<10} {time_ms:8.0f} ms {asked} {np.mean(masks[sampler]):6.1f} masks")


if __name__ == "__main__":
    main()
