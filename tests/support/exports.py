"""Exporting made masks, and what has to be read back from any format that holds masks, ids and labels."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from support.masklets import picture, visible
from vidseg.pipeline.export import export
from vidseg.pipeline.formats import FORMATS
from vidseg.pipeline.writers import FrameMasks, VideoDescription
from vidseg.pipeline.writers.finished import NO_LABEL
from vidseg.pipeline.writers.masklets import MaskletsWriter

Seen = dict[tuple[int, int], tuple[np.ndarray, str]]
"""(frame, object) -> mask, label."""

LABELS = {1: "dog", 2: 'a <"b"> & ü\n', 3: "dog"}


def facts(frames: list[FrameMasks], **more: Any) -> VideoDescription:
    size_hw = frames[0].size_hw
    return VideoDescription(
        **{
            "name": "clip",
            "size_hw": size_hw,
            "labels": LABELS,
            "frame_rate": 24,
            "frames_folder": "clip",
            **more,
        }
    )


def written(out: Path, frames: list[FrameMasks], name: str, **more: Any) -> Path:
    writer = MaskletsWriter(out)
    for masks in frames:
        writer.write(picture(masks), masks)
    (path,) = writer.finish()
    (file,) = export(path, [name], out, facts(frames, **more))
    assert file == out / FORMATS[name].output
    return file


def expected(frames: list[FrameMasks], labels: Mapping[int, str] = LABELS) -> Seen:
    return {
        (frame_idx, obj_id): (mask, labels.get(obj_id, NO_LABEL))
        for frame_idx, obj_id, mask, _ in visible(frames)
    }


def assert_same(seen: Seen, frames: list[FrameMasks], labels: Mapping[int, str] = LABELS) -> None:
    wanted = expected(frames, labels)
    assert seen.keys() == wanted.keys()
    for key, (mask, label) in wanted.items():
        np.testing.assert_array_equal(seen[key][0], mask)
        assert seen[key][1] == label


def read_coco(path: Path) -> Seen:
    """The file, read by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(path))
    seen: Seen = {}
    for annotation in dataset.loadAnns(dataset.getAnnIds()):
        image = dataset.imgs[annotation["image_id"]]
        mask = dataset.annToMask(annotation).astype(bool)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(dataset.annToRLE(annotation)).tolist()
        assert mask.shape == (image["height"], image["width"])
        label = dataset.cats[annotation["category_id"]]["name"]
        key = (image["frame_id"], annotation["attributes"]["track_id"])
        assert key not in seen
        seen[key] = (mask, label)
    return seen
