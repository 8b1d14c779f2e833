"""Makes one object of two."""

from __future__ import annotations

from dataclasses import replace

from vidseg.annotation.masks import Mask
from vidseg.annotation.project import Project, Said
from vidseg.errors import PromptError


def merge_objects(project: Project, obj_id: int, into: int, size_hw: tuple[int, int]) -> None:
    """Give the masks of an object to another one, and remove it.

    Where something was said of either, the merged mask counts as drawn by hand, as the points and boxes of
    one speak of its part alone.

    Raises:
        PromptError: there is no such object, or both are one.
    """
    if obj_id == into:
        raise PromptError("an object cannot be merged with itself", hint="choose another one")
    project.object(obj_id)
    project.object(into)
    said = {s.frame_idx for each in (obj_id, into) for s in project.said(each)}
    frames = project.database.rows("SELECT frame FROM masks WHERE obj = ?", obj_id)
    for frame_idx in sorted({frame for (frame,) in frames} | said):
        one, other = project.mask(obj_id, frame_idx), project.mask(into, frame_idx)
        merged = _merged(one, other, into, size_hw)
        if merged is None:
            continue
        if frame_idx in said and merged.area:
            merged = replace(merged, kind="D", score=1.0)
            project.say(Said(obj_id=into, frame_idx=frame_idx, counts=merged.counts))
        project.put_mask(merged)
    project.database.write("DELETE FROM saved_sessions WHERE obj = ?", into)  # they knew one part alone
    project.remove_object(obj_id)


def _merged(one: Mask | None, other: Mask | None, obj_id: int, size_hw: tuple[int, int]) -> Mask | None:
    if one is None or other is None:
        left = one or other
        return None if left is None else replace(left, obj_id=obj_id, hidden=None)
    if not one.area or not other.area:
        return replace(one if one.area else other, obj_id=obj_id, hidden=None)
    return Mask.of(
        one.pixels(size_hw) | other.pixels(size_hw),
        other.frame_idx,
        obj_id,
        other.kind,
        time_s=other.time_s,
        score=min(one.score, other.score),
        reverse=other.reverse,
    )
