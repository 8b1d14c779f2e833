"""Spans worth a look, from masks and pictures as they go by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidseg
from vidseg.pipeline import review
from vidseg.pipeline.review import Review
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.testing import FakeTracker
from vidseg.trackers.contract import Frame

SIZE_HW = (60, 80)
GREEN, RED = (20, 160, 30), (200, 20, 20)

Square = tuple[int, int, int]
"""Left, top, side."""


def show(
    spans: Review,
    frame_idx: int,
    *squares: Square,
    scores: Sequence[float] = (),
    states: Sequence[str] = (),
    colour: tuple[int, int, int] = GREEN,
) -> None:
    image = np.full((*SIZE_HW, 3), colour, np.uint8)
    masks = np.zeros((len(squares), *SIZE_HW), bool)
    for mask, (x, y, side) in zip(masks, squares, strict=True):
        mask[y : y + side, x : x + side] = True
    ids = list(range(1, len(squares) + 1))
    scores = list(scores) or [0.9] * len(ids)
    spans.see(
        Frame(frame_idx, frame_idx / 10, image),
        FrameMasks(frame_idx, frame_idx / 10, SIZE_HW, ids, masks, scores, list(states)),
    )


def found(spans: Review) -> list[tuple[str, list[int], list[int]]]:
    return [(s["reason"], s["frames"], s["objects"]) for s in spans.document()]


def play(frames: Iterable[int], **changes: Any) -> Review:
    """One square that moves slowly; `changes` by frame: what else to give `show`."""
    spans = Review()
    for t in frames:
        more = {key: value[t] for key, value in changes.items() if t in value}
        squares = more.pop("squares", [(10 + t % 20, 10, 20)])
        show(spans, t, *squares, **more)
    return spans


@pytest.mark.parametrize("order", [range(30), range(29, -1, -1)])
def test_a_quiet_video_has_no_spans(order):
    assert found(play(order)) == []


@pytest.mark.parametrize("order", [range(30), range(29, -1, -1)])
def test_low_scores_are_one_span(order):
    assert found(play(order, scores={t: [0.3] for t in (8, 9, 12)})) == [("low_score", [8, 12], [1])]


def test_low_scores_far_apart_are_two_spans():
    assert len(found(play(range(30), scores={t: [0.3] for t in (8, 20)}))) == 2


def test_an_uncertain_object_counts_as_a_low_score_and_an_absent_one_does_not():
    spans = play(
        range(20),
        states={5: ["uncertain"], 12: ["absent"]},
        scores={12: [0.0]},
        squares={12: [(0, 0, 0)]},
    )
    assert found(spans) == [("low_score", [5, 5], [1])]


def test_an_area_that_doubles_or_halves():
    spans = play(range(30), squares={t: [(10, 10, 32)] for t in range(8, 30)})
    assert found(spans) == [("area_jump", [8, 8], [1])]
    spans = play(range(30), squares={t: [(10, 10, 8)] for t in range(8, 30)})
    assert found(spans) == [("area_jump", [8, 8], [1])]


def test_small_areas_may_double():
    assert found(play(range(10), squares={t: [(10, 10, 3 + 2 * (t % 2))] for t in range(10)})) == []


def test_an_object_that_comes_and_goes_does_not_jump():
    assert found(play(range(20), squares={t: [(0, 0, 0)] for t in range(5, 12)})) == []


def test_two_objects_on_the_same_pixels():
    squares = {t: [(10, 10, 20), (60 - 5 * t, 10, 18)] for t in range(12)}
    spans = play(range(12), squares=squares)
    assert found(spans) == [("objects_merge", [9, 10], [1, 2])]


def test_objects_that_touch_or_lie_inside_each_other_have_not_merged():
    assert found(play(range(4), squares={t: [(10, 10, 20), (24, 10, 20)] for t in range(4)})) == []
    assert found(play(range(4), squares={t: [(10, 10, 30), (12, 12, 10)] for t in range(4)})) == []


def test_merged_pairs_equal_those_of_whole_masks():
    rng = np.random.default_rng(0)
    masks = np.zeros((12, *SIZE_HW), bool)
    for mask in masks:
        x, y, w, h = rng.integers((0, 0, 8, 8), (20, 15, 50, 40))
        mask[y : y + h, x : x + w] = True
    given = FrameMasks(0, 0.0, SIZE_HW, list(range(12)), masks, [1.0] * 12)
    want = [
        (i, j)
        for i in range(12)
        for j in range(i + 1, 12)
        if (masks[i] & masks[j]).sum() >= 0.5 * (masks[i] | masks[j]).sum()
    ]
    assert want
    assert review._merged(given, {i: int(m.sum()) for i, m in enumerate(masks)}) == want


@pytest.mark.parametrize("order", [range(30), range(29, -1, -1)])
def test_a_cut_is_the_first_frame_of_the_new_scene(order):
    spans = play(order, colour=dict.fromkeys(range(14, 30), RED))
    assert found(spans) == [("scene_cut", [14, 14], [])]


def test_frames_that_were_dropped_are_no_cut():
    assert found(play([*range(10), *range(14, 20)], colour=dict.fromkeys(range(14, 20), RED))) == []


def test_frames_without_a_picture_have_no_cuts():
    spans = Review()
    for t in range(3):
        frame = Frame(t, t / 10, model_input=np.zeros((3, 8, 8), np.float32), size_hw=SIZE_HW)
        nothing = np.zeros((0, *SIZE_HW), bool)
        spans.see(frame, FrameMasks(t, t / 10, SIZE_HW, [], nothing, []))
    assert found(spans) == []


def test_spans_are_bounded(monkeypatch):
    monkeypatch.setattr(review, "MAX_SPANS", 3)
    spans = play(range(60), scores={t: [0.3] for t in range(0, 60, 10)})
    assert len(found(spans)) == 3
    assert spans.left_out == 3


def test_a_resumed_review_keeps_what_lies_on_frames_that_are_done():
    whole = play(range(30), scores={t: [0.3] for t in (2, *range(8, 20), 26)})
    resumed = Review()
    resumed.resume(whole.document(), lambda t: t < 12)
    assert found(resumed) == [("low_score", [2, 2], [1]), ("low_score", [8, 11], [1])]
    for t in range(12, 30):
        show(resumed, t, (10 + t % 20, 10, 20), scores=[0.3 if t in (*range(8, 20), 26) else 0.9])
    assert found(resumed) == found(whole)


def test_run_json_lists_them(tmp_path: Path) -> None:
    images = [np.full((*SIZE_HW, 3), GREEN if t < 8 else RED, np.uint8) for t in range(12)]
    vidseg.track(images, {"box": [20, 20, 40, 40]}, tracker=FakeTracker(), out=tmp_path, formats=("rle",))
    record = json.loads((tmp_path / "run.json").read_text())
    assert {"frames": [8, 8], "objects": [], "reason": "scene_cut"} in record["review"]
    assert record["review_left_out"] == 0
