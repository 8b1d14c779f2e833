"""Objects that compete: no pixel is remembered for two of them, unless one lay on the other when prompted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.training import call_nothing_absent, space_time_tracker
from vidseg.trackers.competing import Competition, without_rivals
from vidseg.trackers.postprocess import LOSER_LOGIT

SIZE_HW = (96, 160)


def box_mask(x0: int, y0: int, x1: int, y1: int) -> torch.Tensor:
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_pixel_goes_to_the_rival_with_the_highest_logit() -> None:
    logits = torch.tensor([[3.0, 2.0, -1.0, 5.0], [1.0, 2.0, -2.0, 6.0], [9.0, 9.0, 9.0, 5.0]])[:, None]
    got = without_rivals(logits, [[1], [0], []])[:, 0]
    assert got[0].tolist() == [3.0, 2.0, -1.0, LOSER_LOGIT]
    assert got[1].tolist() == [LOSER_LOGIT, LOSER_LOGIT, LOSER_LOGIT, 6.0]
    assert torch.equal(got[2], logits[2, 0])


def test_what_lies_on_another_object_shares_its_pixels() -> None:
    person, shirt, neighbour = box_mask(2, 2, 12, 18), box_mask(3, 5, 11, 11), box_mask(11, 2, 19, 18)
    competition = Competition()
    competition.note([1, 2, 3], {1: person, 2: shirt, 3: neighbour})
    assert competition.rivals([1, 2, 3]) == [[2], [2], [0, 1]]
    assert competition.rivals([3, 2]) == [[1], [0]]
    assert Competition.of_json(competition.to_json()).rivals([1, 2, 3]) == [[2], [2], [0, 1]]
    competition.note([3], {1: person, 2: shirt, 3: shirt})
    assert competition.rivals([1, 2, 3]) == [[], [], []]
    competition.note([3], {1: person, 2: shirt, 3: neighbour})  # a correction has the last word
    assert competition.rivals([1, 2, 3]) == [[2], [2], [0, 1]]
    competition.forget(2)
    assert competition.rivals([1, 2, 3]) == [[1, 2], [0, 2], [0, 1]]


def test_an_object_without_a_mask_competes() -> None:
    competition = Competition()
    competition.note([1, 2], {1: box_mask(0, 0, 9, 9), 2: box_mask(0, 0, 0, 0)})
    assert competition.rivals([1, 2]) == [[1], [0]]


# --- Sessions ---------------------------------------------------------------------------------------------


@pytest.fixture
def tracker(tmp_path: Path) -> Any:
    """A small one that finds every object everywhere, so that only competition keeps them apart."""
    tracker = space_time_tracker(tmp_path, objects_compete=True)
    call_nothing_absent(tracker)
    return tracker


def frames(count: int) -> list[vidseg.Frame]:
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), np.uint8)
    return [vidseg.Frame(t, t / 24, np.roll(noise, 3 * t, axis=1)) for t in range(count)]


def mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    whole = np.zeros(SIZE_HW, bool)
    whole[y0:y1, x0:x1] = True
    return whole


LEFT, RIGHT, ON_LEFT = (10, 10, 70, 80), (80, 10, 150, 80), (20, 20, 60, 60)


def overlap(result: vidseg.FrameResult, one: int, other: int) -> int:
    first, second = (result.low_res_logits[result.obj_ids.index(obj_id)] > 0 for obj_id in (one, other))
    return int((first & second).sum())


def overlaps(session: Any) -> list[int]:
    """How many pixels the first two objects share on the frames that follow."""
    return [overlap(session.step(frame), 1, 2) for frame in frames(4)[1:]]


def started(tracker: Any, *boxes: tuple[int, int, int, int]) -> Any:
    session = tracker.start()
    for obj_id, box in enumerate(boxes, start=1):
        session.prompt(obj_id, mask=mask(*box))
    session.step(frames(1)[0])
    return session


def test_objects_that_compete_stay_apart(tracker: Any, tmp_path: Path) -> None:
    assert overlaps(started(tracker, LEFT, RIGHT)) == [0, 0, 0]
    without = space_time_tracker(tmp_path)
    without.engine.model.load_state_dict(tracker.engine.model.state_dict())
    assert min(overlaps(started(without, LEFT, RIGHT))) > 0


def test_an_object_on_another_one_does_not_compete_with_it(tracker: Any, tmp_path: Path) -> None:
    """Nor after the session was saved and restored."""
    session = started(tracker, LEFT, ON_LEFT)
    session.save(tmp_path / "state")
    assert min(overlaps(session)) > 0
    assert min(overlaps(tracker.restore(tmp_path / "state"))) > 0


def test_a_correction_says_whether_objects_lie_on_one_another(tracker: Any) -> None:
    session = started(tracker, LEFT, RIGHT)
    session.refine(2, mask=mask(*ON_LEFT))
    assert min(overlaps(session)) > 0


def test_an_object_that_was_removed_leaves_nothing_behind(tracker: Any) -> None:
    session = started(tracker, LEFT, ON_LEFT)
    session.remove(2)
    session.prompt(2, mask=mask(*RIGHT))
    video = frames(4)
    session.step(video[1])
    assert [overlap(session.step(frame), 1, 2) for frame in video[2:]] == [0, 0]
