"""`everything`: all objects of pictures, as a sampler finds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vidseg.pipeline.stills.masks import PictureMasks, Thing, smaller_on_top
from vidseg.pipeline.stills.pictures import Picture
from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidseg.detectors import Detector
    from vidseg.trackers.image.segmenter import ImageSegmenter


def everything(
    segmenter: ImageSegmenter,
    sampler: str,
    settings: Mapping[str, Any],
    detector: Detector | None,
    picture: Picture,
    image: npt.NDArray[np.uint8],
) -> PictureMasks:
    """The objects of one picture, numbered from the best one on.

    Args:
        detector: draws the boxes of the sampler `boxes`.

    Raises:
        ConfigError: an unknown sampler or setting.
    """
    given, detections = dict(settings), []
    if detector is not None:
        detections = detector.detect(Frame(picture.number, 0.0, image)) or []
        given["boxes"] = [detection.box_xyxy for detection in detections]
        given["scores"] = [detection.score for detection in detections]
    found = segmenter.embed(image).everything(sampler, **given)
    labels = [
        "" if one.box_place is None or not detections else detections[one.box_place].label for one in found
    ]
    things = [
        Thing(number, one, label)
        for number, (one, label) in enumerate(zip(found, labels, strict=True), start=1)
    ]
    return PictureMasks(image, things, smaller_on_top(things, (image.shape[0], image.shape[1])))
