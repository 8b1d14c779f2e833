"""Reads COCO and LVIS: a JSON of annotations, and pictures beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError
from vidseg.eval.json_file import read_json
from vidseg.eval.metrics.coco import compressed

ANNOTATIONS = "annotations/instances_val2017.json"
PICTURES = ("val2017", "images", "")
"""Where pictures are looked for below the root, by their file names."""


@dataclass(frozen=True)
class AnnotatedPictures:
    """The pictures of a COCO or LVIS document."""

    root: Path
    path: Path
    """The document's file."""
    document: dict[str, Any]

    @property
    def is_lvis(self) -> bool:
        """Whether categories are annotated as in LVIS: not every one on every picture."""
        images = self.document["images"]
        return bool(images) and all("neg_category_ids" in image for image in images)

    @cached_property
    def annotations_of(self) -> dict[int, list[dict[str, Any]]]:
        """Image id -> annotations."""
        by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in self.document["images"]}
        for annotation in self.document["annotations"]:
            if annotation["image_id"] not in by_image:
                raise InputError(
                    f"an annotation is of the image {annotation['image_id']!r}, which is not listed",
                    where=str(self.path),
                )
            by_image[annotation["image_id"]].append(annotation)
        return by_image

    def read(self, image: dict[str, Any]) -> npt.NDArray[np.uint8]:
        """A picture: uint8 H x W x 3, RGB.

        Raises:
            InputError: it is missing, cannot be read, or has another size than the document says.
        """
        from PIL import Image

        path = self._path_of(image)
        try:
            with Image.open(path) as opened:
                picture = np.array(opened.convert("RGB"))
        except Exception as error:  # on damaged files Pillow may raise anything
            raise InputError(f"the picture cannot be read ({error})", where=str(path)) from None
        if picture.shape[:2] != (image["height"], image["width"]):
            height, width = picture.shape[:2]
            raise InputError(
                f"the picture is {width}x{height}, its annotations are for "
                f"{image['width']}x{image['height']}",
                where=str(path),
            )
        return picture

    def _path_of(self, image: dict[str, Any]) -> Path:
        # LVIS has no file names; the end of the address is folder and name: train2017/000000000009.jpg.
        name = image.get("file_name") or "/".join(str(image.get("coco_url", "")).split("/")[-2:])
        places = [self.root / folder / name for folder in PICTURES]
        found = next((path for path in places if path.is_file()), None)
        if not name or found is None:
            raise InputError(f"there is no picture '{name}'", where=str(self.root))
        if not found.resolve().is_relative_to(self.root.resolve()):
            raise InputError(f"the picture '{name}' lies outside the data set", where=str(self.root))
        return found


_NEEDED = {
    "images": ("id", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "segmentation"),
    "categories": ("id",),
}


def open_pictures(root: Path, annotations: Path | None = None) -> AnnotatedPictures:
    """The pictures of a folder.

    Args:
        annotations: the JSON; None: that of COCO val 2017 in the folder.

    Raises:
        InputError: a file is missing, or no document of COCO or LVIS.
    """
    if not root.is_dir():
        raise InputError(f"--root '{root}' is not a folder")
    path = annotations or root / ANNOTATIONS
    document = read_json(path)
    keys = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in keys):
        raise InputError(f"the document has no lists '{', '.join(keys)}'", where=str(path))
    for key, needed in _NEEDED.items():
        for place, entry in enumerate(document[key]):
            missing = [name for name in needed if not isinstance(entry, dict) or name not in entry]
            if missing:
                raise InputError(f"an entry has no '{missing[0]}'", where=f"{path}, {key}[{place}]")
    return AnnotatedPictures(root, path, document)


def mask_of(annotation: dict[str, Any], size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask of an annotation, bool H x W, from polygons or RLE."""
    from pycocotools import mask as rle

    mask: npt.NDArray[np.bool_] = rle.decode(compressed(annotation["segmentation"], size_hw)).astype(bool)
    return mask
