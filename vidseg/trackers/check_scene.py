"""The scene on which `check_tracker` tests promises: two textured squares drift over a textured ground."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from vidseg.errors import CheckpointError, InputError, PromptError
from vidseg.trackers.contract import Frame, FrameResult, ObjectState, Session, Tracker

HEIGHT, WIDTH = 96, 128


class BrokenPromiseError(Exception):
    """A promise is broken; the message says how."""


def require(kept: bool | np.bool_, how: str) -> None:
    """Raise a `BrokenPromiseError` unless a promise is kept."""
    if not kept:
        raise BrokenPromiseError(how)


def scene_box(obj_id: int, index: int) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1) of object 1 or 2 of the scene on a frame."""
    x0, y0 = (16 + index % 24, 20) if obj_id == 1 else (76, 40 - index % 24 // 2)
    return x0, y0, x0 + 36, y0 + 40


def scene_mask(obj_id: int, index: int) -> npt.NDArray[np.bool_]:
    """The mask of object 1 or 2 of the scene on a frame."""
    x0, y0, x1, y1 = scene_box(obj_id, index)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def scene_frame(index: int) -> Frame:
    """A frame of the scene."""
    noise = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3))
    image = noise.astype(np.uint8) + np.array([40, 110, 60], np.uint8)
    for obj_id, colour in ((1, (190, 50, 40)), (2, (60, 70, 190))):
        x0, y0, x1, y1 = scene_box(obj_id, index)
        image[y0:y1, x0:x1] = noise[: y1 - y0, : x1 - x0] + np.array(colour)
    return Frame(index, index / 25, image)


def started(tracker: Tracker, *obj_ids: int, index: int = 0, **options: Any) -> tuple[Session, FrameResult]:
    """A session whose objects were prompted by box on one frame, and that frame's result."""
    session = tracker.start(**options)
    for obj_id in obj_ids:
        session.prompt(obj_id, box=scene_box(obj_id, index))
    return session, session.step(scene_frame(index))


def check_result(result: FrameResult, frame: Frame, obj_ids: list[int]) -> None:
    """Require a result to be whole: times, sizes, ids and types as promised."""
    require(isinstance(result, FrameResult), f"the result is a {type(result).__name__}, not a FrameResult")
    for name, got, wanted in (
        ("frame_idx", result.frame_idx, frame.index),
        ("pts_seconds", result.pts_seconds, frame.pts_seconds),
        ("size_hw", tuple(result.size_hw), frame.size_hw),
        ("obj_ids", result.obj_ids, obj_ids),
    ):
        require(got == wanted, f"{name} is {got}, not {wanted}")
    count = len(obj_ids)
    video = (count, *frame.size_hw)
    for name, array, dtype, shape in (
        ("low_res_logits", result.low_res_logits, np.float32, (count, *result.low_res_logits.shape[1:3])),
        ("object_score_logits", result.object_score_logits, np.float32, (count,)),
        ("predicted_ious", result.predicted_ious, np.float32, (count,)),
        ("video_res_logits", result.video_res_logits, np.float32, video),
        ("masks", result.masks, np.bool_, video),
    ):
        require(isinstance(array, np.ndarray), f"{name} is a {type(array).__name__}, not a NumPy array")
        require(array.dtype == dtype, f"{name} is {array.dtype}, not {np.dtype(dtype)}")
        require(array.shape == shape, f"{name} has shape {array.shape}, not {shape}")
        require(np.isfinite(array).all(), f"{name} has numbers that are not finite")
    require(result.low_res_logits.ndim == 3, "low_res_logits is not N x h x w")
    ious = result.predicted_ious
    require(((ious >= 0) & (ious <= 1)).all(), f"predicted_ious {ious.tolist()} are not in 0 to 1")
    require(len(result.states) == count, f"{len(result.states)} states for {count} objects")
    for row, state in enumerate(result.states):
        require(state in get_args(ObjectState), f"the state {state!r} is none of {get_args(ObjectState)}")
        if state == "absent":
            require(not result.masks[row].any(), "an absent object has a mask that is not empty")
        else:
            require(
                result.object_score_logits[row] > 0, f"the object score of a {state} object is not above 0"
            )


def require_same(got: FrameResult, wanted: FrameResult, when: str) -> None:
    """Require two results to say the same."""
    require(got.obj_ids == wanted.obj_ids, f"{when} the objects are {got.obj_ids}, not {wanted.obj_ids}")
    for name in ("low_res_logits", "masks", "object_score_logits", "predicted_ious"):
        require(np.array_equal(getattr(got, name), getattr(wanted, name)), f"{when} {name} differ")
    require(got.states == wanted.states, f"{when} the states are {got.states}, not {wanted.states}")


def pixels_of(frame: Frame) -> npt.NDArray[np.uint8]:
    """The image of a frame that has one."""
    assert frame.image is not None
    return frame.image


def error_of(call: Callable[[], object]) -> type[Exception] | None:
    """The class of the error that a call raises: if it is one of the contract's, that one; None: no error."""
    try:
        call()
    except Exception as error:
        for known in (PromptError, CheckpointError, InputError):
            if isinstance(error, known):
                return known
        return type(error)
    return None


def shown(prompt: dict[str, Any]) -> str:
    """A prompt in words for messages."""
    parts = (
        f"{k} of shape {v.shape}" if isinstance(v, np.ndarray) else f"{k} {v}" for k, v in prompt.items()
    )
    return "the prompt with " + ", ".join(parts) if prompt else "an empty prompt"
