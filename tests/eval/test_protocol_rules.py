"""Every protocol against the rules of its official program, in plain Python, on random clips.

The rules of means, first and last frames, objects that come late, and empty masks are compared; measures of a
frame are those of `support.plain_measures`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from support.plain_measures import dilated_f, plain_f, plain_j
from vidseg.errors import InputError
from vidseg.eval.scoring import score
from vidseg.pipeline.writers.png import write_label_png

Clip = list[npt.NDArray[np.uint8]]

SIZES = [(1, 1), (1, 7), (6, 1), (2, 2), (9, 12), (4, 140)]
"""The last one is so long that F's radius is 2, and MOSEv2 narrows it for small objects."""
SEEDS = range(12)


def random_clip(rng: np.random.Generator, size: tuple[int, int], length: int, ids: Sequence[int]) -> Clip:
    """Label maps that are empty, full, of one pixel, of boxes or of noise."""
    clip = []
    for _ in range(length):
        picture = np.zeros(size, np.uint8)
        kind = rng.integers(6)
        if kind == 1:
            picture[:] = rng.choice(ids)
        elif kind == 2:
            picture[rng.integers(size[0]), rng.integers(size[1])] = rng.choice(ids)
        elif kind == 3:
            picture[:] = rng.choice([0, *ids], size)
        elif kind > 3:
            for obj_id in ids:
                top, left = rng.integers(size[0]), rng.integers(size[1])
                picture[top : top + size[0] // 2 + 1, left : left + size[1] // 2 + 1] = obj_id
        clip.append(picture)
    return clip


def clips_of(seed: int, ids: Sequence[int], shortest: int = 3) -> tuple[Clip, Clip]:
    """Ground truth and prediction; the prediction is sometimes right."""
    rng = np.random.default_rng(seed)
    size = SIZES[seed % len(SIZES)]
    length = int(rng.integers(shortest, shortest + 7))
    truth, other = (random_clip(rng, size, length, ids) for _ in range(2))
    return truth, [(t if rng.random() < 0.2 else o).copy() for t, o in zip(truth, other, strict=True)]


def write(folder: Path, clip: Clip, names: Sequence[str] | None = None) -> list[str]:
    names = names or [f"{index:05d}" for index in range(len(clip))]
    for name, picture in zip(names, clip, strict=True):
        write_label_png(folder / f"{name}.png", picture)
    return list(names)


def j_f(truth: Clip, prediction: Clip, obj_id: int, predicted_id: int | None = None) -> npt.NDArray[Any]:
    """J and F on every frame: 2 x frames."""
    radius = math.ceil(0.008 * math.hypot(*truth[0].shape))
    pairs = [(p == (predicted_id or obj_id), t == obj_id) for t, p in zip(truth, prediction, strict=True)]
    return np.array([[plain_j(p, t), plain_f(p, t, radius)] for p, t in pairs]).T


def same(found: Any, expected: Any) -> None:
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=False)


def davis_statistics(values: Sequence[float]) -> tuple[float, float, float]:
    limits = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    quarters = [np.mean(values[limits[i] : limits[i + 1] + 1]) for i in range(4)]
    return float(np.mean(values)), float(np.mean(np.array(values) > 0.5)), float(quarters[0] - quarters[3])


def without_void(clip: Clip) -> Clip:
    return [np.where(picture == 255, 0, picture).astype(np.uint8) for picture in clip]


