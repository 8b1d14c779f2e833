"""A short made video to annotate, and what a project of it holds."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from support.hard_videos import encode
from vidseg.annotation.database import TABLES
from vidseg.annotation.session import AnnotationSession
from vidseg.pipeline.made_video import MadeVideo

NUM_FRAMES = 48
SIZE_HW = (90, 160)


Box = tuple[float, float, float, float]


def write_video(path: Path, num_frames: int = NUM_FRAMES) -> list[Box]:
    """Write first frames of the made video; returns the boxes of star, ball and fish on the very first."""
    pictures, boxes = _made()
    encode(path, pictures[:num_frames], options={"g": "12"})
    return list(boxes)


@cache
def _made() -> tuple[list[npt.NDArray[np.uint8]], list[Box]]:
    """Pictures and boxes of the made video, which take far longer to draw than to encode."""
    video = MadeVideo(num_frames=NUM_FRAMES, size_hw=SIZE_HW)
    pictures = [frame.image for frame, _ in video if frame.image is not None]
    return pictures, [thing["prompts"][0]["box"] for thing in video.prompts()["objects"]]


def lines_of(run: Path) -> dict[int, dict[int, Any]]:
    """Frame -> object id -> its mask, of a run's masklets.jsonl; objects without a mask are left out."""
    lines = map(json.loads, (run / "masklets.jsonl").read_text(encoding="utf-8").splitlines())
    return {
        line["frame"]: {item["id"]: item["rle"] for item in line["objects"] if item["area"]} for line in lines
    }


def contents(session: AnnotationSession) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables that acts change."""
    return {table: session.project.database.rows(f"SELECT * FROM {table}") for table in TABLES}
