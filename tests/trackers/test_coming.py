"""Answers that are fetched when they are asked for; here a CPU plays the GPU."""

from __future__ import annotations

import pickle
from copy import copy
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from support.parity import as_frames, moving_picture, small_tracker
from vidseg.trackers import device, engine, session
from vidseg.trackers.coming import ComingFrame, ComingResult
from vidseg.trackers.device import Download
from vidseg.trackers.result import FrameResult

FRAMES = 6


class Watched(Download):
    """Counts how often somebody waits."""

    num_waits = 0

    def tensors(self) -> list[torch.Tensor]:
        Watched.num_waits += 1
        return super().tensors()


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """The engine takes the CPU for a device that computes while the host goes on."""
    monkeypatch.setattr(Watched, "num_waits", 0)
    for module in (engine, session):
        monkeypatch.setattr(module, "computes_apart", lambda where: True)
        monkeypatch.setattr(module, "Download", Watched)
    return Watched


def start(tracker: Any) -> Any:
    following = tracker.start()
    following.prompt(1, points=[[30, 20]], labels=[1])
    following.prompt(2, box=[40, 10, 80, 50], label="cup")
    return following


def test_the_cpu_computes_with_the_host() -> None:
    assert not device.computes_apart(torch.device("cpu"))


def test_results_that_come_later_are_the_same(tmp_path: Path, apart: type[Watched]) -> None:
    tracker = small_tracker(tmp_path)
    frames = as_frames(moving_picture(FRAMES, tracker.engine.model.image_size))
    following = start(tracker)
    results = [following.step(frame) for frame in frames]
    assert apart.num_waits == 0  # no step waits
    with pytest.MonkeyPatch.context() as at_once:
        for module in (engine, session):
            at_once.setattr(module, "computes_apart", lambda where: False)
        following = start(tracker)
        wanted = [following.step(frame) for frame in frames]
    for result, want in zip(results, wanted, strict=True):
        assert isinstance(result, FrameResult)
        assert (result.obj_ids, result.states, result.labels) == (want.obj_ids, want.states, want.labels)
        for part in ("masks", "low_res_logits", "object_score_logits", "predicted_ious", "object_pointers"):
            np.testing.assert_array_equal(getattr(result, part), getattr(want, part))


@pytest.mark.usefixtures("apart")
def test_a_result_that_still_comes_is_copied_whole(tmp_path: Path) -> None:
    tracker = small_tracker(tmp_path)
    result = start(tracker).step(as_frames(moving_picture(1, tracker.engine.model.image_size))[0])
    copied = pickle.loads(pickle.dumps(result))
    assert copied.obj_ids == result.obj_ids
    np.testing.assert_array_equal(copied.video_res_logits, result.video_res_logits)


@pytest.mark.usefixtures("apart")
def test_a_session_whose_answers_still_come_is_saved(tmp_path: Path) -> None:
    tracker = small_tracker(tmp_path)
    *before, last = as_frames(moving_picture(FRAMES, tracker.engine.model.image_size))
    following = start(tracker)
    for frame in before:
        following.step(frame)
    following.save(tmp_path / "session")
    restored = tracker.restore(tmp_path / "session")
    one, other = following.step(last), restored.step(last)
    np.testing.assert_array_equal(one.low_res_logits, other.low_res_logits)


def test_a_memory_frame_is_asked_once() -> None:
    judged = Download((torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.25])))
    frame = ComingFrame(3, torch.zeros(1, 2), torch.zeros(2), torch.zeros(2, 2), judged, 1)
    twin = copy(frame)
    for one in (frame, twin):
        assert (one.frame_idx, one.object_score_logit, one.predicted_iou) == (3, -2.0, 0.25)
    with pytest.raises(AttributeError, match="colour"):
        _ = frame.colour  # type: ignore[attr-defined]


def test_a_result_is_fetched_once_by_many_threads() -> None:
    calls = []

    def fetch() -> dict[str, Any]:
        calls.append(1)
        return {
            "frame_idx": 7,
            "pts_seconds": 0.0,
            "size_hw": (2, 2),
            "obj_ids": [],
            "low_res_logits": np.zeros((0, 1, 1), np.float32),
            "object_score_logits": np.zeros(0, np.float32),
            "predicted_ious": np.zeros(0, np.float32),
            "states": [],
            "to_video_res": lambda logits, size_hw: np.zeros((0, *size_hw), np.float32),
        }

    result, seen = ComingResult(fetch), []
    threads = [Thread(target=lambda: seen.append((result.frame_idx, result.masks.shape))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(7, (0, 2, 2))] * 8
    assert len(calls) == 1
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = result.colour
