"""COCO instances, a picture per frame (cocodataset.org/#format-data).

What the format has no place for goes where tools look for it: the object's id into
`attributes.track_id` (CVAT), the frame's index and time beside the picture's name. Pictures are named as they
are in their folder: the source itself where it is one, else RUN/frames (`--format frames`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.json_stream import JsonStream
from vidseg.pipeline.writers.masklets import ObjectLine
from vidseg.pipeline.writers.outlines import edge_polygons


def write_coco(path: Path, masklets: Masklets, *, polygons: bool = False) -> None:
    """Instances with RLEs, or with polygons along the edges of their pixels (see `edge_polygons`)."""
    with open_text(path) as file, JsonStream(file) as json:
        json.value("info", {"description": masklets.video.name, "version": "1.0"})
        json.value("licenses", [])
        json.value("categories", [{"id": i, "name": name} for name, i in masklets.categories().items()])
        json.array("images", _images(masklets))
        json.array("annotations", _annotations(masklets, polygons=polygons))


def _images(masklets: Masklets) -> Iterator[dict[str, Any]]:
    height, width = masklets.video.size_hw
    for line in masklets:
        yield {
            "id": line.frame + 1,  # tools treat 0 as no id
            "file_name": masklets.video.frame_file(line.frame),
            "width": width,
            "height": height,
            "frame_id": line.frame,
            "time": line.time,
        }


def _annotations(masklets: Masklets, *, polygons: bool) -> Iterator[dict[str, Any]]:
    """The annotations of objects in sight. An empty mask is no instance: COCO's tools divide by its area."""
    category_ids = masklets.categories()
    number = 0
    for line in masklets:
        for item in line.objects:
            if not item.area:
                continue
            number += 1
            yield {
                "id": number,
                "image_id": line.frame + 1,
                "category_id": category_ids[masklets.video.label(item.id)],
                "segmentation": _polygons(masklets, line.frame, item) if polygons else item.rle.model_dump(),
                "area": item.area,
                "bbox": item.box,
                "iscrowd": 0,
                "score": item.score,
                "attributes": {"track_id": item.id},
            }


def _polygons(masklets: Masklets, frame_idx: int, item: ObjectLine) -> list[list[int]]:
    """The polygons of each part of an object: x, y, x, y, and so on."""
    return [polygon.ravel().tolist() for polygon in edge_polygons(masklets.mask(frame_idx, item))]
