"""HOTA, MOTA and IDF1 against TrackEval's own evaluation of the same folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vidseg.errors import InputError
from vidseg.eval.protocols import build_protocol
from vidseg.eval.scoring import score_folders
from vidseg.pipeline.writers.png import write_label_png

trackeval = pytest.importorskip("trackeval", reason="TrackEval is not installed")

Label = npt.NDArray[np.uint8]
SIZE = (24, 40)


def squares(places: dict[int, tuple[int, int]], side: int = 8) -> Label:
    picture = np.zeros(SIZE, np.uint8)
    for obj_id, (y, x) in places.items():
        picture[y : y + side, x : x + side] = obj_id
    return picture


def write_sequences(folder: Path, sequences: dict[str, list[Label]]) -> Path:
    for name, frames in sequences.items():
        for index, frame in enumerate(frames):
            write_label_png(folder / name / f"{index:05d}.png", frame)
    return folder


def crossing(tmp_path: Path) -> tuple[Path, Path]:
    """Two sequences with void, a switch of ids, a missed object, a false one, ids with gaps, empty frames."""
    truth, found = [], []
    for t in range(8):
        there = {1: (2, 2 * t), 4: (14, 20 - 2 * t)} if t < 6 else {4: (14, 6)}
        seen = {7: (2, 2 * t + 1), 9: (13, 20 - 2 * t)} if t < 4 else {9: (2, 2 * t), 7: (14, 8)}
        if t == 5:
            seen = {}
        if t > 5:
            seen[30] = (0, 30)
        picture = squares(there)
        picture[20:, :6] = 255
        truth.append(picture)
        found.append(squares(seen))
    lonely = [squares({2: (4, 3 * t)}) for t in range(5)]
    truth_folder = write_sequences(tmp_path / "gt", {"crossing": truth, "lonely": lonely})
    found_folder = write_sequences(tmp_path / "pred", {"crossing": found, "lonely": lonely})
    return truth_folder, found_folder


def official(truth: Path, prediction: Path, tmp_path: Path) -> Any:
    """What TrackEval says of the same masks, by its own reader of DAVIS."""
    trackers = tmp_path / "trackers/mine"
    trackers.mkdir(parents=True)
    (trackers / "data").symlink_to(prediction)
    sequences = tmp_path / "sequences.txt"
    sequences.write_text("\n".join(sorted(folder.name for folder in truth.iterdir())), encoding="ascii")
    data = trackeval.datasets.DAVIS(
        {
            "GT_FOLDER": str(truth),
            "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "SEQMAP_FILE": str(sequences),
            "MAX_DETECTIONS": 0,
            "PRINT_CONFIG": False,
        }
    )
    quiet = dict.fromkeys(
        (
            "PRINT_RESULTS",
            "PRINT_CONFIG",
            "TIME_PROGRESS",
            "OUTPUT_SUMMARY",
            "OUTPUT_DETAILED",
            "PLOT_CURVES",
            "DISPLAY_LESS_PROGRESS",
        ),
        False,
    )
    metrics = trackeval.metrics
    settings = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    chosen = [metrics.HOTA(), metrics.CLEAR(settings), metrics.Identity(settings)]
    results, _ = trackeval.Evaluator({**quiet, "BREAK_ON_ERROR": True}).evaluate([data], chosen)
    return results["DAVIS"]["mine"]


def test_every_number_is_that_of_trackeval(tmp_path: Path) -> None:
    truth, prediction = crossing(tmp_path)
    document = score_folders(build_protocol("hota"), truth, prediction)
    expected = official(truth, prediction, tmp_path)
    mine = {"COMBINED_SEQ": document["global"]}
    mine |= {name: objects["all"] for name, objects in document["objects"].items()}
    for sequence, values in mine.items():
        for family in ("HOTA", "CLEAR", "Identity"):
            for name, value in expected[sequence]["general"][family].items():
                assert values[name] == pytest.approx(np.mean(value), abs=1e-12), (sequence, name)
    assert 0 < document["global"]["HOTA"] < 1
    assert document["objects"]["crossing"]["all"]["IDSW"] > 0
    assert document["objects"]["lonely"]["all"]["HOTA"] == 1


def test_a_tracker_that_finds_nothing_scores_nothing(tmp_path: Path) -> None:
    truth = write_sequences(tmp_path / "gt", {"a": [squares({1: (2, 2)})] * 3})
    prediction = write_sequences(tmp_path / "pred", {"a": [squares({})] * 3})
    document = score_folders(build_protocol("hota"), truth, prediction)
    assert document["global"]["HOTA"] == document["global"]["IDF1"] == 0
    assert document["objects"]["a"]["all"]["CLR_FN"] == 3


def test_without_the_package_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(InputError, match="TrackEval"):
        score_folders(build_protocol("hota"), tmp_path, tmp_path)
