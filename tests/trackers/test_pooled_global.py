"""Global blocks of backbones that read averages of 2 x 2 cells (`pools_global`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from vidseg.memory.pooled_reads import pool_keys
from vidseg.trackers.backbones.hiera import Hiera, HieraSettings
from vidseg.trackers.backbones.plain_vit import PlainViT, PlainViTSettings


def hiera(pools_global: bool) -> nn.Module:
    small: dict[str, Any] = {"embed_dim": 8, "heads": 1, "stages": [1, 1, 2, 1], "global_blocks": [3]}
    return Hiera(HieraSettings(**small, pools_global=pools_global))


def plain_vit(pools_global: bool) -> nn.Module:
    return PlainViT.of(
        PlainViTSettings(variant="tiny", depth=2, global_blocks=[1], channels=12, pools_global=pools_global)
    )


GLOBAL_BLOCK = {hiera: 3, plain_vit: 1}


@pytest.mark.parametrize("make", [hiera, plain_vit])
@torch.no_grad()
def test_like_cells_are_read_as_one_average(make: Callable[[bool], nn.Module]) -> None:
    """On cells that are alike in squares of 2 x 2 the global block gives what it gives with all keys."""
    torch.manual_seed(0)
    whole, pooled = make(False).eval(), make(True).eval()
    pooled.load_state_dict(whole.state_dict())
    index = GLOBAL_BLOCK[make]
    channels = whole.blocks[index].norm1.normalized_shape[0]
    for height, width in ((4, 6), (5, 7)):
        squares = torch.randn(1, (height + 1) // 2, (width + 1) // 2, channels)
        x = squares.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width]
        torch.testing.assert_close(pooled.blocks[index](x), whole.blocks[index](x))
    x = torch.randn(1, 4, 6, channels)
    assert not torch.allclose(pooled.blocks[index](x), whole.blocks[index](x))


def test_odd_grids_weigh_their_last_averages() -> None:
    k, v = torch.randn(1, 15, 4), torch.randn(1, 15, 4)
    assert pool_keys(k, v, (3, 5))[2].exp().flatten().tolist() == pytest.approx([4, 4, 2, 2, 2, 1])
    assert pool_keys(k[:, :8], v[:, :8], (2, 4))[2] is None
