"""Which model looks at frames, and on which features."""

from __future__ import annotations

import numpy as np
import pytest

import vidseg
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
