"""Prompts drawn from true masks lie where a user's would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vidseg.training.prompts import PromptShares, correct, sample

SIDE = 48


def masks(count: int) -> Tensor:
    """Rectangles with a hole and a thin arm."""
    rng = np.random.default_rng(0)
    made = np.zeros((count, SIDE, SIDE), bool)
    for mask in made:
        y, x = rng.integers(2, 20, 2)
        mask[y : y + 20, x : x + 12] = True
        mask[y + 8 : y + 11, x + 4 : x + 7] = False
        mask[y + 2, x : x + 25] = True
    return torch.from_numpy(made)


def drawn(shares: PromptShares, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    true = masks(200)
    return true, *sample(true, shares, torch.Generator().manual_seed(seed))


def is_on(mask: Tensor, point: Tensor) -> bool:
    x, y = point.floor().long().tolist()
    return bool(mask[min(y, SIDE - 1), min(x, SIDE - 1)])


def test_shares_are_kept() -> None:
    _, is_mask, _, labels = drawn(PromptShares(mask=0.5, box=0.3))
    is_box = (labels[:, 0] == 2) & ~is_mask
    assert 0.4 < is_mask.float().mean() < 0.6
    assert 0.2 < is_box.float().mean() < 0.4
    assert (labels[is_mask] == -1).all()
    for shares, wanted in ((PromptShares(mask=1, box=0), 1.0), (PromptShares(mask=0, box=1), 0.0)):
        assert drawn(shares)[1].float().mean() == wanted


def test_clicks_are_one_alone_as_often_as_asked() -> None:
    for share, least, most in ((0.0, 0.1, 0.3), (0.5, 0.5, 0.7), (1.0, 1.0, 1.0)):
        *_, labels = drawn(PromptShares(mask=0, box=0, single_click=share))
        assert least <= ((labels >= 0).sum(dim=1) == 1).float().mean() <= most


def test_clicks_lie_on_the_object_or_off_it_as_they_say() -> None:
    true, _, points, labels = drawn(PromptShares(mask=0, box=0))
    assert (labels[:, 0] == 1).all()
    assert set(labels.flatten().tolist()) == {1, 0, -1}
    for mask, row_points, row_labels in zip(true, points, labels, strict=True):
        for point, label in zip(row_points, row_labels.tolist(), strict=True):
            if label >= 0:
                assert is_on(mask, point) == bool(label)


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_boxes_are_tight_or_off_by_no_more_than_the_jitter(jitter: float) -> None:
    true, _, points, labels = drawn(PromptShares(mask=0, box=1, box_jitter=jitter))
    off = []
    for mask, row_points, row_labels in zip(true, points, labels, strict=True):
        assert row_labels[:2].tolist() == [2, 3]
        ys, xs = mask.nonzero().unbind(dim=1)
        tight = torch.tensor([[xs.min(), ys.min()], [xs.max() + 1, ys.max() + 1]]).float()
        off.append(((row_points[:2] - tight).abs() / (tight[1] - tight[0])).max().item())
        if row_labels[2] == 1:
            assert is_on(mask, row_points[2])
    assert max(off) <= jitter + 1e-6
    assert np.mean(np.array(off) == 0) > (0.3 if jitter else 0.99)


def test_prompts_depend_on_the_generator_alone() -> None:
    one, again, other = drawn(PromptShares(), 1), drawn(PromptShares(), 1), drawn(PromptShares(), 2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[2], other[2])


def test_corrections_lie_in_the_error_and_name_its_kind() -> None:
    true = masks(40)
    shifted = true.roll(5, dims=2)
    logits = torch.where(shifted, 5.0, -5.0)
    missed, excess = true & ~shifted, shifted & ~true
    grown = true.clone()
    grown[:, :, -6:] = True
    points, labels = correct(logits, true, torch.Generator().manual_seed(0))
    for row, (point, label) in enumerate(zip(points[:, 0], labels[:, 0].tolist(), strict=True)):
        assert is_on((missed if label else excess)[row], point)
    more = correct(torch.where(grown, 5.0, -5.0), true, torch.Generator().manual_seed(0))
    assert (more[1] == 0).all()
    none = correct(torch.where(true, 5.0, -5.0), true, torch.Generator().manual_seed(0))
    assert (none[1] == -1).all()
    points, labels = correct(logits, true, torch.Generator().manual_seed(0), harmless=1.0)
    assert set(labels.unique().tolist()) == {0, 1}
    for row, (point, label) in enumerate(zip(points[:, 0], labels[:, 0].tolist(), strict=True)):
        assert is_on((true & shifted if label else ~(true | shifted))[row], point)
