"""AP of tracks against TrackEval's reader and measure of YouTube-VIS, on made tracks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from vidseg import cli
from vidseg.errors import InputError
from vidseg.eval.protocols import build_protocol
from vidseg.eval.scoring import score, score_folders
from vidseg.pipeline.writers.rle import encode_rle

HEIGHT, WIDTH, LENGTH = 300, 400, 5
CATEGORIES = [{"id": 3, "name": "cup"}, {"id": 8, "name": "dog"}, {"id": 9, "name": "never seen"}]


def track(rng: np.random.Generator, video_id: int, category_id: int) -> dict[str, Any]:
    """A rectangle of any size that moves, and is absent from some frames."""
    y, x = rng.integers(0, HEIGHT - 40), rng.integers(0, WIDTH - 40)
    height, width = rng.integers(20, 280, 2)
    masks: list[Any] = []
    for t in range(LENGTH):
        if rng.random() < 0.25 and t:
            masks.append(None)
            continue
        picture = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        picture[y + 3 * t : y + 3 * t + height, x : x + width] = 1
        mask = rle.encode(picture)
        masks.append({"size": mask["size"], "counts": mask["counts"].decode("ascii")})
    return {"video_id": video_id, "category_id": category_id, "iscrowd": 0, "segmentations": masks}


def shifted(rng: np.random.Generator, true: dict[str, Any]) -> dict[str, Any]:
    """The track, each mask a few pixels off and some lost."""
    masks: list[Any] = []
    for mask in true["segmentations"]:
        if mask is None or rng.random() < 0.15:
            masks.append(None)
            continue
        moved = rle.encode(np.asfortranarray(np.roll(rle.decode(mask), rng.integers(0, 12), axis=1)))
        masks.append({"size": moved["size"], "counts": moved["counts"].decode("ascii")})
    return {**true, "segmentations": masks, "score": round(float(rng.random()), 3)}


def write_set(folder: Path, seed: int) -> tuple[Path, Path]:
    rng = np.random.default_rng(seed)
    videos = [
        {"id": i, "height": HEIGHT, "width": WIDTH, "length": LENGTH}
        | {"file_names": [f"video{i}/{t:05d}.jpg" for t in range(LENGTH)]}
        for i in (1, 2, 5)
    ]
    truth, found = [], []
    for video in videos:
        for category in CATEGORIES[:2]:
            for _ in range(3):
                true = track(rng, video["id"], category["id"])
                truth.append({**true, "id": len(truth) + 1})
                found.append(shifted(rng, true))
            found.append({**track(rng, video["id"], category["id"]), "score": 0.7})
    for true in truth:  # TrackEval reads the truth uncompressed, and wants sizes and areas with it
        areas = [None if mask is None else int(rle.area(mask)) for mask in true["segmentations"]]
        masks = [None if mask is None else uncompressed(mask) for mask in true["segmentations"]]
        true |= {"height": HEIGHT, "width": WIDTH, "areas": areas, "segmentations": masks}
    document = {"videos": videos, "annotations": truth, "categories": CATEGORIES}
    gt, pred = (
        folder / "gt/youtube_vis_val/truth.json",
        folder / "pred/youtube_vis_val/mine/data/results.json",
    )
    for path, content in ((gt, document), (pred, found)):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content), encoding="ascii")
    return gt, pred


def uncompressed(mask: dict[str, Any]) -> dict[str, Any]:
    flat = np.concatenate([[0], rle.decode(mask).ravel(order="F"), [0]])
    changes = np.flatnonzero(np.diff(flat))
    return {"size": mask["size"], "counts": np.diff([0, *changes, HEIGHT * WIDTH]).tolist()}


@pytest.mark.parametrize("seed", [0, 1])
def test_ap_is_that_of_trackeval(seed: int, tmp_path: Path) -> None:
    trackeval = pytest.importorskip("trackeval", reason="TrackEval is not installed")
    gt, pred = write_set(tmp_path, seed)
    data = trackeval.datasets.YouTubeVIS(
        {
            "GT_FOLDER": f"{tmp_path}/gt/",
            "TRACKERS_FOLDER": f"{tmp_path}/pred/",
            "SPLIT_TO_EVAL": "val",
            "PRINT_CONFIG": False,
        }
    )
    metric = trackeval.metrics.TrackMAP(
        {
            "MAX_DETECTIONS": 100,
            "USE_TIME_RANGES": False,
            "AREA_RANGES": [[0, 128**2], [128**2, 256**2], [256**2, 1e10]],
            "PRINT_CONFIG": False,
        }
    )
    document = score_folders(build_protocol("ytvis"), gt, pred)
    assert set(document["objects"]["all"]) == {"cup", "dog"}
    for category, mine in document["objects"]["all"].items():
        by_video = {}
        for name in data.seq_list:
            raw = data.get_raw_seq_data("mine", name)
            by_video[name] = metric.eval_sequence(data.get_preprocessed_seq_data(raw, category))
        expected = metric.combine_sequences(by_video)
        for key, theirs in (("AP", "all"), ("AP_small", "area_s"), ("AP_medium", "area_m")):
            value = -1 if mine[key] is None else mine[key]  # the packages say -1 where there is nothing
            assert value == pytest.approx(np.mean(expected[f"AP_{theirs}"]), abs=1e-9), (category, key)
        assert mine["AP50"] == pytest.approx(expected["AP_all"][0], abs=1e-9)
        assert mine["AR100"] == pytest.approx(np.mean(expected["AR_all"]), abs=1e-9)
        assert 0 < mine["AP"] < 1
    assert document["global"]["AP"] == pytest.approx(
        np.mean([of["AP"] for of in document["objects"]["all"].values()])
    )


def test_a_truth_with_scores_is_perfect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt, _ = write_set(tmp_path, 2)
    document = json.loads(gt.read_text(encoding="ascii"))
    for place, true in enumerate(document["annotations"]):
        true["score"] = 1 - place / 100
    own = tmp_path / "own.json"
    own.write_text(json.dumps(document), encoding="ascii")
    assert cli.main(["score", "ytvis", "--gt", str(gt.parent), "--pred", str(own), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["global"]["AP"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 77}, "video 77"),
        ({"segmentations": [None]}, "not as many segmentations"),
        ({"score": None}, "score"),
        ({"score": "high"}, "the score 'high' is no number"),
        ({"score": math.nan}, "the score nan is no number"),
        ({"video_id": [1]}, "is not in the ground truth"),
    ],
)
def test_results_that_do_not_fit_are_told_with_their_place(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    gt, pred = write_set(tmp_path, 3)
    found = json.loads(pred.read_text(encoding="ascii"))
    found[4] = {key: value for key, value in {**found[4], **change}.items() if value is not None}
    pred.write_text(json.dumps(found), encoding="ascii")
    with pytest.raises(InputError, match=message) as error:
        score_folders(build_protocol("ytvis"), gt, pred)
    assert "track 4" in str(error.value)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("zz", "the mask cannot be read"),
        ({"size": [4, 4]}, "the mask cannot be read"),
        (encode_rle(np.ones((3, 5), bool)), "the mask is 5x3, its video"),
    ],
)
def test_masks_that_do_not_fit_are_told_with_their_frame(mask: Any, message: str, tmp_path: Path) -> None:
    gt, pred = write_set(tmp_path, 3)
    found = json.loads(pred.read_text(encoding="ascii"))
    found[4]["segmentations"][1] = mask
    pred.write_text(json.dumps(found), encoding="ascii")
    with pytest.raises(InputError, match=message) as error:
        score_folders(build_protocol("ytvis"), gt, pred)
    assert "track 4, frame 1" in str(error.value)


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("videos", {"id": 1}, "a video has no 'length'"),
        ("videos", 3, "a video has no 'id'"),
        ("categories", {"id": 1}, "a category has no 'name'"),
    ],
)
def test_a_truth_that_lacks_something_is_told(key: str, entry: Any, message: str, tmp_path: Path) -> None:
    gt, pred = write_set(tmp_path, 3)
    document = json.loads(gt.read_text(encoding="ascii"))
    document[key].append(entry)
    gt.write_text(json.dumps(document), encoding="ascii")
    with pytest.raises(InputError, match=message):
        score_folders(build_protocol("ytvis"), gt, pred)


def test_a_truth_without_tracks_has_nothing_to_score(tmp_path: Path) -> None:
    gt, pred = write_set(tmp_path, 3)
    document = json.loads(gt.read_text(encoding="ascii"))
    gt.write_text(json.dumps({**document, "annotations": []}), encoding="ascii")
    with pytest.raises(InputError, match="nothing to score"):
        score("ytvis", gt, pred)
