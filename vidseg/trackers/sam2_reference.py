"""The official SAM 2 video predictor behind our tracker contract: for parity tests and benchmarks.

Every number is the official code's own; this module feeds it frame by frame and collects what it says.
As in the official package, memory grows with the video: all outputs are kept, and all frames unless
`keep_frames: false`.

Where we had to choose:

- A frame's image is resized as the official loader of JPEG folders does it (Pillow's `resize`, bicubic).
- The official loop takes a whole clip and skips frame 0 in reverse; here each step does what one turn of that
  loop does, so frames may come from a stream, and frame 0 is tracked in reverse too.
- A float32 run of the official code fails where an object has a memory but no pointer (on frames before its
  first prompt): nothing lifts the bfloat16 memory to float32. Memories of conditioning frames are therefore
  kept as float32 after the rounding to bfloat16; the values are the same.
- Hole filling needs the official CUDA extension. Without it the official code leaves masks as they are and
  warns on each call; here the option is off then, which gives the same masks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vidseg.errors import ConfigError, InputError, PromptError
from vidseg.trackers.contract import Frame, FrameResult, Prompt, TrackerTraits
from vidseg.trackers.device import pick_device
from vidseg.trackers.frame_order import check_frame_order
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.pending import PendingPrompts, checked_id
from vidseg.trackers.sam2_official import (
    OfficialConfig,
    add_prompt,
    build_predictor,
    model_input,
    predicted_ious,
    start_state,
)
from vidseg.trackers.session_file import read_session, write_session
from vidseg.trackers.states import object_state
from vidseg.trackers.weights import find_weights, read_checkpoint, state_sha256, tracker_of
from vidseg.validation import Strict, parse

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    from vidseg.trackers.contract import FloatArray

HORIZON = 16
"""Of tracked frames, none further back than this is read (6 memories, 15 pointers)."""
LIVE_STREAM_LENGTH = 1 << 30
"""The official code wants a number of frames; all numbers from 16 on have the same effect."""


class Sam2ReferenceConfig(Strict):
    """What the YAML may say."""

    config: OfficialConfig
    image_size: int | None = None
    """A multiple of 32; None for 1024."""
    keep_frames: bool = True
    """False drops a frame once it was stepped through, which the official code never does."""
    non_overlap_masks: bool = False
    add_all_frames_to_correct_as_cond: bool = False
    fill_hole_area: int = 8


_TAKEN = {
    "weights",
    "device",
    "dtype",
    "image_size",
    "compile",
    "non_overlap_masks",
    "corrections_condition",
    "fill_hole_area",
}
"""The options that the official predictor has, too."""


class Sam2ReferenceTracker:
    """See `vidseg.trackers.contract.Tracker`."""

    traits = TrackerTraits(takes_decoded=True)

    def __init__(
        self,
        name: str,
        config: Sam2ReferenceConfig,
        predictor: SAM2VideoPredictor,
        dtype: torch.dtype,
        weights_sha256: str | None,
    ) -> None:
        self.name = name
        self.config = config
        self.predictor = predictor
        self.dtype = dtype
        self.weights_sha256 = weights_sha256

    @classmethod
    def build(cls, name: str, config: Mapping[str, Any], options: TrackerOptions) -> Sam2ReferenceTracker:
        """Build and load. `dtype='bfloat16'` is the official use: weights in float32, autocast to bfloat16.

        Raises:
            MissingExtraError: the package `sam2` is not installed.
            ConfigError: the configuration or an option is wrong, or the device is not there.
            CheckpointError: weights are missing or do not fit.
        """
        where = f"tracker '{name}'"
        options.require_taken(_TAKEN, by=name, why={}, extra=Sam2ReferenceConfig.model_fields)
        asked = {
            "image_size": options.image_size,
            "non_overlap_masks": options.non_overlap_masks,
            "add_all_frames_to_correct_as_cond": options.corrections_condition,
            "fill_hole_area": options.fill_hole_area,
        }
        merged = {
            **config,
            **options.extra,
            **{key: value for key, value in asked.items() if value is not None},
        }
        checked = parse(Sam2ReferenceConfig, merged, where=where, error=ConfigError)
        if checked.image_size is not None and (checked.image_size < 32 or checked.image_size % 32):
            raise ConfigError(
                f"image size {checked.image_size}", where=where, hint="give a multiple of 32, e.g. 512"
            )
        state = None
        if options.weights is not None:
            state = read_checkpoint(options.weights)
        elif not options.allow_random_weights:
            state = read_checkpoint(find_weights(tracker_of(checked.config)))
        predictor = build_predictor(
            checked.config,
            state,
            image_size=checked.image_size,
            device=pick_device(options.device),
            compile=bool(options.compile),
            non_overlap_masks=checked.non_overlap_masks,
            add_all_frames_to_correct_as_cond=checked.add_all_frames_to_correct_as_cond,
            fill_hole_area=checked.fill_hole_area,
        )
        digest = state_sha256(predictor.state_dict()) if state is not None else None
        return cls(name, checked, predictor, getattr(torch, options.dtype), digest)

    def start(self, num_frames: int | None = None, reverse: bool = False) -> Sam2ReferenceSession:
        return Sam2ReferenceSession(self, num_frames, reverse)

    def restore(self, path: str | PathLike[str]) -> Sam2ReferenceSession:
        tensors, facts = read_session(
            path, tracker=self.name, fingerprint=self.fingerprint(), device=str(self.predictor.device)
        )
        session = self.start(facts["num_frames"], facts["reverse"])
        session.fill(tensors, facts)
        return session

    def describe(self) -> dict[str, Any]:
        from importlib.metadata import version

        return {
            "name": self.name,
            "config": {"kind": "sam2-reference", **self.config.model_dump()},
            "options": {"fills_holes": self.predictor.fill_hole_area > 0},
            "weights_sha256": self.weights_sha256,
            "parameters": sum(parameter.numel() for parameter in self.predictor.parameters()),
            "device": str(self.predictor.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "sam2": version("sam2"),
        }

    def fingerprint(self) -> str:
        """What must be the same for a saved session to go on."""
        facts = {key: value for key, value in self.describe().items() if key != "device"}
        facts["weights_sha256"] = self.weights_sha256 or state_sha256(self.predictor.state_dict())
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Sam2ReferenceSession:
    """See `vidseg.trackers.contract.Session`."""

    def __init__(self, tracker: Sam2ReferenceTracker, num_frames: int | None, reverse: bool) -> None:
        self.tracker = tracker
        self.num_frames = num_frames
        self.reverse = reverse
        self._pending = PendingPrompts()
        self._images: dict[int, Tensor] = {}
        self._state: dict[str, Any] | None = None
        self._seen: Frame | None = None
        self._last_frame_idx: int | None = None
        self._predicted_ious: dict[tuple[int, int], float] = {}
        """(frame, object id) -> what the official state does not keep."""

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
        box: Sequence[float] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        mask: Any = None,
    ) -> None:
        self._pending.add(obj_id, box=box, points=points, labels=labels, mask=mask)

    def step(self, frame: Frame) -> FrameResult:
        state = self._take(frame)
        with self._computing():
            self._answer_pending(state, frame)
            if self._followed:
                self._preflight(state)
            for obj_idx, obj_id in enumerate(self._followed):
                self._track(state, frame.index, obj_idx, obj_id)
        self._seen, self._last_frame_idx = frame, frame.index
        result = self._result(state, frame)
        if not self.tracker.config.keep_frames:
            self._images = {frame.index: self._images[frame.index]}
            state["images"] = self._images
        return result

    def condition(self, frame: Frame) -> FrameResult:
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
        box: Sequence[float] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        mask: Any = None,
    ) -> FrameResult:
        obj_id = checked_id(obj_id)
        if self._state is None or self._seen is None:
            raise InputError(
                "there is no frame to correct",
                hint="step() a frame first (also after a session was restored)",
            )
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask).fit(self._seen.size_hw)
        with self._computing():
            self._answer(self._state, self._seen.index, obj_id, prompt)
        return self._result(self._state, self._seen)

    def remove(self, obj_id: int) -> None:
        if obj_id not in self.obj_ids:
            raise PromptError(f"there is no object {obj_id} to remove", hint=f"objects: {self.obj_ids}")
        self._pending.pop(obj_id, None)
        if self._state is not None and obj_id in self._followed:
            with self._computing():
                self.tracker.predictor.remove_object(self._state, obj_id, need_output=False)

    def save(self, path: str | PathLike[str]) -> None:
        tensors, facts = self._contents()
        write_session(
            path,
            tracker=self.tracker.name,
            fingerprint=self.tracker.fingerprint(),
            tensors=tensors,
            facts=facts,
        )

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        device, dtype = self.tracker.predictor.device, self.tracker.dtype
        is_cast = dtype != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=is_cast):
            yield

    def _take(self, frame: Frame) -> dict[str, Any]:
        """Put a frame where the official code looks for it."""
        check_frame_order(frame.index, self._last_frame_idx, reverse=self.reverse)
        if self.num_frames is not None and not 0 <= frame.index < self.num_frames:
            raise InputError(
                f"frame {frame.index} in a video that was declared to have {self.num_frames} frames",
                hint="start(num_frames=...) with the real length, or None where it is not known",
            )
        predictor = self.tracker.predictor
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
        with predicted_ious(self.tracker.predictor) as found:
            add_prompt(self.tracker.predictor, state, frame_idx, obj_id, prompt)
        # A mask prompt is taken as it is; the decoder runs for the pointer alone.
        self._predicted_ious[frame_idx, obj_id] = 1.0 if prompt.mask is not None else found[-1]

    def _preflight(self, state: dict[str, Any]) -> None:
        """Encode what was prompted into memory, as the official loop does before it starts."""
        self.tracker.predictor.propagate_in_video_preflight(state)
        if self.tracker.dtype == torch.float32:
            for outputs in state["output_dict_per_obj"].values():
                for output in outputs["cond_frame_outputs"].values():
                    output["maskmem_features"] = output["maskmem_features"].float()

    def _track(self, state: dict[str, Any], frame_idx: int, obj_idx: int, obj_id: int) -> None:
        """One object's turn of the loop in the official `propagate_in_video`."""
        outputs = state["output_dict_per_obj"][obj_idx]
        if frame_idx not in outputs["cond_frame_outputs"]:
            with predicted_ious(self.tracker.predictor) as found:
                output, _ = self.tracker.predictor._run_single_frame_inference(
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
        """What the official state holds of a frame, newest first: corrections, prompts, tracked."""
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
        side = self.tracker.predictor.image_size // 4
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
        )

    def _to_video_res(self, low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        if not len(low_res_logits):
            return np.zeros((0, *size_hw), np.float32)
        assert self._state is not None
        with torch.inference_mode():
            logits = torch.from_numpy(low_res_logits)[:, None]
            _, video_res = self.tracker.predictor._get_orig_video_res_output(self._state, logits)
        return np.asarray(video_res[:, 0].float().cpu().numpy())

    def _contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What can still be read: conditioning frames, and tracked ones within the horizon."""
        tensors = self._pending.to_tensors()
        facts: dict[str, Any] = {
            "num_frames": self.num_frames,
            "reverse": self.reverse,
            "last_frame": self._last_frame_idx,
            "size_hw": None,
            "objects": [],
            "pending": list(self._pending),
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
        """Put what `save` wrote into a fresh session."""
        self._pending = PendingPrompts.of_tensors(facts["pending"], tensors)
        self._last_frame_idx = facts["last_frame"]
        if facts["size_hw"] is None:
            return
        predictor = self.tracker.predictor
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
"""The tensors of one object on one frame, in the official state."""


def _stacked(tensors: Sequence[Tensor], empty: tuple[int, ...]) -> FloatArray:
    if not tensors:
        return np.zeros(empty, np.float32)
    return np.asarray(torch.stack(list(tensors)).float().cpu().numpy())
