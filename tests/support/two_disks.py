"""A made clip of two disks, one of which comes in later, and what a run of `vidseg track` wrote of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vidseg.pipeline.writers.rle import decode_rle

FRAMES = 20


def picture(index: int) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.bool_]]]:
    """A red disk that moves, and a blue one that comes in from the right; and their masks."""
    rows, columns = np.mgrid[:96, :128]
    red = (columns - 30 - index / 2) ** 2 + (rows - 26) ** 2 < 15**2
    blue = (columns - 150 + 3 * index) ** 2 + (rows - 68) ** 2 < 14**2
    image = np.full((96, 128, 3), 120, np.uint8)
    image[red] = (200, 30, 40)
    image[blue] = (30, 40, 200)
    return image, [red, blue]


def write_clip(folder: Path) -> Path:
    """Write the clip as a folder of frames."""
    folder.mkdir()
    for index in range(FRAMES):
        Image.fromarray(picture(index)[0]).save(folder / f"{index:05d}.png")
    return folder


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "masklets.jsonl").read_text().splitlines()]


def best(objects: list[dict[str, Any]], truth: npt.NDArray[np.bool_]) -> tuple[float, int]:
    """The IoU and the id of the object that fits best."""
    found = [(decode_rle(item["rle"]), item["id"]) for item in objects]
    return max(((float((m & truth).sum() / (m | truth).sum()), i) for m, i in found), default=(0.0, 0))
