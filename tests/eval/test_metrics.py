"""J and F against a slow and plain reference, and their laws."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.plain_measures import dilated_f, plain_f, plain_j
from vidseg.errors import InputError
from vidseg.eval.metrics import FramePair, boundary, boundary_f, boundary_radius, mask_miou, region_j
from vidseg.eval.metrics.boundary import disk
from vidseg.eval.metrics.mosev2 import mosev2_scores
from vidseg.eval.metrics.statistics import decay, mean, recall


def blobs(seed: int, height: int, width: int, ids: int = 1) -> npt.NDArray[np.uint8]:
    """A label map of boxes, discs and specks, some of them over the frame's edges."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width), np.uint8)
    for obj_id in range(1, ids + 1):
        for _ in range(int(rng.integers(0, 3))):
            x, y = int(rng.integers(-3, width + 3)), int(rng.integers(-3, height + 3))
            size = int(rng.integers(0, max(2, min(height, width))))
            if rng.random() < 0.5:
                cv2.circle(picture, (x, y), size // 2, obj_id, -1)
            else:
                cv2.rectangle(picture, (x, y), (x + size, y + size // 2), obj_id, -1)
        if rng.random() < 0.3:
            specks = rng.random((height, width)) < 0.02
            picture[specks] = obj_id
    return picture


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
SEEDS = st.integers(0, 2**31)


@given(SEEDS, SEEDS, SIZES, st.integers(1, 9))
def test_j_and_f_against_the_definitions(one: int, other: int, size: tuple[int, int], radius: int) -> None:
    prediction, truth = blobs(one, *size) > 0, blobs(other, *size) > 0
    assert region_j(prediction, truth) == plain_j(prediction, truth)
    assert boundary_f(prediction, truth, tolerance=radius) == plain_f(prediction, truth, radius)


@given(SEEDS, SEEDS, SIZES)
def test_every_object_of_a_frame_is_measured_as_if_alone(one: int, other: int, size: tuple[int, int]) -> None:
    prediction, truth = blobs(one, *size, ids=4), blobs(other, *size, ids=4)
    pair = FramePair(truth, prediction)
    ids = [1, 2, 3, 4, 9]
    assert pair.j(ids) == [plain_j(prediction == i, truth == i) for i in ids]
    assert pair.f(ids) == [boundary_f(prediction == i, truth == i) for i in ids]
    assert pair.truth_ids == sorted(set(truth.ravel().tolist()) - {0})
    assert [pair.truth_area(i) for i in ids] == [int((truth == i).sum()) for i in ids]


@given(SEEDS, SEEDS, SIZES)
def test_ids_may_be_renamed(one: int, other: int, size: tuple[int, int]) -> None:
    prediction, truth = blobs(one, *size, ids=3), blobs(other, *size, ids=3)
    renamed = np.array([0, 255, 7, 40], np.uint8)
    before = FramePair(truth, prediction)
    after = FramePair(renamed[truth], renamed[prediction])
    assert after.j([255, 7, 40]) == before.j([1, 2, 3])
    assert after.f([255, 7, 40]) == before.f([1, 2, 3])


@given(SEEDS, SIZES)
def test_a_mask_against_itself_is_perfect(seed: int, size: tuple[int, int]) -> None:
    mask = blobs(seed, *size)
    assert region_j(mask, mask) == boundary_f(mask, mask) == 1


@given(SEEDS, SEEDS, SIZES)
def test_f_does_not_mind_which_mask_is_true(one: int, other: int, size: tuple[int, int]) -> None:
    prediction, truth = blobs(one, *size), blobs(other, *size)
    assert boundary_f(prediction, truth) == pytest.approx(boundary_f(truth, prediction), abs=1e-15)


@given(SEEDS, SEEDS, SEEDS, SIZES)
def test_void_pixels_count_for_neither_mask(one: int, other: int, third: int, size: tuple[int, int]) -> None:
    prediction, truth, void = (blobs(seed, *size) > 0 for seed in (one, other, third))
    assert region_j(prediction, truth, void=void) == plain_j(prediction & ~void, truth & ~void)
    assert boundary_f(prediction, truth, void=void) == boundary_f(prediction & ~void, truth & ~void)


@given(SEEDS, SEEDS, st.tuples(st.integers(2, 40), st.integers(2, 40)), st.floats(0.05, 9))
def test_a_disk_is_the_kernel_that_opencv_dilates_with(
    one: int, other: int, size: tuple[int, int], radius: float
) -> None:
    samples = np.arange(-radius, radius + 1)
    kernel = (samples[:, None] ** 2 + samples**2 <= radius**2).astype(np.uint8)
    prediction, truth = blobs(one, *size), blobs(other, *size)
    pair = FramePair(truth, prediction)
    assert pair.f([1], disk(radius)) == [dilated_f(prediction > 0, truth > 0, kernel)]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 7), (31, 17)])
