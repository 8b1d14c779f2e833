"""Folding changes no result; attention over operands that are not rounded is attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidseg.trackers.backbones import plain_vit, sam_vit, tiny_vit
from vidseg.trackers.low_bits.folding import fold_signs, query_and_key_rows, take_groups
from vidseg.trackers.low_bits.layers import LowBitAttention
from vidseg.trackers.sam2 import two_way_transformer


def _two_way() -> tuple[nn.Module, int, list[tuple[int, ...]]]:
    return two_way_transformer.Attention(16, 2, downsample=2), 8, [(2, 5, 16), (2, 9, 16), (2, 9, 16)]


def _tiny_vit() -> tuple[nn.Module, int, list[tuple[int, ...]]]:
    return tiny_vit.WindowAttention(12, 2, 3), 12, [(2, 7, 6, 12)]


def _plain_vit() -> tuple[nn.Module, int, list[tuple[int, ...]]]:
    return plain_vit.Attention(12, 2, 3), 12, [(2, 7, 6, 12)]


def _sam_vit() -> tuple[nn.Module, int, list[tuple[int, ...]]]:
    return sam_vit.Attention(12, 12, 2, 6), 12, [(2, 6, 6, 12)]


ATTENTIONS = {"two-way": _two_way, "tiny-vit": _tiny_vit, "plain-vit": _plain_vit, "sam-vit": _sam_vit}


@pytest.fixture(params=ATTENTIONS)
def attention(request: pytest.FixtureRequest) -> tuple[nn.Module, int, list[Tensor]]:
    """An attention in float64 of random weights, its width inside, and inputs for it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, inner, shapes = ATTENTIONS[request.param]()
        module = module.double().requires_grad_(False)
        for parameter in module.parameters():
            parameter.normal_()
        return module, inner, [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def _result(module: nn.Module, given: list[Tensor]) -> Tensor:
    out: Any = module(*given)
    assert isinstance(out, Tensor)
    return out


def test_attention_over_unrounded_operands_is_the_same(
    attention: tuple[nn.Module, int, list[Tensor]],
) -> None:
    module, _, given = attention
    want = _result(module, given)
    module.products = LowBitAttention()
    torch.testing.assert_close(_result(module, given), want, rtol=1e-12, atol=1e-12)


def test_folded_signs_change_nothing(attention: tuple[nn.Module, int, list[Tensor]]) -> None:
    module, inner, given = attention
    if query_and_key_rows(module) is None:
        # Positions relative to the query are multiplied by it, too.
        assert isinstance(module, sam_vit.Attention)
        return
    seen: list[Tensor] = []
    module.products = LowBitAttention()
    module.products.register_forward_hook(lambda _, args, out: seen.extend(args[:2]))
    want = _result(module, given)
    signs = torch.where(torch.arange(inner) % 3 == 0, -1.0, 1.0).double().view(2, -1)
    changed = fold_signs(module, signs)
    assert changed <= {name for name, _ in module.named_modules()}
    torch.testing.assert_close(_result(module, given), want, rtol=1e-12, atol=1e-12)
    for before, after in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(after, before * signs[:, None], rtol=1e-12, atol=1e-12)
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_layer_takes_over_shifts_and_scales_exactly(has_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(9, 7, dtype=torch.float64, generator=generator) for _ in range(2))
    bias = torch.randn(9, dtype=torch.float64, generator=generator) if has_bias else None
    shift = torch.randn(7, dtype=torch.float64, generator=generator)
    scale = torch.rand(7, dtype=torch.float64, generator=generator) * 100 + 0.01
    folded = take_groups(weight, bias, shift, scale)
    got = nn.functional.linear((x - shift) / scale, *folded)
    torch.testing.assert_close(got, nn.functional.linear(x, weight, bias), rtol=1e-12, atol=1e-12)
