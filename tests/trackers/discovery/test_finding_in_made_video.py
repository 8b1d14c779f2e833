"""`vidseg-nano` finds the objects of the made video by itself, with the thresholds of its YAML."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

import vidseg
from vidseg.pipeline.made_video import MadeVideo


@pytest.mark.slow
def test_nano_finds_every_object_early_and_nothing_else() -> None:
    tracker = vidseg.load("vidseg-nano")
    session, discovery = tracker.start(), vidseg.Discovery(tracker)
    video = MadeVideo()
    best_j = dict.fromkeys(video.labels, 0.0)
    lay_on: dict[int, set[int]] = {}
    for frame, truth in islice(video, 60):
        result = discovery.step(session, frame)
        for obj_id, mask in zip(result.obj_ids, result.masks, strict=True):
            if not mask.any():
                continue
            shared = {label: np.count_nonzero(mask & (truth == label)) for label in video.labels}
            label = max(shared, key=lambda label: shared[label])
            j = shared[label] / np.count_nonzero(mask | (truth == label))
            lay_on.setdefault(obj_id, set()).add(label if j > 0.3 else 0)
            if frame.index < 30:
                best_j[label] = max(best_j[label], j)
    assert min(best_j.values()) >= 0.7, best_j
    assert sum(labels == {0} for labels in lay_on.values()) <= 1, "at most one id is none of the objects"
    assert all(len(labels - {0}) <= 1 for labels in lay_on.values()), "no id goes over to another object"
    assert discovery.num_asked <= 4 * 160, "of four looks, each of which leaves out what is tracked"
