"""The official predictor, run on frames in memory, reproduces its own golden outputs."""

from __future__ import annotations

import numpy as np
import pytest

from support.goldens import (
    VIDEO_SIZE_HW,
    assert_golden,
    golden_names,
    load_golden,
    memory_stats,
    model_inputs,
    seeded_state,
    video_bits,
    video_sub,
)

pytest.importorskip("sam2", reason="needs the extra 'sam2'")


@pytest.mark.slow
@pytest.mark.parametrize("name", golden_names("sam2*_hiera_t_[BCF]"))
def test_official_predictor_reproduces_its_goldens(name):
    from support.official import official_predictor, run_official

    golden = load_golden(name)
    predictor = official_predictor(golden.model, seeded_state(golden), golden.image_size)
    outputs = run_official(predictor, model_inputs(golden), VIDEO_SIZE_HW, golden.steps)

    got = {}
    for number, prompt in enumerate(outputs.prompts):
        got[f"prompt{number}_video_sub"] = video_sub(prompt.video_res_logits)
        got[f"prompt{number}_ids"] = np.array(prompt.obj_ids)
    for number, visited in enumerate(outputs.passes):
        frames = visited.values()
        got |= {
            f"pass{number}_order": np.array(list(visited)),
            f"pass{number}_low": np.stack([frame.low_res_logits for frame in frames]),
            f"pass{number}_obj": np.stack([frame.object_score_logits for frame in frames]),
            f"pass{number}_ptr": np.stack([frame.object_pointers for frame in frames]),
            f"pass{number}_is_cond": np.array([frame.is_conditioning for frame in frames]),
            f"pass{number}_video_bits": np.stack([video_bits(frame.video_res_logits) for frame in frames]),
            f"pass{number}_mem_stats": np.stack(
                [np.stack([memory_stats(memory) for memory in frame.memories]) for frame in frames]
            ),
        }
    assert_golden(golden, got)
