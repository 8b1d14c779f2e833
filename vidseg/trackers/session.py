"""One video on the engine: its objects, the prompts that wait, and the frame last seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.errors import InputError, PromptError
from vidseg.memory.bank import Moment, ObjectBank
from vidseg.trackers.backbones.kept_windows import KeptWindows
from vidseg.trackers.coming import ComingResult
from vidseg.trackers.competing import Competition
from vidseg.trackers.contract import Frame, FrameResult, Prompt
from vidseg.trackers.device import Download, computes_apart
from vidseg.trackers.engine import Engine
from vidseg.trackers.frame_order import check_frame_order, checked_length, no_frame_to_correct
from vidseg.trackers.given_frame import as_frame, check_frame, computed_once
from vidseg.trackers.model import Features
from vidseg.trackers.packed_masks import pack_masks, unpack_masks
from vidseg.trackers.pending import PendingPrompts, checked_id
from vidseg.trackers.postprocess import remove_specks, separate
from vidseg.trackers.states import object_state

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box, FloatArray, Labels, Points, UInt8Array


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """Options of a session besides the model itself; all are off by default."""

    non_overlap_masks: bool = False
    """Whether to give each pixel of the result to at most one object."""
    remove_speck_area: int = 0
    """Regions of at most this many low-res pixels are dropped from the result."""
    keeps_corrections: bool = False
    """Whether a corrected frame keeps its mask when tracking passes it again; else it is tracked anew."""
    objects_compete: bool = False
    """Whether objects that are tracked compete for pixels; see `vidseg.trackers.competing`."""
    corrections_condition: bool = False
    """Whether a corrected frame becomes a conditioning frame (SAM 2: `add_all_frames_to_correct_as_cond`)."""
    clear_memory_around_corrections: bool = False
    """Whether to forget tracked frames near a corrected one, as they may show the same mistake."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last frame that was given, for corrections."""

    frame: Frame
    moment: Moment


