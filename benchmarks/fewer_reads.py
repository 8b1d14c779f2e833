"""What the option `fast` costs and brings: CPU milliseconds a frame, and IoU to the masks of the whole model.

    python benchmarks/fewer_reads.py [--goldens sam2.1_hiera_t_G edgetam_G] [--image-size 1024]

Weights, frames and prompts are those of the goldens (tests/support/goldens.py), played forward and backward
until enough frames have been tracked. Both ways take turns frame by frame. The first `--warm` frames, in
which a bank fills, are not timed; all are compared. A mask that is empty both ways is not counted, since that
would say nothing. The weights are random, so masks hang on what is read more than those of trained weights
do.

What the whole model takes to attend over the frame and over the memory stands apart, since that is all that
fewer reads can spare: "at most" is how many times the frames/s would be if both took no time at all.
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
from support.goldens import Golden, PromptCall, load_golden, seeded_state, video_frames

GOLDENS = (
    "sam2.1_hiera_t_G",
    "sam2_hiera_t_B",
    "sam2.1_hiera_b+_B",
    "surgical_sam2_hiera_s_F",
    "edgetam_G",
    "efficienttam_ti_G",
    "efficienttam_ti_1_A",
    "efficienttam_ti_2_A",
    "efficienttam_ti_512x512_B",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--goldens", nargs="+", default=GOLDENS)
    parser.add_argument("--image-size", type=int, help="default: the tracker's own")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--warm", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    print("| tracker | golden | whole | frame | memory | at most | fast | times | masks | IoU mean | least |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in options.goldens:
        golden = load_golden(name)
        whole, (frame, memory), fast, ious = measured(golden, options)
        mean, least = (statistics.mean(ious), min(ious)) if ious else (float("nan"), float("nan"))
        print(
            f"| {golden.tracker} | {golden.scenario} | {whole:.0f} | {frame:.0f} | {memory:.0f} "
            f"| {whole / (whole - frame - memory):.2f} | {fast:.0f} | {whole / fast:.2f} "
            f"| {len(ious)} | {mean:.4f} | {least:.4f} |",
            flush=True,
        )


def measured(
    golden: Golden, options: argparse.Namespace
) -> tuple[float, tuple[float, float], float, list[float]]:
    """Median milliseconds a frame of the whole model, of both attentions in it and of `fast`, and each mask's
    IoU."""
    said: dict[str, Any] = {"weights": seeded_state(golden), "dtype": options.dtype, "device": "cpu"}
    said["image_size"] = options.image_size
    trackers = [vidseg.load(golden.tracker, fast=fast, **said) for fast in (False, True)]
    sessions = [tracker.start() for tracker in trackers]
    attended = [timed(trackers[0].engine.model, kind) for kind in ("self_attn", "cross_attn_image")]  # type: ignore[attr-defined]
    images = video_frames(golden)
    prompts = [step for step in golden.steps if isinstance(step, PromptCall)]
    first = min(step.frame_idx for step in prompts)
    for session in sessions:
        for step in prompts:
            if step.frame_idx == first:
                session.prompt(step.obj_id, **step.prompt)

    period = 2 * len(images) - 2
    seconds: list[list[float]] = [[], []]
    ious: list[float] = []
    for count in range(options.frames):
        there = (first + count) % period
        image = images[there if there < len(images) else period - there]
        masks = []
        for times in attended:
            times.append(0.0)
        for way in (0, 1) if count % 2 else (1, 0):
            began = time.process_time()
            result = sessions[way].step(vidseg.Frame(count, count / 25, image=image))
            seconds[way].append(time.process_time() - began)
            masks.append(torch.as_tensor(result.masks))
        union = (masks[0] | masks[1]).sum((1, 2))
        both = (masks[0] & masks[1]).sum((1, 2))
        ious += [float(b / u) for b, u in zip(both, union, strict=True) if u]
    whole, fast, frame, memory = (
        1000 * statistics.median(times[options.warm :]) for times in (*seconds, *attended)
    )
    return whole, (frame, memory), fast, ious


def timed(model: torch.nn.Module, kind: str) -> list[float]:
    """CPU seconds of the modules of a name in memory attention, which are added to the last of the list."""
    times: list[float] = []

    def begin(*_: Any) -> None:
        times[-1] -= time.process_time()

    def end(*_: Any) -> None:
        times[-1] += time.process_time()

    for name, module in model.get_submodule("memory_attention").named_modules():
        if name.endswith(kind):
            module.register_forward_pre_hook(begin)
            module.register_forward_hook(end)
    return times


if __name__ == "__main__":
    main()
