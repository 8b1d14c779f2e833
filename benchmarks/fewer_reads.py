"""What the option `fast` costs and brings: milliseconds a frame, and IoU to the masks of all memories.

    python benchmarks/fewer_reads.py [--trackers sam2.1-hiera-tiny edgetam efficienttam-ti surgical-sam2]

Weights, frames and prompts are those of the goldens (tests/support/goldens.py), played forward and backward
until enough frames have been tracked. Both ways take turns frame by frame. The first `--warm` frames, in
which a bank fills, are not timed; all are compared. The weights are random, so masks hang on what is read
more than those of trained weights do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import vidseg
from support.goldens import PromptCall, golden_names, load_golden, seeded_state, video_frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    known = ["sam2.1-hiera-tiny", "edgetam", "efficienttam-ti-1", "efficienttam-ti-2", "surgical-sam2"]
    parser.add_argument("--trackers", nargs="+", default=known)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--warm", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    print("| tracker | all memories, ms | fast, ms | times the frames/s | IoU mean | least |")
    print("|---|---|---|---|---|---|")
    for name in options.trackers:
        full, fast, ious = measured(name, options)
        print(
            f"| {name} | {full:.0f} | {fast:.0f} | {full / fast:.2f} | {statistics.mean(ious):.4f} "
            f"| {min(ious):.4f} |",
            flush=True,
        )


def measured(name: str, options: argparse.Namespace) -> tuple[float, float, list[float]]:
    """Median milliseconds a frame with all memories and with few of them, and the IoU of each mask."""
    names = [case.values[0] for case in golden_names()]
    golden = next(g for g in map(load_golden, names) if g.tracker == name)
    said: dict[str, Any] = {"weights": seeded_state(golden), "dtype": options.dtype, "device": "cpu"}
    sessions = [vidseg.load(name, fast=fast, **said).start() for fast in (False, True)]
    images = video_frames(golden)
    prompts = [step for step in golden.steps if isinstance(step, PromptCall) and step.frame_idx == 0]
    for session in sessions:
        for step in prompts:
            session.prompt(step.obj_id, **step.prompt)

    period = 2 * len(images) - 2
    seconds: list[list[float]] = [[], []]
    ious: list[float] = []
    for count in range(options.frames):
        there = count % period
        image = images[there if there < len(images) else period - there]
        masks = []
        for way in (0, 1) if count % 2 else (1, 0):
            began = time.perf_counter()
            result = sessions[way].step(vidseg.Frame(count, count / 25, image=image))
            seconds[way].append(time.perf_counter() - began)
            masks.append(torch.as_tensor(result.masks))
        union = (masks[0] | masks[1]).sum((1, 2))
        both = (masks[0] & masks[1]).sum((1, 2))
        ious += [float(b / u) if u else 1.0 for b, u in zip(both, union, strict=True)]
    full, fast = (1000 * statistics.median(times[options.warm :]) for times in seconds)
    return full, fast, ious


if __name__ == "__main__":
    main()