@pytest.mark.parametrize("seed", SEEDS)
def test_davis2017(seed: int, tmp_path: Path) -> None:
    truth, prediction = clips_of(seed, [1, 3, 255])
    truth[0].flat[0] = 3  # ids 1 and 2 may be missing on the first frame
    prediction = without_void(prediction)
    write(tmp_path / "gt/a", truth)
    write(tmp_path / "pred/a", prediction)
    found = score("davis2017", tmp_path / "gt", tmp_path / "pred")
    truth = without_void(truth)
    means = []
    for obj_id in (1, 2, 3):
        j, f = j_f(truth[1:-1], prediction[1:-1], obj_id)
        of = found["objects"]["a"][str(obj_id)]
        same([of[f"J_{what}"] for what in ("mean", "recall", "decay")], davis_statistics(j.tolist()))
        same([of[f"F_{what}"] for what in ("mean", "recall", "decay")], davis_statistics(f.tolist()))
        means.append((j.mean() + f.mean()) / 2)
    same(found["global"]["J&F-Mean"], np.mean(means))


@pytest.mark.parametrize("seed", SEEDS)
def test_vost(seed: int, tmp_path: Path) -> None:
    truth, prediction = clips_of(seed, [1, 2])
    truth[0].flat[0] = 1
    prediction[1].flat[0] = 9  # is dropped
    write(tmp_path / "gt/a", truth)
    write(tmp_path / "pred/a", prediction)
    found = score("vost", tmp_path / "gt", tmp_path / "pred")["objects"]["a"]
    assert set(found) == {str(i) for i in range(1, int(truth[0].max()) + 1)}
    for obj_id, of in found.items():
        j = j_f(truth[1:-1], prediction[1:-1], int(obj_id))[0].tolist()
        last = j[int(0.75 * len(j)) :]
        same([of[f"J_{what}"] for what in ("mean", "recall", "decay")], davis_statistics(j))
        same([of[f"J_last_{what}"] for what in ("mean", "recall", "decay")], davis_statistics(last))


@pytest.mark.parametrize("seed", SEEDS)
def test_davis2017_unsupervised(seed: int, tmp_path: Path) -> None:
    truth, prediction = clips_of(seed, [1, 2], shortest=1)
    rng = np.random.default_rng(seed)
    for picture in truth:
        picture[rng.random(picture.shape) < 0.1] = 255
    truth[0].flat[0] = 2
    write(tmp_path / "gt/a", truth)
    write(tmp_path / "pred/a", [np.array([0, 7, 4], np.uint8)[picture] for picture in prediction])
    found = score("davis2017-unsupervised", tmp_path / "gt", tmp_path / "pred")["global"]
    prediction = [np.where(t == 255, 0, p).astype(np.uint8) for t, p in zip(truth, prediction, strict=True)]
    count = int(without_void(truth)[0].max())
    table = {
        (obj_id, proposal): j_f(truth, prediction, obj_id, proposal).mean()
        for obj_id in range(1, count + 1)
        for proposal in (1, 2, 3)  # the third one is empty
    }
    best = max(
        sum(table[obj_id, proposal] for obj_id, proposal in enumerate(chosen, start=1))
        for chosen in permutations((1, 2, 3), count)
    )
    same(found["J&F-Mean"], best / count)


