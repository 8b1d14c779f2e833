"""Muon: against PyTorch's own where it has one, and against the definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vidseg.training.muon import STEP_RMS, Muon, orthogonal, takes

SHAPES = [(16, 16), (24, 12), (12, 40), (64, 576)]


def gradients(shape: tuple[int, ...], steps: int) -> Tensor:
    return torch.randn(steps, *shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_the_one_of_pytorch(shape: tuple[int, int]) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon (2.9 has)")
    rate, decay, steps = 0.01, 0.1, gradients(shape, 4)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    # Theirs has the step of AdamW with `match_rms_adamw`, ours STEP_RMS / 0.2 times as much.
    more = STEP_RMS / 0.2
    mine = Muon([ours], rate, decay)
    official = torch.optim.Muon(
        [theirs], more * rate, weight_decay=decay / more, adjust_lr_fn="match_rms_adamw"
    )
    for gradient in steps:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        official.step()
    moved = (theirs - start).detach()
    # Theirs iterates in bfloat16.
    assert float((ours - theirs).detach().norm() / moved.norm()) < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_becomes_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = gradients(shape, 1)[0]
    found = orthogonal(matrix)
    values = torch.linalg.svdvals(found)
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert float(torch.cosine_similarity(found.flatten(), (u @ v).flatten(), dim=0)) > 0.97


def test_a_kernel_moves_as_its_matrix_does() -> None:
    kernel = nn.Parameter(torch.zeros(16, 4, 3, 3).to(memory_format=torch.channels_last))
    matrix = nn.Parameter(torch.zeros(16, 36))
    for gradient in gradients((16, 4, 3, 3), 3):
        kernel.grad = gradient.to(memory_format=torch.channels_last)
        matrix.grad = gradient.flatten(1)
        for parameter in (kernel, matrix):
            Muon([parameter], 0.01, 0.0).step()
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach())
    assert float(matrix.detach().abs().max()) > 0


def test_what_has_no_gradient_stays() -> None:
    parameter = nn.Parameter(torch.ones(8, 8))
    Muon([parameter], 0.01, 0.1).step()
    assert torch.equal(parameter.detach(), torch.ones(8, 8))


@pytest.mark.parametrize(
    ("shape", "taken"),
    [
        ((16, 16), True),
        ((16, 8, 3, 3), True),
        ((16, 1, 3, 3), False),  # depthwise
        ((1, 64, 3, 3), False),  # one row
        ((16,), False),
        ((), False),
    ],
)
def test_it_is_meant_for_matrices_that_mix_channels(shape: tuple[int, ...], taken: bool) -> None:
    assert takes(torch.zeros(shape)) is taken
