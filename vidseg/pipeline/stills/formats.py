"""What is written of pictures, under the names of the tracking formats where those say the same.

    png       masks/NAME.png      label map: indexed up to 254 objects, else 16 bits grey; value = object id
    rle       rle/NAME.json       masks as COCO RLE with boxes and scores, in the layout of SA-1B
    overlay   overlay/NAME.jpg    the picture with its masks
    coco      masks.coco.json     instances of all pictures in one file

Each picture's file appears whole; `coco` is made of the `rle` files in the end. The id of a picture is its
number (see `Picture`) in both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidseg.errors import ConfigError, RunError, unknown
from vidseg.pipeline.atomic import replacing
from vidseg.pipeline.stills.masks import PictureMasks
from vidseg.pipeline.stills.pictures import Picture
from vidseg.pipeline.writers.finished import NO_LABEL, open_text
from vidseg.pipeline.writers.json_stream import JsonStream
from vidseg.pipeline.writers.pictures import write_picture
from vidseg.pipeline.writers.png import MAX_LABEL, encode_deep_label_png, encode_label_png
from vidseg.pipeline.writers.rle import encode_rle
from vidseg.trackers.label_map import mask_boxes
from vidseg.trackers.painting import Painter

DEFAULT_FORMATS = ("png", "rle", "overlay")
FILES = {"png": ("masks", ".png"), "overlay": ("overlay", ".jpg"), "rle": ("rle", ".json")}
"""Format -> its folder and the suffix of a picture's file, in the order of writing."""
COCO = "masks.coco.json"
JPEG_QUALITY = 92


def check_formats(formats: Sequence[str]) -> None:
    """Check names of formats.

    Raises:
        ConfigError: there is none, or one is unknown.
    """
    if not formats:
        raise ConfigError("no format is given", hint="png, rle, overlay, coco")
    for name in formats:
        if name not in (*FILES, "coco"):
            raise ConfigError(unknown("format of pictures", name, [*FILES, "coco"]))


def encode(name: str, picture: Picture, masks: PictureMasks, *, tags: bool) -> bytes:
    """The file of one format for one picture.

    Args:
        tags: whether an overlay names its objects.
    """
    if name == "png":
        return _label_map(masks)
    if name == "overlay":
        return _overlay(masks, tags=tags)
    return (json.dumps(_record(picture, masks), ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def write(path: Path, data: bytes) -> None:
    """Write a picture's file whole or not at all."""
    write_picture(path, data)


def write_coco(path: Path, records: Sequence[Path]) -> None:
    """Instances of all pictures, from their `rle` files."""
    with replacing(path) as part, open_text(part) as file, JsonStream(file) as out:
        categories = _categories(records)
        out.value("info", {"description": "masks of pictures, by vidseg", "version": "1.0"})
        out.value("licenses", [])
        out.value("categories", [{"id": number, "name": name} for name, number in categories.items()])
        out.array("images", (_image(record) for record in _read(records)))
        out.array("annotations", _annotations(records, categories))


def _label_map(masks: PictureMasks) -> bytes:
    if max((thing.obj_id for thing in masks.things), default=0) <= MAX_LABEL:
        return encode_label_png(masks.label_map.astype(np.uint8))
    return encode_deep_label_png(masks.label_map)


def _overlay(masks: PictureMasks, *, tags: bool) -> bytes:
    """Each object is painted where the label map shows it, so that no colours mix."""
    ids = [thing.obj_id for thing in masks.things]
    shown = masks.label_map == np.array(ids, np.int32)[:, None, None]
    labels = {thing.obj_id: thing.label for thing in masks.things}
    painted = Painter(labels, tags=tags).paint(masks.image, ids, shown, mask_boxes(shown))
    is_written, data = cv2.imencode(
        ".jpg", cv2.cvtColor(painted, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not is_written:
        raise RunError("the overlay cannot be written as a JPEG")
    return data.tobytes()


def _record(picture: Picture, masks: PictureMasks) -> dict[str, Any]:
    height, width = masks.image.shape[:2]
    return {
        "image": {
            "file_name": picture.path.name,
            "image_id": picture.number,
            "height": height,
            "width": width,
        },
        "annotations": [
            {
                "id": thing.obj_id,
                **({"label": thing.label} if thing.label else {}),
                "segmentation": encode_rle(thing.found.mask),
                "bbox": list(box),
                "area": int(thing.found.mask.sum()),
                "predicted_iou": round(thing.found.predicted_iou, 6),
                "stability_score": round(thing.found.stability, 6),
                "point_coords": [] if thing.found.point_xy is None else [list(thing.found.point_xy)],
            }
            for thing, box in zip(masks.things, masks.boxes, strict=True)
        ],
    }


def _read(records: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in records:
        yield json.loads(path.read_text(encoding="utf-8"))


def _categories(records: Sequence[Path]) -> dict[str, int]:
    labels = {NO_LABEL: None}
    for record in _read(records):
        labels |= dict.fromkeys(item.get("label", NO_LABEL) for item in record["annotations"])
    return {label: number for number, label in enumerate(labels, start=1)}


def _image(record: dict[str, Any]) -> dict[str, Any]:
    about = record["image"]
    return {"id": about["image_id"], **{key: about[key] for key in ("file_name", "width", "height")}}


def _annotations(records: Sequence[Path], categories: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The masks that are not empty: COCO's tools divide by an area."""
    count = 0
    for record in _read(records):
        for item in record["annotations"]:
            if not item["area"]:
                continue
            count += 1
            yield {
                "id": count,
                "image_id": record["image"]["image_id"],
                "category_id": categories[item.get("label", NO_LABEL)],
                **{key: item[key] for key in ("segmentation", "area", "bbox")},
                "iscrowd": 0,
                "score": item["predicted_iou"],
                "attributes": {"object": item["id"], "stability_score": item["stability_score"]},
            }
