"""A closer look at what a prompt asks for: where it goes, and what comes back from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.training import SPACE_TIME, call_nothing_absent, space_time_tracker
from vidseg.trackers.closer_look import LARGEST, Window, cut, mirrored, pasted, window_around
from vidseg.trackers.contract import Prompt
from vidseg.trackers.image.framing import Stretch
from vidseg.trackers.image.segmenter import ImageSegmenter

SIDE = 32
SIZE_HW = (60, 120)
NOTHING = torch.full((SIDE, SIDE), -5.0)


def test_the_window_holds_the_box_and_some_of_what_is_around_it() -> None:
    window = window_around(Prompt.of(box=[40, 20, 60, 30]), NOTHING, SIZE_HW)
    assert window is not None
    view = window.view(SIZE_HW)
    assert 30 <= view.left <= 35
    assert 65 <= view.right <= 70
    assert 13 <= view.top <= 18
    assert 32 <= view.bottom <= 37


def test_without_a_box_the_window_holds_the_answer_and_all_clicks() -> None:
    answer = NOTHING.clone()
    answer[8:12, 20:24] = 5.0
    prompt = Prompt.of(points=[[15.0, 30.0]], labels=[0])
    window = window_around(prompt, answer, SIZE_HW)
    assert window is not None
    assert window.left <= 4
    assert window.right >= 24
    assert window.top <= 8
    assert window.bottom >= 16
    assert window_around(prompt, NOTHING, SIZE_HW) is None


def test_what_fills_the_picture_needs_no_closer_look() -> None:
    assert window_around(Prompt.of(box=[2, 2, 118, 58]), NOTHING, SIZE_HW) is None
    for half in range(3, 30):
        box = [60 - 2 * half, 30 - half, 60 + 2 * half, 30 + half]
        window = window_around(Prompt.of(box=box), NOTHING, SIZE_HW)
        if window is not None:
            area = (window.right - window.left) * (window.bottom - window.top)
            assert 0 < area <= LARGEST * SIDE**2


@pytest.mark.parametrize("window", [Window(0, 0, 7, 9, SIDE), Window(20, 5, 32, 30, SIDE)])
def test_a_window_is_cut_out_and_pasted_back_where_it_was(window: Window) -> None:
    y, x = torch.meshgrid(torch.linspace(-4, 4, SIDE), torch.linspace(-6, 6, SIDE), indexing="ij")
    whole = (y + x)[None]
    back = pasted(torch.full_like(whole, -9.0), cut(whole, window), window)
    rows, columns = window.cells
    apart = (back - whole)[0, rows, columns].abs()
    assert apart[1:-1, 1:-1].max() < 0.02
    is_outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    is_outside[rows, columns] = False
    assert (back[0][is_outside] == -9.0).all()


def test_prompts_and_pictures_move_alike() -> None:
    """The pixel under a click is the same in the picture and in its part."""
    image = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), np.uint8)
    view = Window(10, 4, 25, 20, SIDE).view(SIZE_HW)
    part = view.of(vidseg.Frame(3, 0.1, image))
    prompt = Prompt.of(box=[45, 10, 80, 30], points=[[50, 12], [70, 25]], labels=[1, 0])
    here = view.prompt_here(prompt)
    assert part.image is not None
    assert here.box is not None
    for before, after in zip(prompt.points_xy, here.points_xy, strict=True):
        assert (image[int(before[1]), int(before[0])] == part.image[int(after[1]), int(after[0])]).all()
    assert (here.box[2:] - here.box[:2] == np.array([35, 20])).all()
    assert list(here.labels) == [1, 0]


def small_tracker(folder: Path) -> Any:
    return space_time_tracker(folder, model={**SPACE_TIME["model"], "prompt_decoder": True})


def test_a_prompt_is_answered_on_the_part_of_the_picture_around_it(tmp_path: Path) -> None:
    """What lies far from a small box says nothing, while all of the picture says something to a large one."""
    tracker = small_tracker(tmp_path)
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    other = image.copy()
    other[:, 100:] = 255 - other[:, 100:]

    def answer(picture: Any, box: list[float]) -> Any:
        session = tracker.start()
        session.prompt(1, box=box)
        return session.step(vidseg.Frame(0, 0.0, picture)).low_res_logits[0]

    small = [20, 30, 50, 60]
    window = window_around(Prompt.of(box=small), NOTHING, (120, 160))
    assert window is not None
    side = tracker.engine.model.low_res_size
    rows, columns = (slice(part.start * side // SIDE, part.stop * side // SIDE) for part in window.cells)
    near, changed = answer(image, small), answer(other, small)
    inside = (slice(rows.start + 2, rows.stop - 2), slice(columns.start + 2, columns.stop - 2))
    np.testing.assert_array_equal(near[inside], changed[inside])
    large = [2, 2, 158, 118]
    assert not np.array_equal(answer(image, large)[inside], answer(other, large)[inside])


@pytest.mark.parametrize("box", [[24.0, 30.0, 64.0, 60.0], [4.0, 2.0, 158.0, 118.0]])
def test_the_first_answer_to_a_box_is_the_same_in_a_mirror(tmp_path: Path, box: list[float]) -> None:
    tracker = small_tracker(tmp_path)
    image = np.random.default_rng(1).integers(0, 255, (128, 160, 3), np.uint8)
    in_mirror = np.ascontiguousarray(image[:, ::-1])

    def answer(picture: Any, asked: list[float]) -> Any:
        session = tracker.start()
        session.prompt(1, box=asked)
        return session.step(vidseg.Frame(0, 0.0, picture)).low_res_logits[0]

    given = answer(image, box)
    mirrored_box = [160 - box[2], box[1], 160 - box[0], box[3]]
    back = answer(in_mirror, mirrored_box)[:, ::-1]
    window = window_around(Prompt.of(box=box), torch.from_numpy(given), (128, 160))
    rows, columns = window.cells if window is not None else (slice(None), slice(None))
    assert given[rows, columns].std() > 1e-3
    np.testing.assert_allclose(back[rows, columns], given[rows, columns], atol=1e-4)


@pytest.mark.parametrize("labels", [[2, 3], [2, 3, 1, 0], [1, 0]])
def test_points_are_mirrored_with_their_labels(labels: list[int]) -> None:
    points = torch.tensor([[[3.0, 5.0], [10.0, 9.0], [4.0, 6.0], [8.0, 1.0]]])[:, : len(labels)]
    moved, same = mirrored(points, torch.tensor([labels]), 16)
    assert same.tolist() == [labels]
    assert moved[..., 1].equal(points[..., 1])
    x = (16 - points[0, :, 0]).tolist()
    if labels[0] == 2:  # the right edge of the box becomes the left one
        x[:2] = x[1], x[0]
        assert moved[0, 0, 0] < moved[0, 1, 0]
    assert moved[0, :, 0].tolist() == x
    again, _ = mirrored(moved, same, 16)
    assert again.equal(points)


def test_a_given_mask_is_taken_as_it_is(tmp_path: Path) -> None:
    tracker = small_tracker(tmp_path)
    mask = np.zeros((120, 160), bool)
    mask[40:70, 50:80] = True
    session = tracker.start()
    session.prompt(1, mask=mask)
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    got = session.step(vidseg.Frame(0, 0.0, image)).masks[0]
    assert (got & mask).sum() / (got | mask).sum() > 0.9


@pytest.mark.parametrize(
    "asked",
    [
        {"box": [20.0, 30.0, 60.0, 70.0]},
        {"points": [[40.0, 50.0]], "labels": [1]},
        {"box": [20.0, 30.0, 60.0, 70.0], "points": [[40.0, 50.0], [25.0, 35.0]], "labels": [1, 0]},
    ],
    ids=["box", "click", "box and clicks"],
)
def test_pictures_are_looked_at_as_closely_as_first_frames(tmp_path: Path, asked: dict[str, Any]) -> None:
    tracker = small_tracker(tmp_path)
    call_nothing_absent(tracker)
    image = np.random.default_rng(2).integers(0, 255, (120, 160, 3), np.uint8)
    session = tracker.start()
    session.prompt(1, **asked)
    wanted = session.step(vidseg.Frame(0, 0.0, image)).low_res_logits
    engine = tracker.engine
    framing = Stretch(engine.model.image_size, "bicubic")
    embedding = ImageSegmenter("small", engine.model, framing).embed(image)
    answer = embedding.candidates(**asked)
    np.testing.assert_allclose(answer.low_res_logits, wanted, atol=1e-4)
    both = embedding.candidates_batch([{"points": [[100.0, 20.0]]}, asked])[1]
    np.testing.assert_allclose(both.low_res_logits, wanted, atol=1e-3)
    corrected = embedding.candidates(**asked, mask_logits=answer.low_res_logits)
    assert corrected.low_res_logits.shape == wanted.shape
