"""J and F of single masks, against the numbers of the official program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg.eval.frame_measures import boundary_f, region_j


def test_j_and_f_against_davis2017_evaluation(shared: Path) -> None:
    folder = shared / "goldens/metrics/frame_pairs"
    pairs = json.loads((folder / "expected.json").read_text())["pairs"]
    without_void = {number: facts for number, facts in pairs.items() if not facts["void"]}
    assert len(without_void) > 10
    for number, facts in without_void.items():
        truth, mask = (np.asarray(Image.open(folder / f"{number}_{of}.png")) > 0 for of in ("gt", "pred"))
        assert region_j(mask, truth) == pytest.approx(facts["J"], abs=1e-9), facts["name"]
        assert boundary_f(mask, truth) == pytest.approx(facts["F"], abs=1e-9), facts["name"]


@pytest.mark.parametrize(
    ("mask", "truth", "j", "f"),
    [("empty", "empty", 1, 1), ("empty", "box", 0, 0), ("box", "empty", 0, 0), ("full", "full", 1, 1)],
)
def test_empty_and_full_masks(mask: str, truth: str, j: float, f: float) -> None:
    masks = {"empty": np.zeros((9, 12), bool), "full": np.ones((9, 12), bool), "box": np.zeros((9, 12), bool)}
    masks["box"][2:6, 3:8] = True
    assert region_j(masks[mask], masks[truth]) == j
    assert boundary_f(masks[mask], masks[truth]) == f
