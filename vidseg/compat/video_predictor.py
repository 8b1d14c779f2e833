"""The methods of the official video predictor (sam2/sam2_video_predictor.py) over our engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.compat.calls import CallError, as_array
from vidseg.compat.loading import build, of_published
from vidseg.compat.model import SAM2Base
from vidseg.compat.state import InferenceState, ObjectState
from vidseg.compat.video import Video
from vidseg.memory.bank import MemoryFrame, Moment
from vidseg.trackers.contract import ABSENT_LOGIT, Prompt
from vidseg.trackers.postprocess import separate
from vidseg.trackers.session import to_video_res

HOLE_AREA = 8
"""The `fill_hole_area` that the official builder of video predictors sets with `apply_postprocessing`."""


class SAM2VideoPredictor(SAM2Base):
    """The official predictor's interface; see https://github.com/facebookresearch/sam2 for its use.

    `SAM2VideoPredictor(vidseg.load(...))`, `build_sam2_video_predictor` and `from_pretrained` make one; see
    `SAM2Base` for its options.
    """

    @classmethod
    def from_pretrained(cls, model_id: str, **options: Any) -> SAM2VideoPredictor:
        """The predictor of a published model, 'facebook/sam2.1-hiera-large', or of a folder that holds one.

        Args:
            **options: of `build_sam2_video_predictor`.

        Raises:
            CheckpointError: its weights are not on this machine; the hint says how to get them.
        """
        return of_published(cls.built, model_id, options)

    @classmethod
    def built(
        cls,
        config_file: str,
        ckpt_path: str | PathLike[str] | None = None,
        device: Any = "auto",
        mode: str = "eval",
        hydra_overrides_extra: Sequence[str] = (),
        apply_postprocessing: bool = True,
        vos_optimized: bool = False,
        **options: Any,
    ) -> SAM2VideoPredictor:
        """A predictor for videos, as the official `build_sam2_video_predictor` makes it: holes of up to 8
        low-res pixels are filled.

        Args:
            vos_optimized: compile the model; the first frames take minutes.

        The other arguments and the errors are those of `vidseg.compat.build_sam2`.
        """
        overrides = [f"++model.fill_hole_area={HOLE_AREA}", *hydra_overrides_extra]
        if vos_optimized:
            options = {"compile": True, **options}
        return build(cls, config_file, ckpt_path, device, mode, overrides, apply_postprocessing, options)

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
        video = Video(video_path)
        return InferenceState(video, self.tracker.start(video.num_frames, keep_all=True), self)

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
            clear_old_points: whether to forget the earlier points of this object on this frame.
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
            as_array(() if points is None else points, np.float32).reshape(-1, 2) * unit,
            as_array(() if labels is None else labels, np.int32).reshape(-1),
            None if box is None else (as_array(box, np.float32).reshape(2, 2) * unit).reshape(4),
        )
        if len(prompt.points_xy) != len(prompt.labels):
            raise CallError(f"{len(prompt.points_xy)} points but {len(prompt.labels)} labels")
        known = inference_state.objects.get(obj_id)
        earlier = None if known is None or clear_old_points else known.prompts.get(frame_idx)
        if earlier is not None and earlier.mask is None:
            prompt = earlier.merge(prompt)
        return self._prompt(inference_state, frame_idx, obj_id, prompt)

    def add_new_points(self, *args: Any, **kwargs: Any) -> tuple[int, list[int], Tensor]:
        """The same as `add_new_points_or_box`, under its older name."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self, inference_state: InferenceState, frame_idx: int, obj_id: int, mask: Any
    ) -> tuple[int, list[int], Tensor]:
        """Give an object's mask on a frame, of any size. Returns as `add_new_points_or_box`.

        Args:
            mask: boolean H x W. In an array or a list any value but 0 is on the object; a tensor of numbers
                is resized as it is and cut at 0.5. Both are the official ways.

        Raises:
            CallError: not a two-dimensional mask, or no such frame.
        """
        if isinstance(mask, Tensor) and mask.dtype != torch.bool and mask.dim() == 2:
            numbers, side = mask.detach().float().cpu()[None, None], self.image_size
            if mask.shape != (side, side):
                numbers = F.interpolate(numbers, (side, side), mode="bilinear", antialias=True)
            mask = numbers[0, 0] >= 0.5
        mask_hw = as_array(mask, np.bool_)
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
            CallError: there is no object, or one without a conditioning frame, or no such first frame.
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
        if order:
            state.video.check_has(order[0])
        for frame in state.video.walk(order):
            state.session.reverse = reverse
            state.session.step(frame)
            # An object that is added during propagation is tracked from the next one on.
            followed = {obj_id: state.objects[obj_id] for obj_id in state.session.obj_ids}
            for known in followed.values():
                known.was_reverse[frame.index] = reverse
            stored = [known.bank.at(frame.index) for known in followed.values()]
            yield frame.index, list(followed), self._video_res(state, stored)

    def propagate_in_video_preflight(self, inference_state: InferenceState) -> None:
        """Move the answers to prompts to where tracking reads them; `propagate_in_video` begins with this.

        Raises:
            CallError: there is no object, or one without a conditioning frame.
        """
        state = inference_state
        if not state.objects:
            raise CallError("no object has points or a mask", hint="add_new_points_or_box() first")
        session = state.session
        for obj_id, known in state.objects.items():
            bank = session.banks.setdefault(obj_id, known.bank)
            for waiting, is_conditioning in (
                (known.waiting_corrections, False),
                (known.waiting_conditioning, True),
            ):
                for frame_idx, memory in waiting.items():
                    bank.remember(memory, as_conditioning=is_conditioning)
                    session.engine.note_prompt(bank, memory)
                    if session.options.clear_memory_around_corrections:
                        session.engine.policy.forget_around(bank, frame_idx)
                waiting.clear()
            if not bank.conditioning:
                raise CallError(f"object {obj_id} has no points or mask", hint="add them, or remove_object()")
            for frame_idx in bank.conditioning:
                bank.forget(frame_idx)

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
        if known.bank.demote(frame_idx):
            known.was_reverse.pop(frame_idx, None)
        return self._answer_again(state, frame_idx) if need_output else None

    def remove_object(
        self, inference_state: InferenceState, obj_id: int, strict: bool = False, need_output: bool = True
    ) -> tuple[list[int], list[tuple[int, Tensor]]]:
        """Forget an object.

        Args:
            strict: whether an unknown id is an error.

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
        known = state.objects.setdefault(obj_id, ObjectState())
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
            frame,
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
        """The masks of all objects on a frame: waiting answers of one kind, else remembered ones."""
        stored = []
        for known in state.objects.values():
            waiting = known.waiting_conditioning if is_conditioning else known.waiting_corrections
            stored.append(waiting.get(frame_idx) or known.bank.at(frame_idx))
        return frame_idx, state.obj_ids, self._video_res(state, stored)

    @torch.inference_mode()
    def _video_res(self, state: InferenceState, stored: Sequence[MemoryFrame | None]) -> Tensor:
        """Mask logits N x 1 x H x W; -1024 for objects with nothing stored."""
        options, size_hw = state.session.options, state.video.size_hw
        logits_nhw = torch.full((len(stored), *size_hw), ABSENT_LOGIT, device=self.device)
        alone = replace(options, non_overlap_masks=False)
        for row, memory in enumerate(stored):
            if memory is not None and memory.low_res_logits_hw is not None:
                logits_nhw[row] = to_video_res(memory.low_res_logits_hw[None], size_hw, alone)[0]
        return (separate(logits_nhw) if options.non_overlap_masks else logits_nhw)[:, None]
