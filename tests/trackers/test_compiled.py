"""Compiling: what is traced gives what runs eagerly. On a GPU with code generated: test_cuda.py."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.parity import SMALL_MODEL, as_frames, moving_picture, weights_for
from support.training import tracker_yaml
from vidseg.memory import attention
from vidseg.trackers.compiled import compile_in_place
from vidseg.trackers.device import use_channels_last
from vidseg.trackers.sam2.video_model import has_several_memories

ONE_LAYER = SMALL_MODEL.replace("layers: 2", "layers: 1").replace("[1, 1, 2, 1]", "[1, 1, 1, 1]")
"""What is repeated is traced again, which takes most of the time here, and shows nothing new."""


@pytest.fixture(autouse=True)
def _traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing code for a processor takes minutes; tracing, which is what may fail, takes seconds."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def tracked(tracker: Any) -> list[Any]:
    """Objects join, so that batches grow."""
    session = tracker.start()
    results = []
    for frame in as_frames(moving_picture(4, tracker.engine.model.image_size)):
        if frame.index < 3:
            session.prompt(frame.index, points=[[30 + 10 * frame.index, 20]], labels=[1])
        results.append(session.step(frame))
    return results


def load(config: Path, state: dict[str, Any], **options: Any) -> Any:
    return vidseg.load(config, weights=state, device="cpu", **options)


@pytest.fixture(params=["pyramid", "space-time"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "space-time":
        return Path(tracker_yaml(tmp_path))
    (tmp_path / "small.yaml").write_text(ONE_LAYER, encoding="utf-8")
    return tmp_path / "small.yaml"


def test_compiled_gives_what_eager_gives(config: Path) -> None:
    state = weights_for(config)
    results, wanted = tracked(load(config, state, compile=True)), tracked(load(config, state))
    for result, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result.low_res_logits, want.low_res_logits, atol=1e-3, rtol=1e-4)
        np.testing.assert_allclose(result.object_score_logits, want.object_score_logits, atol=1e-4)


def num_compiled() -> int:
    """How many graphs were compiled since `torch._dynamo.reset`."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.fixture
def _none_compiled() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.usefixtures("_none_compiled")
def test_each_part_is_compiled_once_whatever_objects_and_clicks_there_are(config: Path) -> None:
    """With the layouts that a GPU takes."""
    tracker = load(config, weights_for(config))
    model = tracker.engine.model
    use_channels_last(model)
    model.compile_parts()
    parts = [part for part in model.modules() if "forward" in vars(part)]
    session = tracker.start()
    counts = []
    for frame in as_frames(moving_picture(7, model.image_size)):
        if frame.index < 4:  # none, one, two and three objects are tracked while another one is prompted
            points = [[30 + 10 * k, 20 + 5 * k] for k in range(frame.index + 1)]
            session.prompt(frame.index, points=points, labels=[1] * len(points))
        if frame.index == 4:
            session.prompt(9, box=[20, 10, 60, 50])
        session.step(frame)
        if frame.index == 5:
            session.refine(1, points=[[50, 30]], labels=[0])
        counts.append(num_compiled())
    assert len(parts) in (2, 4)
    assert counts[-1] == len(parts)


@pytest.mark.usefixtures("_none_compiled")
def test_memory_attention_is_compiled_once_for_one_object_and_once_for_several(tmp_path: Path) -> None:
    """As on a GPU: without the kernels of the CPU."""
    (tmp_path / "small.yaml").write_text(ONE_LAYER, encoding="utf-8")
    model = vidseg.load(tmp_path / "small.yaml", allow_random_weights=True, device="cpu").engine.model
    read = model.memory_attention
    features, position = torch.randn(1, 256, 4, 4), torch.randn(256, 4, 4)

    def memory(objects: int, frames: int, pointers: int) -> Any:
        tokens = torch.randn(2, objects, frames * 16 + 4 * pointers, 64)
        return attention.MemoryTokens(tokens[0], tokens[1], 4 * pointers, frames)

    sizes = [(1, 1, 1), (1, 2, 2), (1, 3, 3), (1, 7, 16), (2, 1, 1), (2, 3, 3), (5, 7, 16)]
    memories = [memory(*size) for size in sizes]
    with torch.inference_mode():
        wanted = [read(features, position, m) for m in memories]
        compile_in_place(read, dynamic=True, serves=has_several_memories)
        for m, want in zip(memories, wanted, strict=True):
            torch.testing.assert_close(read(features, position, m), want, atol=1e-4, rtol=1e-4)
    assert num_compiled() == 2
