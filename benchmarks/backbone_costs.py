"""What every model costs on a picture, in one run on one machine: the table of docs/backbones.md.

    python benchmarks/backbone_costs.py [MODEL...] [--pictures 3] [--threads 1]

Models of pictures and of videos alike: each encodes pictures of 640 x 480 pixels at its own input size and
answers 50 boxes on each, in a process of its own, one model after the other. Weights are random, since cost
does not depend on them. Times are medians of CPU milliseconds, all threads together, as other programs
disturb them less than the clock.
"""

from __future__ import annotations

import argparse
from typing import Any

from this_machine import described

from vidseg.eval.bench_images import ImageBenchOptions, bench_images
from vidseg.trackers.configs import read_config, tracker_names
from vidseg.trackers.image.load import IMAGE_KINDS
from vidseg.trackers.options import TrackerOptions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all that segment pictures")
    parser.add_argument("--pictures", type=int, default=3, help="measured of each model (default: 3)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    options = ImageBenchOptions(pictures=args.pictures, threads=args.threads)
    configs = {name: read_config(name)[1] for name in args.models or sorted(tracker_names())}
    print(f"{described(args.threads)}, CPU milliseconds\n")
    print("| model | backbone | parameters M | GFLOPs | without attention | encoder ms | decoder ms |")
    print("|---|---|---|---|---|---|---|")
    for name, config in configs.items():
        if config["kind"] not in IMAGE_KINDS:
            continue
        (row,) = bench_images([TrackerOptions.of(name, allow_random_weights=True)], options)
        cells = [
            f"`{name}`",
            backbone_of(config),
            f"{row.parameters / 1e6:.2f}",
            f"{row.gflops_encoder + row.gflops_decoder:.1f}",
            f"{row.gflops_survey:.1f}",
            f"{row.encoder_cpu_ms:.0f}",
            f"{row.decoder_cpu_ms:.1f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def backbone_of(config: dict[str, Any]) -> str:
    """The backbone's name, with its variant if it has any."""
    backbone = config.get("backbone", {"name": config["model"]["name"]} if "model" in config else {})
    return " ".join(f"{backbone[key]}" for key in ("name", "variant") if key in backbone)


if __name__ == "__main__":
    main()
