"""One video on the official predictor, which is fed frame by frame.

Choices that the official code leaves open:

- A frame's image is resized as the official loader of JPEG folders does it (Pillow's `resize`, bicubic). -
The official loop takes a whole clip and skips frame 0 in reverse. Here each step does what one turn of that
loop does, so frames may come from a stream, and frame 0 is tracked in reverse too. - A float32 run of the
official code fails for an object with a memory but no pointer (on frames before its first prompt), as nothing
converts the bfloat16 memory to float32. So memories of conditioning frames are kept as float32 after rounding
to bfloat16; the values are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vidseg.errors import InputError, PromptError
from vidseg.trackers.contract import Frame, FrameResult, Prompt
from vidseg.trackers.frame_order import check_frame_order, checked_length, no_frame_to_correct
from vidseg.trackers.given_frame import as_frame, check_frame
from vidseg.trackers.pending import PendingPrompts, checked_id
from vidseg.trackers.sam2_official import add_prompt, model_input, predicted_ious, start_state
from vidseg.trackers.states import object_state

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    from vidseg.trackers.contract import Box, FloatArray, Labels, Points, UInt8Array

HORIZON = 16
"""Tracked frames further back than this are never read (6 memories, 15 pointers)."""
LIVE_STREAM_LENGTH = 1 << 30
"""Length given for live streams: the official code wants one, and from 16 on all have the same effect."""


class Sam2ReferenceSession:
    """A session of the official predictor; see `vidseg.trackers.contract.Session`.

    Args:
        dtype: if it is not float32, the predictor runs in autocast to it.
        keep_frames: whether every frame's image is kept, as in the official code.
        write: writes the session to a file.
    """

    def __init__(
        self,
        predictor: SAM2VideoPredictor,
        *,
        dtype: torch.dtype,
        keep_frames: bool,
        num_frames: int | None,
        reverse: bool,
        write: Callable[[Sam2ReferenceSession, str | PathLike[str]], None],
    ) -> None:
        self.predictor = predictor
        self.dtype = dtype
        self.keep_frames = keep_frames
        self._write = write
        self.num_frames = checked_length(num_frames)
        self.reverse = reverse
        self._pending = PendingPrompts()
        self._images: dict[int, Tensor] = {}
        self._state: dict[str, Any] | None = None
        self._seen: Frame | None = None
        self._last_frame_idx: int | None = None
        self._predicted_ious: dict[tuple[int, int], float] = {}
        """(frame, object id) -> predicted IoU, which the official state does not keep."""

    @property
    def obj_ids(self) -> list[int]:
        return list(dict.fromkeys([*self._followed, *self._pending]))

    @property
    def _followed(self) -> list[int]:
        """The objects that the official state knows."""
        return list(self._state["obj_ids"]) if self._state else []

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
        self._pending.add(obj_id, box=box, points=points, labels=labels, mask=mask, label=label)

    def step(self, frame: Frame | UInt8Array, *, bgr: bool = False) -> FrameResult:
        frame = as_frame(frame, self._last_frame_idx, reverse=self.reverse, bgr=bgr)
        state = self._take(frame)
        with self._computing():
            self._answer_pending(state, frame)
            if self._followed:
                self._preflight(state)
            for obj_idx, obj_id in enumerate(self._followed):
                self._track(state, frame.index, obj_idx, obj_id)
        self._seen, self._last_frame_idx = frame, frame.index
        result = self._result(state, frame)
        if not self.keep_frames:
            self._images = {frame.index: self._images[frame.index]}
            state["images"] = self._images
        return result

    def condition(self, frame: Frame) -> FrameResult:
        check_frame(frame)
        state = self._take(frame)
        if not self._pending:
            raise PromptError(f"frame {frame.index} was given to condition() but no object is prompted")
        with self._computing():
            self._answer_pending(state, frame)
        return self._result(state, frame)

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
        if self._state is None or self._seen is None:
            raise no_frame_to_correct()
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask).fit(self._seen.size_hw)
        with self._computing():
            self._answer(self._state, self._seen.index, obj_id, prompt)
        return self._result(self._state, self._seen)

    def remove(self, obj_id: int) -> None:
        obj_id = checked_id(obj_id)
        if obj_id not in self.obj_ids:
            raise PromptError(f"there is no object {obj_id} to remove", hint=f"objects: {self.obj_ids}")
        self._pending.forget(obj_id)
        if self._state is not None and obj_id in self._followed:
            with self._computing():
                self.predictor.remove_object(self._state, obj_id, need_output=False)

    def save(self, path: str | PathLike[str]) -> None:
        self._write(self, path)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        device, dtype = self.predictor.device, self.dtype
        is_cast = dtype != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=is_cast):
            yield

    def _take(self, frame: Frame) -> dict[str, Any]:
        """Put a frame where the official code looks for it, and return its state."""
        check_frame_order(frame.index, self._last_frame_idx, reverse=self.reverse)
        if self.num_frames is not None and not 0 <= frame.index < self.num_frames:
            raise InputError(
                f"frame {frame.index} in a video that was declared to have {self.num_frames} frames",
                hint="start(num_frames=...) with the real length, or None where it is not known",
            )
        predictor = self.predictor
        if self._state is None:
            length = self.num_frames or LIVE_STREAM_LENGTH
            self._state = start_state(predictor, self._images, frame.size_hw, length)
        state = self._state
        if frame.size_hw != (state["video_height"], state["video_width"]):
            raise InputError(
                f"frame {frame.index} is {frame.size_hw[1]}x{frame.size_hw[0]}, "
                f"the video was {state['video_width']}x{state['video_height']}",
                hint="start a new session for a new size",
            )
        self._images[frame.index] = model_input(frame, predictor.image_size).to(predictor.device)
        if frame.index in state["cached_features"]:
            state["cached_features"] = {}
        return state

    def _answer_pending(self, state: dict[str, Any], frame: Frame) -> None:
        fitted = self._pending.fit(frame)
        self._pending.clear()
        for obj_id, prompt in fitted.items():
            self._answer(state, frame.index, obj_id, prompt)

    def _answer(self, state: dict[str, Any], frame_idx: int, obj_id: int, prompt: Prompt) -> None:
        with predicted_ious(self.predictor) as found:
            add_prompt(self.predictor, state, frame_idx, obj_id, prompt)
        # A mask prompt is taken as it is; the decoder runs only to make the pointer.
        self._predicted_ious[frame_idx, obj_id] = 1.0 if prompt.mask is not None else found[-1]

    def _preflight(self, state: dict[str, Any]) -> None:
        """Encode prompted frames into memory, as the official loop does before it starts."""
        self.predictor.propagate_in_video_preflight(state)
        if self.dtype == torch.float32:
            for outputs in state["output_dict_per_obj"].values():
                for output in outputs["cond_frame_outputs"].values():
                    output["maskmem_features"] = output["maskmem_features"].float()

    def _track(self, state: dict[str, Any], frame_idx: int, obj_idx: int, obj_id: int) -> None:
        """Do for one object what a turn of the loop in the official `propagate_in_video` does."""
        outputs = state["output_dict_per_obj"][obj_idx]
        if frame_idx not in outputs["cond_frame_outputs"]:
            with predicted_ious(self.predictor) as found:
                output, _ = self.predictor._run_single_frame_inference(
                    inference_state=state,
                    output_dict=outputs,
                    frame_idx=frame_idx,
                    batch_size=1,
                    is_init_cond_frame=False,
                    point_inputs=None,
                    mask_inputs=None,
                    reverse=self.reverse,
                    run_mem_encoder=True,
                )
            outputs["non_cond_frame_outputs"][frame_idx] = output
            self._predicted_ious[frame_idx, obj_id] = found[-1]
        state["frames_tracked_per_obj"][obj_idx][frame_idx] = {"reverse": self.reverse}

    def _result(self, state: dict[str, Any], frame: Frame) -> FrameResult:
        """The result of a frame from the official state; corrections come before prompts, and those before
        tracked masks."""
        rows = []
        for obj_idx, obj_id in enumerate(self._followed):
            for outputs in (
                state["temp_output_dict_per_obj"][obj_idx],
                state["output_dict_per_obj"][obj_idx],
            ):
                found = outputs["cond_frame_outputs"].get(frame.index)
                found = found or outputs["non_cond_frame_outputs"].get(frame.index)
                if found is not None:
                    rows.append((obj_id, found))
                    break
        side = self.predictor.image_size // 4
        low_res = _stacked([output["pred_masks"][0, 0] for _, output in rows], (0, side, side))
        scores = _stacked([output["object_score_logits"][0, 0] for _, output in rows], (0,))
        ious = np.array([self._predicted_ious[frame.index, obj_id] for obj_id, _ in rows], np.float32)
        has_pixels = [bool(mask.any()) for mask in low_res > 0]
        return FrameResult(
            frame_idx=frame.index,
            pts_seconds=frame.pts_seconds,
            size_hw=frame.size_hw,
            obj_ids=[obj_id for obj_id, _ in rows],
            low_res_logits=low_res,
            object_score_logits=scores,
            predicted_ious=ious,
            states=[object_state(*facts) for facts in zip(scores, ious, has_pixels, strict=True)],
            to_video_res=self._to_video_res,
            object_pointers=_stacked([output["obj_ptr"][0] for _, output in rows], (0, 256)),
            labels=self._pending.names_of(obj_id for obj_id, _ in rows),
        )

    def _to_video_res(self, low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        if not len(low_res_logits):
            return np.zeros((0, *size_hw), np.float32)
        assert self._state is not None
        with torch.inference_mode():
            logits = torch.from_numpy(low_res_logits)[:, None]
            _, video_res = self.predictor._get_orig_video_res_output(self._state, logits)
        return np.asarray(video_res[:, 0].float().cpu().numpy())

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that can still be read: conditioning frames, and tracked ones within the horizon."""
        tensors = self._pending.to_tensors()
        facts: dict[str, Any] = {
            "num_frames": self.num_frames,
            "reverse": self.reverse,
            "last_frame": self._last_frame_idx,
            "size_hw": None,
            "objects": [],
            "pending": list(self._pending),
            "names": self._pending.names,
        }
        state = self._state
        if state is None:
            return tensors, facts
        facts["size_hw"] = [state["video_height"], state["video_width"]]
        if not self._followed:
            return tensors, facts
        with self._computing():
            self._preflight(state)
        for level, codes in enumerate(state["constants"]["maskmem_pos_enc"]):
            tensors[f"constants.{level}"] = codes
        now = self._last_frame_idx
        for obj_idx, obj_id in enumerate(self._followed):
            entry: dict[str, Any] = {"id": obj_id}
            for kind, outputs in state["output_dict_per_obj"][obj_idx].items():
                is_read = {
                    idx: output
                    for idx, output in outputs.items()
                    if kind == "cond_frame_outputs" or now is None or abs(idx - now) <= HORIZON
                }
                entry[kind] = {idx: self._predicted_ious[idx, obj_id] for idx in is_read}
                for idx, output in is_read.items():
                    for part in _STORED:
                        tensors[f"{obj_id}.{kind}.{idx}.{part}"] = output[part]
            tracked = state["frames_tracked_per_obj"][obj_idx]
            entry["tracked"] = [idx for idx in tracked if now is None or abs(idx - now) <= HORIZON]
            facts["objects"].append(entry)
        return tensors, facts

    def fill(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put what `contents` returned into a new session."""
        self._pending = PendingPrompts.of_tensors(facts["pending"], tensors, facts.get("names", {}))
        self._last_frame_idx = facts["last_frame"]
        if facts["size_hw"] is None:
            return
        predictor = self.predictor
        height, width = facts["size_hw"]
        length = self.num_frames or LIVE_STREAM_LENGTH
        state = self._state = start_state(predictor, self._images, (height, width), length)
        if not facts["objects"]:
            return
        codes = [tensors[name] for name in sorted(name for name in tensors if name.startswith("constants."))]
        state["constants"]["maskmem_pos_enc"] = codes
        for entry in facts["objects"]:
            obj_id = entry["id"]
            obj_idx = predictor._obj_id_to_idx(state, obj_id)
            for kind, outputs in state["output_dict_per_obj"][obj_idx].items():
                for text, predicted_iou in entry[kind].items():
                    name = f"{obj_id}.{kind}.{text}"
                    output = {part: tensors[f"{name}.{part}"] for part in _STORED}
                    outputs[int(text)] = {**output, "maskmem_pos_enc": codes}
                    self._predicted_ious[int(text), obj_id] = predicted_iou
            tracked = {idx: {"reverse": self.reverse} for idx in entry["tracked"]}
            state["frames_tracked_per_obj"][obj_idx] = tracked


_STORED = ("maskmem_features", "pred_masks", "obj_ptr", "object_score_logits")
"""The tensors that the official state holds for one object on one frame."""


def _stacked(tensors: Sequence[Tensor], empty: tuple[int, ...]) -> FloatArray:
    if not tensors:
        return np.zeros(empty, np.float32)
    return np.asarray(torch.stack(list(tensors)).float().cpu().numpy())
