"""The engine on a GPU beside itself on the CPU: as it is, with recorded graphs, and compiled.

NVIDIA's GPUs and those of Macs are tried; what is not here is skipped. Judged are masks (their IoU), object
scores and predicted IoUs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vidseg
from support.devices import NEEDS_CUDA, NEEDS_MPS, on_each_gpu
from support.parity import as_frames, moving_picture, weights_for
from support.training import log_rows, training_settings
from vidseg.masks import iou
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.contract import ABSENT_LOGIT, Frame
from vidseg.training.run import train

SIZE = 256
COMPILED = ["sam2.1-hiera-tiny", "edgetam", "efficienttam-ti", "vidseg-nano"]
TRACKERS = [*COMPILED, "sam2-hiera-tiny", "surgical-sam2"]
NUM_FRAMES = 10
LEAST_MEAN_IOU = 0.99
"""Of masks on the GPU and on the CPU, over objects and frames."""
LEAST_IOU = 0.95
"""Of any mask: an object of a few pixels has little else than contour."""
SCORE_NOISE = 0.05
"""How far object scores (logits) and predicted IoUs may be apart."""
MOST_J_APART = 0.003
BFLOAT16_NOISE = 0.05
"""Root mean square of what features are off by, as a share of their deviation."""
MEMORY_NOISE = 0.15
"""Likewise of memories. Of prompted frames they hold masks cut at 0, a pixel of which may turn; tokens of
the perceiver, whose weights are random, were seen to move by 0.09 for features nudged by 1e-6 to 1e-5."""


@pytest.fixture(autouse=True)
def _no_tf32() -> Iterator[None]:
    """Else products of float32 have ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def load(name: str, **options: Any) -> Any:
    options = {"dtype": "float32", **options}
    if name == "vidseg-nano":
        return vidseg.load(name, **options)
    return vidseg.load(name, image_size=SIZE, weights=weights_for(name, image_size=SIZE), **options)


def frames_and_prompts(name: str) -> Iterator[tuple[Frame, list[tuple[int, dict[str, Any]]]]]:
    """Frames, and what is prompted on each: two objects, a third that joins, a correction.

    vidseg-nano has weights that know absence, and is given objects that it can follow; the others have random
    ones, whatever they see.
    """
    prompts: dict[int, list[tuple[int, dict[str, Any]]]] = {
        0: [(1, {"points": [[30, 20]], "labels": [1]}), (2, {"box": [40, 10, 80, 50]})],
        4: [(3, {"points": [[60, 40]], "labels": [1]})],
        6: [(1, {"points": [[50, 30]], "labels": [0]})],
    }
    if name != "vidseg-nano":
        for frame in as_frames(moving_picture(NUM_FRAMES, SIZE)):
            yield frame, prompts.get(frame.index, [])
        return
    video = MadeVideo(num_frames=60)
    *first, last = [
        (thing["id"], {"box": thing["prompts"][0]["box"]}) for thing in video.prompts()["objects"]
    ]
    for frame, truth in itertools.islice(video, NUM_FRAMES):
        if frame.index == 4:
            yield frame, [(last[0], {"mask": truth == last[0]})]
        elif frame.index == 6:
            row, column = np.argwhere(truth == first[0][0]).mean(axis=0)
            yield frame, [(first[0][0], {"points": [[column, row]], "labels": [1]})]
        else:
            yield frame, first if frame.index == 0 else []


def tracked(tracker: Any) -> list[Any]:
    session = tracker.start()
    results = []
    for frame, prompts in frames_and_prompts(tracker.name):
        for obj_id, prompt in prompts:
            session.prompt(obj_id, **prompt)
        results.append(session.step(frame))
    return results


def root_mean_square(got: Tensor, want: Tensor) -> float:
    """Of the difference, as a share of the deviation."""
    return float((got.float() - want.float()).square().mean().sqrt() / want.float().std())


def assert_agrees(tracker: Any, wanted: Any, file: Path) -> None:
    """Fail unless two trackers answer alike, frame by frame.

    Both see every frame with the memories of the one that is right. With their own, which are rounded to
    bfloat16, values on the edge between two numbers fall either way, and random weights blow that up.
    """
    session = wanted.start()
    ious = []
    for frame, prompts in frames_and_prompts(tracker.name):
        session.save(file)
        other = tracker.restore(file)
        for obj_id, prompt in prompts:
            session.prompt(obj_id, **prompt)
            other.prompt(obj_id, **prompt)
        want, result = session.step(frame), other.step(frame)
        assert result.obj_ids == want.obj_ids
        assert result.states == want.states
        assert (want.low_res_logits > ABSENT_LOGIT).any(axis=(1, 2)).all()
        ious += [iou(*masks) for masks in zip(result.masks, want.masks, strict=True)]
        for got, right in (
            (result.object_score_logits, want.object_score_logits),
            (result.predicted_ious, want.predicted_ious),
        ):
            np.testing.assert_allclose(got, right, atol=SCORE_NOISE, rtol=0)
        for obj_id in want.obj_ids:
            ours, theirs = (s.banks[obj_id].at(frame.index).tokens_nc for s in (other, session))
            assert root_mean_square(ours.cpu(), theirs.cpu()) < MEMORY_NOISE
    assert np.mean(ious) >= LEAST_MEAN_IOU
    assert min(ious) >= LEAST_IOU


