"""Checks that a tracker keeps the contract; authors of plug-ins can run it.

    import vidseg
    vidseg.check_tracker(my_tracker)      # silent, or a ContractError that names the broken promise

Like stable-baselines3's `check_env`, it makes small frames of its own and asks for behaviour alone, not for
good masks. The promises are the functions in `PROMISES`; the docstring of each says the promise.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.errors import CheckpointError, ContractError, PromptError
from vidseg.masks import iou
from vidseg.trackers.check_order import (
    adds_objects_in_mid_stream,
    conditions_frames_ahead,
    goes_in_reverse,
    keeps_labels,
    lets_frames_be_left_out,
    lists_objects_from_their_prompt_on,
    makes_removed_objects_anew,
    removes_objects,
    takes_each_frame_once,
)
from vidseg.trackers.check_scene import (
    HEIGHT,
    WIDTH,
    BrokenPromiseError,
    check_result,
    error_of,
    pixels_of,
    require,
    require_same,
    scene_box,
    scene_frame,
    scene_mask,
    shown,
    started,
)
from vidseg.trackers.contract import Session, Tracker

STATE_HORIZON = 48
"""After this many frames a saved session must have stopped growing: SAM 2 looks back 16 frames, a bank that
remembers every fifth frame 35."""


def check_tracker(tracker: Tracker) -> None:
    """Check that a tracker keeps the contract of `vidseg.trackers.contract`.

    It takes about 200 steps on frames of 128 x 96 pixels.

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
    require(
        isinstance(tracker, Tracker), "name, traits, start, restore or describe is missing from the tracker"
    )
    require(
        isinstance(tracker.start(), Session),
        "obj_ids, prompt, step, condition, refine, remove or save is missing from the session",
    )


def steps_without_objects(tracker: Tracker) -> None:
    """Without objects a frame's result has N = 0."""
    session = tracker.start()
    for index in range(2):
        check_result(session.step(scene_frame(index)), scene_frame(index), [])


def gives_whole_results(tracker: Tracker) -> None:
    """A result has its frame's index, time and size, the objects' ids, and arrays of the promised types."""
    session, result = started(tracker, 1, 2, num_frames=STATE_HORIZON)
    grid = result.low_res_logits.shape[1:]
    for index in range(3):
        frame = scene_frame(index)
        result = result if index == 0 else session.step(frame)
        check_result(result, frame, [1, 2])
        require(
            result.low_res_logits.shape[1:] == grid, "the grid of low_res_logits changes within the video"
        )
        require(session.obj_ids == [1, 2], f"session.obj_ids is {session.obj_ids}, not [1, 2]")


def makes_masks_when_asked(tracker: Tracker) -> None:
    """Masks at the video's size are made when they are first asked for, once."""
    _, result = started(tracker, 1)
    require(not result.has_video_res, "they are made before anyone asks")
    require(result.masks is result.masks, "they are made anew each time")


def leaves_results_and_frames_alone(tracker: Tracker) -> None:
    """Going on changes neither an earlier result nor the caller's frames."""
    session, result = started(tracker, 1)
    logits, frame = result.low_res_logits.copy(), scene_frame(1)
    session.step(frame)
    session.refine(1, points=[[30, 30]], labels=[1])
    require(np.array_equal(pixels_of(frame), pixels_of(scene_frame(1))), "the frame's image was written to")
    require(np.array_equal(result.low_res_logits, logits), "the first result changed on a later frame")
    check_result(result, scene_frame(0), [1])


def answers_a_mask_prompt_with_it(tracker: Tracker) -> None:
    """An object prompted with a mask has about that mask on that frame."""
    session = tracker.start()
    session.prompt(5, mask=scene_mask(1, 0))
    result = session.step(scene_frame(0))
    check_result(result, scene_frame(0), [5])
    overlap = iou(result.masks[0], scene_mask(1, 0))
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
    check_result(session.step(scene_frame(0)), scene_frame(0), [1, 2, 3, 4])


def corrects_objects(tracker: Tracker) -> None:
    """An old object can be prompted again, and refine() corrects the frame just seen for one object alone."""
    session, _ = started(tracker, 1, 2)
    session.prompt(1, points=[[40, 40]], labels=[1])
    before = session.step(scene_frame(1))
    check_result(before, scene_frame(1), [1, 2])
    elsewhere = scene_mask(1, 9)
    after = session.refine(2, mask=elsewhere)
    check_result(after, scene_frame(1), [1, 2])
    require(
        np.array_equal(before.low_res_logits[0], after.low_res_logits[0]),
        "correcting object 2 changed object 1 on that frame",
    )
    overlap = iou(after.masks[1], elsewhere)
    require(overlap >= 0.5, f"corrected with a mask, its IoU with that mask is {overlap:.2f}")
    check_result(session.step(scene_frame(2)), scene_frame(2), [1, 2])


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

            raised = error_of(ask)
            require(
                raised is PromptError, f"{shown(prompt)} gives {raised.__name__ if raised else 'no error'}"
            )
        raised = error_of(partial(session.refine, 1, **prompt))
        require(raised is PromptError, f"refine with {shown(prompt)} is no PromptError")
        result = session.step(scene_frame(index))
        require(result.obj_ids == [1], f"after {shown(prompt)} the objects are {result.obj_ids}, not [1]")


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
            require_same(session.step(scene_frame(index)), expected, f"after saving, on frame {index}")
            require_same(restored.step(scene_frame(index)), expected, f"after restoring, on frame {index}")


def refuses_foreign_states(tracker: Tracker) -> None:
    """restore() of what is not a session of this tracker is a CheckpointError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        require(error_of(partial(tracker.restore, path)) is CheckpointError, "a missing file is not one")
        path.write_bytes(b"not a session")
        require(error_of(partial(tracker.restore, path)) is CheckpointError, "a file of text is not one")


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
        # Numbers in the metadata may gain a digit; the memory of a frame would add far more.
        require(sizes[1] <= sizes[0] + 512, f"it grew from {sizes[0]} to {sizes[1]} bytes in four frames")


def keeps_sessions_apart(tracker: Tracker) -> None:
    """Sessions of one tracker share nothing, and the same video gives the same results."""
    alone, first = started(tracker, 1)
    expected = [first, *(alone.step(scene_frame(index)) for index in (1, 2))]
    session, result = started(tracker, 1)
    other, _ = started(tracker, 2, index=7)
    require_same(result, expected[0], "on frame 0")
    for index in (1, 2):
        other.step(scene_frame(7 + index))
        require_same(
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
            # Adding in another order may move the contour by a pixel.
            overlap = iou(result_one.masks[row], result_two.masks[1 - row])
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
    makes_removed_objects_anew,
    refuses_bad_prompts,
    lists_objects_from_their_prompt_on,
    keeps_labels,
    takes_each_frame_once,
    lets_frames_be_left_out,
    conditions_frames_ahead,
    goes_in_reverse,
    restores_sessions,
    refuses_foreign_states,
    keeps_a_bounded_state,
    keeps_sessions_apart,
    does_not_care_for_the_order_of_objects,
)
