"""Reading labels: equal to plain softmax attention, alone or shared, with and without gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidseg.trackers.space_time.label_reading import LabelReading

CELLS = 192


def made(rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys = F.normalize(torch.randn(rows, CELLS, 8, generator=generator), dim=2)
    return keys, torch.rand(rows, CELLS, 5, generator=generator)


@pytest.mark.parametrize("with_gradients", [True, False])
def test_a_read_is_a_softmax_of_cosines(with_gradients: bool) -> None:
    reading = LabelReading()
    query, _ = made(2, seed=1)
    keys, values = made(2, seed=2)
    with torch.set_grad_enabled(with_gradients):
        got = reading(query, keys, values)
    scores = query @ keys.transpose(1, 2) * reading.log_sharpness.exp()
    torch.testing.assert_close(got, scores.softmax(dim=2) @ values, atol=2e-5, rtol=0)


def test_objects_that_share_keys_read_what_each_would_alone() -> None:
    reading = LabelReading()
    query, _ = made(1, seed=3)
    keys, _ = made(1, seed=4)
    values = torch.rand(4, CELLS, 5)
    with torch.inference_mode():
        shared = reading(query, keys, values)
        alone = torch.cat([reading(query, keys, row[None]) for row in values])
    torch.testing.assert_close(shared, alone, atol=1e-6, rtol=0)


def test_each_object_reads_its_own_tokens_whether_or_not_keys_are_shared() -> None:
    reading = LabelReading()
    query, _ = made(1, seed=5)
    keys, _ = made(1, seed=6)
    values = torch.rand(3, CELLS, 5)
    is_read = torch.ones(3, CELLS, dtype=torch.bool)
    is_read[1, CELLS // 2 :] = False
    is_read[2, 1:] = False
    alone = torch.cat(
        [reading(query, keys[:, own], row[None, own]) for row, own in zip(values, is_read, strict=True)]
    )
    for with_gradients in (True, False):
        with torch.set_grad_enabled(with_gradients):
            shared = reading(query, keys, values, is_read)
            apart = reading(query.expand(3, -1, -1), keys.expand(3, -1, -1), values, is_read)
        torch.testing.assert_close(shared, alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(apart, alone, atol=1e-5, rtol=0)
