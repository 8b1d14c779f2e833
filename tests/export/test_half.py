"""What stays in float32 where a model is rounded to float16."""

from __future__ import annotations

import torch

from vidseg.export.half import to_half
from vidseg.trackers.sam2.two_way_transformer import TwoWayTransformer


def test_decoders_attend_in_float32_and_their_perceptrons_compute_in_float16() -> None:
    torch.manual_seed(0)
    transformer = TwoWayTransformer(channels=16, heads=2, mlp_dim=32)
    image, places, tokens = torch.randn(1, 64, 16), torch.randn(1, 64, 16), torch.randn(1, 5, 16)
    want = transformer(image, places, tokens)
    attention = transformer.layers[0].self_attn.q_proj.weight.detach().clone()
    to_half([transformer])
    assert torch.equal(transformer.layers[0].self_attn.q_proj.weight, attention)
    halves = {name for name, value in transformer.named_parameters() if value.dtype == torch.float16}
    assert halves == {name for name, _ in transformer.named_parameters() if ".mlp." in name}
    got = transformer(image.half(), places, tokens.half())
    for exact, rounded in zip(want, got, strict=True):
        assert rounded.dtype == torch.float16
        assert (rounded.float() - exact).abs().max() <= 2**-8 * exact.abs().max()
