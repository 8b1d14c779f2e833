"""recipes/mobile_sam_masks.py and mobile_sam_tracks.py: which masks may be things, and which are followed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import vidseg
from vidseg.samplers.found import Found

RECIPES = Path(__file__).parents[2] / "recipes"
HEIGHT, WIDTH = 120, 160

BoolArray = npt.NDArray[np.bool_]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(RECIPES)
    import mobile_sam_masks
    import mobile_sam_tracks

    yield mobile_sam_masks, mobile_sam_tracks
    for name in ("mobile_sam_masks", "mobile_sam_tracks"):
        del sys.modules[name]


def block(y0: int, x0: int, y1: int, x1: int) -> BoolArray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def found(mask: BoolArray) -> Found:
    return Found(mask, np.zeros(4, np.float32), 0.9, 0.95, None, None)


def test_the_larger_thing_comes_first_and_floors_are_none(scripts: Any) -> None:
    masks_of, _ = scripts
    person, jacket, dog = block(20, 20, 80, 50), block(30, 20, 60, 50), block(60, 45, 90, 80)
    speck, floor, wall = block(5, 5, 6, 7), block(90, 0, 120, 160), block(0, 90, 70, 160)
    corner = block(0, 0, 18, 20)
    labels = masks_of.things([found(each) for each in (jacket, speck, dog, floor, corner, wall, person)])
    assert sorted(np.unique(labels)) == [0, 1, 2, 3]
    assert np.array_equal(labels == 1, person)
    assert np.array_equal(labels == 2, dog & ~person)
    assert np.array_equal(labels == 3, corner)


def test_what_moves_is_followed_and_what_rests_is_left_out(scripts: Any) -> None:
    """Tracker and image model are those of the package, in place of MobileSAM, whose weights are not here."""
    _, tracks = scripts
    rng = np.random.default_rng(0)
    ground = np.repeat(np.repeat(rng.integers(60, 110, (15, 20, 3), dtype=np.uint8), 8, 0), 8, 1)
    y, x = np.mgrid[:HEIGHT, :WIDTH]

    def disc(cx: float, cy: float) -> BoolArray:
        return np.asarray((x - cx) ** 2 + (y - cy) ** 2 < 18**2)

    images = []
    for t in range(10):
        image = ground.copy()
        image[disc(35 + 4 * t, 40)] = (230, 60, 40)
        image[disc(120, 90)] = (40, 90, 230)
        images.append(image)
    tracks._tracker, tracks._segmenter = vidseg.load("vidseg-nano"), vidseg.load_image("vidseg-nano")
    starts = {4: disc(35, 40), 7: disc(120, 90)}
    masks = tracks._followed(images, starts)
    assert [list(each) for each in masks] == [[4]] * 10
    assert np.array_equal(masks[0][4], starts[4])
    assert tracks.iou(masks[-1][4], disc(71, 40)) > 0.8