@on_each_gpu
@pytest.mark.parametrize("name", TRACKERS)
def test_gives_what_the_cpu_gives(name: str, gpu: str, tmp_path: Path) -> None:
    assert_agrees(load(name, device=gpu), load(name, device="cpu"), tmp_path / "session")


@on_each_gpu
@pytest.mark.parametrize("name", ["sam2.1-hiera-tiny", "vidseg-nano"])
def test_frames_are_the_same_to_the_bit(name: str, gpu: str) -> None:
    """Also those that the GPU resizes."""
    on_cpu, on_gpu = load(name, device="cpu"), load(name, device=gpu)
    for frame, _ in itertools.islice(MadeVideo(num_frames=2), 1):
        got, want = (tracker.engine.model_input(frame) for tracker in (on_gpu, on_cpu))
        assert torch.equal(got.cpu(), want)


@on_each_gpu
def test_nano_sees_the_same_pixels_to_the_bit(gpu: str) -> None:
    """They are rounded before motion is looked for between them."""
    on_cpu, on_gpu = load("vidseg-nano", device="cpu"), load("vidseg-nano", device=gpu)
    frame, _ = next(iter(MadeVideo(num_frames=2)))
    with torch.inference_mode():
        got, want = (t.engine.model._pixels(t.engine.encode(frame)) for t in (on_gpu, on_cpu))
    assert torch.equal(got.cpu(), want)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"device": "mps"}, marks=NEEDS_MPS),
        *(
            pytest.param({"device": "cuda", **options}, marks=NEEDS_CUDA)
            for options in ({}, {"graphs": True}, {"dtype": "bfloat16", "graphs": True})
        ),
    ],
)
def test_nano_tracks_real_sequences_as_on_the_cpu(shared: Path, options: dict[str, Any]) -> None:
    """Each with memories of its own."""
    root = shared / "data" / "davis_like"
    on_cpu, on_gpu = load("vidseg-nano", device="cpu"), load("vidseg-nano", **options)
    ious, apart = [], []
    for name in ("dog", "blackswan", "drift-straight", "horsejump-high"):
        pictures, labels = (
            [np.asarray(Image.open(path)) for path in sorted((root / part / "480p" / name).iterdir())]
            for part in ("JPEGImages", "Annotations")
        )
        right, got = (followed(tracker, pictures, labels[0] > 0) for tracker in (on_cpu, on_gpu))
        ious.append(np.mean([iou(*masks) for masks in zip(got, right, strict=True)]))
        js = [np.mean([iou(m, t > 0) for m, t in zip(masks, labels, strict=True)]) for masks in (got, right)]
        apart.append(js[0] - js[1])
    # On the CPU, bfloat16 beside float32 gives 0.995 and 0.0012.
    assert np.mean(ious) >= LEAST_MEAN_IOU
    assert abs(np.mean(apart)) <= MOST_J_APART


def followed(tracker: Any, pictures: list[Any], mask: Any) -> list[Any]:
    session = tracker.start()
    session.prompt(1, mask=mask)
    return [session.step(picture).masks[0] for picture in pictures]


@NEEDS_CUDA
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TRACKERS)
def test_recorded_graphs_give_what_eager_gives(name: str, dtype: str, tmp_path: Path) -> None:
    eager, tracker = (load(name, device="cuda", dtype=dtype, graphs=graphs) for graphs in (False, True))
    for _ in range(3):  # seen, recorded, then replayed
        assert_agrees(tracker, eager, tmp_path / "session")


@NEEDS_CUDA
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_gives_what_eager_gives(name: str, tmp_path: Path) -> None:
    eager, tracker = load(name, device="cuda"), load(name, device="cuda", compile=True)
    for _ in range(2):  # graphs are recorded, then replayed
        assert_agrees(tracker, eager, tmp_path / "session")


@on_each_gpu
@pytest.mark.parametrize("name", TRACKERS)
def test_bfloat16(name: str, gpu: str) -> None:
    """Masks may be other candidates' by a hair; features are compared."""
    exact, rounded = load(name, device=gpu), load(name, device=gpu, dtype="bfloat16")
    frame = as_frames(moving_picture(1, exact.engine.model.image_size))[0]
    with torch.inference_mode():
        want = exact.engine.encode(frame).top_1chw
        got = rounded.engine.encode(frame).top_1chw
    assert root_mean_square(got, want) < BFLOAT16_NOISE
    assert all(np.isfinite(result.low_res_logits).all() for result in tracked(rounded))


@on_each_gpu
def test_saves_and_goes_on(gpu: str, tmp_path: Path) -> None:
    tracker = load("sam2.1-hiera-tiny", device=gpu)
    session = tracker.start()
    session.prompt(1, box=[40, 10, 80, 50])
    frames = as_frames(moving_picture(6, SIZE))
    for frame in frames[:3]:
        session.step(frame)
    session.save(tmp_path / "session")
    restored = tracker.restore(tmp_path / "session")
    for frame in frames[3:]:
        one, other = session.step(frame), restored.step(frame)
        np.testing.assert_array_equal(one.low_res_logits, other.low_res_logits)


@NEEDS_CUDA
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_trains(dtype: str, tmp_path: Path) -> None:
    train(training_settings(tmp_path, device="cuda", dtype=dtype, workers=2), tmp_path / "out")
    assert all(np.isfinite(float(row["loss"])) for row in log_rows(tmp_path / "out"))
