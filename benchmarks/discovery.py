"""What does `--discover` find on the made video, and what does a look cost?

    python benchmarks/discovery.py [--tracker NAME] [--frames 90] [--set points_per_side=12]

Prints the looks (frame, prompts, CPU seconds, new objects), and for each id the frames on which it was
reported and the true object it lay on: its mean and its least J, the number of frames on which it lay on
another one (a switch), 'none' if it lay on no object (a false id). The thresholds in a model's YAML
(`sampling:`, `discovery:`) are chosen by this, so run it when weights change.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import torch

import vidseg
from vidseg.masks import iou
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.choices import DEFAULT_TRACKER

LIES_ON = 0.3
"""A mask lies on an object if their J is above this."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--frames", type=int, default=90, help="of the video's 90")
    parser.add_argument("--sampler", default="grid")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the sampler")
    args = parser.parse_args()
    sampling = {name: json.loads(value) for name, value in (item.split("=") for item in args.set)}

    torch.set_num_threads(1)
    tracker = vidseg.load(args.tracker)
    session = tracker.start()
    discovery = vidseg.Discovery(tracker, sampler=args.sampler, sampling=sampling)
    find = discovery._finder.new

    def timed(session: object, frame: vidseg.Frame, *known: object) -> object:
        asked, began = discovery.num_asked, time.process_time()
        new = find(session, frame, *known)  # type: ignore[arg-type]
        spent = time.process_time() - began
        prompts = discovery.num_asked - asked
        print(f"look at frame {frame.index}: {prompts} prompts, {spent:.2f} s, {len(new or [])} new")
        return new

    discovery._finder.new = timed  # type: ignore[assignment,method-assign]
    reported: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
    video = MadeVideo()
    for frame, truth in islice(video, args.frames):
        result = discovery.step(session, frame)
        for obj_id, mask in zip(result.obj_ids, result.masks, strict=True):
            if mask.any():
                j, on = max((iou(mask, truth == label), label) for label in video.labels)
                reported[obj_id].append((frame.index, on if j > LIES_ON else 0, j))
    for obj_id, rows in reported.items():
        (on, count), *_ = Counter(row[1] for row in rows).most_common(1)
        js = [j for _, _, j in rows]
        print(
            f"id {obj_id}: {video.labels.get(on, 'none')}, frames {rows[0][0]} to {rows[-1][0]}, "
            f"J {np.mean(js):.3f} (least {min(js):.3f}), {len(rows) - count} frames elsewhere"
        )


if __name__ == "__main__":
    main()
