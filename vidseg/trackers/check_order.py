"""Promises of trackers about the order in which objects and frames come and go; see `check_tracker`."""

from __future__ import annotations

from functools import partial

from vidseg.errors import InputError, PromptError
from vidseg.masks import iou
from vidseg.trackers.check_scene import (
    WIDTH,
    check_result,
    error_of,
    require,
    require_same,
    scene_box,
    scene_frame,
    scene_mask,
    started,
)
from vidseg.trackers.contract import Tracker


def lists_objects_from_their_prompt_on(tracker: Tracker) -> None:
    """session.obj_ids has an object from prompt() on, in order of first prompt; none for a refused prompt."""
    session = tracker.start()

    def expect(obj_ids: list[int], when: str) -> None:
        require(session.obj_ids == obj_ids, f"{when}, session.obj_ids is {session.obj_ids}, not {obj_ids}")

    expect([], "before any prompt")
    session.prompt(5, box=scene_box(1, 0))
    session.prompt(2, box=scene_box(2, 0))
    expect([5, 2], "after prompt(5) and prompt(2)")
    error_of(partial(session.prompt, 3))
    expect([5, 2], "after an empty prompt(3)")
    session.remove(5)
    expect([2], "after remove(5), which waited for its frame")
    session.prompt(5, box=scene_box(1, 0))
    check_result(session.step(scene_frame(0)), scene_frame(0), [2, 5])
    session.prompt(9, box=(WIDTH + 5, 5, WIDTH + 20, 20))
    session.prompt(2, points=[[80, 50]], labels=[1])
    expect([2, 5, 9], "after prompt(9), and prompt(2) once more")
    error_of(partial(session.step, scene_frame(1)))
    expect([2, 5], "after the frame refused the prompt of object 9")
    check_result(session.step(scene_frame(1)), scene_frame(1), [2, 5])


def keeps_labels(tracker: Tracker) -> None:
    """What prompt(label=...) calls an object is in result.labels from then on, until it is removed."""
    session = tracker.start()
    session.prompt(1, box=scene_box(1, 0), label="tile")
    session.prompt(2, box=scene_box(2, 0))
    for index, expected in enumerate((["tile", None], ["tile", None], [None, None])):
        if index == 2:
            session.remove(1)
            session.prompt(1, box=scene_box(1, 2))
        labels = session.step(scene_frame(index)).labels
        require(labels == expected, f"on frame {index} the labels are {labels}, not {expected}")


def adds_objects_in_mid_stream(tracker: Tracker) -> None:
    """A new object can be prompted at any frame; ids are the caller's, in order of their first prompt."""
    session = tracker.start()
    session.prompt(9, box=scene_box(2, 0))
    session.step(scene_frame(0))
    check_result(session.step(scene_frame(1)), scene_frame(1), [9])
    session.prompt(3, box=scene_box(1, 2))
    check_result(session.step(scene_frame(2)), scene_frame(2), [9, 3])
    check_result(session.step(scene_frame(3)), scene_frame(3), [9, 3])


def removes_objects(tracker: Tracker) -> None:
    """remove() forgets one object; an unknown id is a PromptError; a removed id can be prompted again."""
    session, _ = started(tracker, 1, 2)
    session.remove(1)
    check_result(session.step(scene_frame(1)), scene_frame(1), [2])
    for unknown in (1, 77):
        raised = error_of(partial(session.remove, unknown))
        require(raised is PromptError, f"removing object {unknown}, which there is not, is no PromptError")
    session.prompt(1, box=scene_box(1, 2))
    check_result(session.step(scene_frame(2)), scene_frame(2), [2, 1])
    session.remove(2)
    session.remove(1)
    check_result(session.step(scene_frame(3)), scene_frame(3), [])


def makes_removed_objects_anew(tracker: Tracker) -> None:
    """A removed id that is prompted again is a new object: nothing of the old one is left."""
    session, _ = started(tracker, 1)
    session.remove(1)
    fresh = tracker.start()
    fresh.step(scene_frame(0))
    for index in (1, 2):
        for each in (session, fresh):
            if index == 1:
                each.prompt(1, points=[[94, 60]], labels=[1])
        expected = fresh.step(scene_frame(index))
        require_same(session.step(scene_frame(index)), expected, f"after remove(1), on frame {index},")


def takes_each_frame_once(tracker: Tracker) -> None:
    """A frame that was stepped to or passed is an InputError, also for condition(), and changes nothing."""
    for reverse in (False, True):
        order = [5, 4, 3, 2] if reverse else [0, 1, 2, 3]
        session, _ = started(tracker, 1, index=order[0], reverse=reverse, num_frames=6)
        untouched, _ = started(tracker, 1, index=order[0], reverse=reverse, num_frames=6)
        for each in (session, untouched):
            each.step(scene_frame(order[1]))
        for index in order[:2]:
            raised = error_of(partial(session.step, scene_frame(index)))
            require(raised is InputError, f"step() to frame {index} after frame {order[1]} is no InputError")
        expected = untouched.step(scene_frame(order[2]))
        require_same(session.step(scene_frame(order[2])), expected, "after a frame was refused")
        session.prompt(1, mask=scene_mask(1, order[2]))
        raised = error_of(partial(session.condition, scene_frame(order[2])))
        require(raised is InputError, f"condition() on frame {order[2]} just stepped to is no InputError")
        check_result(session.step(scene_frame(order[3])), scene_frame(order[3]), [1])


def lets_frames_be_left_out(tracker: Tracker) -> None:
    """Frames may be left out: indices rise (in reverse: fall), and need not follow one another."""
    for reverse, order in ((False, (0, 2, 5)), (True, (5, 3, 0))):
        session, _ = started(tracker, 1, 2, index=order[0], reverse=reverse, num_frames=6)
        for index in order[1:]:
            check_result(session.step(scene_frame(index)), scene_frame(index), [1, 2])


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
        check_result(result, scene_frame(index), [1])
        if index == 2:
            overlap = iou(result.masks[0], scene_mask(1, 2))
            require(overlap >= 0.5, f"on the conditioned frame the IoU with its mask is {overlap:.2f}")


def goes_in_reverse(tracker: Tracker) -> None:
    """start(reverse=True) takes frames in falling order of index."""
    session, _ = started(tracker, 1, index=5, reverse=True, num_frames=6)
    for index in (4, 3, 2):
        check_result(session.step(scene_frame(index)), scene_frame(index), [1])
