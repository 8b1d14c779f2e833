"""Names of the evaluations on pictures, for the command line, which imports no model for its help."""

from __future__ import annotations

COCO_PROMPTS, COCO_DETECTIONS = "coco-prompts", "coco-detections"
EVALUATIONS = (COCO_PROMPTS, COCO_DETECTIONS)