@pytest.mark.parametrize("no_skip", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_vos_benchmark(seed: int, no_skip: bool, tmp_path: Path) -> None:
    truth, prediction = clips_of(seed, [2, 9, 255], shortest=1)
    write(tmp_path / "gt/a", truth)
    write(tmp_path / "pred/a", prediction)
    if not no_skip:
        truth, prediction = truth[1:-1], prediction[1:-1]
    annotated = {int(i) for picture in truth for i in np.unique(picture)} - {0}
    if not annotated:
        with pytest.raises(InputError, match="nothing to score"):
            score("vos-benchmark", tmp_path / "gt", tmp_path / "pred", no_skip=no_skip)
        return
    found = score("vos-benchmark", tmp_path / "gt", tmp_path / "pred", no_skip=no_skip)
    assert set(found["objects"]["a"]) == {str(i) for i in annotated}
    means = []
    for obj_id in annotated:
        shown = [(obj_id in t) or (obj_id in p) for t, p in zip(truth, prediction, strict=True)]
        joins = shown.index(True)
        values = 100 * j_f(truth[joins:], prediction[joins:], obj_id).mean(1)
        of = found["objects"]["a"][str(obj_id)]
        same([of["J"], of["F"]], values)
        assert of["n_frames"] == len(truth) - joins
        means.append(values)
    same([found["global"][key] for key in ("J", "F")], np.mean(means, 0))


@pytest.mark.parametrize("seed", SEEDS)
def test_sav(seed: int, tmp_path: Path) -> None:
    clips = {obj: clips_of(100 * seed + place, [1]) for place, obj in enumerate(("000", "007"))}
    expected = {}
    for obj, (truth, prediction) in clips.items():
        truth[1].flat[0] = 1
        names = write(tmp_path / f"gt/v/{obj}", truth)
        write(tmp_path / f"pred/v/{obj}", [255 * picture for picture in prediction], names)
        write(tmp_path / f"pred/v/{obj}", [1 - truth[0]], ["00000_between"])  # is ignored
        expected[obj] = 100 * j_f(truth[1:-1], prediction[1:-1], 1).mean(1)
    found = score("sav", tmp_path / "gt", tmp_path / "pred")
    for obj, (j, f) in expected.items():
        same([found["objects"]["v"][obj][key] for key in ("J", "F")], [j, f])
    same(found["global"]["J&F"], np.mean(list(expected.values())))


@pytest.mark.parametrize("seed", SEEDS)
def test_lvos(seed: int, tmp_path: Path) -> None:
    kinds = {"old": "seen", "new": "unseen"}
    means: dict[str, list[npt.NDArray[Any]]] = {"seen": [], "unseen": []}
    videos: dict[str, Any] = {}
    found_of = {}
    for place, name in enumerate(kinds):
        truth, prediction = clips_of(100 * seed + place, [1, 2], shortest=5)
        names = [f"{1 + 5 * index:08d}" for index in range(len(truth))]
        write(tmp_path / "gt/Annotations" / name, truth, names)
        write(tmp_path / "pred" / name, prediction, names)
        videos[name] = {"objects": {}}
        for obj_id, (first, past) in {1: (0, len(truth)), 2: (1, len(truth) - 1)}.items():
            about = {"start": 1 + 5 * first, "end": 1 + 5 * (past - 1) + 1, "frame_nums": past - first}
            videos[name]["objects"][str(obj_id)] = {"frame_range": about}
            scored = slice(first + 1, past - 1)
            values = j_f(truth[scored], prediction[scored], obj_id)
            v = math.sqrt(round(float(np.var(values.mean(0))), 4))
            means[kinds[name]].append(np.array([*values.mean(1), v]))
            found_of[name, str(obj_id)] = means[kinds[name]][-1]
    (tmp_path / "gt/valid_meta.json").write_text(json.dumps({"videos": videos}))
    (tmp_path / "gt/unseen_videos.txt").write_text("new\n")
    found = score("lvos", tmp_path / "gt", tmp_path / "pred")
    for (name, obj), values in found_of.items():
        same([found["objects"][name][obj][key] for key in ("J_mean", "F_mean", "V")], values)
    by_kind = {kind: np.mean(values, 0) for kind, values in means.items()}
    for kind, values in by_kind.items():
        same([found["global"][f"{key}-{kind}-Mean"] for key in "JFV"], values)
    same(found["global"]["J&F-Mean"], np.mean([values[:2] for values in by_kind.values()]))


@pytest.mark.parametrize("seed", SEEDS)
def test_ytvos(seed: int, tmp_path: Path) -> None:
    truth, prediction = clips_of(seed, [3, 8])
    names = write(tmp_path / "gt/Annotations/a", truth, [f"{5 * index:05d}" for index in range(len(truth))])
    write(tmp_path / "pred/Annotations/a", prediction, names)
    starts = {"3": (0, "zebra"), "8": (1, "zebu")}
    objects = {obj: {"category": category, "frames": names[at:]} for obj, (at, category) in starts.items()}
    (tmp_path / "gt/meta.json").write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
    found = score("ytvos", tmp_path / "gt", tmp_path / "pred")["global"]
    expected = []
    for (obj, (at, _)), kind in zip(starts.items(), ("seen", "unseen"), strict=True):
        values = j_f(truth[at + 1 :], prediction[at + 1 :], int(obj)).mean(1)
        same([found[f"J_{kind}"], found[f"F_{kind}"]], values)
        expected.append(values)
    same(found["G"], np.mean(expected))


def mosev2_frame(truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """J, F-dot, F of one frame."""
    union = int((truth | prediction).sum())
    j = (int((truth & prediction).sum()) + 1) / (union + 1) if union else 1.0
    whole = 0.008 * math.hypot(*truth.shape)
    narrow = math.ceil(0.1 * math.sqrt(truth.sum())) if truth.any() else whole
    f_dot, f = (
        dilated_f(prediction, truth, kernel_of(r))
        for r in ((narrow, math.ceil(whole)) if narrow < whole else (whole, whole))
    )
    return j, f_dot, f


def kernel_of(radius: float) -> npt.NDArray[np.uint8]:
    samples = np.arange(-radius, radius + 1)
    return (samples[:, None] ** 2 + samples**2 <= radius**2).astype(np.uint8)


def runs_of(is_absent: Sequence[bool], wanted: bool) -> list[list[int]]:
    """The places of each run that does not start at the first one."""
    runs: list[list[int]] = []
    for place, absent in enumerate(is_absent):
        if absent != wanted:
            continue
        if place and is_absent[place - 1] == wanted:
            if runs:
                runs[-1].append(place)
        elif place:
            runs.append([place])
    # A run from the first place on was left out, together with all that follows it without a gap.
    start = next((place for place, absent in enumerate(is_absent) if absent != is_absent[0]), len(is_absent))
    return [run for run in runs if run[0] >= start]


@pytest.mark.parametrize("seed", SEEDS)
def test_mosev2(seed: int, tmp_path: Path) -> None:
    truth, prediction = clips_of(seed, [1, 2])
    write(tmp_path / "gt/Annotations/a", truth)
    write(tmp_path / "pred/a", prediction, [f"frame{index:03d}" for index in range(len(truth))])
    about = {"length": len(truth), "objects": ["1", "2"]}
    (tmp_path / "gt/meta.json").write_text(json.dumps({"videos": {"a": about}}))
    found = score("mosev2", tmp_path / "gt", tmp_path / "pred")
    means: dict[str, list[float]] = {}
    for obj_id in (1, 2):
        of = found["objects"]["a"][str(obj_id)]
        pairs = [(t == obj_id, p == obj_id) for t, p in zip(truth[1:-1], prediction[1:-1], strict=True)]
        j, f_dot, f = np.array([mosev2_frame(t, p) for t, p in pairs]).T
        expected = {"J": j.mean(), "F_dot": f_dot.mean(), "F": f.mean()}
        is_absent = [not t.any() for t, _ in pairs]
        for what, wanted in (("disappear", True), ("reappear", False)):
            for key, values in (("J", j), ("F_dot", f_dot)):
                of_runs = [values[run].mean() for run in runs_of(is_absent, wanted)]
                if of_runs:
                    expected[f"{what}_{key}"] = np.mean(of_runs)
                else:
                    assert of[f"{what}_{key}"] is None
        for key, value in expected.items():
            same(of[key], value)
            means.setdefault(key, []).append(float(value))
    same(found["global"]["J&F_dot"], 50 * (np.mean(means["J"]) + np.mean(means["F_dot"])))
    for what in ("disappear", "reappear"):
        both = [np.mean(means[f"{what}_{key}"]) for key in ("J", "F_dot") if f"{what}_{key}" in means]
        same(found["global"][f"J&F_dot_{what}"], 50 * sum(both) if both else None)
