"""Recorded parts give what they give as they are, on the CPU with a stand-in for CUDA graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from support.fake_recorder import FakeRecorder
from support.parity import as_frames, moving_picture, small_tracker
from vidseg.trackers.graphs import replays
from vidseg.trackers.graphs.replays import SEEN_BEFORE, Replays
from vidseg.trackers.model import Features


@pytest.fixture
def recorder() -> FakeRecorder:
    return FakeRecorder()


def features_of(*sizes: int) -> Features:
    return Features([torch.randn(1, size) for size in sizes[1:]], torch.randn(1, sizes[0]))


def add(features: Features, rows_bc: Tensor, *, factor: float = 1.0) -> list[Tensor]:
    return [rows_bc + features.top_1chw * factor, rows_bc.sum(dim=1)]


@torch.inference_mode()
def test_replays_what_was_seen_before(recorder: FakeRecorder) -> None:
    call = Replays(recorder).of(add, shared=1)
    kept = []
    for _ in range(SEEN_BEFORE + 3):
        features, rows = features_of(5, 2), torch.randn(1, 5)
        kept.append((call(features, rows), add(features, rows)))
    assert (recorder.num_recorded, recorder.num_replayed) == (1, 1 + 3)  # one more to check the recording
    for got, want in kept:  # later replays have not overwritten earlier results
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 3, 16, 37])
def test_rows_go_in_pieces_of_powers_of_two(recorder: FakeRecorder, count: int) -> None:
    call = Replays(recorder).of(add, shared=1)
    for _ in range(SEEN_BEFORE + 2):
        features, rows = features_of(5), torch.randn(count, 5)
        torch.testing.assert_close(call(features, rows), add(features, rows), rtol=0, atol=0)
    sizes = {16} if count >= 16 else set()
    assert recorder.num_recorded == len(sizes) + (count % 16).bit_count()


@torch.inference_mode()
def test_shapes_and_plain_values_have_recordings_of_their_own(recorder: FakeRecorder) -> None:
    call = Replays(recorder).of(add, shared=1)
    for _ in range(SEEN_BEFORE + 1):
        for size, factor in ((5, 1.0), (5, 2.0), (6, 1.0)):
            features, rows = features_of(size), torch.randn(2, size)
            want = add(features, rows, factor=factor)
            torch.testing.assert_close(call(features, rows, factor=factor), want, rtol=0, atol=0)
    assert recorder.num_recorded == 3


@torch.inference_mode()
def test_drops_what_was_replayed_longest_ago(recorder: FakeRecorder) -> None:
    small = Replays(recorder, max_bytes=200)
    call = small.of(add, shared=1)
    for size in (5, 6, 7, 5):
        for _ in range(SEEN_BEFORE + 1):
            features, rows = features_of(size), torch.randn(1, size)
            torch.testing.assert_close(call(features, rows), add(features, rows), rtol=0, atol=0)
    assert small.num_recordings < 4
    assert recorder.num_recorded == 4  # the first one was dropped, and is recorded again


def test_nothing_is_recorded_while_gradients_are_wanted(recorder: FakeRecorder) -> None:
    call = Replays(recorder).of(add, shared=1)
    rows = torch.randn(1, 5, requires_grad=True)
    for _ in range(SEEN_BEFORE + 2):
        call(features_of(5), rows)[0].sum().backward()
    assert recorder.num_recorded == 0


@torch.inference_mode()
def test_what_cannot_be_recorded_runs_as_it_is_with_one_warning() -> None:
    class Refusing(FakeRecorder):
        def record(self, function: Any, inputs: Any) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    call = Replays(Refusing()).of(add, shared=1)
    features, rows = features_of(5), torch.randn(1, 5)
    for _ in range(SEEN_BEFORE):
        call(features, rows)
    with pytest.warns(RuntimeWarning, match="add runs without a recorded CUDA graph.*not permitted"):
        torch.testing.assert_close(call(features, rows), add(features, rows))
    torch.testing.assert_close(call(features, rows), add(features, rows))  # warnings are errors here


@torch.inference_mode()
def test_a_recording_that_gives_other_results_is_not_used() -> None:
    class Forgetful(FakeRecorder):
        """Computes with the inputs of the first call for ever."""

        def record(self, function: Any, inputs: Any) -> Any:
            recording = super().record(function, inputs)
            return replace(recording, inputs=[x.clone() for x in recording.inputs], replay=lambda: None)

    call = Replays(Forgetful()).of(add, shared=1)
    features, rows = features_of(5), torch.randn(1, 5)
    for _ in range(SEEN_BEFORE):
        call(features, rows)
    with pytest.warns(RuntimeWarning, match="its replay gives other results"):
        torch.testing.assert_close(call(features, rows), add(features, rows))


def tracked(tracker: Any) -> list[Any]:
    """Objects join and leave; one is corrected."""
    session = tracker.start()
    results = []
    for frame in as_frames(moving_picture(24, tracker.engine.model.image_size)):
        if frame.index in (0, 1, 2):
            session.prompt(frame.index, points=[[30 + 10 * frame.index, 20]], labels=[1])
        if frame.index == 5:
            session.prompt(0, points=[[50, 30]], labels=[0])
        if frame.index == 20:
            session.remove(1)
        results.append(session.step(frame))
    return results


def test_a_tracker_with_recorded_parts_gives_the_same_masks(
    tmp_path: Path, recorder: FakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, beside one that takes rows in the same pieces but records nothing."""
    tracker = small_tracker(tmp_path)
    with monkeypatch.context() as never:
        never.setattr(replays, "SEEN_BEFORE", 10**9)
        tracker.engine.model.record_parts(Replays(FakeRecorder()))
        wanted = tracked(tracker)
    tracker = small_tracker(tmp_path)
    tracker.engine.model.record_parts(Replays(recorder))
    results = tracked(tracker)
    assert recorder.num_recorded >= 4  # the encoder, attention, decoder and memory encoder
    assert recorder.num_replayed > 3 * 15
    for result, want in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(result.low_res_logits, want.low_res_logits)
        np.testing.assert_array_equal(result.object_score_logits, want.object_score_logits)
