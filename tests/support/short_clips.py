"""Very short, small videos: pieces of real clips where those are at hand, and of a made one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import vidseg
from support.hard_videos import Image, encode
from support.shared import shared_folder
from vidseg.pipeline.made_video import MadeVideo

SIZE_HW = (72, 128)
LONGEST = 14


def write_short_clips(
    folder: Path, count: int, choose: random.Random
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Videos of 6 to 14 frames with a prompt for each; every third one is a piece of the made video."""
    folder.mkdir(parents=True, exist_ok=True)
    made, prompt = _made()
    sources = [*_real(), (made, prompt)]
    for number in range(count):
        images, prompt = sources[-1] if number % 3 == 0 else sources[number % len(sources)]
        length = choose.randint(6, LONGEST)
        start = choose.randrange(len(images) - length + 1)
        path = encode(folder / f"{number:02d}.mp4", images[start : start + length], options={"g": "5"})
        yield path, prompt


def _real() -> list[tuple[list[Image], dict[str, Any]]]:
    height, width = SIZE_HW
    box = {"box": [width // 3, height // 4, 2 * width // 3, 3 * height // 4]}
    clips = []
    for path in sorted((shared_folder() / "data/clips").glob("*.mp4")):
        images = []
        with vidseg.read(path, start=10, end=10 + 2 * LONGEST) as frames:
            for frame in frames:
                assert frame.image is not None
                images.append(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA))
        clips.append(([np.asarray(image, np.uint8) for image in images], box))
    return clips


def _made() -> tuple[list[Image], dict[str, Any]]:
    video = MadeVideo(num_frames=2 * LONGEST, size_hw=SIZE_HW)
    images = [frame.image for frame, _ in video if frame.image is not None]
    return images, video.prompts()
