"""What stays in float32 where a model computes in float16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


class Branch(nn.Module):
    """Adds what a layer gives to a large number, and takes this away again."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(16), nn.Linear(16, 16)
        self.large = nn.Parameter(torch.full((16,), 4096.0))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.large + self.layer(self.norm(x)) - self.large,)


def test_sums_keep_what_branches_add_that_float16_would_lose() -> None:
    torch.manual_seed(0)
    branch, x = Branch(), torch.randn(8, 16)
    (want,) = branch(x)
    given: list[torch.dtype] = []
    branch.layer.register_forward_hook(lambda _, inputs, output: given.append(output.dtype))
    to_half([branch])
    (got,) = branch(x.half())
    assert (given, got.dtype) == ([torch.float16], torch.float16)
    assert (got.float() - want).abs().max() <= 2**-8
