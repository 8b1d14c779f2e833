"""Finds objects in a stream while it is tracked.

Life of a frame:  step -> forget what is long gone -> ask again about tentative objects -> look for new ones
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import ConfigError
from vidseg.masks import iou
from vidseg.trackers.contract import Frame, FrameResult, Session, Tracker
from vidseg.trackers.discovery.comparing import SAME_IOU
from vidseg.trackers.discovery.detected import DetectorFinder
from vidseg.trackers.discovery.finding import Finder
from vidseg.trackers.discovery.looking import look_of
from vidseg.trackers.discovery.sampled import SamplerFinder
from vidseg.trackers.discovery.scene import colour_shares, is_cut
from vidseg.trackers.discovery.settings import DiscoverySettings
from vidseg.trackers.given_frame import as_frame
from vidseg.validation import parse

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.detectors import Detector
    from vidseg.trackers.contract import UInt8Array

    Mask = npt.NDArray[np.bool_]


@dataclass
class _Known:
    """An object that was found, from then until it is forgotten."""

    since: int
    """The frame it was found on."""
    is_confirmed: bool = False
    last_seen: int = 0
    """The last frame on which its mask was not empty."""
    label: str = ""


class Discovery:
    """Finds the objects of one video, and gives them to a session to follow::

        session = tracker.start()
        discovery = Discovery(tracker, every=15)
        for frame in vidseg.read("street.mp4"):
            result = discovery.step(session, frame)  # in place of session.step(frame)

    Ids go on from the highest that the session knows, and are never used again. A new object is tentative
    until the model finds it a second time at the place to which it was tracked; until then it is not in the
    results, unless `DiscoverySettings.report_tentative` asks for it. Objects that were
    prompted stay what they are: they are never forgotten, and what is found of them is not new. What is held
    does not grow with the video.

    With a detector, objects are what it draws boxes around: they are prompted by these boxes, and have its
    labels in the results::

        detector = vidseg.detectors.open_detector("owlv2", "red cup")
        discovery = Discovery(tracker, detector=detector)

    Args:
        tracker: the tracker of the session.
        settings: a `DiscoverySettings`; or its fields as keyword arguments.
        detector: finds the objects, in place of a sampler; then any tracker will do.
        first_id: new ids are at least this.
        device: of the model `discover_with`.

    Raises:
        ConfigError: there is no detector, the tracker has no image model, and `discover_with` names none; or
            a setting is wrong.
    """

    def __init__(
        self,
        tracker: Tracker,
        settings: DiscoverySettings | None = None,
        *,
        detector: Detector | None = None,
        first_id: int = 1,
        device: str = "auto",
        **said: Any,
    ) -> None:
        self.settings = settings or parse(DiscoverySettings, said, where="Discovery", error=ConfigError)
        self._finder: Finder
        if detector is not None:
            self._finder = DetectorFinder(detector, self.settings)
        else:
            self.settings.check_sampler()
            look = look_of(tracker, self.settings.discover_with, device)
            self._finder = SamplerFinder(look, self.settings)
        self._next_id = first_id
        self._objects: dict[int, _Known] = {}
        self._last_look: int | None = None
        self._last_index: int | None = None
        """The frame last stepped to."""
        self._colours: npt.NDArray[np.float64] | None = None

    @property
    def num_asked(self) -> int:
        """Prompts that the decoder has answered so far to find objects."""
        return self._finder.num_asked

    @property
    def labels(self) -> dict[int, str]:
        """Object id -> label, of the objects that are followed and were found by a detector."""
        return {obj_id: known.label for obj_id, known in self._objects.items() if known.label}

    def step(self, session: Session, frame: Frame | UInt8Array, *, bgr: bool = False) -> FrameResult:
        """Track into a frame, look for new objects if it is time to, and give the result, without tentative
        objects unless they are to be reported.

        Args:
            frame, bgr: see `Session.step`.

        Raises:
            The errors of `Session.step`.
        """
        frame = as_frame(frame, self._last_index, bgr=bgr)
        result = session.step(frame)
        self._last_index = frame.index
        self._note_seen(session, result)
        to_confirm = [
            obj_id
            for obj_id, known in self._objects.items()
            if not known.is_confirmed and abs(frame.index - known.since) >= self.settings.confirm_after
        ]
        if to_confirm:
            self._confirm(session, frame, to_confirm, result)
        if self._is_due(frame):
            self._drop_doubles(session, result)
            result = self._find(session, frame, result)
        return self._named(result.of_objects(set(session.obj_ids) - self._unreported()))

    def state(self) -> dict[str, Any]:
        """All that is needed to go on after `Session.save`, as JSON values."""
        return {
            "next_id": self._next_id,
            "last_look": self._last_look,
            "last_index": self._last_index,
            "colours": None if self._colours is None else self._colours.tolist(),
            "objects": {str(obj_id): asdict(known) for obj_id, known in self._objects.items()},
        }

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._next_id = state["next_id"]
        self._last_look = state["last_look"]
        self._last_index = state["last_index"]
        self._colours = None if state["colours"] is None else np.array(state["colours"])
        self._objects = {int(obj_id): _Known(**known) for obj_id, known in state["objects"].items()}

    def _is_due(self, frame: Frame) -> bool:
        """Whether to look at the whole picture."""
        earlier, self._colours = self._colours, None
        if frame.image is not None:
            self._colours = colour_shares(frame.image)
            if earlier is not None and is_cut(self._colours, earlier):
                self._last_look = None
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

    def _confirm(self, session: Session, frame: Frame, obj_ids: list[int], result: FrameResult) -> None:
        """Look for tentative objects at their places; those that are not found again are forgotten."""
        masks = self._followed(session, result)
        again = self._finder.seen_again(session, frame, masks, self.labels, obj_ids)
        for obj_id in obj_ids:
            if obj_id in again:
                self._objects[obj_id].is_confirmed = True
            else:
                self._forget(session, obj_id)

    def _drop_doubles(self, session: Session, result: FrameResult) -> None:
        """Where two objects have become one, the one that was found later is forgotten."""
        masks = _masks_in_sight(result)
        for obj_id in sorted(self._objects, reverse=True):
            mask = masks.get(obj_id)
            if mask is None:
                continue
            if any(other < obj_id and iou(mask, masks[other], if_both_empty=0) > SAME_IOU for other in masks):
                self._forget(session, obj_id)
                del masks[obj_id]

    def _find(self, session: Session, frame: Frame, result: FrameResult) -> FrameResult:
        """Add what is new in the picture to the session."""
        room = self.settings.max_objects - len(session.obj_ids)
        if room > 0:
            masks = self._followed(session, result)
            found = self._finder.new(session, frame, masks, self.labels, room)
            if found is None:  # the next frame of which something is known is due
                return result
            for new in found:
                self._next_id = max([self._next_id, *(1 + obj_id for obj_id in session.obj_ids)])
                result = session.refine(self._next_id, **new.prompt)
                if not _has_mask(result, self._next_id):
                    session.remove(self._next_id)
                    continue
                is_confirmed = self.settings.confirm_after == 0
                self._objects[self._next_id] = _Known(frame.index, is_confirmed, frame.index, new.label)
                self._next_id += 1
        self._last_look = frame.index
        return result

    def _followed(self, session: Session, result: FrameResult) -> dict[int, Mask]:
        """The masks in sight of objects that have not been forgotten since the session's step."""
        masks = _masks_in_sight(result)
        return {obj_id: mask for obj_id, mask in masks.items() if obj_id in session.obj_ids}

    def _unreported(self) -> set[int]:
        """The objects that are followed and not reported yet."""
        if self.settings.report_tentative:
            return set()
        return {obj_id for obj_id, known in self._objects.items() if not known.is_confirmed}

    def _named(self, result: FrameResult) -> FrameResult:
        """The result, with the labels of objects that have one."""
        labels = self.labels
        result.labels = [
            labels.get(obj_id, label) for obj_id, label in zip(result.obj_ids, result.labels, strict=True)
        ]
        return result

    def _forget(self, session: Session, obj_id: int) -> None:
        session.remove(obj_id)
        del self._objects[obj_id]


def _masks_in_sight(result: FrameResult) -> dict[int, Mask]:
    """Object id -> its mask at the video's size, of all whose mask is not empty."""
    return {obj_id: mask for obj_id, mask in zip(result.obj_ids, result.masks, strict=True) if mask.any()}


def _has_mask(result: FrameResult, obj_id: int) -> bool:
    return obj_id in result.obj_ids and bool((result.low_res_logits[result.obj_ids.index(obj_id)] > 0).any())
