"""Seconds from an open video to the first mask: ours beside the official predictor's own loading.

    python benchmarks/first_mask.py VIDEO.mp4 --frames 200

Weights are random and shared; one click on frame 0; models are loaded before the clock starts. The official
predictor reads the whole video in `init_state` before it takes a prompt (mp4 through decord, JPEG folders
through Pillow); ours reads one frame. Needs the extras `sam2` and `decord`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

import vidseg
from vidseg.trackers.sam2_official import build_predictor

CLICK = {"points": [[320.0, 240.0]], "labels": [1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    official = build_predictor("sam2.1_hiera_t")
    ours = vidseg.load("sam2.1-hiera-tiny", weights=official.state_dict(), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        for frame in vidseg.read(options.video, end=options.frames):
            Image.fromarray(frame.image).save(f"{folder}/{frame.index:05d}.jpg", quality=95)
        for name, source in (("mp4", str(options.video)), ("folder of JPEGs", folder)):
            times: dict[str, list[float]] = {"vidseg": [], "official": []}
            for _ in range(options.repeats):
                times["vidseg"].append(timed(lambda source=source: first_mask_ours(ours, source)))
                times["official"].append(timed(lambda source=source: first_mask_official(official, source)))
            here, there = (statistics.median(times[key]) for key in ("vidseg", "official"))
            print(f"{name:16s} vidseg {here:6.2f} s   official {there:6.2f} s   share {here / there:.2f}")


def first_mask_ours(tracker: vidseg.trackers.contract.Tracker, source: str) -> None:
    session = tracker.start()
    session.prompt(1, **CLICK)
    with vidseg.read(source) as frames:
        _ = session.step(next(iter(frames))).masks


def first_mask_official(predictor: object, source: str) -> None:
    with torch.inference_mode():
        state = predictor.init_state(source)
        predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, **CLICK)


def timed(call: object) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
