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
    (tmp_path / "small.yaml").write_text(SMALL_MODEL, encoding="utf-8")
    return tmp_path / "small.yaml"


def test_compiled_gives_what_eager_gives(config: Path) -> None:
    state = weights_for(config)
    results, wanted = tracked(load(config, state, compile=True)), tracked(load(config, state))
    for result, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result.low_res_logits, want.low_res_logits, atol=1e-3, rtol=1e-4)
        np.testing.assert_allclose(result.object_score_logits, want.object_score_logits, atol=1e-4)


def test_memory_attention_is_compiled_once_for_banks_that_grow(tmp_path: Path) -> None:
    """As on a GPU: without the kernels of the CPU."""
    (tmp_path / "small.yaml").write_text(SMALL_MODEL, encoding="utf-8")
    model = vidseg.load(tmp_path / "small.yaml", allow_random_weights=True, device="cpu").engine.model
    read = model.memory_attention
    features, position = torch.randn(1, 256, 4, 4), torch.randn(256, 4, 4)

    def memory(frames: int, pointers: int) -> Any:
        tokens = torch.randn(2, 2, frames * 16 + 4 * pointers, 64)
        return attention.MemoryTokens(tokens[0], tokens[1], 4 * pointers, frames)

    memories = [memory(2, 2), memory(3, 3), memory(7, 16)]
    with torch.inference_mode():
        wanted = [read(features, position, m) for m in memories]
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        compile_in_place(read, dynamic=True)
        for m, want in zip(memories, wanted, strict=True):
            torch.testing.assert_close(read(features, position, m), want, atol=1e-4, rtol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
