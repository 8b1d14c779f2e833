"""What a person says of an object on a frame: clicks, a box, a mask drawn by hand; answered at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vidseg.annotation.answers import Answers
from vidseg.annotation.masks import Mask, draw_stroke, fill_polygon
from vidseg.annotation.project import AnnotatedObject, Project, Said
from vidseg.errors import PromptError

Points = Sequence[Sequence[float]]
Edit = Callable[[npt.NDArray[np.bool_]], npt.NDArray[np.bool_]]


class Prompting:
    """Takes prompts into a project, and their answers. Each method is one act.

    Args:
        time_of: gives a frame's time in seconds.
    """

    def __init__(
        self,
        project: Project,
        answers: Answers,
        *,
        num_frames: int,
        size_hw: tuple[int, int],
        time_of: Callable[[int], float],
    ) -> None:
        self._project = project
        self._answers = answers
        self._num_frames = num_frames
        self._size_hw = size_hw
        self._time_of = time_of

    def click(self, frame_idx: int, obj_id: int | None, x: float, y: float, *, on: bool) -> int:
        """Add a point; returns the object, a new one if none was given.

        Raises:
            PromptError: a locked object, a place outside of the frame, or nothing found there.
        """
        said = self._with_point(self._said(obj_id, frame_idx), x, y, on=on)
        return self._answer("Click on", obj_id, said)

    def box(self, frame_idx: int, obj_id: int | None, box: Sequence[float]) -> int:
        """Set the box; returns the object. Raises PromptError: see `click`."""
        said = replace(self._said(obj_id, frame_idx), box=[float(v) for v in box], counts=None)
        return self._answer("Box of", obj_id, said)

    def lasso(self, frame_idx: int, obj_id: int | None, points: Points, mode: str) -> int:
        """Fill a polygon in the mask, which is then drawn by hand; see `fill_polygon`."""
        return self._draw("Lasso", frame_idx, obj_id, lambda pixels: fill_polygon(pixels, points, mode))

    def brush(self, frame_idx: int, obj_id: int | None, points: Points, radius_px: float, mode: str) -> int:
        """Draw or erase a stroke in the mask, which is then drawn by hand; see `draw_stroke`."""
        return self._draw(
            "Erase" if mode == "erase" else "Brush",
            frame_idx,
            obj_id,
            lambda pixels: draw_stroke(pixels, points, radius_px, mode),
        )

    def unprompt(self, frame_idx: int, obj_id: int, point: int | None = None) -> int:
        """Take back one point, or all that was said of an object on a frame, with its answer.

        Raises:
            PromptError: nothing like that was said.
        """
        said = self._project.said_on(obj_id, frame_idx)
        thing = self._unlocked(obj_id)
        if said is None or (point is not None and not 0 <= point < len(said.points or [])):
            raise PromptError(f"nothing was said of '{thing.name}' there", hint="nothing is to be taken back")
        if point is not None and said.points is not None and said.labels is not None:
            points = [p for place, p in enumerate(said.points) if place != point]
            labels = [on for place, on in enumerate(said.labels) if place != point]
            left = replace(said, points=points or None, labels=labels or None)
            if left.box is not None or left.points is not None:
                self._answer("Take back a point of", obj_id, left)
                return obj_id
        with self._project.database.act(f"Take back {thing.name}"):
            self._project.unsay(obj_id, frame_idx)
            self._project.remove_mask(obj_id, frame_idx)
        return obj_id

    def preview(self, frame_idx: int, obj_id: int | None, x: float, y: float, *, on: bool) -> Mask:
        """The mask that a click would give; nothing changes."""
        return self._answers.answer(self._with_point(self._said(obj_id, frame_idx), x, y, on=on))

    def _said(self, obj_id: int | None, frame_idx: int) -> Said:
        if not 0 <= frame_idx < self._num_frames:
            raise PromptError(
                f"there is no frame {frame_idx}", hint=f"the last one is {self._num_frames - 1}"
            )
        if obj_id is None:
            return Said(obj_id=0, frame_idx=frame_idx)
        self._unlocked(obj_id)
        return self._project.said_on(obj_id, frame_idx) or Said(obj_id=obj_id, frame_idx=frame_idx)

    def _unlocked(self, obj_id: int) -> AnnotatedObject:
        thing = self._project.object(obj_id)
        if thing.locked:
            raise PromptError(f"'{thing.name}' is locked", hint="unlock it to change it")
        return thing

    def _with_point(self, said: Said, x: float, y: float, *, on: bool) -> Said:
        if said.is_drawn:
            said = replace(said, counts=None)  # clicks begin anew where a mask was drawn
        return replace(
            said,
            points=[*(said.points or []), [float(x), float(y)]],
            labels=[*(said.labels or []), int(on)],
        )

    def _answer(self, title: str, obj_id: int | None, said: Said) -> int:
        mask = self._answers.answer(said)  # first, so that a prompt that does not fit changes nothing
        return self._keep(title, obj_id, said, mask)

    def _draw(self, title: str, frame_idx: int, obj_id: int | None, edit: Edit) -> int:
        said = self._said(obj_id, frame_idx)
        before = None if obj_id is None else self._project.mask(obj_id, frame_idx)
        pixels = np.zeros(self._size_hw, np.bool_) if before is None else before.pixels(self._size_hw)
        pixels = edit(pixels)
        if not pixels.any():
            raise PromptError(
                "nothing is left of the mask", hint="set the object absent on this frame instead"
            )
        reverse = before is not None and before.reverse
        time_s = before.time_s if before is not None else self._time_of(frame_idx)
        mask = Mask.of(pixels, frame_idx, said.obj_id, "D", time_s=time_s, reverse=reverse)
        said = Said(obj_id=said.obj_id, frame_idx=frame_idx, counts=mask.counts, in_turn=said.in_turn)
        return self._keep(title, obj_id, said, mask)

    def _keep(self, title: str, obj_id: int | None, said: Said, mask: Mask) -> int:
        name = "a new object" if obj_id is None else self._project.object(obj_id).name
        with self._project.database.act(f"{title} {name}"):
            if obj_id is None:
                obj_id = self._project.add_object()
            self._project.say(replace(said, obj_id=obj_id))
            self._project.put_mask(replace(mask, obj_id=obj_id))
        return obj_id
