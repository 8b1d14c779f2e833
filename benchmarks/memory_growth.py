"""Memory and time of a process over a long video: ours beside the official predictor's.

    python benchmarks/memory_growth.py [--frames 5000] [--image-size 128] [--objects 3]

Each tracker runs in a process of its own, on frames made on the fly, with random weights; masks are asked for
at the video's size. Memory is the process's resident set after frame 500 and at the end. Time is CPU time of
`session.step` and of making the masks, the median of 100 frames around frame 100 and of the last 100.
The official predictor (extra `sam2`) keeps frames and outputs; its growth is measured over fewer frames, and
what 5,000 frames would need is its slope times their number.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import statistics
import time
from dataclasses import dataclass

import numpy as np

import vidseg

SIZE_HW = (180, 320)
SETTLED = 500
"""Number of the frame after which memory must not grow."""
WINDOW = 100


@dataclass(frozen=True)
class Growth:
    tracker: str
    num_frames: int
    settled_frame: int
    settled_mib: float
    end_mib: float
    early_ms: float
    late_ms: float

    @property
    def grown_mib(self) -> float:
        return self.end_mib - self.settled_mib

    @property
    def kib_per_frame(self) -> float:
        return 1024 * self.grown_mib / (self.num_frames - self.settled_frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracker", default="sam2.1-hiera-tiny", help="name or YAML")
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--reference-frames", type=int, default=600, help="0 leaves the official one out")
    args = parser.parse_args()

    runs = [(args.tracker, args.frames)]
    if args.reference_frames:
        runs.append(("sam2-reference", args.reference_frames))
    context = multiprocessing.get_context("spawn")
    for tracker, num_frames in runs:
        with context.Pool(1) as pool:
            growth = pool.apply(measure, (tracker, num_frames, args.image_size, args.objects))
        print(
            f"{growth.tracker:<20} {growth.num_frames} frames, {args.objects} objects, {args.image_size} px: "
            f"{growth.settled_mib:.1f} MiB after frame {growth.settled_frame}, "
            f"{growth.grown_mib:+.1f} MiB at the end ({growth.kib_per_frame:.1f} KiB a frame); "
            f"{growth.early_ms:.1f} ms a frame at {WINDOW}, {growth.late_ms:.1f} at the end",
            flush=True,
        )
        if num_frames != args.frames:
            print(
                f"{'':<20} {args.frames} frames would add {growth.kib_per_frame * args.frames / 1024:.0f} MiB"
            )


def measure(tracker_name: str, num_frames: int, image_size: int, num_objects: int) -> Growth:
    """Measure one tracker over one video, in this process."""
    tracker = vidseg.load(tracker_name, allow_random_weights=True, image_size=image_size, device="cpu")
    session = tracker.start()
    for obj_id in range(1, num_objects + 1):
        session.prompt(obj_id, box=[40 * obj_id, 40, 40 * obj_id + 60, 120])
    settled_frame = min(SETTLED, num_frames // 3)
    settled_mib = 0.0
    times_ms = []
    for index in range(num_frames):
        frame = vidseg.Frame(index, index / 24, picture(index))
        start = time.process_time()
        _ = session.step(frame).masks
        times_ms.append(1000 * (time.process_time() - start))
        if index == settled_frame:
            settled_mib = resident_mib()
    middle = min(WINDOW, num_frames // 2)
    return Growth(
        tracker.name,
        num_frames,
        settled_frame,
        settled_mib,
        resident_mib(),
        statistics.median(times_ms[middle - middle // 2 : middle + middle // 2]),
        statistics.median(times_ms[-WINDOW:]),
    )


def picture(index: int) -> np.ndarray:
    """A texture that drifts: uint8 H x W x 3."""
    height, width = SIZE_HW
    y, x = np.mgrid[0:height, 0:width]
    grey = 128 + 60 * np.sin((x + 2 * index) / 9) + 60 * np.cos((y + index) / 7)
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def resident_mib() -> float:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
