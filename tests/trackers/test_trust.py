"""What a tracker says of its own masks."""

from __future__ import annotations

import numpy as np
import pytest

from support.parity import as_frames, moving_picture, parity_weights, small_tracker
from vidseg.trackers.states import object_state


@pytest.mark.parametrize(
    ("score", "iou", "has_pixels", "state"),
    [
        (5.0, 0.9, True, "visible"),
        (5.0, 0.4, True, "uncertain"),
        (0.5, 0.9, True, "uncertain"),
        (0.0, 0.9, True, "absent"),
        (-5.0, 0.9, True, "absent"),
        (5.0, 0.9, False, "absent"),
    ],
)
def test_state_of_an_object(score, iou, has_pixels, state):
    assert object_state(score, iou, has_pixels) == state


@pytest.mark.parametrize("is_present", [True, False])
def test_every_result_has_scores_and_states(tmp_path, is_present):
    tracker = small_tracker(tmp_path)
    model = tracker.engine.model
    model.load_state_dict(parity_weights(model, seed=5, is_present=is_present))
    session = tracker.start()
    session.prompt(1, box=[20.0, 10.0, 60.0, 50.0])
    session.prompt(2, box=[30.0, 10.0, 60.0, 40.0])
    for frame in as_frames(moving_picture(4, 64)):
        result = session.step(frame)
        assert len(result.states) == len(result.object_score_logits) == len(result.predicted_ious) == 2
        assert np.all((result.predicted_ious >= 0) & (result.predicted_ious <= 1))
        assert np.all((result.object_score_logits > 0) == is_present)
        assert all((state == "absent") is not is_present for state in result.states)
        assert result.masks.any() == is_present