def test_edge_cases_of_masks(size: tuple[int, int]) -> None:
    empty, full, pixel = np.zeros(size, bool), np.ones(size, bool), np.zeros(size, bool)
    pixel[0, 0] = True
    assert region_j(empty, empty) == boundary_f(empty, empty) == 1
    assert region_j(empty, full) == region_j(full, empty) == 0
    assert boundary_f(empty, full) == 1  # neither has an outline
    assert region_j(full, full) == boundary_f(full, full) == 1
    assert region_j(pixel, pixel) == boundary_f(pixel, pixel) == 1
    if size != (1, 1):
        assert boundary_f(pixel, empty) == boundary_f(empty, pixel) == boundary_f(full, pixel) == 0


def test_frames_larger_than_4k_are_measured_exactly() -> None:
    size = (4321, 8191)
    truth, prediction = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    radius = boundary_radius(size)
    assert radius == math.ceil(0.008 * math.hypot(*size)) == 75
    truth[100:4000, 100:8000] = 1
    prediction[100:3000, 100:8100] = 1
    assert region_j(prediction, truth) == (2900 * 7900) / (3900 * 7900 + 2900 * 100)
    pair = FramePair(truth, prediction)
    assert len(pair.truth_outlines([1])[0]) == 2 * (3900 + 7900)
    shifted = np.roll(truth, (radius, 0), (0, 1))
    assert boundary_f(shifted, truth) == 1
    assert boundary_f(np.roll(truth, (radius + 1, 0), (0, 1)), truth) < 1


def test_f_does_not_depend_on_how_much_is_measured_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [FramePair(blobs(seed, 200, 300, ids=6), blobs(seed + 1, 200, 300, ids=6)) for seed in range(20)]
    ids = list(range(1, 7))
    at_once = [pair.f(ids) for pair in pairs]
    monkeypatch.setattr(boundary, "SHEET_PIXELS", 1)
    monkeypatch.setattr(boundary, "LOOK_UPS", 1)
    assert [pair.f(ids) for pair in pairs] == at_once
    assert len({score for scores in at_once for score in scores}) > 20


def test_a_far_larger_number_of_objects_than_usual() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 256, (2, 40, 50), np.uint8)
    pair = FramePair(truth, prediction)
    ids = list(range(1, 256))
    assert pair.j(ids) == [plain_j(prediction == i, truth == i) for i in ids]
    assert pair.f(ids)[:20] == [plain_f(prediction == i, truth == i, 1) for i in ids[:20]]


def test_mosev2_measures_by_their_definitions() -> None:
    truth, prediction = np.zeros((60, 90), np.uint8), np.zeros((60, 90), np.uint8)
    prediction[10:20, 10:20] = 1
    absent = mosev2_scores(FramePair(truth, prediction), [1])[0]
    assert absent == (1 / 101, 0, 0, True)
    truth[10:20, 12:22] = 1
    there = mosev2_scores(FramePair(truth, prediction), [1])[0]
    assert there.j == 81 / 121
    assert not there.is_absent


def test_statistics_of_davis() -> None:
    values = [1.0, 0.5, 0.75, 0.25, 0.0]
    assert mean(values) == 0.5
    assert recall(values) == 0.4
    assert decay(values) == 0.75 - 0.125
    assert math.isnan(mean([]))
    falling = np.linspace(1, 0, 300)
    assert decay(falling, wrap=False) == pytest.approx(0.75, abs=0.01)
    assert math.isnan(decay(falling[:256]))


def test_mask_miou_is_the_mean_over_pairs() -> None:
    half, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    half[:2] = True
    assert mask_miou([half, full], [full, full]) == 0.75


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="prediction of"):
        region_j(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="void"):
        boundary_f(np.zeros((3, 4)), np.zeros((3, 4)), void=np.zeros((4, 3)))
    with pytest.raises(InputError, match="height x width"):
        region_j(np.zeros(4), np.zeros(4))
