"""The engine against what the official predictors gave: seeded weights, every scenario."""

from __future__ import annotations

import pytest

from support.golden_play import play
from support.goldens import (
    PromptCall,
    assert_close,
    assert_golden,
    frames,
    golden_names,
    golden_tracker,
    load_golden,
    video_sub,
)


@pytest.mark.parametrize("name", golden_names("[es][adfu]*"))
def test_session_equals_official_predictor(name: str) -> None:
    golden = load_golden(name)
    assert_golden(golden, play(golden, golden_tracker(golden)))


@pytest.mark.parametrize("name", golden_names("sam2.1_hiera_t_C"))
def test_refine_equals_official_correction(name: str) -> None:
    golden = load_golden(name)
    video = frames(golden)
    first, _, correction, _ = golden.steps
    assert isinstance(first, PromptCall)
    assert isinstance(correction, PromptCall)
    session = golden_tracker(golden).start(num_frames=len(video))
    session.prompt(first.obj_id, **first.prompt)
    for frame in video[: correction.frame_idx + 1]:
        session.step(frame)
    result = session.refine(correction.obj_id, **correction.prompt)
    want = golden.arrays["prompt1_video_sub"]
    assert_close("prompt1_video_sub", want, video_sub(result.video_res_logits))
