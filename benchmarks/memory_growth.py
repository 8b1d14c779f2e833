"""Memory and time of a process over a long video: ours beside the official predictor's.

    python benchmarks/memory_growth.py [--frames 5000] [--image-size 128] [--objects 3]
    python benchmarks/memory_growth.py --discover [--frames 5000] [--image-size 96]

Each tracker runs in a process of its own, on frames made on the fly, with random weights; masks are asked for
at the video's size. Memory is the process's resident set after frame 500 and at the end. Time is CPU time of
`session.step` and of making the masks, the median of 100 frames around frame 100 and of the last 100.
The official predictor (extra `sam2`) keeps frames and outputs; its growth is measured over fewer frames, and
what 5,000 frames would need is its slope times their number.

With `--discover` nobody prompts: vidseg-nano finds objects that come and go, follows them, and forgets those
that are gone.
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
COMES_EVERY, STAYS = 40, 60
"""With `--discover`: how many frames there are from one new object to the next, and how many it is shown."""
COLOURS = ((200, 40, 40), (40, 200, 60), (50, 60, 220), (230, 200, 40))


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
    parser.add_argument("--discover", action="store_true", help="find what comes and goes, by vidseg-nano")
    parser.add_argument("--reference-frames", type=int, default=600, help="0 leaves the official one out")
    args = parser.parse_args()

    if args.discover:
        discover(args.frames, args.image_size)
        return
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


def discover(num_frames: int, image_size: int) -> None:
    """Print the memory of a process that finds, follows and forgets objects."""
    tracker = vidseg.load("vidseg-nano", image_size=image_size, device="cpu")
    session = tracker.start()
    discovery = vidseg.Discovery(tracker, sampling={"points_per_side": 6}, every=10, forget_after=30)
    found: set[int] = set()
    most, settled_frame, settled_mib = 0, min(SETTLED, num_frames // 3), 0.0
    for index in range(num_frames):
        result = discovery.step(session, vidseg.Frame(index, index / 24, coming_and_going(index)))
        found.update(result.obj_ids)
        most = max(most, len(session.obj_ids))
        if index == settled_frame:
            settled_mib = resident_mib()
    print(
        f"vidseg-nano {num_frames} frames, {len(found)} objects found, {most} in memory at most, "
        f"{image_size} px: {settled_mib:.1f} MiB after frame {settled_frame}, "
        f"{resident_mib() - settled_mib:+.1f} MiB at the end"
    )


def coming_and_going(index: int) -> np.ndarray:
    """Coloured rectangles on a texture, which drift and are gone after a while: uint8 90 x 160 x 3."""
    image = texture((90, 160), 110, 12, index=0)
    newest = index // COMES_EVERY
    for number in range(max(0, newest - STAYS // COMES_EVERY), newest + 1):
        age = index - COMES_EVERY * number
        if age < STAYS:
            top = int(np.random.default_rng(number).integers(8, 50))
            left = (12, 92)[number % 2] + age // 3
            image[top : top + 30, left : left + 34] = COLOURS[number % len(COLOURS)]
    return image


def picture(index: int) -> np.ndarray:
    """A texture that drifts: uint8 H x W x 3."""
    return texture(SIZE_HW, 128, 60, index)


def texture(size_hw: tuple[int, int], grey: int, contrast: int, index: int) -> np.ndarray:
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]]
    waves = np.sin((x + 2 * index) / 9) + np.cos((y + index) / 7)
    return np.repeat((grey + contrast * waves).astype(np.uint8)[:, :, None], 3, axis=2)


def resident_mib() -> float:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
