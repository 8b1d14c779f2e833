"""Does a tracker keep the contract? A check that the author of a plug-in can run.

    import vidseg
    vidseg.check_tracker(my_tracker)      # silent, or a ContractError that names the broken promise

In the manner of stable-baselines3's `check_env`: it makes small frames of its own and asks for behaviour
alone, not for good masks. The promises are the functions in `PROMISES`, each with its promise as docstring.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from vidseg.errors import CheckpointError, ContractError, InputError, PromptError
from vidseg.trackers.contract import Frame, FrameResult, ObjectState, Session, Tracker

HEIGHT, WIDTH = 96, 128
STATE_HORIZON = 48
"""Frames after which a saved session must have stopped growing: SAM 2 looks back 16, a bank that remembers
every fifth frame 35."""


def check_tracker(tracker: Tracker) -> None:
    """Check that a tracker keeps the contract of `vidseg.trackers.contract`.

    Takes about 170 steps on frames of 128 x 96 pixels.

    Raises:
        ContractError: names the first promise that is broken, and how.
    """
    name = getattr(tracker, "name", type(tracker).__name__)
    for promise in PROMISES:
        what = " ".join((promise.__doc__ or "").split())
        try:
            promise(tracker)
        except BrokenPromiseError as broken:
            raise ContractError(
                f"tracker '{name}' breaks a promise: {what}", where=promise.__name__, hint=str(broken)
            ) from None
        except Exception as error:
            raise ContractError(
                f"tracker '{name}' breaks a promise: {what}",
                where=promise.__name__,
                hint=f"it raised {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            ) from error


class BrokenPromiseError(Exception):
    """How a promise is broken."""


def require(kept: bool | np.bool_, how: str) -> None:
    if not kept:
        raise BrokenPromiseError(how)


# The scene: two textured squares that drift over a textured ground.


def scene_box(obj_id: int, index: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the scene's object 1 or 2 on a frame."""
    x0, y0 = (16 + index % 24, 20) if obj_id == 1 else (76, 40 - index % 24 // 2)
    return x0, y0, x0 + 36, y0 + 40


def scene_mask(obj_id: int, index: int) -> npt.NDArray[np.bool_]:
    x0, y0, x1, y1 = scene_box(obj_id, index)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def scene_frame(index: int) -> Frame:
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


# The promises.


def describes_itself(tracker: Tracker) -> None:
    """describe() gives JSON values with `name`, `config` and `weights_sha256`."""
    facts = tracker.describe()
    for key in ("name", "config", "weights_sha256"):
        require(key in facts, f"'{key}' is missing")
    require(facts["name"] == tracker.name, f"its name is '{tracker.name}', it says '{facts['name']}'")
    require(
        json.loads(json.dumps(dict(facts))) == dict(facts),
        "it does not come back equal from a JSON round trip",
    )


def has_the_methods(tracker: Tracker) -> None:
    """A tracker and its sessions have all methods of the contract."""
    require(isinstance(tracker, Tracker), "name, start, restore or describe is missing from the tracker")
    require(
        isinstance(tracker.start(), Session),
        "obj_ids, prompt, step, condition, refine, remove or save is missing from the session",
    )


def steps_without_objects(tracker: Tracker) -> None:
    """Without objects a frame's result has N = 0."""
    session = tracker.start()
    for index in range(2):
        _check_result(session.step(scene_frame(index)), scene_frame(index), [])


def gives_whole_results(tracker: Tracker) -> None:
    """A result has its frame's index, time and size, the objects' ids, and arrays of the promised types."""
    session, result = started(tracker, 1, 2, num_frames=STATE_HORIZON)
    grid = result.low_res_logits.shape[1:]
    for index in range(3):
        frame = scene_frame(index)
        result = result if index == 0 else session.step(frame)
        _check_result(result, frame, [1, 2])
        require(
            result.low_res_logits.shape[1:] == grid, "the grid of low_res_logits changes within the video"
        )
        require(session.obj_ids == [1, 2], f"session.obj_ids is {session.obj_ids}, not [1, 2]")


def makes_masks_when_asked(tracker: Tracker) -> None:
    """Masks at the video's size are made when they are first asked for, once."""
    _, result = started(tracker, 1)
    require(result._masks is None and result._video_res_logits is None, "they are made before anyone asks")
    require(result.masks is result.masks, "they are made anew each time")


def leaves_results_and_frames_alone(tracker: Tracker) -> None:
    """Going on changes neither an earlier result nor the caller's frames."""
    session, result = started(tracker, 1)
    logits, frame = result.low_res_logits.copy(), scene_frame(1)
    session.step(frame)
    session.refine(1, points=[[30, 30]], labels=[1])
    require(np.array_equal(_pixels(frame), _pixels(scene_frame(1))), "the frame's image was written to")
    require(np.array_equal(result.low_res_logits, logits), "the first result changed on a later frame")
    _check_result(result, scene_frame(0), [1])


def answers_a_mask_prompt_with_it(tracker: Tracker) -> None:
    """An object prompted with a mask has about that mask on that frame."""
    session = tracker.start()
    session.prompt(5, mask=scene_mask(1, 0))
    result = session.step(scene_frame(0))
    _check_result(result, scene_frame(0), [5])
    overlap = _iou(result.masks[0], scene_mask(1, 0))
    require(overlap >= 0.5, f"the IoU of prompt and answer is {overlap:.2f}, less than 0.5")


def takes_every_prompt(tracker: Tracker) -> None:
    """Points, a box, box and points together, and several calls for one frame are all taken."""
    box, on, off = scene_box(1, 0), [[34.0, 40.0]], [[110.0, 90.0]]
    session = tracker.start()
    session.prompt(1, points=on, labels=[1])
    session.prompt(2, box=box, points=off, labels=[0])
    session.prompt(3, points=on, labels=[1])
    session.prompt(3, points=off, labels=[0])
    session.prompt(4, points=on + off, labels=[1, 0])
    _check_result(session.step(scene_frame(0)), scene_frame(0), [1, 2, 3, 4])


def adds_objects_in_mid_stream(tracker: Tracker) -> None:
    """A new object can be prompted at any frame; ids are the caller's, in order of their first prompt."""
    session = tracker.start()
    session.prompt(9, box=scene_box(2, 0))
    session.step(scene_frame(0))
    _check_result(session.step(scene_frame(1)), scene_frame(1), [9])
    session.prompt(3, box=scene_box(1, 2))
    _check_result(session.step(scene_frame(2)), scene_frame(2), [9, 3])
    _check_result(session.step(scene_frame(3)), scene_frame(3), [9, 3])


def corrects_objects(tracker: Tracker) -> None:
    """An old object can be prompted again, and refine() corrects the frame just seen for one object alone."""
    session, _ = started(tracker, 1, 2)
    session.prompt(1, points=[[40, 40]], labels=[1])
    before = session.step(scene_frame(1))
    _check_result(before, scene_frame(1), [1, 2])
    elsewhere = scene_mask(1, 9)
    after = session.refine(2, mask=elsewhere)
    _check_result(after, scene_frame(1), [1, 2])
    require(
        np.array_equal(before.low_res_logits[0], after.low_res_logits[0]),
        "correcting object 2 changed object 1 on that frame",
    )
    overlap = _iou(after.masks[1], elsewhere)
    require(overlap >= 0.5, f"corrected with a mask, its IoU with that mask is {overlap:.2f}")
    _check_result(session.step(scene_frame(2)), scene_frame(2), [1, 2])


def removes_objects(tracker: Tracker) -> None:
    """remove() forgets one object; an unknown id is a PromptError; a removed id can be prompted again."""
    session, _ = started(tracker, 1, 2)
    session.remove(1)
    _check_result(session.step(scene_frame(1)), scene_frame(1), [2])
    for unknown in (1, 77):
        raised = _error(partial(session.remove, unknown))
        require(raised is PromptError, f"removing object {unknown}, which there is not, is no PromptError")
    session.prompt(1, box=scene_box(1, 2))
    _check_result(session.step(scene_frame(2)), scene_frame(2), [2, 1])
    session.remove(2)
    session.remove(1)
    _check_result(session.step(scene_frame(3)), scene_frame(3), [])


def refuses_bad_prompts(tracker: Tracker) -> None:
    """A bad prompt is a PromptError, at prompt() or on its frame, and the session goes on without it."""
    bad: list[dict[str, Any]] = [
        {},
        {"box": [10, 10, 10, 30]},
        {"box": [10, 10, 20]},
        {"box": [0, 0, float("nan"), 9]},
        {"points": [[5, 5]], "labels": [1, 0]},
        {"points": [[5, 5]], "labels": [3]},
        {"mask": np.zeros((HEIGHT, WIDTH), bool)},
        {"mask": scene_mask(1, 0), "box": [0, 0, 9, 9]},
        {"box": [WIDTH + 5, 5, WIDTH + 20, 20]},
        {"points": [[5, HEIGHT + 50]], "labels": [1]},
        {"mask": np.ones((HEIGHT // 2, WIDTH // 2), bool)},
    ]
    session, _ = started(tracker, 1)
    for index, prompt in enumerate(bad, start=1):
        for obj_id in (1, 2):  # an old object, and one that would be new

            def ask(obj_id: int = obj_id, prompt: dict[str, Any] = prompt, index: int = index) -> None:
                session.prompt(obj_id, **prompt)
                session.step(scene_frame(index))

            raised = _error(ask)
            require(
                raised is PromptError, f"{_shown(prompt)} gives {raised.__name__ if raised else 'no error'}"
            )
        raised = _error(partial(session.refine, 1, **prompt))
        require(raised is PromptError, f"refine with {_shown(prompt)} is no PromptError")
        result = session.step(scene_frame(index))
        require(result.obj_ids == [1], f"after {_shown(prompt)} the objects are {result.obj_ids}, not [1]")


def conditions_frames_ahead(tracker: Tracker) -> None:
    """A frame that lies ahead can be conditioned before the frames on the way are stepped through."""
    session = tracker.start(num_frames=4)
    session.prompt(1, box=scene_box(1, 0))
    session.condition(scene_frame(0))
    session.prompt(1, mask=scene_mask(1, 2))
    result = session.condition(scene_frame(2))
    require(result.frame_idx == 2 and 1 in result.obj_ids, f"conditioning frame 2 answers {result!r}")
    for index in range(4):
        result = session.step(scene_frame(index))
        _check_result(result, scene_frame(index), [1])
        if index == 2:
            overlap = _iou(result.masks[0], scene_mask(1, 2))
            require(overlap >= 0.5, f"on the conditioned frame the IoU with its mask is {overlap:.2f}")


def goes_in_reverse(tracker: Tracker) -> None:
    """start(reverse=True) takes frames in falling order of index."""
    session, _ = started(tracker, 1, index=5, reverse=True, num_frames=6)
    for index in (4, 3, 2):
        _check_result(session.step(scene_frame(index)), scene_frame(index), [1])


def restores_sessions(tracker: Tracker) -> None:
    """A saved session, restored, goes on with the very same results, waiting prompts included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        untouched, _ = started(tracker, 1, 2)
        session, _ = started(tracker, 1, 2)
        for each in (session, untouched):
            each.step(scene_frame(1))
            each.prompt(4, box=scene_box(1, 2))
        session.save(path)
        left = [file.name for file in Path(folder).iterdir() if file != path]
        require(path.is_file() and not left, f"save() leaves {left or 'no file'}")
        restored = tracker.restore(path)
        require(restored.obj_ids == session.obj_ids, f"the objects are {restored.obj_ids} after restoring")
        for index in (2, 3, 4):
            expected = untouched.step(scene_frame(index))
            _require_same(session.step(scene_frame(index)), expected, f"after saving, on frame {index}")
            _require_same(restored.step(scene_frame(index)), expected, f"after restoring, on frame {index}")


def refuses_foreign_states(tracker: Tracker) -> None:
    """restore() of what is not a session of this tracker is a CheckpointError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        require(_error(partial(tracker.restore, path)) is CheckpointError, "a missing file is not one")
        path.write_bytes(b"not a session")
        require(_error(partial(tracker.restore, path)) is CheckpointError, "a file of text is not one")


def keeps_a_bounded_state(tracker: Tracker) -> None:
    """A saved session does not grow with the video."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        session, _ = started(tracker, 1)
        sizes = []
        for index in range(1, STATE_HORIZON + 5):
            session.step(scene_frame(index))
            if index in (STATE_HORIZON, STATE_HORIZON + 4):
                session.save(path)
                sizes.append(path.stat().st_size)
        # Numbers in the metadata may gain a digit; a frame's memory is far larger.
        require(sizes[1] <= sizes[0] + 512, f"it grew from {sizes[0]} to {sizes[1]} bytes in four frames")


def keeps_sessions_apart(tracker: Tracker) -> None:
    """Sessions of one tracker share nothing, and the same video gives the same results."""
    alone, first = started(tracker, 1)
    expected = [first, *(alone.step(scene_frame(index)) for index in (1, 2))]
    session, result = started(tracker, 1)
    other, _ = started(tracker, 2, index=7)
    _require_same(result, expected[0], "on frame 0")
    for index in (1, 2):
        other.step(scene_frame(7 + index))
        _require_same(
            session.step(scene_frame(index)), expected[index], f"beside another session, on frame {index}"
        )


def does_not_care_for_the_order_of_objects(tracker: Tracker) -> None:
    """An object's masks do not depend on which object was prompted first."""
    one, result_one = started(tracker, 1, 2)
    two, result_two = started(tracker, 2, 1)
    for index in range(3):
        if index:
            result_one, result_two = one.step(scene_frame(index)), two.step(scene_frame(index))
        for row in (0, 1):
            # Sums in another order may move a pixel on the contour.
            overlap = _iou(result_one.masks[row], result_two.masks[1 - row])
            require(overlap >= 0.98, f"the IoU of the two masks of object {row + 1} is {overlap:.3f}")


PROMISES: Sequence[Callable[[Tracker], None]] = (
    has_the_methods,
    describes_itself,
    steps_without_objects,
    gives_whole_results,
    makes_masks_when_asked,
    leaves_results_and_frames_alone,
    answers_a_mask_prompt_with_it,
    takes_every_prompt,
    adds_objects_in_mid_stream,
    corrects_objects,
    removes_objects,
    refuses_bad_prompts,
    conditions_frames_ahead,
    goes_in_reverse,
    restores_sessions,
    refuses_foreign_states,
    keeps_a_bounded_state,
    keeps_sessions_apart,
    does_not_care_for_the_order_of_objects,
)


def _check_result(result: FrameResult, frame: Frame, obj_ids: list[int]) -> None:
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


def _require_same(got: FrameResult, wanted: FrameResult, when: str) -> None:
    require(got.obj_ids == wanted.obj_ids, f"{when} the objects are {got.obj_ids}, not {wanted.obj_ids}")
    for name in ("low_res_logits", "masks", "object_score_logits", "predicted_ious"):
        require(np.array_equal(getattr(got, name), getattr(wanted, name)), f"{when} {name} differ")
    require(got.states == wanted.states, f"{when} the states are {got.states}, not {wanted.states}")


def _pixels(frame: Frame) -> npt.NDArray[np.uint8]:
    assert frame.image is not None
    return frame.image


def _error(call: Callable[[], object]) -> type[Exception] | None:
    """The class of the error that a call raises: the contract's own where it is one of them."""
    try:
        call()
    except Exception as error:
        for known in (PromptError, CheckpointError, InputError):
            if isinstance(error, known):
                return known
        return type(error)
    return None


def _shown(prompt: dict[str, Any]) -> str:
    parts = (
        f"{k} of shape {v.shape}" if isinstance(v, np.ndarray) else f"{k} {v}" for k, v in prompt.items()
    )
    return "the prompt with " + ", ".join(parts) if prompt else "an empty prompt"


def _iou(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    union = int((mask | other).sum())
    return float((mask & other).sum() / union) if union else 1.0
