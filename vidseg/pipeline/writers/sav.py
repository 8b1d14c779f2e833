"""SA-V train: for every frame a list with every object's COCO RLE (sam2, sav_dataset/README.md).

SA-V annotates every fourth frame; here every frame of the video has its list (read it with
`SAVDataset(..., annot_sample_rate=1)`), with empty masks where an object is absent or was not tracked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.json_stream import JsonStream
from vidseg.pipeline.writers.rle import encode_rle

MEDIUM_PX, LARGE_PX = 32**2, 96**2


@dataclass
class _Visibility:
    """What SA-V says about the visibility of one object over the video."""

    first_frame: int | None = None
    changes: int = 0
    was_visible: bool = False
    visible_frames: int = 0
    area_sum: int = 0

    def see(self, frame_idx: int, area: int) -> None:
        is_visible = area > 0
        if is_visible and self.first_frame is None:
            self.first_frame = frame_idx
        elif self.first_frame is not None and is_visible != self.was_visible:
            self.changes += 1
        self.was_visible = is_visible
        self.visible_frames += is_visible
        self.area_sum += area

    @property
    def mean_area(self) -> float:
        return self.area_sum / self.visible_frames if self.visible_frames else 0.0


def write_sav(path: Path, masklets: Masklets) -> None:
    """Write the file."""
    seen = {obj_id: _Visibility() for obj_id in masklets.obj_ids}
    for frame_idx, items in masklets.every_frame():
        for obj_id, visibility in seen.items():
            visibility.see(frame_idx, items[obj_id].area if obj_id in items else 0)
    objects = list(seen.values())
    video = masklets.video
    height, width = video.size_hw
    areas = [visibility.mean_area for visibility in objects]
    with open_text(path) as file, JsonStream(file) as document:
        document.value("video_id", video.name)
        seconds = float(masklets.num_frames / video.frame_rate) if video.frame_rate else None
        document.value("video_duration", seconds)
        document.value("video_frame_count", float(masklets.num_frames))
        document.value("video_height", float(height))
        document.value("video_width", float(width))
        document.value("video_resolution", float(height * width))
        document.array("masklet", _rles(masklets))
        document.value("masklet_id", masklets.obj_ids)
        document.value("masklet_size_rel", [area / max(height * width, 1) for area in areas])
        document.value("masklet_size_abs", areas)
        document.value("masklet_size_bucket", [_bucket(area) for area in areas])
        document.value("masklet_visibility_changes", [visibility.changes for visibility in objects])
        document.value("masklet_first_appeared_frame", [visibility.first_frame for visibility in objects])
        document.value("masklet_frame_count", [masklets.num_frames for _ in objects])
        document.value("masklet_edited_frame_count", [0 for _ in objects])
        document.value("masklet_type", ["auto" for _ in objects])
        document.array("masklet_stability_score", _scores(masklets))
        document.value("masklet_num", len(objects))


def _rles(masklets: Masklets) -> Iterator[list[dict[str, Any]]]:
    empty = encode_rle(np.zeros(masklets.video.size_hw, np.bool_))
    for _, items in masklets.every_frame():
        yield [items[obj_id].rle.model_dump() if obj_id in items else empty for obj_id in masklets.obj_ids]


def _scores(masklets: Masklets) -> Iterator[list[float]]:
    for _, items in masklets.every_frame():
        yield [items[obj_id].score if obj_id in items else 0.0 for obj_id in masklets.obj_ids]


def _bucket(area: float) -> str:
    return "small" if area < MEDIUM_PX else "medium" if area < LARGE_PX else "large"
