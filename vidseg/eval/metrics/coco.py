"""COCO's average precision and recall of masks and boxes, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vidseg.errors import InputError

NAMES = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
)


def coco_ap(
    instances: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    kind: Literal["segm", "bbox"] = "segm",
    is_class_agnostic: bool = False,
) -> dict[str, float]:
    """The twelve numbers of COCO.

    IoU .50 to .95 in steps of .05, at most 1, 10 and 100 detections an image, areas split at 32 and 96 pixels
    squared; crowd regions match any number of detections and count for none.

    Args:
        instances: a COCO document: images, annotations (masks as RLE or polygons), categories.
        detections: a COCO result list: image_id, category_id, segmentation or bbox, score.
        kind: whether masks or boxes are compared; a detection without a box gets that of its mask.
        is_class_agnostic: whether any class matches any other.

    Returns:
        Name -> 0 to 1; -1 if there is nothing to measure (no object of that size).

    Raises:
        InputError: a detection of an image that is not among the instances, or of another form.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = {image["id"] for image in instances.get("images", [])}
    if unknown := [d for d in detections if d.get("image_id") not in images]:
        raise InputError(f"a detection is of the image {unknown[0].get('image_id')!r}, which is not listed")
    if not detections:
        raise InputError("there are no detections")
    needed = ("segmentation",) if kind == "segm" else ("bbox", "segmentation")
    if not all(any(key in detection for key in needed) for detection in detections):
        raise InputError(f"a detection has no {' or '.join(needed)}")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO()
        truth.dataset = {**instances, "annotations": [dict(a) for a in instances.get("annotations", [])]}
        truth.createIndex()
        found = truth.loadRes([dict(detection) for detection in detections])
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.useCats = 0 if is_class_agnostic else 1
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(NAMES, evaluation.stats, strict=True)}


def compressed(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """An annotation's mask, polygons or RLE of either kind, as compressed RLE."""
    from pycocotools import mask as rle

    if isinstance(segmentation, list):
        return dict(rle.merge(rle.frPyObjects(segmentation, *size_hw)))
    if isinstance(segmentation["counts"], list):
        return dict(rle.frPyObjects(segmentation, *size_hw))
    return {"size": segmentation["size"], "counts": segmentation["counts"]}
