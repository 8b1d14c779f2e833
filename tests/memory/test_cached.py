"""Tensors that are kept with the tensor that they were made of."""

from __future__ import annotations

import torch
from torch import Tensor

from vidseg.memory.cached import kept_with_its_source


def test_a_tensor_is_made_once_for_each_source_and_dropped_with_it() -> None:
    made: list[int] = []

    @kept_with_its_source
    def doubled(source: Tensor) -> Tensor:
        made.append(len(source))
        return 2 * source

    with torch.inference_mode():
        first, second = torch.ones(2), torch.ones(3)
        assert doubled(first) is doubled(first)
        assert torch.equal(doubled(second), 2 * second)
        assert made == [2, 3]
        for _ in range(3):  # new tensors may lie where a dropped one lay
            assert torch.equal(doubled(torch.full((4,), 5.0)), torch.full((4,), 10.0))
    assert made == [2, 3, 4, 4, 4]
