"""YouTube-VOS 2018 and 2019. Its scoring program is not public; the rules are those its papers state.

Each object is scored on the annotated frames after its first one, the last one included. J and F are averaged
over seen and unseen categories apart (Xu et al., arXiv:1809.03327); G is the mean of the four, and there is
none where all objects are of one kind.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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
from vidseg.eval.protocols.layout import jobs_of_folders, mask_root, meta_beside, prediction_root, read_meta

_SEEN = """
airplane ape bear bike bird boat bucket bus camel cat cow crocodile deer dog dolphin duck eagle
earless_seal elephant fish fox frisbee frog giant_panda giraffe hand hat hedgehog horse knife leopard lion
lizard monkey motorbike mouse others owl paddle parachute parrot penguin person plant rabbit raccoon sedan
shark sheep sign skateboard snail snake snowboard squirrel surfboard tennis_racket tiger toilet train
truck turtle umbrella whale zebra
"""
SEEN_CATEGORIES = frozenset(_SEEN.split())
"""The 65 categories of the training set, whose videos are the same in 2018 and 2019. All others are unseen.

youtube-vos.org/dataset/vos counts them, wjn922/ReferFormer (datasets/categories.py) lists them.
"""


@dataclass
class YouTubeVos(ScoringProtocol):
    """The protocol of YouTube-VOS; see the module."""

    name: str = "ytvos"
    headline: ClassVar[Headline] = Headline(key="G")
    takes_meta: ClassVar[bool] = True

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        meta = meta or meta_beside(truth, "meta.json")
        videos = read_meta(meta, needed_for="ytvos")
        objects = {name: _objects(name, about, meta) for name, about in videos.items()}
        self._is_seen = {
            (name, obj): is_seen for name, of in objects.items() for obj, (_, is_seen) in of.items()
        }
        return jobs_of_folders(
            mask_root(truth, "--gt"), prediction_root(prediction), list(videos), only=only, about=objects
        )

    def score(self, job: SequenceJob) -> SequenceScore:
        first = {name: job.about[name][0] for name in job.about}
        values: dict[str, list[tuple[str, float, float]]] = {name: [] for name in job.about}
        for frame in job.frames:
            objects = [
                (n, i) for n, i in object_ids(job, list(first)) if frame.removesuffix(".png") > first[n]
            ]
            if not objects:
                continue
            pair = read_pair(job, frame)
            ids = [obj_id for _, obj_id in objects]
            for (name, _), j, f in zip(objects, pair.j(ids), pair.f(ids), strict=True):
                values[name].append((frame, j, f))
        for name, of in values.items():
            if not of:
                raise InputError(
                    f"object {name} of '{job.name}' has no annotated frame after its first, {first[name]}",
                    where=str(job.truth),
                    hint="the masks of the official validation set are not public: its server scores",
                )
        return SequenceScore({name: _score(of) for name, of in values.items()})

    def total(self, objects: Objects) -> dict[str, float]:
        means = {
            f"{key}_{group}": mean(
                [
                    v[key]
                    for name, sequence in objects.items()
                    for obj, v in sequence.items()
                    if self._is_seen[name, obj] == (group == "seen")
                ]
            )
            for key in "JF"
            for group in ("seen", "unseen")
        }
        return {**means, "G": mean(list(means.values()))}


def _score(values: list[tuple[str, float, float]]) -> ObjectScore:
    frames, j, f = (list(column) for column in zip(*values, strict=True))
    return ObjectScore({"J": mean(j), "F": mean(f)}, {"J_frames": j, "F_frames": f}, frames)


def _objects(name: str, about: dict[str, Any], meta: Path) -> dict[str, tuple[str, bool]]:
    """Object -> its first frame, and whether its category is among the training set's."""
    objects = {}
    try:
        for obj, of in about["objects"].items():
            first = of["first_frame"] if "first_frame" in of else of["frames"][0]
            is_seen = _is_seen(of)
            if is_seen is None:
                raise InputError(
                    f"the meta file does not say of what category object {obj} of '{name}' is",
                    where=str(meta),
                    hint='give each object its "category", or "seen": true or false',
                )
            objects[str(obj)] = (str(first), is_seen)
    except (KeyError, TypeError, AttributeError, IndexError):
        raise InputError(
            f"the meta file gives no objects with their first frames of '{name}'", where=str(meta)
        ) from None
    return objects


def _is_seen(about: dict[str, Any]) -> bool | None:
    """What an object's entry says, or else its category; None if it has neither."""
    if isinstance(said := about.get("seen"), bool):
        return said
    category = about.get("category")
    if not isinstance(category, str) or not category.strip():
        return None
    return category.strip().lower().replace(" ", "_") in SEEN_CATEGORIES
