"""`vidseg.track` beside the installed official predictor: object by object, in a video state of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidseg
from support.goldens import PromptCall, Propagation
from vidseg.pipeline.writers import read_masklets

pytest.importorskip("sam2", reason="needs the extra 'sam2'")

from support.official import run_official
from support.parity import VIDEO_HW, Pair, as_frames, moving_picture

NUM_FRAMES = 7
PROMPTS: dict[int, dict[int, dict[str, Any]]] = {
    1: {1: {"box": [20.0, 10.0, 60.0, 50.0]}, 4: {"points": [[70.0, 40.0]], "labels": [1]}},
    7: {3: {"points": [[30.0, 30.0], [80.0, 5.0]], "labels": [1, 0]}},
}
OUTSIDE = -1.0
"""A logit for frames on which an object is not followed."""


def official_logits(predictor: Any) -> dict[str, dict[int, np.ndarray]]:
    """Video-res mask logits (T, H, W) of each object, carried forward and in reverse."""
    inputs = moving_picture(NUM_FRAMES)
    carried: dict[str, dict[int, np.ndarray]] = {"forward": {}, "backward": {}}
    for obj_id, on_frames in PROMPTS.items():
        calls = [PromptCall(frame, obj_id, prompt) for frame, prompt in on_frames.items()]
        for direction, propagation in (
            ("forward", Propagation(min(on_frames), False)),
            ("backward", Propagation(max(on_frames), True)),
        ):
            frames = run_official(predictor, inputs, VIDEO_HW, [*calls, propagation]).passes[0]
            logits = np.full((NUM_FRAMES, *VIDEO_HW), OUTSIDE, np.float32)
            for index, frame in frames.items():
                logits[index] = frame.video_res_logits[0]
            carried[direction][obj_id] = logits
    return carried


@pytest.mark.slow
def test_every_direction_gives_the_official_masks(tmp_path: Path) -> None:
    pair = Pair("sam2.1_hiera_t", "sam2.1-hiera-tiny")

    def check(want: dict[str, dict[int, np.ndarray]]) -> None:
        want["both"] = {
            obj_id: np.where(
                np.arange(NUM_FRAMES)[:, None, None] >= min(PROMPTS[obj_id]),
                want["forward"][obj_id],
                want["backward"][obj_id],
            )
            for obj_id in PROMPTS
        }
        assert all((logits > 0).any() for carried in want.values() for logits in carried.values())
        document = {
            "objects": [
                {"id": obj_id, "prompts": [{"frame": frame, **prompt} for frame, prompt in on_frames.items()]}
                for obj_id, on_frames in PROMPTS.items()
            ]
        }
        frames = as_frames(moving_picture(NUM_FRAMES))
        for direction, logits in want.items():
            vidseg.track(
                frames,
                document,
                tracker=pair.tracker,
                out=tmp_path / str(pair.seed) / direction,
                formats=["rle"],
                direction=direction,
            )
            for line in read_masklets(tmp_path / str(pair.seed) / direction / "masklets.jsonl"):
                for row, obj_id in enumerate(line.obj_ids):
                    expected = logits[obj_id][line.frame_idx]
                    differs = line.masks[row] != (expected > 0)
                    # Rounding may turn a pixel whose logit is all but zero.
                    assert np.abs(expected[differs]).max(initial=0) < 1e-3, (
                        direction,
                        line.frame_idx,
                        obj_id,
                    )

    pair.compare(official_logits, check)
