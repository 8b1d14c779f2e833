"""The scorer against the numbers of the official programs, on every value of every frame."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.shared import shared_folder
from vidseg import cli
from vidseg.eval.metrics import boundary_f, boundary_radius, coco_ap, mask_miou, region_j
from vidseg.eval.metrics.frame import FramePair
from vidseg.eval.metrics.mosev2 import mosev2_scores
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.writers.rle import decode_rle

GOLDENS = shared_folder() / "goldens" / "metrics"
TOLERANCE = 1e-9
"""The goldens are rounded to ten decimals, percentages too."""
ARGUMENTS = {
    "davis2017_semi": ["davis2017"],
    "davis2017_unsup": ["davis2017-unsupervised"],
    "davis2016": ["davis2016"],
    "vost": ["vost"],
    "lvos": ["lvos"],
    "mosev2": ["mosev2"],
    "ytvos_composed": ["ytvos"],
    "sav_skip": ["sav"],
    "sav_noskip": ["sav", "--no-skip"],
    "vos_benchmark_skip": ["vos-benchmark"],
    "vos_benchmark_noskip": ["vos-benchmark", "--no-skip"],
}


def golden_cases() -> Iterator[tuple[str, str]]:
    if not GOLDENS.is_dir():
        return
    for case in json.loads((GOLDENS / "cases.json").read_text()):
        yield from ((case["case"], name) for name in case["protocols"] if name in ARGUMENTS)


def close(mine: Any, expected: Any) -> bool:
    if expected is None or mine is None:
        return mine is expected
    return math.isclose(mine, expected, rel_tol=0, abs_tol=TOLERANCE)


def check(mine: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    for key, value in expected.items():
        if isinstance(value, dict):
            check(mine[key], value, f"{where}/{key}")
        elif isinstance(value, list):
            assert len(mine[key]) == len(value), f"{where}/{key}"
            assert all(map(close, mine[key], value)), f"{where}/{key}"
        else:
            assert close(mine[key], value), f"{where}/{key}: {mine[key]}, expected {value}"


@pytest.mark.shared
@pytest.mark.parametrize(("case", "protocol"), list(golden_cases()))
def test_score_against_official_programs(
    case: str, protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = GOLDENS / case
    expected = json.loads((folder / "expected.json").read_text())[protocol]
    name, *options = ARGUMENTS[protocol]
    out = tmp_path / "scores.json"
    arguments = ["score", name, "--gt", str(folder / "gt"), "--pred", str(folder / "pred"), "--per-frame"]
    code = cli.main([*arguments, *options, "--json", str(out)])
    printed = capsys.readouterr()
    if "error" in expected:
        assert code == 2
        assert 1 <= len(printed.err.splitlines()) <= 3
        assert not out.exists()
        return
    assert code == 0, printed.err
    mine = json.loads(out.read_text())
    assert mine["protocol"] == name
    assert set(mine["global"]) == set(expected["global"])
    assert {s: set(o) for s, o in mine["objects"].items()} == {
        s: set(o) for s, o in expected["objects"].items()
    }
    check(mine["global"], expected["global"], "global")
    check(mine["objects"], expected["objects"], "objects")


@pytest.mark.shared
def test_frame_measures_against_official_programs(shared: Path) -> None:
    folder = shared / "goldens" / "metrics" / "frame_pairs"
    for number, expected in json.loads((folder / "expected.json").read_text())["pairs"].items():
        truth, prediction = (read_label_png(folder / f"{number}_{which}.png") for which in ("gt", "pred"))
        void = read_label_png(folder / f"{number}_void.png") if expected["void"] else None
        with Image.open(folder / f"{number}_gt.png") as picture:
            assert (truth == np.asarray(picture)).all()
        pair = FramePair(truth, prediction)
        measured: dict[str, float] = {
            "J": region_j(prediction, truth, void=void),
            "F": boundary_f(prediction, truth, void=void),
            "F_tol2": boundary_f(prediction, truth, void=void, tolerance=2),
            "tolerance_px": boundary_radius(pair.size_hw),
        }
        if void is None:
            measured["gt_boundary_pixels"] = len(pair.truth_outlines([1])[0])
            measured["pred_boundary_pixels"] = len(pair.prediction_outlines([1])[0])
        if "mosev2_J" in expected:
            scores = mosev2_scores(pair, [1])[0]
            measured |= {"mosev2_J": scores.j, "mosev2_F_dot": scores.f_dot, "mosev2_F": scores.f}
        for key, value in measured.items():
            assert value == pytest.approx(expected[key], abs=1e-10), (number, expected["name"], key)


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("is_class_agnostic", [False, True])
def test_average_precision_against_coco(kind: Any, is_class_agnostic: bool, shared: Path) -> None:
    folder = shared / "goldens" / "metrics" / "coco_ap"
    instances, detections, expected = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("instances", "detections", "expected")
    )
    mine = coco_ap(instances, detections, kind=kind, is_class_agnostic=is_class_agnostic)
    assert mine == pytest.approx(
        expected[f"{kind}_class_agnostic" if is_class_agnostic else kind], abs=TOLERANCE
    )


@pytest.mark.shared
def test_mask_miou_against_coco(shared: Path) -> None:
    folder = shared / "goldens" / "metrics" / "coco_ap"
    instances, detections, expected = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("instances", "detections", "expected")
    )
    truths = {a["id"]: decode_rle(a["segmentation"]) for a in instances["annotations"]}
    pairs = [
        (truths[p["ann"]], decode_rle(detections[p["det"]]["segmentation"]))
        for p in expected["matched_pairs"]
    ]
    for (truth, found), pair in zip(pairs, expected["matched_pairs"], strict=True):
        assert region_j(found, truth) == pytest.approx(pair["iou"], abs=TOLERANCE)
    mine = mask_miou([found for _, found in pairs], [truth for truth, _ in pairs])
    assert mine == pytest.approx(expected["mask_miou"], abs=TOLERANCE)
