"""YouTube-VIS's average precision of whole tracks: pycocotools with the IoU of videos.

Source: Yang et al., "Video Instance Segmentation", ICCV 2019, section 4; youtubevos/cocoapi (ytvoseval.py),
which changed these three things of COCO's evaluation: the IoU, the area of an object, its limits.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vidseg.eval.metrics.coco import NAMES, compressed

AREA_LIMITS = [0, 128**2, 256**2, 1e10]
"""Square pixels between small, medium and large objects: their mean area over the frames that show them."""


def ytvis_ap(
    videos: Sequence[Mapping[str, Any]],
    truth: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    category_id: int,
) -> dict[str, float]:
    """The twelve numbers of one category.

    Args:
        videos: each with id, height and width.
        truth: tracks with video_id, category_id and segmentations: a mask for each frame of the video, as
            RLE, compressed or not, or as polygons; None where the object is absent.
        found: the same with score; at most 1, 10 and 100 of a video count.

    Returns:
        Name -> 0 to 1; -1 if there is nothing to measure (no object of that size).
    """
    size_hw = {video["id"]: (video["height"], video["width"]) for video in videos}
    documents = []
    for tracks in (truth, found):
        chosen = [track for track in tracks if track["category_id"] == category_id]
        documents.append([_as_coco(i, track, size_hw) for i, track in enumerate(chosen, start=1)])
    images = [{"id": video_id} for video_id in size_hw]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation = _TrackEvaluation(*(_indexed(images, tracks, category_id) for tracks in documents))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(NAMES, evaluation.stats, strict=True)}


class _TrackEvaluation(COCOeval):
    """COCO's evaluation in which a video is a picture, and the masks of a track are one mask."""

    def __init__(self, truth: COCO, found: COCO) -> None:
        super().__init__(truth, found, "bbox")  # 'segm' would look for the mask of one picture
        smallest, small, medium, largest = AREA_LIMITS
        limits = [(smallest, largest), (smallest, small), (small, medium), (medium, largest)]
        self.params.areaRng = [list(pair) for pair in limits]

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: N802, N803  # the names of pycocotools
        truth = self._gts[imgId, catId]
        best_first = sorted(self._dts[imgId, catId], key=lambda track: -track["score"])
        found = best_first[: self.params.maxDets[-1]]
        ious = [[_video_iou(track["masks"], true["masks"]) for true in truth] for track in found]
        return np.array(ious) if truth and found else []


def _video_iou(a: Sequence[Any], b: Sequence[Any]) -> float:
    """The intersections of two tracks on all frames over their unions; None is an empty mask."""
    both = either = 0
    for mask_a, mask_b in zip(a, b, strict=True):
        masks = [mask for mask in (mask_a, mask_b) if mask is not None]
        if len(masks) == 2:
            both += int(rle.area(rle.merge(masks, intersect=True)))
        if masks:
            either += int(rle.area(rle.merge(masks)))
    return both / either if either else 0.0


def _as_coco(
    track_id: int, track: Mapping[str, Any], size_hw: Mapping[Any, tuple[int, int]]
) -> dict[str, Any]:
    size = size_hw[track["video_id"]]
    masks = [compressed(mask, size) if mask else None for mask in track["segmentations"]]
    measured = [0 if mask is None else int(rle.area(mask)) for mask in masks]
    areas = [area for area in track.get("areas", measured) if area]
    return {
        "id": track_id,
        "image_id": track["video_id"],
        "category_id": track["category_id"],
        "iscrowd": track.get("iscrowd", 0),
        "score": track.get("score", 0.0),
        "masks": masks,
        "area": sum(areas) / len(areas) if areas else 0,
    }


def _indexed(images: list[dict[str, Any]], tracks: list[dict[str, Any]], category_id: int) -> COCO:
    document = COCO()
    document.dataset = {"images": images, "annotations": tracks, "categories": [{"id": category_id}]}
    document.createIndex()
    return document
