"""The golden data reaches the tests as its makers left it."""

from __future__ import annotations

import pytest
import torch

from support.goldens import (
    PromptCall,
    Propagation,
    assert_close,
    assert_golden,
    golden_names,
    load_golden,
    manifest_state,
    model_inputs,
    seeded_state,
)


@pytest.mark.parametrize("name", golden_names("*_[ADL]"))
def test_model_inputs_are_those_of_the_official_run(name):
    golden = load_golden(name)
    inputs = model_inputs(golden)
    middle = golden.image_size // 2
    block = inputs[:, :, middle : middle + 4, middle : middle + 4]
    stats = torch.stack([inputs.mean((2, 3)), inputs.std((2, 3))], -1)
    assert_golden(golden, {"input_slice": block, "input_stats": stats})


def test_seeded_weights_have_the_control_values(shared):
    token = manifest_state("sam2.1_hiera_t", seed=101)["sam_mask_decoder.iou_token.weight"]
    control = torch.tensor([-0.22590472, 0.32514390, 0.23846421, -0.00577296])
    assert torch.allclose(token[0, :4], control, rtol=0, atol=1e-8)


def test_overrides_are_applied(shared):
    golden = load_golden("sam2.1_hiera_t_A")
    name = "memory_attention.layers.0.cross_attn_image.out_proj.weight"
    plain = manifest_state(golden.model, golden.meta["weights"]["seed"])
    assert torch.equal(seeded_state(golden)[name], 2 * plain[name])


def test_steps_are_resolved(shared):
    steps = load_golden("sam2.1_hiera_b+_D").steps
    assert isinstance(steps[0], PromptCall)
    assert steps[0].frame_idx == 8
    assert steps[1] == Propagation(start=None, reverse=True)


def test_a_difference_fails(shared):
    golden = load_golden("sam2_hiera_t_A")
    assert_golden(golden, {"pass0_low": golden.arrays["pass0_low"]})
    with pytest.raises(AssertionError, match="pass0_low: std error"):
        assert_close("pass0_low", golden.arrays["pass0_low"], golden.arrays["pass0_low"] * 1.01)
