"""Ultralytics' segmentation labels: `data.yaml`, and in `labels` a text file per frame, a line per object.

A line is the object's class, then x and y of a polygon's points as shares of the picture's width and height.
The polygon goes through the mask's outermost pixels, since `cv2.fillPoly`, by which Ultralytics reads it,
fills the pixels under the line too: an object in one piece is read back to the pixel. An object is one
polygon: its pieces are joined by lines of one pixel's width.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.masklets import ObjectLine
from vidseg.pipeline.writers.outlines import centre_polygon

MIN_POINTS = 3
"""Ultralytics takes a line with fewer points for a box."""
WITHIN_PIXEL = 0.25
"""Added to a pixel's column and row: readers that cut what they read to integers, as Ultralytics does, and
those that round it, as supervision does, both come back to that pixel."""


def write_yolo(path: Path, masklets: Masklets) -> None:
    """Write the folder."""
    classes = {name: number - 1 for name, number in masklets.categories().items()}
    (path / "labels").mkdir(parents=True)
    names = {number: name for name, number in classes.items()}
    with open_text(path / "data.yaml") as file:
        file.write(
            "# The pictures belong into the folder `images` beside this file, under the labels' names.\n"
        )
        yaml.safe_dump(
            {"train": "images", "val": "images", "names": names}, file, allow_unicode=True, sort_keys=False
        )
    for line in masklets:
        with open_text(path / "labels" / f"{masklets.video.frame_name(line.frame)}.txt") as file:
            for item in line.objects:
                if item.area:
                    points = _shares(masklets, line.frame, item)
                    file.write(f"{classes[masklets.video.label(item.id)]} {' '.join(points)}\n")


def _shares(masklets: Masklets, frame_idx: int, item: ObjectLine) -> list[str]:
    height, width = masklets.video.size_hw
    polygon = centre_polygon(masklets.mask(frame_idx, item)).tolist()
    polygon += [polygon[-1]] * (MIN_POINTS - len(polygon))
    shares = (((x + WITHIN_PIXEL) / width, (y + WITHIN_PIXEL) / height) for x, y in polygon)
    return [f"{share:.6f}" for point in shares for share in point]
