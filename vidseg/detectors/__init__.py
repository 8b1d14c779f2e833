"""Detectors: a frame in, boxes with labels and scores out. They tell trackers what to follow.

    detector = vidseg.detectors.open_detector("yolo11n.onnx")
    detector.detect(frame)            # [Detection(box_xyxy=..., label='cup', score=0.91), ...]

contract      what a detector is
table         names and files to detectors; `register_detector`
boxes_file    a JSON of boxes that somebody else's detector found
onnx_file     YOLO- and DETR-style models through onnxruntime (extra `onnx`)
zero_shot     OWLv2 and Grounding DINO of the transformers library, which look for a text
"""

from __future__ import annotations

from vidseg.detectors.contract import Detection, Detector
from vidseg.detectors.table import open_detector, register_detector

__all__ = ["Detection", "Detector", "open_detector", "register_detector"]
