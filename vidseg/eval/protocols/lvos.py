"""LVOS v1 and v2 (LingyiHongfd/lvos-evaluation, semi-supervised).

`valid_meta.json` says of each object from which frame to which it is scored, every fifth one, without its own
first and last. Seen and unseen videos are averaged apart; J&F is the mean of the four means.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.metrics.statistics import mean
from vidseg.eval.protocols.contract import (
    Headline,
    Objects,
    ObjectScore,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
    object_ids,
    read_pair,
)
from vidseg.eval.protocols.layout import mask_root, masks_of, meta_beside, prediction_root, read_meta
from vidseg.eval.text_file import read_text

STEP = 5


@dataclass
class Lvos(ScoringProtocol):
    """The protocol of LVOS; see the module."""

    name: str = "lvos"
    headline: ClassVar[Headline] = Headline(key="J&F-Mean", object_keys=("J_mean", "F_mean"))
    takes_meta: ClassVar[bool] = True

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        meta = meta or meta_beside(truth, "valid_meta.json")
        videos = read_meta(meta, needed_for="lvos")
        self._unseen = read_unseen(meta.parent)
        true_root, root = mask_root(truth, "--gt"), prediction_root(prediction)
        return [
            SequenceJob(
                name,
                true_root / name,
                masks_of(root, name),
                [],
                {str(obj): ranges for obj, ranges in frame_ranges(name, about, meta).items()},
            )
            for name, about in videos.items()
            if only is None or name in only
        ]

    def score(self, job: SequenceJob) -> SequenceScore:
        values = {name: np.zeros((2, job.about[name][2] - 2)) for name in job.about}
        names: dict[str, list[str]] = {name: [] for name in job.about}
        on_frame: dict[int, list[tuple[str, int, int]]] = {}
        for name, obj_id in object_ids(job, list(job.about)):
            for place, number in enumerate(scored_numbers(*job.about[name])):
                on_frame.setdefault(number, []).append((name, obj_id, place))
        for number, objects in sorted(on_frame.items()):
            frame = f"{number:08d}.png"
            pair = read_pair(job, frame)
            ids = [obj_id for _, obj_id, _ in objects]
            for (name, _, place), j, f in zip(objects, pair.j(ids), pair.f(ids), strict=True):
                values[name][:, place] = j, f
                names[name].append(frame)
        return SequenceScore({name: _score(j, f, names[name]) for name, (j, f) in values.items()})

    def total(self, objects: Objects) -> dict[str, float]:
        means: dict[str, float] = {}
        for key, of in (("J", "J_mean"), ("F", "F_mean"), ("V", "V")):
            for group, is_unseen in (("seen", False), ("unseen", True)):
                means[f"{key}-{group}-Mean"] = mean(
                    [
                        v[of]
                        for name, sequence in objects.items()
                        for v in sequence.values()
                        if (name in self._unseen) == is_unseen
                    ]
                )
        for key in "JFV":
            means[f"{key}-Mean"] = (means[f"{key}-seen-Mean"] + means[f"{key}-unseen-Mean"]) / 2
        return {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2, **means}


def read_unseen(folder: Path) -> set[str]:
    """The videos of categories that are not in the training set: `unseen.json` or `unseen_videos.txt`.

    Raises:
        InputError: there is no such list.
    """
    as_json, as_text = folder / "unseen.json", folder / "unseen_videos.txt"
    try:
        if as_json.is_file():
            return {str(name) for name in json.loads(read_text(as_json))["unseen"]}
        if as_text.is_file():
            return set(read_text(as_text).split())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the list of unseen videos cannot be read ({error})", where=str(folder)) from None
    raise InputError(
        "there is no list of unseen videos",
        where=str(folder),
        hint="put unseen_videos.txt of LingyiHongfd/lvos-evaluation beside valid_meta.json",
    )


def _score(j: np.ndarray, f: np.ndarray, frames: list[str]) -> ObjectScore:
    both = (j + f) / 2
    # Like the official program, round the variance, not its root.
    values: dict[str, float | int | None] = {"J_mean": mean(j), "F_mean": mean(f)}
    values["V"] = float(np.sqrt(np.round(np.var(both), 4)))
    return ObjectScore(values, {"J_frames": j.tolist(), "F_frames": f.tolist()}, frames)


def frame_ranges(name: str, about: dict[str, Any], meta: Path) -> dict[int, tuple[int, int, int]]:
    """Object -> first frame, one past the last, number of frames as the meta file counts them.

    Raises:
        InputError: the meta file does not say it, or contradicts itself.
    """
    try:
        ranges = {
            int(obj): tuple(int(of["frame_range"][key]) for key in ("start", "end", "frame_nums"))
            for obj, of in about["objects"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"the meta file gives no frame ranges of '{name}'", where=str(meta)) from None
    for obj, (start, end, count) in ranges.items():
        listed = len(range(start, end, STEP))
        if count < 3 or listed > count:
            raise InputError(
                f"object {obj} of '{name}' has {listed} frames from {start} to {end}; frame_nums is {count}",
                where=str(meta),
            )
    return ranges  # type: ignore[return-value]


def scored_numbers(start: int, end: int, count: int) -> list[int]:
    """The numbers of an object's scored frames."""
    return [n for place, n in enumerate(range(start, end, STEP)) if place not in (0, count - 1)]
