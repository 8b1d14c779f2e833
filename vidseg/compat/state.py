"""The state of one video, which scripts read like the official dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vidseg.compat.calls import CallError
from vidseg.compat.video import Video
from vidseg.memory.bank import MemoryFrame, ObjectBank
from vidseg.trackers.contract import Prompt
from vidseg.trackers.session import EngineSession

if TYPE_CHECKING:
    from vidseg.compat.model import SAM2Base


@dataclass(eq=False)
class ObjectState:
    """One object: its memories, and what else the official state holds about it."""

    bank: ObjectBank = field(default_factory=ObjectBank)
    prompts: dict[int, Prompt] = field(default_factory=dict)
    """Points, boxes and masks by frame, so that later prompts can add to them."""
    waiting_conditioning: dict[int, MemoryFrame] = field(default_factory=dict)
    """Answers to prompts; no frame reads them before the next propagation starts."""
    waiting_corrections: dict[int, MemoryFrame] = field(default_factory=dict)
    """Answers to prompts on frames that had been tracked, which wait in the same way."""
    was_reverse: dict[int, bool] = field(default_factory=dict)
    """The frames that propagation has visited, and whether it ran in reverse there."""


class InferenceState(Mapping[str, Any]):
    """One video and what is known of it; made by `SAM2VideoPredictor.init_state`.

    It reads as the official dictionary does (`state["num_frames"]`, `"obj_ids" in state`,
    `state["output_dict_per_obj"][0]["cond_frame_outputs"]`, ...); the values are made when they are asked
    for, and changing them changes nothing.
    """

    def __init__(self, video: Video, session: EngineSession, model: SAM2Base) -> None:
        self.video = video
        self.model = model
        self.objects: dict[int, ObjectState] = {}
        self._session = session

    @property
    def session(self) -> EngineSession:
        # Options may be set on the predictor at any time.
        self._session.options = self.model.tracker.options
        return self._session

    @property
    def obj_ids(self) -> list[int]:
        return list(self.objects)

    def __getitem__(self, key: str) -> Any:
        return FACTS[key](self)

    def __iter__(self) -> Iterator[str]:
        return iter(FACTS)

    def __len__(self) -> int:
        return len(FACTS)

    def __setitem__(self, key: str, value: object) -> None:
        raise CallError(
            f"state['{key}'] cannot be set", hint="the predictor's methods change what is known of a video"
        )

    def __repr__(self) -> str:
        height, width = self.video.size_hw
        return f"InferenceState({self.video.num_frames} frames of {width}x{height}, obj_ids={self.obj_ids})"


class ModelInputs(Sequence[Tensor]):
    """`state["images"]`: frames as the model sees them, float32 3 x S x S, made when they are asked for."""

    def __init__(self, state: InferenceState) -> None:
        self._state = state

    def __len__(self) -> int:
        return self._state.video.num_frames

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[t] for t in range(*place.indices(len(self)))]
        # Iteration over a sequence stops at an IndexError.
        place = range(len(self))[place]
        return self._state.session.engine.model_input(self._state.video.frame(place))


def _by_object(make: Callable[[InferenceState, ObjectState], Any]) -> Callable[[InferenceState], Any]:
    return lambda state: {place: make(state, known) for place, known in enumerate(state.objects.values())}


def _outputs(conditioning: Mapping[int, MemoryFrame], tracked: Mapping[int, MemoryFrame]) -> dict[str, Any]:
    return {
        "cond_frame_outputs": {t: _output(memory) for t, memory in conditioning.items()},
        "non_cond_frame_outputs": {t: _output(memory) for t, memory in tracked.items()},
    }


def _output(memory: MemoryFrame) -> dict[str, Any]:
    logits = memory.low_res_logits_hw
    return {
        "pred_masks": None if logits is None else logits[None, None],
        "obj_ptr": memory.pointer_c[None],
        "object_score_logits": torch.tensor([[memory.object_score_logit]]),
    }


def _points(state: InferenceState, known: ObjectState) -> dict[int, dict[str, Tensor]]:
    """The points of an object as the official state has them: pixels of the model's input, corners of a box
    first."""
    height, width = state.video.size_hw
    scale = np.array([state.model.image_size / width, state.model.image_size / height], np.float32)
    found = {}
    for frame_idx, prompt in known.prompts.items():
        if prompt.mask is None:
            corners, marks = np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
            if prompt.box is not None:
                corners, marks = prompt.box.reshape(2, 2), np.array([2, 3], np.int32)
            xy = np.concatenate([corners, prompt.points_xy]) * scale
            labels = np.concatenate([marks, prompt.labels])
            found[frame_idx] = {
                "point_coords": torch.from_numpy(xy)[None],
                "point_labels": torch.from_numpy(labels)[None],
            }
    return found


FACTS: dict[str, Callable[[InferenceState], Any]] = {
    "images": ModelInputs,
    "num_frames": lambda state: state.video.num_frames,
    "video_height": lambda state: state.video.size_hw[0],
    "video_width": lambda state: state.video.size_hw[1],
    "device": lambda state: state.model.device,
    "storage_device": lambda state: state.model.device,
    "offload_video_to_cpu": lambda _: False,
    "offload_state_to_cpu": lambda _: False,
    "obj_ids": lambda state: state.obj_ids,
    "obj_id_to_idx": lambda state: {obj_id: place for place, obj_id in enumerate(state.objects)},
    "obj_idx_to_id": lambda state: dict(enumerate(state.objects)),
    "point_inputs_per_obj": _by_object(_points),
    "mask_inputs_per_obj": _by_object(
        lambda _, known: {
            t: torch.from_numpy(prompt.mask)[None, None]
            for t, prompt in known.prompts.items()
            if prompt.mask is not None
        }
    ),
    "output_dict_per_obj": _by_object(lambda _, known: _outputs(known.bank.conditioning, known.bank.tracked)),
    "temp_output_dict_per_obj": _by_object(
        lambda _, known: _outputs(known.waiting_conditioning, known.waiting_corrections)
    ),
    "frames_tracked_per_obj": _by_object(
        lambda _, known: {t: {"reverse": reverse} for t, reverse in known.was_reverse.items()}
    ),
}
"""Key of the official state (release 1.1) -> its value; `cached_features` and `constants` have no
counterpart."""
