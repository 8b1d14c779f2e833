"""Losses against their definitions, written out pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vidseg.training.losses import dice, focal, hardest, read_loss, true_iou


def some_rows(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 5, 4, generator=generator)
    targets = torch.rand(3, 5, 4, generator=generator)  # edges are partly covered
    targets[0] = (targets[0] > 0.5).float()
    targets[2] = 0
    return logits, targets


def cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def pixels(row: int, logits: Tensor, targets: Tensor) -> list[tuple[float, float]]:
    return list(zip(logits[row].flatten().tolist(), targets[row].flatten().tolist(), strict=True))


@pytest.mark.parametrize("row", range(3))
def test_losses_are_as_defined(row: int) -> None:
    logits, targets = some_rows()
    each = pixels(row, logits, targets)
    p = [1 / (1 + math.exp(-x)) for x, _ in each]
    t = [target for _, target in each]

    wanted = [
        (0.25 * b + 0.75 * (1 - b)) * (1 - (a * b + (1 - a) * (1 - b))) ** 2 * cross_entropy(x, b)
        for a, (x, b) in zip(p, each, strict=True)
    ]
    assert focal(logits, targets)[row].item() == pytest.approx(sum(wanted) / 20, rel=1e-4)

    both = sum(a * b for a, b in zip(p, t, strict=True))
    assert dice(logits, targets)[row].item() == pytest.approx(1 - (2 * both + 1) / (sum(p) + sum(t) + 1))

    worst = sorted((cross_entropy(x, b) for x, b in each), reverse=True)
    assert hardest(logits, targets, 0.2)[row].item() == pytest.approx(sum(worst[:4]) / 4, rel=1e-4)
    assert hardest(logits, targets, 1.0)[row].item() == pytest.approx(sum(worst) / 20, rel=1e-4)


def test_a_right_mask_costs_nothing() -> None:
    targets = torch.zeros(2, 4, 4)
    targets[0, :2] = 1
    logits = 100 * (2 * targets - 1)
    for loss in (focal(logits, targets), dice(logits, targets), hardest(logits, targets, 0.15)):
        torch.testing.assert_close(loss, torch.zeros(2), atol=1e-6, rtol=0)
    assert true_iou(logits, targets).tolist() == [1, 1]


def test_the_iou_is_that_of_masks_cut_at_zero() -> None:
    logits = torch.full((3, 2, 4), -1.0)
    logits[0, 0] = 1  # 4 pixels, of which the target has 2
    logits[2, 0, 0] = 1
    targets = torch.zeros(3, 2, 4)
    targets[0, :, :2] = 1
    assert true_iou(logits, targets).tolist() == pytest.approx([2 / 6, 1, 0])


def test_losses_pull_logits_towards_the_target() -> None:
    logits, targets = some_rows()
    targets = targets.round()
    for loss in (focal, dice, lambda a, b: hardest(a, b, 1.0)):
        leaf = logits.clone().requires_grad_()
        loss(leaf, targets).sum().backward()
        assert leaf.grad is not None
        assert (leaf.grad[targets == 1] <= 0).all()
        assert (leaf.grad[targets == 0] >= 0).all()


def test_reads_are_judged_cell_by_cell_object_and_background_alike() -> None:
    targets = torch.zeros(2, 8, 8)
    targets[0, :4, :4] = 1  # one cell of four
    reads = torch.full((2, 8, 8), 0.25)
    reads[0, :2, :4] = 0.75  # the cell's mean is a half
    on, off = -math.log(0.5), -math.log(0.75)
    wanted = torch.tensor([(on + off) / 2, off / 2])
    torch.testing.assert_close(read_loss(reads, targets), wanted)
    assert read_loss(targets, targets).max() < 0.01
    assert read_loss(1 - targets, targets).isfinite().all()
