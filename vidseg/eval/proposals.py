"""Label maps of the objects that a tracker found by itself, as many as a benchmark takes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from vidseg.eval.datasets.contract import SequenceToTrack
from vidseg.pipeline.run_record import FILE_NAME, describe_video, read_record
from vidseg.pipeline.writers import read_masklets
from vidseg.pipeline.writers.png import write_label_png


def write_proposals(sequence: SequenceToTrack, run: Path, folder: Path, limit: int) -> None:
    """Write a label map for each frame that is wanted.

    Ids are never used again in a run, so there may be more objects than the benchmark takes. Those with the
    highest sums of scores over all frames stay, and are numbered from 1.

    Args:
        run: folder of a run with masklets.
        limit: objects to keep.
    """
    size_hw = describe_video(read_record(run / FILE_NAME), run).size_hw
    masklets = run / "masklets.jsonl"
    sums: dict[int, float] = defaultdict(float)
    for masks in read_masklets(masklets, size_hw=size_hw):
        for obj_id, mask, score in zip(masks.obj_ids, masks.masks, masks.scores, strict=True):
            sums[obj_id] += score * mask.any()
    best = sorted(sums, key=lambda obj_id: -sums[obj_id])[:limit]
    number_of = np.zeros(1 + max(sums, default=0), np.uint8)
    number_of[best] = range(1, len(best) + 1)
    wanted = set(sequence.wanted)
    for masks in read_masklets(masklets, size_hw=size_hw):
        frame = sequence.frame_names[masks.frame_idx]
        if frame in wanted:
            write_label_png(folder / f"{frame}.png", number_of[masks.label_map()])
