"""The official SAM 2 predictor's methods over our engine: a script written for `sam2` changes one import.

    from vidseg.compat import SAM2VideoPredictor        # was: from sam2.build_sam import ...
    predictor = SAM2VideoPredictor(vidseg.load("sam2.1-hiera-tiny", weights="sam2.1_hiera_tiny.pt"))

    state = predictor.init_state("video.mp4")
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, box=[x0, y0, x1, y1])
    for frame_idx, obj_ids, video_res_masks in predictor.propagate_in_video(state): ...

Names, arguments, returns and the order of things are those of `SAM2VideoPredictor` in release 1.1 of
https://github.com/facebookresearch/sam2 (sam2/sam2_video_predictor.py); docs/compat.md lists what differs.
As there, all outputs are kept, so memory grows with the video; that of `tracker.start()` does not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vidseg.errors import InputError, PromptError
from vidseg.memory.bank import MemoryFrame, Moment, ObjectBank
from vidseg.trackers.contract import ABSENT_LOGIT, Frame, Prompt
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.postprocess import separate
from vidseg.trackers.session import EngineSession, to_video_res

if TYPE_CHECKING:
    from vidseg.pipeline.read import Source

__all__ = ["CallError", "InferenceState", "SAM2VideoPredictor"]


class CallError(PromptError, ValueError, RuntimeError):
    """A wrong call; scripts that catch what the official predictor raises catch it too."""


@dataclass(eq=False)
class _ObjectState:
    """One object: its memories, and what the official state knows of it besides them."""

    bank: ObjectBank = field(default_factory=ObjectBank)
    prompts: dict[int, Prompt] = field(default_factory=dict)
    """Points, boxes and masks by frame, for prompts that add to them."""
    waiting_conditioning: dict[int, MemoryFrame] = field(default_factory=dict)
    """Answers to prompts that no frame reads before the next propagation starts."""
    waiting_corrections: dict[int, MemoryFrame] = field(default_factory=dict)
    """The same, on frames that were tracked before."""
    was_reverse: dict[int, bool] = field(default_factory=dict)
    """The frames that propagation has visited, and whether it went in reverse there."""


class InferenceState:
    """One video and what is known of it; made by `SAM2VideoPredictor.init_state`.

    `state["num_frames"]`, `["video_height"]`, `["video_width"]` and `["obj_ids"]` read as in the official
    state; the rest of it has no counterpart.
    """

    def __init__(self, video: _Video, session: EngineSession) -> None:
        self.video = video
        self.session = session
        self.objects: dict[int, _ObjectState] = {}

    @property
    def obj_ids(self) -> list[int]:
        return list(self.objects)

    def __getitem__(self, key: str) -> Any:
        height, width = self.video.size_hw
        facts = {
            "num_frames": self.video.num_frames,
            "video_height": height,
            "video_width": width,
            "obj_ids": self.obj_ids,
        }
        return facts[key]


class SAM2VideoPredictor:
    """The official predictor's interface; see https://github.com/facebookresearch/sam2 for its use.

    Args:
        tracker: from `vidseg.load`, any tracker on the engine. The options of the official constructor are
            options of `load`: `fill_hole_area`, `non_overlap_masks`, `corrections_condition` for
            `add_all_frames_to_correct_as_cond`, `clear_memory_around_corrections` for
            `clear_non_cond_mem_around_input`.
    """

    def __init__(self, tracker: EngineTracker) -> None:
        if not isinstance(tracker, EngineTracker):
            raise InputError(
                f"the tracker '{getattr(tracker, 'name', tracker)}' is not one of the SAM 2 family",
                hint="vidseg.load('sam2.1-hiera-tiny', ...), or another tracker with the kind 'engine'",
            )
        self.tracker = tracker

    @property
    def image_size(self) -> int:
        return self.tracker.engine.model.image_size

    @property
    def device(self) -> torch.device:
        return self.tracker.engine.model.device

    def init_state(
        self,
        video_path: str | PathLike[str] | Sequence[Any],
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> InferenceState:
        """Open a video. Frames are read when they are wanted; none but the last one is held.

        Args:
            video_path: a video file, a folder of images, or a sequence of uint8 H x W x 3 arrays or `Frame`s.
            offload_video_to_cpu: no effect: frames are not held.
            offload_state_to_cpu: no effect: memories stay where the model is.
            async_loading_frames: no effect: frames are decoded ahead of their use.

        Raises:
            SourceError: the video cannot be read.
            InputError: a source that can be read only once, such as a stream.
        """
        video = _Video(video_path)
        return InferenceState(video, self.tracker.start(video.num_frames, keep_all=True))

    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: int,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> tuple[int, list[int], Tensor]:
        """Prompt an object on a frame, or correct what was tracked there.

        Args:
            points: P x 2, in pixels of the video, or in 0 to 1 where `normalize_coords` is False.
            labels: P: 1 on the object, 0 off it.
            clear_old_points: forget the earlier points of this object on this frame.
            box: (x0, y0, x1, y1), in the same units.

        Returns:
            The frame, the ids of all objects, and their mask logits on this frame, float32 N x 1 x H x W;
            -1024 where an object has no output there.

        Raises:
            CallError: neither points nor box, points without labels, a box that would come after points, or
                no such frame.
        """
        if (points is None) != (labels is None):
            raise CallError("points and labels must be given together")
        if points is None and box is None:
            raise CallError("neither points nor a box", hint="give points= with labels=, or box=")
        if box is not None and not clear_old_points:
            raise CallError("a box cannot be added after points", hint="clear_old_points=True")
        height, width = inference_state.video.size_hw
        unit = np.array([1, 1] if normalize_coords else [width, height], np.float32)
        prompt = Prompt(
            _array(() if points is None else points, np.float32).reshape(-1, 2) * unit,
            _array(() if labels is None else labels, np.int32).reshape(-1),
            None if box is None else (_array(box, np.float32).reshape(2, 2) * unit).reshape(4),
        )
        if len(prompt.points_xy) != len(prompt.labels):
            raise CallError(f"{len(prompt.points_xy)} points but {len(prompt.labels)} labels")
        known = inference_state.objects.get(obj_id)
        earlier = None if known is None or clear_old_points else known.prompts.get(frame_idx)
        if earlier is not None and earlier.mask is None:
            prompt = earlier.merge(prompt)
        return self._prompt(inference_state, frame_idx, obj_id, prompt)

    def add_new_points(self, *args: Any, **kwargs: Any) -> tuple[int, list[int], Tensor]:
        """The older name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self, inference_state: InferenceState, frame_idx: int, obj_id: int, mask: Any
    ) -> tuple[int, list[int], Tensor]:
        """Give an object's mask on a frame; boolean, of any size. Returns as `add_new_points_or_box`.

        Raises:
            CallError: not a two-dimensional mask, or no such frame.
        """
        mask_hw = _array(mask, np.bool_)
        if mask_hw.ndim != 2:
            raise CallError(f"a mask of shape {mask_hw.shape}", hint="give height x width")
        nothing = np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
        return self._prompt(inference_state, frame_idx, obj_id, Prompt(*nothing, mask=mask_hw))

    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        """Track all objects from frame to frame.

        Args:
            start_frame_idx: None: the earliest conditioning frame of any object.
            max_frame_num_to_track: how many frames after the first; None: to the end of the video.
            reverse: towards frame 0; from frame 0 itself nothing is tracked.

        Yields:
            The frame, the ids of all objects, and their mask logits, float32 N x 1 x H x W.

        Raises:
            CallError: there is no object, or one without a conditioning frame.
        """
        state = inference_state
        self.propagate_in_video_preflight(state)
        if start_frame_idx is None:
            start_frame_idx = min(t for bank in state.session.banks.values() for t in bank.conditioning)
        num_frames = state.video.num_frames
        reach = num_frames if max_frame_num_to_track is None else max_frame_num_to_track
        if reverse:
            order = (
                range(start_frame_idx, max(start_frame_idx - reach, 0) - 1, -1)
                if start_frame_idx
                else range(0)
            )
        else:
            order = range(start_frame_idx, min(start_frame_idx + reach, num_frames - 1) + 1)
        for frame in state.video.walk(order):
            state.session.reverse = reverse
            state.session.step(frame)
            # An object that came after the start waits for the next propagation.
            followed = {obj_id: state.objects[obj_id] for obj_id in state.session.obj_ids}
            for known in followed.values():
                known.was_reverse[frame.index] = reverse
            stored = [known.bank.at(frame.index) for known in followed.values()]
            yield frame.index, list(followed), self._video_res(state, stored)

    def propagate_in_video_preflight(self, inference_state: InferenceState) -> None:
        """Put the answers to prompts where tracking reads them; `propagate_in_video` begins with it.

        Raises:
            CallError: there is no object, or one without a conditioning frame.
        """
        state = inference_state
        if not state.objects:
            raise CallError("no object has points or a mask", hint="add_new_points_or_box() first")
        session = state.session
        for obj_id, known in state.objects.items():
            bank = session.banks.setdefault(obj_id, known.bank)
            for waiting, kept in (
                (known.waiting_corrections, bank.tracked),
                (known.waiting_conditioning, bank.conditioning),
            ):
                for frame_idx, memory in waiting.items():
                    kept[frame_idx] = memory
                    session.engine.note_prompt(bank, memory)
                    if session.options.clear_memory_around_corrections:
                        session.engine.policy.forget_around(bank, frame_idx)
                waiting.clear()
            if not bank.conditioning:
                raise CallError(f"object {obj_id} has no points or mask", hint="add them, or remove_object()")
            for frame_idx in bank.conditioning:
                bank.tracked.pop(frame_idx, None)

    def clear_all_prompts_in_frame(
        self, inference_state: InferenceState, frame_idx: int, obj_id: int, need_output: bool = True
    ) -> tuple[int, list[int], Tensor] | None:
        """Take an object's points, box or mask on a frame back; what was seen there counts as tracked.

        Returns:
            As `add_new_points_or_box`; None unless `need_output`.

        Raises:
            CallError: there is no such object.
        """
        state = inference_state
        if obj_id not in state.objects:
            raise CallError(f"there is no object {obj_id}", hint=f"objects: {state.obj_ids}")
        known = state.objects[obj_id]
        known.prompts.pop(frame_idx, None)
        known.waiting_conditioning.pop(frame_idx, None)
        known.waiting_corrections.pop(frame_idx, None)
        memory = known.bank.conditioning.pop(frame_idx, None)
        if memory is not None:
            known.bank.tracked[frame_idx] = memory
            known.was_reverse.pop(frame_idx, None)
        return self._answer_again(state, frame_idx) if need_output else None

    def remove_object(
        self, inference_state: InferenceState, obj_id: int, strict: bool = False, need_output: bool = True
    ) -> tuple[list[int], list[tuple[int, Tensor]]]:
        """Forget an object.

        Args:
            strict: an unknown id is an error.

        Returns:
            The ids that are left, and for each frame that the object was prompted on the others' masks.

        Raises:
            CallError: there is no such object, where `strict`.
        """
        state = inference_state
        if obj_id not in state.objects:
            if strict:
                raise CallError(f"there is no object {obj_id} to remove", hint=f"objects: {state.obj_ids}")
            return state.obj_ids, []
        prompted = sorted(state.objects.pop(obj_id).prompts)
        state.session.banks.pop(obj_id, None)
        if not state.objects or not need_output:
            return state.obj_ids, []
        return state.obj_ids, [(t, self._answer_again(state, t)[2]) for t in prompted]

    def reset_state(self, inference_state: InferenceState) -> None:
        """Forget all objects; the video stays open."""
        inference_state.objects.clear()
        inference_state.session.banks.clear()

    @torch.inference_mode()
    def _prompt(
        self, state: InferenceState, frame_idx: int, obj_id: int, prompt: Prompt
    ) -> tuple[int, list[int], Tensor]:
        """Answer a prompt; the answer waits until the next propagation starts."""
        session, engine = state.session, state.session.engine
        frame = state.video.frame(frame_idx)
        known = state.objects.setdefault(obj_id, _ObjectState())
        # A frame that was not tracked is segmented without memory, as in SAM; else the prompt corrects it.
        is_initial = frame_idx not in known.was_reverse
        if not is_initial and not known.bank.conditioning:
            raise CallError(
                f"object {obj_id} has no prompt left that a correction of frame {frame_idx} could build on",
                hint="prompt it on a frame that was not tracked, or reset_state()",
            )
        known.prompts[frame_idx] = prompt
        is_conditioning = is_initial or session.options.corrections_condition
        waiting = known.waiting_conditioning if is_conditioning else known.waiting_corrections
        moment = Moment(frame_idx, known.was_reverse.get(frame_idx, False), state.video.num_frames)
        features = session.features(frame)
        decoded = engine.segment(
            features,
            known.bank,
            moment,
            prompt,
            state.video.size_hw,
            earlier=waiting.get(frame_idx) or known.bank.at(frame_idx),
            is_initial=is_initial,
        )
        (waiting[frame_idx],) = engine.remember(features, decoded, moment, from_prompt=True)
        waiting[frame_idx].was_corrected = not is_conditioning
        return self._answer(state, frame_idx, is_conditioning=is_conditioning)

    def _answer_again(self, state: InferenceState, frame_idx: int) -> tuple[int, list[int], Tensor]:
        is_conditioning = any(frame_idx in known.waiting_conditioning for known in state.objects.values())
        return self._answer(state, frame_idx, is_conditioning=is_conditioning)

    def _answer(
        self, state: InferenceState, frame_idx: int, *, is_conditioning: bool
    ) -> tuple[int, list[int], Tensor]:
        """All objects on a frame: answers that wait, of one kind; else what is remembered."""
        stored = []
        for known in state.objects.values():
            waiting = known.waiting_conditioning if is_conditioning else known.waiting_corrections
            stored.append(waiting.get(frame_idx) or known.bank.at(frame_idx))
        return frame_idx, state.obj_ids, self._video_res(state, stored)

    @torch.inference_mode()
    def _video_res(self, state: InferenceState, stored: Sequence[MemoryFrame | None]) -> Tensor:
        """Mask logits N x 1 x H x W; -1024 where there is nothing."""
        options, size_hw = state.session.options, state.video.size_hw
        logits_nhw = torch.full((len(stored), *size_hw), ABSENT_LOGIT, device=self.device)
        alone = replace(options, non_overlap_masks=False)
        for row, memory in enumerate(stored):
            if memory is not None and memory.low_res_logits_hw is not None:
                logits_nhw[row] = to_video_res(memory.low_res_logits_hw[None], size_hw, alone)[0]
        return (separate(logits_nhw) if options.non_overlap_masks else logits_nhw)[:, None]


