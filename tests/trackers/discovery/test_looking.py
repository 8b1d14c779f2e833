"""Which model looks at frames, and on which features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vidseg
from support.two_disks import picture as two_disks
from vidseg.trackers.contract import Frame
from vidseg.trackers.discovery.looking import FollowedLook, OtherLook, OwnLook, look_of
from vidseg.trackers.following.tracker import FollowingTracker


def test_an_image_model_that_follows_looks_at_its_own_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = vidseg.load_image(device="cpu")
    tracker = FollowingTracker(segmenter, "flow-prior")
    look = look_of(tracker, None, "cpu")
    assert isinstance(look, FollowedLook)
    encoded: list[int] = []
    encode = segmenter.model.encode_batch
    monkeypatch.setattr(segmenter.model, "encode_batch", lambda x: encoded.append(len(x)) or encode(x))
    session, frame = tracker.start(), Frame(0, 0.0, np.full((48, 64, 3), 90, np.uint8))
    session.step(frame)
    logits, _ = look.at(session, frame).at_points(np.array([(20.0, 20.0), (40.0, 30.0)]))
    assert len(logits) == 2
    assert encoded == [1]


def test_the_trackers_own_model_looks_unless_another_is_named() -> None:
    nano = vidseg.load(device="cpu")
    assert isinstance(look_of(nano, None, "cpu"), OwnLook)
    assert isinstance(look_of(nano, "vidseg-nano", "cpu"), OwnLook)
    assert isinstance(look_of(vidseg.load("flow"), "vidseg-nano", "cpu"), OtherLook)


def test_points_whose_first_answer_is_poor_are_given_up() -> None:
    picture = vidseg.load_image("vidseg-nano").embed(two_disks(4)[0]).prompted()
    points = np.array([(32.0, 26.0), (5.0, 5.0), (64.0, 80.0), (120.0, 10.0)])
    (whole, _), (first, first_ious) = picture.at_points(points), picture.at_points(points, 1.0)
    limit = float(first_ious.median())
    mixed, _ = picture.at_points(points, limit)
    goes_on = first_ious[:, 0] > limit
    assert 0 < goes_on.sum() < len(points)
    torch.testing.assert_close(mixed[goes_on], whole[goes_on])
    torch.testing.assert_close(mixed[~goes_on], first[~goes_on])
    assert not torch.allclose(whole, first)
