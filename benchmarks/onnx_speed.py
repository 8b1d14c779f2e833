"""Exported graphs in onnxruntime beside the tracker in torch: CPU milliseconds a frame by stage, in turns.

    python benchmarks/onnx_speed.py vidseg-nano edgetam mobile-sam [--image-size N] [--frames 5] [--threads 1]

One object is followed on the made video of 640 x 360 pixels. Frames that fill the memory come first and do
not count. Weights are random where none are in the package. Both compute in float32. Times are medians of CPU
time, all threads together, as other programs disturb them less than the clock. The columns are torch,
onnxruntime, and how many times as fast the latter is.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from this_machine import described

from vidseg.eval.bench import computing_part_of
from vidseg.export.write import export
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

WARM_UP = 8
"""SAM 2's memory is full after seven frames."""


class Timed:
    """A tracker that follows one object, and the CPU time of each stage of each frame."""

    def __init__(self, options: TrackerOptions, video: MadeVideo) -> None:
        self.tracker = build_tracker(options)
        computing = computing_part_of(self.tracker)
        assert computing is not None
        self.stages: tuple[str, ...] = tuple(computing.stages)
        computing.watch = self._watch
        self.session = self.tracker.start(num_frames=video.num_frames)
        self.session.prompt(1, box=video.prompts()["objects"][0]["prompts"][0]["box"])
        self.frames: list[dict[str, float]] = []

    def step(self, frame: Any) -> Any:
        self.frames.append(dict.fromkeys(self.stages, 0.0))
        began = time.process_time()
        result = self.session.step(frame)
        self.frames[-1]["all"] = time.process_time() - began
        return result

    def medians(self) -> dict[str, float]:
        measured = self.frames[WARM_UP:]
        return {name: 1000 * statistics.median(frame[name] for frame in measured) for name in measured[0]}

    @contextmanager
    def _watch(self, stage: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.frames[-1][stage] += time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trackers", nargs="+", metavar="TRACKER")
    parser.add_argument("--image-size", type=int, metavar="N", help="default: that of each tracker")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{described(args.threads)}, CPU milliseconds a frame\n")
    for name in args.trackers:
        compare(name, args.image_size, args.frames)


def compare(name: str, image_size: int | None, num_frames: int) -> None:
    """Print the times of one tracker by stage."""
    video = MadeVideo(num_frames=WARM_UP + num_frames, size_hw=(360, 640))
    options = TrackerOptions.of(
        name,
        device="cpu",
        dtype="float32",
        image_size=image_size,
        allow_random_weights=name != "vidseg-nano",
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "onnx"
        torch.manual_seed(0)
        export(options, out)
        torch.manual_seed(0)  # the same random weights
        ours = Timed(options, video)
        graphs = Timed(TrackerOptions.of(out / "tracker.yaml"), video)
        apart = 0.0
        for frame, _ in video:
            want, got = ours.step(frame).low_res_logits, graphs.step(frame).low_res_logits
            apart = max(apart, float(np.abs(want - got).max() / want.std()))
    print(f"{name}, logits differ by {apart:.0e} of their deviation")
    other = graphs.medians()
    for stage, ms in ours.medians().items():
        print(f"  {stage:<10} {ms:9.1f} {other[stage]:9.1f} {ms / max(other[stage], 1e-3):7.2f}")
    print(flush=True)


if __name__ == "__main__":
    main()
