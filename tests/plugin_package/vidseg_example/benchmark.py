"""A data set and its scoring protocol.

    ROOT/NAME/frames/*.png, ROOT/NAME/masks/*.png      label maps; objects are those of the first one

A frame's score is the mean IoU of the objects; the first frame, which is given, does not count.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from vidseg.eval.datasets import register_dataset
from vidseg.eval.datasets.contract import (
    DataSet,
    SequenceToTrack,
    first_masks,
    frame_names_of,
    mask_files,
)
from vidseg.eval.protocols import register_protocol
from vidseg.eval.protocols.contract import (
    Headline,
    Objects,
    ObjectScore,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
    all_values,
    read_pair,
)
from vidseg.eval.protocols.layout import sequence_names

SOURCE = "made by oneself: ROOT/NAME/frames and ROOT/NAME/masks"


def open_clips(root: Path) -> DataSet:
    sequences = []
    for name in sequence_names(root):
        frames = frame_names_of(root / name / "frames", data_set="a set of clips", source=SOURCE)
        masks = mask_files(root / name / "masks")
        given = first_masks(masks[:1], frames)
        sequences.append(SequenceToTrack(name, root / name / "frames", frames, given, frames))
    return DataSet("outside-clips", root, "outside-iou", sequences, truth=root)


class MeanIou(ScoringProtocol):
    name = "outside-iou"
    headline: ClassVar[Headline] = Headline(
        key="IoU", object_keys=("IoU",), frame_keys=("IoU_frames",), measure="IoU"
    )

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        names = [name for name in sequence_names(truth) if only is None or name in only]
        return [
            SequenceJob(name, truth / name / "masks", prediction / name, _names(truth / name / "masks"))
            for name in names
        ]

    def score(self, job: SequenceJob) -> SequenceScore:
        ids = read_pair(job, job.frames[0]).truth_ids
        values: dict[int, list[float]] = {obj_id: [] for obj_id in ids}
        for frame in job.frames[1:]:
            for obj_id, iou in zip(ids, read_pair(job, frame).j(ids), strict=True):
                values[obj_id].append(iou)
        return SequenceScore(
            {
                str(obj_id): ObjectScore({"IoU": sum(of) / len(of)}, {"IoU_frames": of}, job.frames[1:])
                for obj_id, of in values.items()
            }
        )

    def total(self, objects: Objects) -> dict[str, float]:
        values = all_values(objects, "IoU")
        return {"IoU": sum(values) / len(values)}


def _names(folder: Path) -> list[str]:
    return [path.name for path in mask_files(folder)]


register_dataset("outside-clips", open_clips)
register_protocol("outside-iou", MeanIou)
