"""Reading labels: equal to plain softmax attention, alone or shared, with and without gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidseg.memory.label_reading import LabelReading

GRID = (12, 16)
CELLS = GRID[0] * GRID[1]


def made(rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys = F.normalize(torch.randn(rows, CELLS, 8, generator=generator), dim=2)
    return keys, torch.rand(rows, CELLS, 5, generator=generator)


def places(step: int) -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.arange(0, n, step) + (step - 1) / 2 for n in GRID), indexing="ij")
    return torch.stack((y, x), dim=2).reshape(-1, 2)


@pytest.mark.parametrize("with_gradients", [True, False])
def test_near_by_is_a_softmax_less_the_square_of_the_distance(with_gradients: bool) -> None:
    reading = LabelReading(recent_slots=2)
    query, _ = made(2, seed=1)
    keys, values = made(2, seed=2)
    with torch.set_grad_enabled(with_gradients):
        got = reading.near_by(query, [(0, keys, values), (1, keys, values)], GRID)

    def halved(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x.transpose(1, 2).unflatten(2, GRID), 2).flatten(2).transpose(1, 2)

    frames = [(0, keys, values, places(1)), (1, F.normalize(halved(keys), dim=2), halved(values), places(2))]
    scores = [
        query @ k.transpose(1, 2) * reading.log_sharpness[1].exp()
        - reading.log_penalty[slot].exp() * torch.cdist(places(1), where).square()
        for slot, k, _, where in frames
    ]
    wanted = torch.cat(scores, dim=2).softmax(dim=2) @ torch.cat([v for *_, v, _ in frames], dim=1)
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)


def test_objects_that_share_keys_read_what_each_would_alone() -> None:
    reading = LabelReading(recent_slots=1)
    query, _ = made(1, seed=3)
    keys, _ = made(1, seed=4)
    values = torch.rand(4, CELLS, 5)
    with torch.inference_mode():
        shared = reading.anywhere(query, keys, values)
        alone = torch.cat([reading.anywhere(query, keys, row[None]) for row in values])
    torch.testing.assert_close(shared, alone, atol=1e-6, rtol=0)


def test_far_cells_do_not_matter_and_cost_no_accuracy() -> None:
    reading = LabelReading(recent_slots=1)
    with torch.no_grad():
        reading.log_penalty.fill_(4.5)  # more than any difference of cosines
    query, _ = made(1, seed=5)
    keys, values = made(1, seed=6)
    with torch.inference_mode():
        got = reading.near_by(query, [(0, keys, values)], GRID)
    torch.testing.assert_close(got, values, atol=1e-3, rtol=0)
