"""What is done to masks after decoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from vidseg.trackers.postprocess import fill_holes, remove_specks, separate
from vidseg.trackers.session import SessionOptions, to_video_res


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "goldens" / "golden_postprocess.npz", allow_pickle=False)


def test_holes_are_filled_as_the_official_extension_fills_them(golden):
    scores = torch.from_numpy(golden["fill_in"])
    got = fill_holes(scores.flatten(0, 1), 8).reshape(scores.shape)
    np.testing.assert_array_equal(got.numpy(), golden["fill_expected_with_extension"])
    assert not torch.equal(got, scores)


def test_objects_are_kept_apart_as_by_the_official_constraint(golden):
    got = separate(torch.from_numpy(golden["nonoverlap_in"])[:, 0])
    np.testing.assert_array_equal(got.numpy(), golden["nonoverlap_out"][:, 0])


def from_picture(*rows: str) -> torch.Tensor:
    """'#' is 2, '.' is -3."""
    return torch.tensor([[2.0 if pixel == "#" else -3.0 for pixel in line] for line in rows])[None]


def test_specks_are_removed_by_area():
    logits = from_picture("#....#", "......", "..##..", "..##..")
    assert (remove_specks(logits, 1) > 0).sum() == 4
    assert (remove_specks(logits, 4) > 0).sum() == 0
    assert torch.equal(remove_specks(logits, 0), logits)
    assert remove_specks(logits, 1).unique().tolist() == pytest.approx([-3.0, -0.1, 2.0])


def test_holes_are_filled_by_area():
    logits = from_picture("######", "#.##.#", "####.#", "######")
    assert (fill_holes(logits, 1) > 0).sum() == 22
    assert (fill_holes(logits, 2) > 0).all()
    assert fill_holes(logits, 2).unique().tolist() == pytest.approx([0.1, 2.0])


def test_regions_that_touch_at_a_corner_are_one():
    logits = from_picture("#.....", ".#....", "......")
    assert (remove_specks(logits, 1) > 0).sum() == 2
    assert (remove_specks(logits, 2) > 0).sum() == 0


logit_maps = st_numpy.arrays(np.float32, (3, 7, 9), elements=st.floats(-20, 20, width=32))


@given(logit_maps)
def test_each_pixel_goes_to_one_object_at_most(logits):
    got = separate(torch.from_numpy(logits)).numpy()
    assert ((got > 0).sum(0) <= 1).all()
    owner = logits.argmax(0)
    np.testing.assert_array_equal(np.take_along_axis(got, owner[None], 0)[0], logits.max(0))


@given(logit_maps, st.integers(1, 12))
def test_filling_only_adds_and_removing_only_takes(logits, area):
    masks = logits > 0
    filled = fill_holes(torch.from_numpy(logits), area).numpy() > 0
    cleaned = remove_specks(torch.from_numpy(logits), area).numpy() > 0
    assert (filled >= masks).all()
    assert (cleaned <= masks).all()


def test_one_object_is_left_alone():
    logits = torch.randn(1, 5, 5)
    assert torch.equal(separate(logits), logits)


def test_masks_are_resized_before_they_are_cut():
    """Cutting first would lose the thin line between two pixels of the low-res grid."""
    low_res = torch.tensor([[[-1.0, 3.0, -1.0]]])
    got = to_video_res(low_res, (1, 12), SessionOptions())
    assert got.shape == (1, 1, 12)
    assert ((got > 0)[0, 0]).tolist() == [False] * 3 + [True] * 6 + [False] * 3


def test_options_apply_at_their_own_resolution():
    """Specks are counted in low-res pixels; overlaps are settled at the video's size."""
    low_res = torch.cat(
        [from_picture("#...", "....", "..##", "..##"), from_picture("....", "....", ".###", ".###")]
    )
    both = SessionOptions(non_overlap_masks=True, remove_speck_area=1)
    got = to_video_res(low_res, (16, 16), both)
    assert not (got[0, :6] > 0).any()
    assert not ((got > 0).sum(0) > 1).any()
    assert ((to_video_res(low_res, (16, 16), SessionOptions()) > 0).sum(0) > 1).any()
    assert to_video_res(torch.zeros(0, 4, 4), (16, 16), both).shape == (0, 16, 16)
