"""YouTube-VIS: one annotation per object, its masks in a list as long as the video, null where it is absent.

As YouTube-VIS's cocoapi and TrackEval read it (TrackEval, docs/YouTube-VIS-format.txt): the annotation's id
is the object's id, a frame's file name starts with a folder that tells the video from others, and RLEs are
not compressed: TrackEval takes no others for ground truth. Pictures are named from the folder that holds the
folder of frames; of other sources, from the one that holds the run (RUN/frames/00000.jpg).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.json_stream import JsonStream
from vidseg.pipeline.writers.rle import uncompressed

COLUMNS = ("segmentation", "area", "bbox")


def write_ytvis(path: Path, masklets: Masklets) -> None:
    """Write the file."""
    category_ids = masklets.categories()
    height, width = masklets.video.size_hw
    size = {"width": width, "height": height, "length": masklets.num_frames}
    names = [
        f"{masklets.video.frames_folder}/{masklets.video.frame_file(frame_idx)}"
        for frame_idx in range(masklets.num_frames)
    ]
    with (
        closing(_masks_by_object(masklets)) as database,
        open_text(path) as file,
        JsonStream(file) as document,
    ):
        document.value("info", {"description": masklets.video.name, "version": "1.0"})
        document.value("licenses", [])
        document.value("categories", [{"id": i, "name": name} for name, i in category_ids.items()])
        document.value("videos", [{"id": 1, **size, "file_names": names}])
        annotations = document.objects("annotations", len(masklets.obj_ids))
        for obj_id, annotation in zip(masklets.obj_ids, annotations, strict=True):
            annotation.value("id", obj_id)
            annotation.value("video_id", 1)
            annotation.value("category_id", category_ids[masklets.video.label(obj_id)])
            annotation.value("iscrowd", 0)
            annotation.value("score", _mean_score(database, obj_id))
            for key, value in size.items():
                annotation.value(key, value)
            for column, key in zip(COLUMNS, ("segmentations", "areas", "bboxes"), strict=True):
                annotation.array(key, _over_frames(database, column, obj_id, masklets.num_frames))


def _masks_by_object(masklets: Masklets) -> sqlite3.Connection:
    """All masks in a temporary database on disk, which is gone when it is closed.

    masklets.jsonl runs over frames and the format over objects: turning one order into the other in memory
    would need all the masks there.
    """
    database = sqlite3.connect("")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute(
        "CREATE TABLE masks (obj_id INTEGER, frame INTEGER, score REAL, segmentation, area, bbox,"
        " PRIMARY KEY (obj_id, frame)) WITHOUT ROWID"
    )
    database.executemany(
        "INSERT INTO masks VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                item.id,
                line.frame,
                item.score,
                json.dumps(uncompressed(item.rle.model_dump())),
                json.dumps(item.area),
                json.dumps(item.box),
            )
            for line in masklets
            for item in line.objects
            if item.area
        ),
    )
    return database


def _over_frames(
    database: sqlite3.Connection, column: str, obj_id: int, num_frames: int
) -> Iterator[Any | None]:
    """One column of an object on every frame; None where it is absent."""
    expected = 0
    query = f"SELECT frame, {column} FROM masks WHERE obj_id = ? ORDER BY frame"
    for frame_idx, value in database.execute(query, (obj_id,)):
        yield from (None for _ in range(expected, frame_idx))
        yield json.loads(value)
        expected = frame_idx + 1
    yield from (None for _ in range(expected, num_frames))


def _mean_score(database: sqlite3.Connection, obj_id: int) -> float:
    """The mean score over the frames on which the object is in sight."""
    (mean,) = database.execute("SELECT avg(score) FROM masks WHERE obj_id = ?", (obj_id,)).fetchone()
    return round(mean or 0.0, 4)
