"""`keeps_corrections`: a corrected frame keeps its mask when tracking comes past it again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from support.parity import as_frames, moving_picture, small_tracker
from vidseg.compat import SAM2VideoPredictor
from vidseg.trackers.engine_tracker import EngineTracker

BOX = [20.0, 10.0, 60.0, 50.0]
CLICK = {"points": [[70.0, 40.0]], "labels": [1]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_tracker(tmp_path_factory.mktemp("tracker"))


@pytest.fixture(scope="module")
def frames():
    return as_frames(moving_picture(8, 64))


def tracker_that(base, keeps: bool) -> EngineTracker:
    options = replace(base.options, keeps_corrections=keeps)
    return EngineTracker(base.name, base.settings, base.engine, options, None)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_session_that_goes_over_the_video_again(base, frames, tmp_path, keeps):
    tracker = tracker_that(base, keeps)
    session = tracker.start(keep_all=True)
    session.prompt(1, box=BOX)
    for frame in frames[:5]:
        session.step(frame)
    corrected = session.refine(1, **CLICK)
    session.save(tmp_path / "state")
    for each in (session, tracker.restore(tmp_path / "state")):
        again = [each.step(frame) for frame in frames[:6]]
        assert np.array_equal(again[4].low_res_logits, corrected.low_res_logits) is keeps


@pytest.mark.parametrize("keeps", [True, False])
def test_the_official_interface_does_the_same(base, frames, keeps):
    predictor = SAM2VideoPredictor(tracker_that(base, keeps))
    state = predictor.init_state(frames)
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, box=BOX)
    assert len(list(predictor.propagate_in_video(state))) == len(frames)
    *_, corrected = predictor.add_new_points_or_box(state, frame_idx=4, obj_id=1, **CLICK)
    again = {t: masks for t, _, masks in predictor.propagate_in_video(state)}
    assert np.array_equal(again[4].numpy(), corrected.numpy()) is keeps
