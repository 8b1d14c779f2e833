"""Maps that are shifted and combined: what PyTorch's pooling and convolution make of the same windows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vidseg.trackers.space_time.small_windows import maxima_in_threes, sums_in_threes, to_one_channel


@pytest.mark.parametrize("size", [(7, 5), (1, 4), (1, 1)])
def test_windows_are_those_of_pytorch(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sums_in_threes(maps), 9 * F.avg_pool2d(maps, 3, 1, 1))
    assert torch.equal(maxima_in_threes(maps), F.max_pool2d(maps, 3, 1, 1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_to_one_channel_is_a_sum_of_shifted_maps(layout: torch.memory_format) -> None:
    conv = nn.Conv2d(4, 1, 3, padding=1)
    maps = torch.randn(2, 4, 6, 9).contiguous(memory_format=layout)
    want = conv(maps)
    with torch.inference_mode():
        torch.testing.assert_close(to_one_channel(conv, maps), want.detach())
