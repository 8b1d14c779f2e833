"""Finds objects in a stream while it is tracked.

Life of a frame:  step -> forget what is long gone -> ask again about tentative objects -> look for new ones
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.samplers import Found, PromptedPicture, everything
from vidseg.samplers.asking import Asking
from vidseg.samplers.table import settings_of
from vidseg.trackers.contract import Frame, FrameResult, Session, Tracker
from vidseg.trackers.discovery.comparing import innermost_xy, iou, is_known
from vidseg.trackers.discovery.looking import Look, look_of
from vidseg.trackers.discovery.scene import colour_shares, is_cut
from vidseg.trackers.discovery.settings import DiscoverySettings
from vidseg.validation import parse

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

SAME_IOU = 0.6
"""An answer at the place of an object confirms it, and two objects are one, if their IoU is above this."""


@dataclass
class _Known:
    """An object that was found, from then until it is forgotten."""

    since: int
    """The frame it was found on."""
    is_confirmed: bool = False
    last_seen: int = 0
    """The last frame on which its mask was not empty."""


class Discovery:
    """Finds the objects of one video, and gives them to a session to follow::

        session = tracker.start()
        discovery = Discovery(tracker, every=15)
        for frame in vidseg.read("street.mp4"):
            result = discovery.step(session, frame)  # in place of session.step(frame)

    Ids go on from the highest that the session knows, and are never used again. A new object is tentative,
    and not in the results, until the model finds it a second time at the place to which it was tracked.
    Objects that were prompted stay what they are: they are never forgotten, and what is found of them is not
    new. What is held does not grow with the video.

    Args:
        tracker: the tracker of the session.
        settings: a `DiscoverySettings`; or its fields as keyword arguments.
        first_id: new ids are at least this.
        device: of the model `discover_with`.

    Raises:
        ConfigError: the tracker has no image model and `discover_with` names none; or a setting is wrong.
    """

    def __init__(
        self,
        tracker: Tracker,
        settings: DiscoverySettings | None = None,
        *,
        first_id: int = 1,
        device: str = "auto",
        **said: Any,
    ) -> None:
        self.settings = settings or parse(DiscoverySettings, said, where="Discovery")
        self.settings.check_sampler()
        self._look: Look = look_of(tracker, self.settings.discover_with, device)
        self._next_id = first_id
        self._objects: dict[int, _Known] = {}
        self._last_look: int | None = None
        self._colours: npt.NDArray[np.float64] | None = None
        self.num_asked = 0
        """Prompts that the decoder has answered so far to find objects."""

    def step(self, session: Session, frame: Frame) -> FrameResult:
        """Track into a frame, look for new objects if it is time to, and give the result without tentative
        objects.

        Raises:
            The errors of `Session.step`.
        """
        result = session.step(frame)
        self._note_seen(session, result)
        to_confirm = [
            obj_id
            for obj_id, known in self._objects.items()
            if not known.is_confirmed and abs(frame.index - known.since) >= self.settings.confirm_after
        ]
        is_due = self._is_due(frame)
        if to_confirm or is_due:
            picture = self._look.at(session, frame)
            self._confirm(session, picture, to_confirm, result)
            if is_due:
                self._drop_doubles(session, result)
                result = self._find(session, picture, frame, result)
                self._last_look = frame.index
        tentative = {obj_id for obj_id, known in self._objects.items() if not known.is_confirmed}
        return result.of_objects(set(session.obj_ids) - tentative)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on after `Session.save`, as JSON values."""
        return {
            "next_id": self._next_id,
            "last_look": self._last_look,
            "colours": None if self._colours is None else self._colours.tolist(),
            "objects": {str(obj_id): asdict(known) for obj_id, known in self._objects.items()},
        }

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._next_id = state["next_id"]
        self._last_look = state["last_look"]
        self._colours = None if state["colours"] is None else np.array(state["colours"])
        self._objects = {int(obj_id): _Known(**known) for obj_id, known in state["objects"].items()}

    def _is_due(self, frame: Frame) -> bool:
        """Whether to look at the whole picture."""
        earlier, self._colours = self._colours, None
        if frame.image is not None:
            self._colours = colour_shares(frame.image)
            if earlier is not None and is_cut(self._colours, earlier):
                return True
        return self._last_look is None or abs(frame.index - self._last_look) >= self.settings.every

    def _note_seen(self, session: Session, result: FrameResult) -> None:
        """Note who is in sight; forget objects that have been out of sight for long."""
        now = result.frame_idx
        in_sight = {
            obj_id
            for obj_id, state, logits in zip(
                result.obj_ids, result.states, result.low_res_logits, strict=True
            )
            if state != "absent" and (logits > 0).any()
        }
        for obj_id, known in list(self._objects.items()):
            if obj_id in in_sight:
                known.last_seen = now
            elif abs(now - known.last_seen) >= self.settings.forget_after:
                self._forget(session, obj_id)

    def _confirm(
        self, session: Session, picture: PromptedPicture, obj_ids: list[int], result: FrameResult
    ) -> None:
        """Ask about tentative objects at their places; those that are not found again are forgotten."""
        masks = _masks_in_sight(result)
        for obj_id in obj_ids:
            mask = masks.get(obj_id)
            if mask is not None and any(
                iou(mask, other) > SAME_IOU for other in self._asked_at(picture, mask)
            ):
                self._objects[obj_id].is_confirmed = True
            else:
                self._forget(session, obj_id)

    def _asked_at(self, picture: PromptedPicture, mask: Mask) -> list[Mask]:
        # The object was found by good scores before; now the places of the two answers must agree.
        settings = settings_of("grid", {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0})
        asking = Asking(picture)
        proposals = asking.points(np.array([innermost_xy(mask)]), settings)
        self.num_asked += asking.num_asked
        return [proposal.mask.whole(picture.size_hw) for proposal in proposals]

    def _drop_doubles(self, session: Session, result: FrameResult) -> None:
        """Where two objects have become one, the one that was found later is forgotten."""
        masks = _masks_in_sight(result)
        for obj_id in sorted(self._objects, reverse=True):
            mask = masks.get(obj_id)
            if mask is None:
                continue
            if any(other < obj_id and iou(mask, masks[other]) > SAME_IOU for other in masks):
                self._forget(session, obj_id)
                del masks[obj_id]

    def _find(
        self, session: Session, picture: PromptedPicture, frame: Frame, result: FrameResult
    ) -> FrameResult:
        """Add what is new in the picture to the session."""
        known = [mask for obj_id, mask in _masks_in_sight(result).items() if obj_id in session.obj_ids]
        room = self.settings.max_objects - len(session.obj_ids)
        if room <= 0:
            return result
        skip = np.logical_or.reduce(known) if known else None
        for found in self._proposed(picture, skip):
            if room and self._is_new(found.mask, known):
                self._next_id = max(self._next_id, *session.obj_ids, 0)
                result = session.refine(self._next_id, mask=found.mask)
                self._objects[self._next_id] = _Known(frame.index, last_seen=frame.index)
                self._next_id += 1
                known.append(found.mask)
                room -= 1
        return result

    def _proposed(self, picture: PromptedPicture, skip: Mask | None) -> list[Found]:
        settings = self.settings
        found, asked = everything(
            picture, settings.sampler, settings.sampling, defaults=self._look.sampling, skip=skip
        )
        self.num_asked += asked
        return found

    def _is_new(self, mask: Mask, known: list[Mask]) -> bool:
        area, pixels = int(np.count_nonzero(mask)), mask.size
        least = self.settings.min_area or max(1, pixels // 1000)
        if not least <= area <= self.settings.max_share * pixels:
            return False
        limits = self.settings
        return not is_known(mask, known, max_iou=limits.known_iou, max_inside=limits.known_inside)

    def _forget(self, session: Session, obj_id: int) -> None:
        session.remove(obj_id)
        del self._objects[obj_id]


def _masks_in_sight(result: FrameResult) -> dict[int, Mask]:
    """Object id -> its mask at the video's size, of all whose mask is not empty."""
    return {obj_id: mask for obj_id, mask in zip(result.obj_ids, result.masks, strict=True) if mask.any()}
