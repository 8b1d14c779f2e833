"""YouTube-VIS: average precision of tracks with classes and scores (youtubevos/cocoapi).

`--gt` is the data set's JSON and `--pred` a list of results, as its server takes them: video_id,
category_id, score and segmentations. What `vidseg track --format ytvis` writes is taken for either.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vidseg.errors import InputError
from vidseg.eval.json_file import read_json
from vidseg.eval.metrics.coco import compressed
from vidseg.eval.metrics.statistics import mean
from vidseg.eval.protocols.contract import (
    Headline,
    Objects,
    ObjectScore,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
)
from vidseg.validation import is_number

SET = "all"
"""AP is of the whole set: tracks of all videos are sorted by their scores together."""
FRAMES = "AP_frames"
"""An empty list: no frame has a value of its own."""
RESULT_KEYS = ("video_id", "category_id", "score", "segmentations")


@dataclass(frozen=True)
class YouTubeVis(ScoringProtocol):
    """The protocol of YouTube-VIS; see the module. Its `objects` are the categories."""

    name: str = "ytvis"
    headline: ClassVar[Headline] = Headline(key="AP", object_keys=("AP",), frame_keys=(FRAMES,), measure="AP")

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        return [SequenceJob(SET, _json_file(truth, "--gt"), _json_file(prediction, "--pred"), [])]

    def score(self, job: SequenceJob) -> SequenceScore:
        from vidseg.eval.metrics.ytvis import ytvis_ap

        truth = read_json(job.truth)
        keys = ("videos", "annotations", "categories")
        if not isinstance(truth, dict) or not all(isinstance(truth.get(key), list) for key in keys):
            raise InputError(f"the ground truth has no lists '{', '.join(keys)}'", where=str(job.truth))
        _check_entries(truth["videos"], job.truth, "video", ("id", "length", "height", "width"))
        _check_entries(truth["categories"], job.truth, "category", ("id", "name"))
        found = _results(job.prediction)
        _check_tracks(truth["annotations"], truth["videos"], job.truth, RESULT_KEYS[:2] + RESULT_KEYS[3:])
        _check_tracks(found, truth["videos"], job.prediction, RESULT_KEYS)
        scores = {}
        for category in truth["categories"]:
            values: dict[str, Any] = ytvis_ap(truth["videos"], truth["annotations"], found, category["id"])
            measured = {name: None if value < 0 else value for name, value in values.items()}
            if measured["AP"] is not None:
                scores[str(category["name"])] = ObjectScore(measured, {FRAMES: []}, [])
        return SequenceScore(scores)

    def total(self, objects: Objects) -> dict[str, float]:
        categories = list(objects[SET].values())
        names = categories[0] if categories else {}
        return {name: mean([of[name] for of in categories if of[name] is not None]) for name in names}


def _json_file(path: Path, what: str) -> Path:
    """The file itself, or the only JSON file of a folder."""
    if path.is_file():
        return path
    files = sorted(path.glob("*.json")) if path.is_dir() else []
    if len(files) != 1:
        raise InputError(
            f"{what} '{path}' is neither a JSON file nor a folder with one",
            hint="give the data set's JSON as --gt, and a file of results as --pred",
        )
    return files[0]


def _results(path: Path) -> list[Any]:
    found = read_json(path)
    if isinstance(found, dict):  # as `vidseg track --format ytvis` writes it
        found = found.get("annotations")
    if not isinstance(found, list):
        raise InputError("the results are no list", where=str(path), hint=f"[{{{', '.join(RESULT_KEYS)}}}]")
    return found


def _check_entries(entries: list[Any], path: Path, what: str, keys: Collection[str]) -> None:
    for place, entry in enumerate(entries):
        missing = [key for key in keys if not isinstance(entry, Mapping) or key not in entry]
        if missing:
            raise InputError(f"a {what} has no '{missing[0]}'", where=f"{path}, {what} {place}")


def _check_tracks(tracks: list[Any], videos: list[Any], path: Path, keys: Collection[str]) -> None:
    _check_entries(tracks, path, "track", keys)
    # Ids may be of any kind; those that JSON takes for lists or objects cannot be looked up.
    video_of = {json.dumps(video["id"]): video for video in videos}
    for place, track in enumerate(tracks):
        where = f"{path}, track {place}"
        video = video_of.get(json.dumps(track["video_id"]))
        if video is None:
            raise InputError(f"the video {track['video_id']!r} is not in the ground truth", where=where)
        expected = video["length"]
        if not isinstance(track["segmentations"], list) or len(track["segmentations"]) != expected:
            raise InputError(
                f"a track of a video of {expected} frames has not as many segmentations", where=where
            )
        score = track.get("score", 0)
        if not is_number(score):
            raise InputError(f"the score {score!r} is no number", where=where)
        for frame, mask in enumerate(track["segmentations"]):
            _check_mask(mask, video, f"{where}, frame {frame}")


def _check_mask(mask: Any, video: Mapping[str, Any], where: str) -> None:
    """Raise an `InputError` for a mask that cannot be read, or whose size would make it count as empty."""
    if not mask:
        return
    size = [video["height"], video["width"]]
    try:
        found = list(compressed(mask, (size[0], size[1]))["size"])
    except Exception as error:  # pycocotools raises what it likes
        raise InputError(f"the mask cannot be read ({type(error).__name__}: {error})", where=where) from None
    if found != size:
        raise InputError(
            f"the mask is {found[1]}x{found[0]}, its video {size[1]}x{size[0]}",
            where=where,
            hint="write masks at the size of the original frames",
        )
