"""Discovery by itself: an oracle follows objects of a planted label map, and a rule answers points on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vidseg.trackers.discovery.discovery as module
from support.planted import decoder
from support.planted_stream import LIFE, SIZE_HW, OracleSession, frame_of, scene
from vidseg.errors import ConfigError
from vidseg.samplers.picture import DecodedPicture
from vidseg.trackers.contract import Frame
from vidseg.trackers.discovery.comparing import innermost_xy, is_known
from vidseg.trackers.discovery.discovery import Discovery

SAMPLING = {"points_per_side": 8}


class RuleLook:
    """Answers points by the rule of `support.planted`, of which the halves are left out."""

    def __init__(self) -> None:
        self.sampling = {"pred_iou_thresh": 0.9, "stability_score_thresh": 0.95}

    def at(self, session: Any, frame: Frame) -> DecodedPicture:
        # Labels go up to 50, and the rule's predicted IoUs fall with the label.
        labels = scene(frame.index)
        return DecodedPicture(decoder(np.where(labels, 1 + labels % 9, 0), 1024), SIZE_HW)


@pytest.fixture
def discovery(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "look_of", lambda *_: RuleLook())
    return lambda **settings: Discovery(None, sampling=SAMPLING, **settings)  # type: ignore[arg-type]


def test_objects_come_and_go_in_bounded_memory(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=10, confirm_after=3, forget_after=30)
    ids_of: dict[int, set[int]] = {}
    first_reported: dict[int, int] = {}
    most_alive = most_held = 0
    for index in range(600):
        result = finder.step(session, frame_of(index))
        most_alive = max(most_alive, len(session.obj_ids))
        most_held = max(most_held, len(str(finder.state())))
        for obj_id, mask in zip(result.obj_ids, result.masks, strict=True):
            if mask.any():
                label = int(scene(index)[mask][0])
                ids_of.setdefault(label, set()).add(obj_id)
                first_reported.setdefault(label, index)
    assert set(ids_of) >= set(range(1, 29)), "every object was found"
    assert all(len(ids) == 1 for ids in ids_of.values()), "and kept one id"
    assert len(set.union(*ids_of.values())) == len(ids_of), "which no other object had"
    assert all(first - 20 * (label - 1) <= 14 for label, first in first_reported.items())
    assert most_alive <= 5
    assert most_held < 3000


def test_an_object_is_tentative_until_it_is_seen_again(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=10, confirm_after=4)
    for index in range(4):
        assert finder.step(session, frame_of(index)).obj_ids == []
        assert session.obj_ids == [1]
    assert finder.step(session, frame_of(4)).obj_ids == [1]


def test_tentative_objects_can_be_reported(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=10, confirm_after=4, report_tentative=True)
    reported = [finder.step(session, frame_of(0)).obj_ids]
    session.follows[1] = 0  # the tracker loses it
    reported += [finder.step(session, frame_of(index)).obj_ids for index in range(1, 5)]
    assert reported == [[1], [1], [1], [1], []]


def test_what_is_not_found_again_is_forgotten(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=10, confirm_after=4)
    finder.step(session, frame_of(0))
    session.follows[1] = 0  # the tracker loses it
    for index in range(1, 5):
        result = finder.step(session, frame_of(index))
    assert session.obj_ids == result.obj_ids == []
    for index in range(5, 20):
        result = finder.step(session, frame_of(index))
    assert result.obj_ids == [2], "found anew, under another id"


def test_prompted_objects_come_first_and_stay(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=5, confirm_after=2, forget_after=10, first_id=8)
    session.follows[7] = 1  # as if it had been prompted
    for index in range(LIFE + 30):
        result = finder.step(session, frame_of(index))
        assert 7 in result.obj_ids
    assert min(set(session.obj_ids) - {7}) >= 8
    assert 1 not in [label for obj_id, label in session.follows.items() if obj_id != 7]


def test_what_is_found_gets_an_id_of_its_own(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=5, confirm_after=0)
    session.follows[5] = 1  # as if it had been prompted
    for index in range(45):
        result = finder.step(session, frame_of(index))
        assert session.follows[5] == 1
    assert min(set(result.obj_ids) - {5}) == 6


def test_pictures_alone_are_taken_as_sessions_take_them(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=5, confirm_after=2)
    images = [frame_of(index).image for index in range(3)]
    assert [finder.step(session, image).frame_idx for image in images[:2]] == [0, 1]
    later = discovery(every=5, confirm_after=2)
    later.take_state(finder.state())
    assert later.step(session, images[2]).frame_idx == 2


def test_no_more_than_so_many_objects_are_followed(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=5, max_objects=1)
    for index in range(35):
        finder.step(session, frame_of(index))
        assert len(session.obj_ids) <= 1


def test_small_and_large_masks_are_left_out(discovery: Any) -> None:
    for limits in ({"min_area": 300}, {"max_share": 0.05}):
        session = OracleSession()
        discovery(**limits).step(session, frame_of(0))
        assert session.obj_ids == []


def test_a_scene_cut_brings_a_look(discovery: Any) -> None:
    session, finder = OracleSession(), discovery(every=100)
    finder.step(session, frame_of(15))
    assert session.obj_ids == [1]
    white = Frame(21, 0.0, np.full((*SIZE_HW, 3), 255, np.uint8))
    finder.step(session, white)
    assert session.obj_ids == [1, 2]


def test_its_state_goes_on(discovery: Any) -> None:
    def ids(restart_at: int | None) -> list[list[int]]:
        session, finder, reported = OracleSession(), discovery(every=7, confirm_after=3), []
        for index in range(60):
            if index == restart_at:
                state = finder.state()
                finder = discovery(every=7, confirm_after=3)
                finder.take_state(state)
            reported.append(finder.step(session, frame_of(index)).obj_ids)
        return reported

    assert ids(None) == ids(22)


def test_masks_are_compared() -> None:
    mask, part, other = (np.zeros(SIZE_HW, bool) for _ in range(3))
    mask[5:25, 5:25], part[8:14, 8:14], other[30:40, 30:50] = True, True, True
    limits = {"max_iou": 0.5, "max_inside": 0.8}
    assert is_known(part, [mask], **limits)
    assert is_known(mask, [part], **limits)
    assert not is_known(other, [mask, part], **limits)
    assert innermost_xy(other) == pytest.approx((40, 35), abs=6)


def test_wrong_settings_are_told() -> None:
    import vidseg

    flow = vidseg.load("flow")
    with pytest.raises(ConfigError, match="'flow' cannot find objects by itself"):
        Discovery(flow)
    with pytest.raises(ConfigError, match="unknown key 'evry'"):
        Discovery(flow, evry=3)
    with pytest.raises(ConfigError, match="did you mean 'grid'"):
        Discovery(flow, sampler="gird")
    with pytest.raises(ConfigError, match="needs boxes"):
        Discovery(flow, sampler="boxes")