class _Video:
    """A source whose frames can be read in any order, again and again; the last one is held."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._last: Frame | None = None
        with self._read() as opened:
            if not opened.info.can_seek:
                raise InputError(
                    f"'{opened.name}' can be read only once, and this interface visits frames in any order",
                    hint="give a file, a folder or a list; a session of tracker.start() follows streams",
                )
            self.size_hw: tuple[int, int] = opened.info.size_hw
            known = opened.info.num_frames
            # A header's claim may be wrong, and the length counts: SAM 2 scales the times of pointers by it.
            self.num_frames = sum(1 for _ in opened) if known is None else known

    def frame(self, frame_idx: int) -> Frame:
        """One frame.

        Raises:
            CallError: the video has no such frame.
        """
        if not 0 <= frame_idx < self.num_frames:
            raise CallError(
                f"frame {frame_idx} of a video of {self.num_frames} frames",
                hint=f"frame numbers start at 0; the last one is {self.num_frames - 1}",
            )
        with closing(self.walk(range(frame_idx, frame_idx + 1))) as frames:
            return next(frames)

    def walk(self, order: range) -> Generator[Frame, None, None]:
        """The frames of a range, upwards or downwards."""
        if order and self._last is not None and self._last.index == order[0]:
            yield self._last
            order = order[1:]
        if not order:
            return
        low, high = sorted((order[0], order[-1]))
        with self._read(start=low, end=high + 1, reverse=order.step < 0) as opened:
            for frame_idx, frame in zip(order, opened, strict=False):
                # A list's own frames may be numbered otherwise; here a frame is its place in the list.
                self._last = frame if frame.index == frame_idx else replace(frame, index=frame_idx)
                yield self._last

    def _read(self, **span: Any) -> Source:
        from vidseg.pipeline.read import read

        return read(self._source, **span)


def _array(value: Any, dtype: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype)
