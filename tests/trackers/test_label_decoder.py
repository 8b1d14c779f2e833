"""The decoder of labels: what all objects share is convolved once, and nothing else changes by it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vidseg.trackers.space_time.decoder import (
    LIKENESS,
    MAPS,
    LabelDecoder,
    convolved,
    in_order,
    joined,
)


def test_maps_of_memory_and_prompt_are_put_in_order() -> None:
    of_memory, of_prompt = (
        torch.tensor(places).view(1, -1, 1, 1) for places in ([0, 2, 3, 4, 5, 6], [1, 7, 8])
    )
    assert joined(in_order(of_memory, of_prompt)).flatten().tolist() == list(range(MAPS))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_that_rows_share_are_convolved_once(layout: torch.memory_format) -> None:
    conv = nn.Conv2d(7, 5, 3, padding=1).to(memory_format=layout)  # type: ignore[call-overload]
    parts = torch.randn(3, 2, 6, 6), torch.randn(1, 4, 6, 6), torch.randn(3, 1, 6, 6)
    added = torch.randn(1, 5, 6, 6)
    with torch.inference_mode():
        got = convolved(conv, parts, added)
        want = conv(joined(parts)) + added
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_objects_without_a_prompt_are_decoded_as_with_one_for_each_row() -> None:
    decoder = LabelDecoder(12, 16, (8, 8)).eval()
    side = 8
    memory, prompt = torch.randn(3, 7, side, side), torch.randn(1, 5, side, side)
    of_memory, of_prompt = torch.rand(3, MAPS - 3, 4 * side, 4 * side), torch.rand(1, 3, 4 * side, 4 * side)
    frame = (
        torch.randn(1, 16, side, side),
        [torch.randn(1, 8, 4 * side, 4 * side), torch.randn(1, 8, 2 * side, 2 * side)],
    )
    likeness = memory[:, -LIKENESS:]
    with torch.inference_mode():
        got = decoder(memory, of_memory, likeness, prompt, of_prompt, *frame)
        repeated = (part.expand(3, -1, -1, -1) for part in (prompt, of_prompt))
        want = decoder(memory, of_memory, likeness, *repeated, *frame)
    torch.testing.assert_close(got.logits_rhw, want.logits_rhw, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.score_logits_r, want.score_logits_r, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.iou_logits_r, want.iou_logits_r, atol=1e-4, rtol=1e-4)
