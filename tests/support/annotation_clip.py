"""A short clip with things to label: of a real one where that is at hand, else of the made one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import vidseg
from support.hard_videos import Image, encode
from support.shared import shared_folder
from vidseg.pipeline.made_video import MadeVideo

FRAMES = 40
LATER_FRAMES = 6
REAL_WH = (640, 360)


@dataclass(frozen=True)
class Clip:
    """A clip and where its things are on the first frame, in pixels."""

    path: Path
    size_wh: tuple[int, int]
    box: tuple[int, int, int, int]
    """Around the first thing: x0, y0, x1, y1."""
    point: tuple[int, int]
    """A place on the second thing."""
    background: tuple[int, int]
    """A place on neither."""


def write_clip(folder: Path) -> Clip:
    """Into a folder of two videos: the clip, and a shorter one after it."""
    path = folder / "cups.mp4"
    real = shared_folder() / "data/clips/cups.mp4"
    if real.is_file():
        images = _resized(real)
        encode(path, images, options={"g": "10"})
        encode(folder / "later.mp4", images[:LATER_FRAMES])
        return Clip(path, REAL_WH, box=(284, 145, 369, 273), point=(200, 231), background=(100, 320))
    video = MadeVideo(num_frames=FRAMES, size_hw=(240, 320))
    images = [frame.image for frame, _ in video if frame.image is not None]
    encode(path, images, options={"g": "10"})
    encode(folder / "later.mp4", images[:LATER_FRAMES])
    first, second = video.prompts()["objects"][:2]
    return Clip(path, (320, 240), _box_of(first), _centre_of(_box_of(second)), background=(4, 236))


def _resized(path: Path) -> list[Image]:
    images = []
    with vidseg.read(path, end=FRAMES) as frames:
        for frame in frames:
            assert frame.image is not None
            images.append(
                np.asarray(cv2.resize(frame.image, REAL_WH, interpolation=cv2.INTER_AREA), np.uint8)
            )
    return images


def _box_of(document: dict) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(value) for value in document["prompts"][0]["box"])
    return x0, y0, x1, y1


def _centre_of(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
