"""AP of masks from a detector's boxes: each box is a prompt, and keeps the detector's class and score.

As the survey of SAM's efficient variants measures it (Sun et al., arXiv:2410.04960, tables 7 and 8), with the
file of results that ViTDet, YOLOv8 or Grounding DINO left: pycocotools, or the rules of LVIS where the
annotations are such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.images.coco import AnnotatedPictures
from vidseg.eval.images.prompted import PROMPTS_AT_ONCE, best_masks, box_of
from vidseg.eval.json_file import read_json
from vidseg.pipeline.writers.rle import encode_rle
from vidseg.validation import is_number

if TYPE_CHECKING:
    from vidseg.trackers.image.embedding import Embedding

KEYS = ("image_id", "category_id", "bbox", "score")


def read_detections(path: Path, pictures: AnnotatedPictures) -> dict[int, list[dict[str, Any]]]:
    """Image id -> the detections on it, from a file of COCO results.

    Raises:
        InputError: it is no such file, or an image or category is not that of the annotations.
    """
    found = read_json(path)
    if not isinstance(found, list) or not found:
        raise InputError("the detections are no list, or an empty one", where=str(path))
    known = {"image_id": set(pictures.annotations_of)}
    known["category_id"] = {category["id"] for category in pictures.document["categories"]}
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for place, detection in enumerate(found):
        where = f"{path}, detection {place}"
        missing = [key for key in KEYS if not isinstance(detection, dict) or key not in detection]
        if missing:
            raise InputError(f"a detection has no '{missing[0]}'", where=where)
        box = detection["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            raise InputError(f"the box {box!r} is not four numbers", where=where)
        if not is_number(detection["score"]):
            raise InputError(f"the score {detection['score']!r} is no number", where=where)
        for key, values in known.items():
            if isinstance(detection[key], list | dict) or detection[key] not in values:
                raise InputError(
                    f"the {key} {detection[key]!r} is not in the annotations",
                    where=where,
                    hint=f"give the detections of the pictures in {pictures.path.name}",
                )
        by_image[detection["image_id"]].append(detection)
    return by_image


def masks_of_picture(embedding: Embedding, detections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The detections with a mask each, as COCO results; the box stays the detector's.

    Boxes without area inside the picture get an empty mask.
    """
    results = []
    for start in range(0, len(detections), PROMPTS_AT_ONCE):
        few = detections[start : start + PROMPTS_AT_ONCE]
        boxes = [_inside(detection, embedding.size_hw) for detection in few]
        prompts = [{"box": box} for box in boxes if box is not None]
        masks = iter(best_masks(embedding, prompts))
        for detection, box in zip(few, boxes, strict=True):
            mask = np.zeros(embedding.size_hw, bool) if box is None else next(masks)
            results.append({**{key: detection[key] for key in KEYS}, "segmentation": encode_rle(mask)})
    return results


def _inside(detection: dict[str, Any], size_hw: tuple[int, int]) -> list[float] | None:
    x0, y0, x1, y1 = box_of(detection)
    height, width = size_hw
    box = [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]
    return box if box[2] > box[0] and box[3] > box[1] else None


def average_precision(pictures: AnnotatedPictures, results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """AP and what belongs to it, by the rules of the data set; -1 where there is nothing to measure."""
    if pictures.is_lvis:
        from vidseg.eval.metrics.lvis import lvis_ap

        return lvis_ap(pictures.document, results)
    from vidseg.eval.metrics.coco import coco_ap

    return coco_ap(pictures.document, results)
