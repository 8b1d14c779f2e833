"""LVIS's average precision: pycocotools with the rules of a federated data set.

Not every category is annotated on every picture. A detection counts only where its category was looked for,
and one without a match costs nothing where the category may have more objects than are annotated (Gupta et
al., "LVIS", CVPR 2019, section 3). The package `lvis` 0.5.3 computes the same, and fails with NumPy 1.24 and
later.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vidseg.errors import InputError

MAX_DETECTIONS = 300
"""Detections of a picture that count, over all categories."""
FREQUENCIES = {"APr": "r", "APc": "c", "APf": "f"}
"""Rare, common and frequent categories."""


def lvis_ap(instances: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The numbers of LVIS for masks.

    Args:
        instances: an LVIS document: images with neg_category_ids and not_exhaustive_category_ids,
            annotations, categories with frequency.
        detections: image_id, category_id, segmentation, score, and bbox, whose area is the detection's.

    Returns:
        Name -> 0 to 1; -1 if there is nothing to measure.

    Raises:
        InputError: there are no detections, or one is of an image that is not listed.
    """
    images = {image["id"] for image in instances["images"]}
    if unknown := [d for d in detections if d["image_id"] not in images]:
        raise InputError(f"a detection is of the image {unknown[0]['image_id']!r}, which is not listed")
    if not detections:
        raise InputError("there are no detections")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO()
        annotations = [{"iscrowd": 0, **annotation} for annotation in instances["annotations"]]
        truth.dataset = {**instances, "annotations": annotations}
        truth.createIndex()
        evaluation = _FederatedEvaluation(truth, truth.loadRes(_best(detections)))
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0]
    frequency = np.array([category.get("frequency") for category in truth.loadCats(truth.getCatIds())])
    thresholds = evaluation.params.iouThrs
    numbers = {"AP": precision[..., 0]}
    numbers |= {
        f"AP{percent}": precision[np.isclose(thresholds, percent / 100), ..., 0] for percent in (50, 75)
    }
    numbers |= {f"AP{size}": precision[..., 1 + place] for place, size in enumerate("sml")}
    numbers |= {name: precision[:, :, frequency == mark, 0] for name, mark in FREQUENCIES.items()}
    numbers["AR@300"] = recall[..., 0]
    numbers |= {f"AR{size}@300": recall[..., 1 + place] for place, size in enumerate("sml")}
    return {name: _mean_of_measured(values) for name, values in numbers.items()}


class _FederatedEvaluation(COCOeval):
    def __init__(self, truth: COCO, found: COCO) -> None:
        super().__init__(truth, found, "segm")
        self.params.maxDets = [MAX_DETECTIONS]

    def _prepare(self) -> None:
        super()._prepare()
        looked_for = {
            image["id"]: {
                *image["neg_category_ids"],
                *(a["category_id"] for a in self.cocoGt.imgToAnns[image["id"]]),
            }
            for image in self.cocoGt.dataset["images"]
        }
        for image_id, category_id in list(self._dts):
            if category_id not in looked_for[image_id]:
                del self._dts[image_id, category_id]

    def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: Any) -> Any:  # noqa: N802, N803
        result = super().evaluateImg(imgId, catId, aRng, maxDet)
        if result is not None and catId in self.cocoGt.imgs[imgId]["not_exhaustive_category_ids"]:
            result["dtIgnore"] = np.logical_or(result["dtIgnore"], result["dtMatches"] == 0)
        return result


def _best(detections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_image = defaultdict(list)
    for detection in detections:
        by_image[detection["image_id"]].append(dict(detection))
    return [
        detection
        for of_image in by_image.values()
        for detection in sorted(of_image, key=lambda d: d["score"], reverse=True)[:MAX_DETECTIONS]
    ]


def _mean_of_measured(values: Any) -> float:
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else -1.0