class EngineSession:
    """One video being tracked; see `vidseg.trackers.contract.Session`.

    Args:
        keep_all: whether to forget nothing, so that frames may be visited in any order; memory then grows
            with the video.
    """

    def __init__(
        self,
        engine: Engine,
        options: SessionOptions,
        *,
        num_frames: int | None = None,
        reverse: bool = False,
        keep_all: bool = False,
        write: Callable[[EngineSession, str | PathLike[str]], None],
    ) -> None:
        self.engine = engine
        self.options = options
        self.num_frames = checked_length(num_frames)
        self.reverse = reverse
        self.keep_all = keep_all
        self.banks: dict[int, ObjectBank] = {}
        self.pending = PendingPrompts()
        self.last_frame_idx: int | None = None
        self._write = write
        self._seen: _Seen | None = None
        self._encoded: list[tuple[Frame, Features]] = []
        """The frame last stepped to, and one that lies ahead of it, with their features."""
        self._kept = engine.start_keeping()
        self._competition = Competition()

    @property
    def obj_ids(self) -> list[int]:
        return list(dict.fromkeys([*self.banks, *self.pending]))

    def prompt(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
        label: str | None = None,
    ) -> None:
        self.pending.add(obj_id, box=box, points=points, labels=labels, mask=mask, label=label)

    @torch.inference_mode()
    def step(self, frame: Frame | UInt8Array, *, bgr: bool = False) -> FrameResult:
        frame = as_frame(frame, self.last_frame_idx, reverse=self.reverse, bgr=bgr)
        moment = self.moment_of(frame)
        prompts = self._take_prompts(frame)
        self._encoded = [pair for pair in self._encoded if pair[0] is frame]  # the last frame's are done with
        corrected = [obj_id for obj_id, prompt in prompts.items() if self._corrects(obj_id, prompt, moment)]
        if corrected:
            self._advance(corrected, frame, moment)
        for obj_id, prompt in prompts.items():
            self._answer(obj_id, prompt, frame, moment)
        tracked = []
        for obj_id, bank in self.banks.items():
            if obj_id in corrected:
                continue
            conditioning = bank.conditioning.get(frame.index)
            if conditioning is None:
                earlier = bank.tracked.get(frame.index)
                was_corrected = earlier is not None and earlier.was_corrected
                if not (was_corrected and self.options.keeps_corrections):
                    tracked.append(obj_id)
            else:
                conditioning.was_visited = True
                if self.options.clear_memory_around_corrections:
                    self.engine.policy.forget_around(bank, frame.index)
        if tracked:
            self._advance(tracked, frame, moment)
        self._note_masks(prompts, frame.index)

        self._seen, self.last_frame_idx = _Seen(frame, moment), frame.index
        result = self._result(frame)
        self._forget(moment)
        return result

    @torch.inference_mode()
    def condition(self, frame: Frame) -> FrameResult:
        check_frame(frame)
        moment = self.moment_of(frame)
        if not self.pending:
            raise PromptError(f"frame {frame.index} was given to condition() but no object is prompted")
        prompts = self._take_prompts(frame)
        for obj_id, prompt in prompts.items():
            self._answer(obj_id, prompt, frame, moment, was_visited=False)
        self._note_masks(prompts, frame.index)
        return self._result(frame)

    @torch.inference_mode()
    def refine(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
    ) -> FrameResult:
        obj_id = checked_id(obj_id)
        if self._seen is None:
            raise no_frame_to_correct()
        frame = self._seen.frame
        return self.answer(
            obj_id, Prompt.of(box=box, points=points, labels=labels, mask=mask).fit(frame.size_hw)
        )

    @torch.inference_mode()
    def answer(self, obj_id: int, prompt: Prompt) -> FrameResult:
        """Do what `refine` does, with a prompt that fits the frame last stepped to."""
        assert self._seen is not None
        self._answer(obj_id, prompt, self._seen.frame, self._seen.moment)
        self._note_masks([obj_id], self._seen.frame.index)
        return self._result(self._seen.frame)

    def see(self, frame: Frame) -> None:
        """Take another picture for the frame last stepped to."""
        assert self._seen is not None
        self._seen = _Seen(frame, self._seen.moment)

    def remove(self, obj_id: int) -> None:
        obj_id = checked_id(obj_id)
        if obj_id not in self.banks and obj_id not in self.pending:
            raise PromptError(f"there is no object {obj_id} to remove", hint=f"objects: {self.obj_ids}")
        self.banks.pop(obj_id, None)
        self._competition.forget(obj_id)
        self.pending.forget(obj_id)

    def features(self, frame: Frame) -> Features:
        """The frame's features; they are computed once and kept until another frame's are wanted.

        Those of the frame last stepped to stay while frames ahead are looked at: it may be corrected, and its
        picture may be another one by then.
        """
        for known, features in self._encoded:
            if known is frame:
                return features
        seen = None if self._seen is None else self._seen.frame
        self._encoded = [pair for pair in self._encoded if pair[0] is seen]
        if self._kept is None:
            encoded = computed_once(frame, self.engine, lambda: self.engine.encode(frame))
        else:  # what is kept differs from session to session
            encoded = self.engine.encode(frame, self._kept)
        self._encoded.append((frame, encoded))
        return encoded

    def save(self, path: str | PathLike[str]) -> None:
        self._write(self, path)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is needed to go on with the session, for a file: tensors, and JSON values."""
        tensors, objects = self.pending.to_tensors(), []
        for obj_id, bank in self.banks.items():
            of_bank, facts = bank.save(str(obj_id))
            tensors |= of_bank
            objects.append({"id": obj_id, **facts})
        if self._kept is not None:
            tensors |= self._kept.save()
        return tensors, {
            "num_frames": self.num_frames,
            "reverse": self.reverse,
            "keep_all": self.keep_all,
            "last_frame": self.last_frame_idx,
            "objects": objects,
            "pending": list(self.pending),
            "names": self.pending.names,
            "sharing": self._competition.to_json(),
        }

    def take_state(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.last_frame_idx = facts["last_frame"]
        self.banks = {
            known["id"]: ObjectBank.restore(str(known["id"]), tensors, known) for known in facts["objects"]
        }
        self.pending = PendingPrompts.of_tensors(facts["pending"], tensors, facts.get("names", {}))
        self._competition = Competition.of_json(facts["sharing"])
        if self._kept is not None:
            self._kept = KeptWindows.restore(tensors)

    def moment_of(self, frame: Frame) -> Moment:
        """Where tracking stands on a frame.

        Raises:
            InputError: it is not one that can be given next.
        """
        if self.num_frames is not None and not 0 <= frame.index < self.num_frames:
            raise InputError(
                f"frame {frame.index} in a video that was declared to have {self.num_frames} frames",
                hint="start(num_frames=...) with the real length, or None where it is not known",
            )
        if not self.keep_all:
            check_frame_order(frame.index, self.last_frame_idx, reverse=self.reverse)
        return Moment(frame.index, self.reverse, self.num_frames)

    def _advance(self, obj_ids: Sequence[int], frame: Frame, moment: Moment) -> None:
        """Track objects into a frame."""
        is_alone = len(obj_ids) < 2 or not self.options.objects_compete
        rivals = None if is_alone else self._competition.rivals(obj_ids)
        banks = [self.banks[obj_id] for obj_id in obj_ids]
        self.engine.advance(self.features(frame), banks, moment, rivals)

    def _note_masks(self, prompted: Collection[int], frame_idx: int) -> None:
        """Take note of which objects share pixels, once some were prompted on a frame."""
        if not (self.options.objects_compete and prompted):
            return
        memories = {obj_id: bank.at(frame_idx) for obj_id, bank in self.banks.items()}
        masks = {
            obj_id: memory.low_res_logits_hw > 0
            for obj_id, memory in memories.items()
            if memory is not None and memory.low_res_logits_hw is not None
        }
        self._competition.note(prompted, masks)

    def _take_prompts(self, frame: Frame) -> dict[int, Prompt]:
        """The prompts for this frame; they stop waiting."""
        fitted = self.pending.fit(frame)
        if fitted:
            self.features(frame)  # first, so that prompts keep waiting if encoding fails
        self.pending.clear()
        return fitted

    def _corrects(self, obj_id: int, prompt: Prompt, moment: Moment) -> bool:
        """Whether a prompt corrects a mask, which must first be tracked into the frame."""
        if not (self.engine.model.clicks_correct and prompt.is_clicks and obj_id in self.banks):
            return False
        bank = self.banks[obj_id]
        is_followed = any(moment.frames_back(t) > 0 for t in (*bank.conditioning, *bank.tracked))
        return is_followed and bank.at(moment.frame_idx) is None

    def _answer(
        self,
        obj_id: int,
        prompt: Prompt,
        frame: Frame,
        moment: Moment,
        *,
        was_visited: bool = True,
    ) -> None:
        """Segment an object from its prompt, and remember it."""
        bank = self.banks.get(obj_id) or ObjectBank()
        earlier = bank.at(frame.index)
        is_initial = earlier is None or earlier.is_initial
        # This frame's own memory is fed back as logits, not read as a memory.
        features = self.features(frame)
        decoded = self.engine.segment(
            features,
            bank.without(frame.index),
            moment,
            prompt,
            frame,
            earlier=earlier,
            is_initial=is_initial,
        )
        (memory,) = self.engine.remember(features, decoded, moment, from_prompt=True)
        memory.is_initial = is_initial
        memory.was_visited = was_visited
        conditions = is_initial or self.options.corrections_condition
        memory.was_corrected = not conditions
        bank.remember(memory, as_conditioning=conditions)
        self.engine.note_prompt(bank, memory)
        if self.options.clear_memory_around_corrections:
            self.engine.policy.forget_around(bank, frame.index)
        self.banks[obj_id] = bank

    def _forget(self, moment: Moment) -> None:
        if self.keep_all:
            return
        for bank in self.banks.values():
            self.engine.policy.evict(bank, moment)
            for memory in bank.frames:
                # Logits are needed on the frame just seen, which can be corrected, and on frames not yet
                # visited.
                if memory.was_visited and memory.frame_idx != moment.frame_idx:
                    memory.low_res_logits_hw = None

    def _result(self, frame: Frame) -> FrameResult:
        rows = [
            (obj_id, memory, memory.low_res_logits_hw)
            for obj_id, bank in self.banks.items()
            if (memory := bank.at(frame.index)) is not None and memory.low_res_logits_hw is not None
        ]
        side, channels = self.engine.model.low_res_size, self.engine.model.pointer_channels
        logits = torch.stack([hw for *_, hw in rows]) if rows else torch.zeros(0, side, side)
        pointers = torch.stack([m.pointer_c for _, m, _ in rows]) if rows else torch.zeros(0, channels)
        wanted = [logits.float(), pointers.float()]
        is_apart = computes_apart(logits.device)
        if is_apart:  # a bit for each pixel is cheaper to fetch than a logit
            wanted.append(pack_masks(to_video_res(logits, frame.size_hw, self.options) > 0))
        coming = Download(wanted)
        memories, obj_ids = [memory for _, memory, _ in rows], [obj_id for obj_id, *_ in rows]
        labels = self.pending.names_of(obj_ids)

        def arrived() -> dict[str, Any]:
            low_res, object_pointers, *packed = (tensor.numpy() for tensor in coming.tensors())
            scores = np.array([m.object_score_logit for m in memories], np.float32)
            ious = np.array([m.predicted_iou for m in memories], np.float32)
            has_pixels = [bool((row > 0).any()) for row in low_res]
            return {
                "frame_idx": frame.index,
                "pts_seconds": frame.pts_seconds,
                "size_hw": frame.size_hw,
                "obj_ids": obj_ids,
                "low_res_logits": low_res,
                "object_score_logits": scores,
                "predicted_ious": ious,
                "states": [object_state(*facts) for facts in zip(scores, ious, has_pixels, strict=True)],
                "to_video_res": self._to_video_res,
                "object_pointers": object_pointers,
                "masks": unpack_masks(packed[0], frame.size_hw) if packed else None,
                "labels": labels,
            }

        return ComingResult(arrived) if is_apart else FrameResult(**arrived())

    def _to_video_res(self, low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        logits = torch.from_numpy(low_res_logits).to(self.engine.model.device)
        return to_video_res(logits, size_hw, self.options).cpu().numpy()


def to_video_res(low_res_logits_nhw: Tensor, size_hw: tuple[int, int], options: SessionOptions) -> Tensor:
    """Mask logits resized from the decoder's grid to the video.

    Thresholding comes after: at low resolution it would lose thin parts.
    """
    if not low_res_logits_nhw.shape[0]:
        return low_res_logits_nhw.new_zeros(0, *size_hw)
    if options.remove_speck_area:
        low_res_logits_nhw = remove_specks(low_res_logits_nhw, options.remove_speck_area)
    logits = F.interpolate(low_res_logits_nhw[:, None], size=size_hw, mode="bilinear", align_corners=False)
    return separate(logits[:, 0]) if options.non_overlap_masks else logits[:, 0]
