"""The engine on a GPU beside itself on the CPU, eager and compiled. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.parity import as_frames, moving_picture, weights_for
from support.training import log_rows, training_settings
from vidseg.training.run import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIZE = 256
COMPILED = ["sam2.1-hiera-tiny", "edgetam", "efficienttam-ti", "vidseg-nano"]
TRACKERS = [*COMPILED, "sam2-hiera-tiny", "surgical-sam2"]
NUM_FRAMES = 10
NOISE = {"vidseg-nano": 2e-2}
"""Of logits, as a share of their deviation; of the others `OTHERS_NOISE`. Memories are rounded to bfloat16,
and values on the edge between two numbers fall either way; so do pixels, which are rounded before motion is
looked for between them."""
OTHERS_NOISE = 2e-3
BFLOAT16_NOISE = 0.05
"""Root mean square of what features are off by, as a share of their deviation."""


@pytest.fixture(autouse=True)
def _no_tf32() -> Iterator[None]:
    """Else products of float32 have ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def load(name: str, **options: Any) -> Any:
    if name == "vidseg-nano":
        return vidseg.load(name, **options)
    return vidseg.load(name, image_size=SIZE, weights=weights_for(name, image_size=SIZE), **options)


def tracked(tracker: Any) -> list[Any]:
    """Two objects, a third that joins, a correction."""
    session = tracker.start()
    session.prompt(1, points=[[30, 20]], labels=[1])
    session.prompt(2, box=[40, 10, 80, 50])
    results = []
    for frame in as_frames(moving_picture(NUM_FRAMES, tracker.engine.model.image_size)):
        if frame.index == 4:
            session.prompt(3, points=[[60, 40]], labels=[1])
        if frame.index == 6:
            session.prompt(1, points=[[50, 30]], labels=[0])
        results.append(session.step(frame))
    return results


def largest_difference(results: list[Any], wanted: list[Any]) -> float:
    """Between mask logits, as a share of their deviation; the frames' objects must be the same."""
    largest = 0.0
    for result, want in zip(results, wanted, strict=True):
        assert result.obj_ids == want.obj_ids
        apart = np.abs(result.low_res_logits - want.low_res_logits).max()
        largest = max(largest, float(apart / want.low_res_logits.std()))
    return largest


@pytest.mark.parametrize("name", TRACKERS)
def test_gives_what_the_cpu_gives(name: str) -> None:
    wanted = tracked(load(name, device="cpu"))
    assert largest_difference(tracked(load(name, device="cuda")), wanted) < NOISE.get(name, OTHERS_NOISE)


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_gives_what_eager_gives(name: str) -> None:
    wanted = tracked(load(name, device="cuda"))
    tracker = load(name, device="cuda", compile=True)
    for _ in range(2):  # graphs are recorded, then replayed
        assert largest_difference(tracked(tracker), wanted) < NOISE.get(name, OTHERS_NOISE)


@pytest.mark.parametrize("name", TRACKERS)
def test_bfloat16(name: str) -> None:
    """Masks may be other candidates' by a hair; features are compared."""
    exact, rounded = load(name, device="cuda"), load(name, device="cuda", dtype="bfloat16")
    frame = as_frames(moving_picture(1, exact.engine.model.image_size))[0]
    with torch.inference_mode():
        want = exact.engine.encode(frame).top_1chw
        apart = rounded.engine.encode(frame).top_1chw.float() - want
    assert float(apart.square().mean().sqrt() / want.std()) < BFLOAT16_NOISE
    assert all(np.isfinite(result.low_res_logits).all() for result in tracked(rounded))


def test_saves_and_goes_on(tmp_path: Path) -> None:
    tracker = load("sam2.1-hiera-tiny", device="cuda")
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_trains(dtype: str, tmp_path: Path) -> None:
    train(training_settings(tmp_path, device="cuda", dtype=dtype, workers=2), tmp_path / "out")
    assert all(np.isfinite(float(row["loss"])) for row in log_rows(tmp_path / "out"))
