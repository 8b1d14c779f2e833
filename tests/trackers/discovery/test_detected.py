"""Discovery by a detector: what it draws is prompted by its box, once, and keeps its label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from support.planted_stream import SIZE_HW, OracleSession, frame_of, scene
from vidseg import Frame
from vidseg.detectors import Detection
from vidseg.errors import InputError
from vidseg.trackers.discovery.detected import DetectorFinder
from vidseg.trackers.discovery.discovery import Discovery
from vidseg.trackers.discovery.settings import DiscoverySettings

Box = tuple[float, float, float, float]


class SceneDetector:
    """Draws the boxes of what is in the scene, changed by `change`; labels are 'odd' and 'even'."""

    name = "scene"

    def __init__(self, change: Callable[[int, list[Detection]], list[Detection] | None]) -> None:
        self.change = change
        self.asked: list[int] = []

    def detect(self, frame: Frame) -> list[Detection] | None:
        self.asked.append(frame.index)
        labels = scene(frame.index)
        return self.change(frame.index, [drawn(labels, n) for n in np.unique(labels[labels > 0]).tolist()])


def drawn(labels: Any, number: int) -> Detection:
    rows, columns = np.nonzero(labels == number)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    return Detection(box, "odd" if number % 2 else "even", 0.9)


def discovery(
    change: Callable[[int, list[Detection]], list[Detection] | None] = lambda index, found: found, **said: Any
) -> tuple[Discovery, SceneDetector]:
    detector = SceneDetector(change)
    return Discovery(None, detector=detector, **said), detector  # type: ignore[arg-type]


def finder(**said: Any) -> DetectorFinder:
    return DetectorFinder(SceneDetector(lambda index, found: found), DiscoverySettings(**said))


def mask_of(box: Box) -> Any:
    mask = np.zeros(SIZE_HW, bool)
    mask[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    return mask


def test_each_object_gets_one_id_and_its_label() -> None:
    session, (finds, detector) = OracleSession(), discovery(every=10, confirm_after=3, forget_after=30)
    seen: dict[int, set[tuple[int, str | None]]] = {}
    for index in range(200):
        result = finds.step(session, frame_of(index))
        for obj_id, label, mask in zip(result.obj_ids, result.labels, result.masks, strict=True):
            if mask.any():
                seen.setdefault(int(scene(index)[mask][0]), set()).add((obj_id, label))
    assert set(seen) >= set(range(1, 9))
    assert all(len(told) == 1 for told in seen.values())
    assert {label for number in seen if number % 2 for _, label in seen[number]} == {"odd"}
    ids = [obj_id for told in seen.values() for obj_id, _ in told]
    assert len(set(ids)) == len(ids)
    assert len(detector.asked) < 45, "every 10 frames, and once for what is new"


def test_what_the_detector_denies_later_is_forgotten() -> None:
    wrong = Detection((2.0, 30.0, 10.0, 40.0), "ghost", 0.8)
    session, (finds, _) = (
        OracleSession(),
        discovery(lambda index, found: [*found, wrong] if index == 0 else found, confirm_after=4),
    )
    reported = [finds.step(session, frame_of(index)).obj_ids for index in range(8)]
    assert reported[:4] == [[]] * 4, "tentative at first"
    assert reported[4:] == [[1]] * 4


def test_a_file_that_knows_few_frames_is_taken_at_its_word() -> None:
    session, (finds, detector) = (
        OracleSession(),
        discovery(lambda index, found: found if index == 3 else None, every=5, confirm_after=2),
    )
    reported = [finds.step(session, frame_of(index)).obj_ids for index in range(12)]
    assert reported == [[]] * 5 + [[1]] * 7
    assert detector.asked[:4] == [0, 1, 2, 3], "until something is known of a frame"


def test_nothing_need_be_tentative() -> None:
    session, (finds, _) = OracleSession(), discovery(confirm_after=0)
    assert finds.step(session, frame_of(0)).labels == ["odd"]


def test_its_state_keeps_labels() -> None:
    session, (finds, _) = OracleSession(), discovery(confirm_after=0)
    finds.step(session, frame_of(0))
    later, _ = discovery(confirm_after=0)
    later.take_state(finds.state())
    assert later.step(session, frame_of(1)).labels == ["odd"]


@pytest.mark.parametrize(
    ("box", "label", "is_new"),
    [
        ((10, 10, 30, 30), "cup", False),
        ((12, 10, 32, 30), "cup", False),  # moved a little
        ((10, 10, 20, 20), "cup", False),  # a part of it
        ((10, 10, 30, 30), "dog", True),  # another thing at the same place
        ((28, 10, 48, 30), "cup", True),  # a neighbour
    ],
)
def test_a_box_is_known_by_its_place_and_label(box: Box, label: str, is_new: bool) -> None:
    finds = finder()
    finds._detector = SceneDetector(lambda index, found: [Detection(box, label, 0.9)])
    masks = {4: mask_of((10, 10, 30, 30))}
    new = finds.new(None, frame_of(0), masks, {4: "cup"}, 10)  # type: ignore[arg-type]
    assert new is not None
    assert bool(new) is is_new


def test_an_object_answers_for_one_box() -> None:
    large, small = Detection((0, 0, 40, 40), "cup", 0.9), Detection((4, 4, 14, 14), "cup", 0.8)
    again = Detection((0, 0, 40, 39), "mug", 0.7)
    finds = finder()
    finds._detector = SceneDetector(lambda index, found: [large, small, again])
    masks = {1: mask_of((0, 0, 40, 40))}
    new = finds.new(None, frame_of(0), masks, {1: "cup"}, 10)  # type: ignore[arg-type]
    assert new is not None
    assert [one.box_xyxy for one in new] == [small.box_xyxy], "and a thing with two labels is one thing"


def test_small_boxes_and_too_many_are_left_out() -> None:
    found = [Detection((10.0 * n, 0.0, 10.0 * n + 4 + n, 8.0), "cup", 0.9 - n / 10) for n in range(4)]
    for said, room, count in (({"min_area": 40}, 9, 3), ({}, 2, 2)):
        finds = finder(**said)
        finds._detector = SceneDetector(lambda index, none: found)
        new = finds.new(None, frame_of(0), {}, {}, room)  # type: ignore[arg-type]
        assert new is not None
        assert len(new) == count


def test_a_detector_needs_a_picture() -> None:
    frame = Frame(0, 0.0, model_input=np.zeros((3, 8, 8), np.float32), size_hw=SIZE_HW)
    with pytest.raises(InputError, match="frame 0 has no picture"):
        finder().new(None, frame, {}, {}, 1)  # type: ignore[arg-type]
